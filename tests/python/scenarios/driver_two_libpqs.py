# SPDX-License-Identifier: Apache-2.0
"""psycopg2 and psycopg 3 in one process, each with a libpq of its own: what one made is never given to the other."""
import importlib

psycopg2, psycopg = map(importlib.import_module, ("psycopg2", "psycopg"))  # in this order

psycopg2.connect("").close()
for _ in range(3):
    with psycopg.connect("") as watched:
        watched.cancel_safe()
psycopg2.connect("").close()
print(psycopg2.__libpq_version__, psycopg.pq.version())
