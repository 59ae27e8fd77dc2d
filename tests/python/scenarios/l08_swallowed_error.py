# SPDX-License-Identifier: Apache-2.0
"""l08_swallowed_error.py session|core: an error is swallowed, the transaction is not rolled back, and the work goes on."""
import os
import sys

from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, declarative_base
from sqlalchemy.schema import Column
from sqlalchemy.types import Integer

Base = declarative_base()


class Item(Base):
    __tablename__ = "item"
    id = Column(Integer, primary_key=True)


engine = create_engine(os.environ["DATABASE_URL"])
Base.metadata.drop_all(engine)
Base.metadata.create_all(engine)


def kept(session, number):
    try:
        session.add(Item(id=number))
        session.flush()  # leak: session
    except SQLAlchemyError:
        pass


def asked(connection, statement):
    try:
        connection.execute(text(statement))  # leak: core
    except SQLAlchemyError:
        pass


if sys.argv[1] == "session":
    with Session(engine) as everybody:
        everybody.add(Item(id=1))
        everybody.commit()
        everybody.expunge_all()
        for each in (1, 2, 3, 4):
            kept(everybody, each)
else:
    with engine.connect() as connection:
        for each in ("SELECT 1", "SELECT * FROM nowhere", "SELECT 2", "SELECT 3"):
            asked(connection, each)
