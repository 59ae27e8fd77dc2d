# SPDX-License-Identifier: Apache-2.0
"""The same handle, a new socket."""
from psycopg import pq

connection = pq.PGconn.connect(b"")
for _ in range(3):
    connection.reset()
    assert connection.status == pq.ConnStatus.OK
connection.finish()
