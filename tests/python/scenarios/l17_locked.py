# SPDX-License-Identifier: Apache-2.0
"""l17_locked.py sqlite3|session: an exception leaves a write transaction open; the next writer is told: database is locked."""
import os
import sqlite3
import sys

path = os.environ["DATABASE_URL"].replace("sqlite:///", "")
setup = sqlite3.connect(path)
setup.execute("CREATE TABLE item (id)")
setup.close()
kept = []


def noted_by_sqlite3(number):
    connection = sqlite3.connect(path)  # place: connection
    kept.append(connection)
    connection.execute("INSERT INTO item VALUES (?)", (number,))  # place: begin
    if number < 0:
        raise ValueError(number)
    connection.commit()
    connection.close()


def second_writer_of_sqlite3():
    connection = sqlite3.connect(path, timeout=0.2)
    try:
        connection.execute("INSERT INTO item VALUES (1)")  # leak: sqlite3
    finally:
        connection.close()


def noted_by_session(number):
    session = Session(engine)  # place: session
    kept.append(session)
    session.execute(text("INSERT INTO item VALUES (:number)"), {"number": number})
    if number < 0:
        raise ValueError(number)
    session.commit()
    session.close()


def second_writer_of_session():
    with Session(engine) as session:
        session.execute(text("INSERT INTO item VALUES (1)"))


if sys.argv[1] == "sqlite3":
    noted, second_writer = noted_by_sqlite3, second_writer_of_sqlite3
else:
    from sqlalchemy import create_engine, text
    from sqlalchemy.orm import Session

    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 0.2})
    noted, second_writer = noted_by_session, second_writer_of_session

try:
    noted(-1)
except ValueError:
    pass
try:
    second_writer()
except Exception as problem:  # noqa: BLE001
    assert "database is locked" in str(problem), problem
    print("locked")
for each in kept:
    each.close()
