# SPDX-License-Identifier: Apache-2.0
"""l09_idle_in_transaction.py session|psycopg2: one SELECT, no commit, no rollback, no close; and the process lives on."""
import os
import sys
import time


def session_forgotten():
    from sqlalchemy import create_engine, text
    from sqlalchemy.orm import Session

    session = Session(create_engine(os.environ["DATABASE_URL"]))  # place: session
    session.execute(text("SELECT 42"))  # place: begin
    return session


def connection_forgotten():
    import psycopg2

    connection = psycopg2.connect("")  # place: connection
    cursor = connection.cursor()
    cursor.execute("SELECT 42")  # place: psycopg2 begin
    return connection


keep = session_forgotten() if sys.argv[1] == "session" else connection_forgotten()
time.sleep(float(sys.argv[2]))
keep.close()
