# SPDX-License-Identifier: Apache-2.0
"""A library that opens its database when it is imported, and never closes it."""
import library  # written by the test, into a directory site-packages

print(library.connection.execute("SELECT 42").fetchone())
