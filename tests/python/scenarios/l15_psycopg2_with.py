# SPDX-License-Identifier: Apache-2.0
"""l15_psycopg2_with.py kept|dropped: `with` ends psycopg2's transaction, not its connection."""
import sys

import psycopg2

everything = []


def asked():
    with psycopg2.connect("") as connection:  # leak: with
        cursor = connection.cursor()
        cursor.execute("SELECT 42")
    return connection


for _ in range(10):
    if sys.argv[1] == "kept":
        everything.append(asked())
    else:
        asked()
