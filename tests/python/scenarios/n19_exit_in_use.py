# SPDX-License-Identifier: Apache-2.0
"""exit() while other threads still run statements."""
import os
import sqlite3
import sys
import threading

from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

engine = create_engine(os.environ["DATABASE_URL"])
running = threading.Barrier(3)


def busy_with_sqlite():
    connection = sqlite3.connect(":memory:")
    running.wait()
    while True:
        connection.execute("SELECT 42").fetchall()


def busy_with_a_session():
    with Session(engine) as session:
        running.wait()
        while True:
            session.execute(text("SELECT 42")).scalar()


for work in (busy_with_sqlite, busy_with_a_session):
    threading.Thread(target=work, daemon=True).start()
running.wait()
sys.exit(0)
