# SPDX-License-Identifier: Apache-2.0
"""`with` ends sqlite3's transaction, not its connection."""
import sqlite3


def asked():
    with sqlite3.connect(":memory:") as connection:  # leak: with
        return connection.execute("SELECT 42").fetchone()


for _ in range(10):
    asked()
