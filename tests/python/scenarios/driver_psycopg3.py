# SPDX-License-Identifier: Apache-2.0
"""psycopg 3 by itself."""
import warnings

import psycopg

warnings.simplefilter("ignore")
print(psycopg.pq.__impl__)


def dropped():
    connection = psycopg.connect("")  # leak: psycopg 3
    assert connection.execute("SELECT 42").fetchone() == (42,)


for _ in range(3):
    dropped()
    psycopg.connect("").close()
