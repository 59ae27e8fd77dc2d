# SPDX-License-Identifier: Apache-2.0
"""A connection that listens, and one that holds an advisory lock as long as the program lives."""
import select
import time

import psycopg2

listener = psycopg2.connect("")
listener.autocommit = True
listener.cursor().execute("LISTEN news")
leader = psycopg2.connect("")
leader.autocommit = True
leader.cursor().execute("SELECT pg_advisory_lock(42)")

until = time.monotonic() + 1.2
while time.monotonic() < until:
    select.select([listener], [], [], 0.1)
    listener.poll()
leader.close()
listener.close()
