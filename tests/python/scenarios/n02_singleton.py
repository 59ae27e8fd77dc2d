# SPDX-License-Identifier: Apache-2.0
"""Singletons of a module, in use to the end."""
import os
import sqlite3

import psycopg2
from sqlalchemy import create_engine, text

database = sqlite3.connect(":memory:")
server = psycopg2.connect("")
server.autocommit = True
connection = create_engine(os.environ["DATABASE_URL"]).connect()

for _ in range(20):
    database.execute("SELECT 42")
    server.cursor().execute("SELECT 42")
    connection.execute(text("SELECT 42"))
    connection.rollback()
