# SPDX-License-Identifier: Apache-2.0
"""Closing twice, in Python, is allowed."""
import os
import sqlite3

import psycopg2
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

for connection in (sqlite3.connect(":memory:"), psycopg2.connect("")):
    connection.close()
    connection.close()
engine = create_engine(os.environ["DATABASE_URL"])
connection = engine.connect()
connection.execute(text("SELECT 42"))
connection.close()
connection.close()
for _ in range(3):
    session = Session(engine)
    session.execute(text("SELECT 42"))
    session.close()
    session.close()
never_used = Session(engine)
engine.dispose()
engine.dispose()
