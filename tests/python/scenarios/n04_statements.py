# SPDX-License-Identifier: Apache-2.0
"""Statement caches: sqlite3 keeps 128 of them, psycopg 3 prepares what it sees often."""
import sqlite3

import psycopg

database = sqlite3.connect(":memory:")
for number in range(300):
    database.execute(f"SELECT {number}").fetchall()
database.close()

with psycopg.connect("") as server:
    for _ in range(20):
        server.execute("SELECT %s::int", (42,)).fetchall()
