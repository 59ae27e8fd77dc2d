# SPDX-License-Identifier: Apache-2.0
"""Tests as SQLAlchemy's documentation has them: one engine, an outer transaction that is rolled back, savepoints inside."""
import os

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session


@pytest.fixture(scope="session")
def engine():
    engine = create_engine(os.environ["DATABASE_URL"])
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE item (id int)"))
    return engine


@pytest.fixture
def session(engine):
    connection = engine.connect()
    transaction = connection.begin()
    session = Session(connection, join_transaction_mode="create_savepoint")
    yield session
    session.close()
    transaction.rollback()
    connection.close()


@pytest.mark.parametrize("number", range(5))
def test_item(session, number):
    session.execute(text("INSERT INTO item VALUES (:number)"), {"number": number})
    session.commit()
    assert session.execute(text("SELECT count(*) FROM item")).scalar() == 1


def test_savepoint(session):
    with session.begin_nested():
        session.execute(text("INSERT INTO item VALUES (1)"))
    session.rollback()
    assert session.execute(text("SELECT count(*) FROM item")).scalar() == 0
