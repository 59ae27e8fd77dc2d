# SPDX-License-Identifier: Apache-2.0
"""psycopg 3 cancels what a connection does: the cancelling connection is libpq's own, often where a closed one was."""
import psycopg

with psycopg.connect("") as watched:
    for _ in range(8):
        psycopg.connect("").close()
        watched.cancel_safe()
