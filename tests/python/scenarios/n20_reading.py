# SPDX-License-Identifier: Apache-2.0
"""n20_reading.py read|write: `with engine.connect()` without a commit, which is the normal end of a read, and loses a write."""
import os
import sys

from sqlalchemy import create_engine, text

engine = create_engine(os.environ["DATABASE_URL"])
with engine.begin() as connection:
    connection.execute(text("CREATE TABLE item (id int)"))


def looked():
    with engine.connect() as connection:
        return connection.execute(text("SELECT count(*) FROM item")).scalar()


def written():
    with engine.connect() as connection:  # leak: write
        connection.execute(text("INSERT INTO item VALUES (1)"))


for _ in range(5):
    looked() if sys.argv[1] == "read" else written()
