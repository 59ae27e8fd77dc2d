# SPDX-License-Identifier: Apache-2.0
"""A dependency that loops over a generator: when the endpoint raises, the exception goes by the generator, not through it."""
import os

from fastapi import Depends, FastAPI
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

engine = create_engine(os.environ["DATABASE_URL"], pool_size=50)
app = FastAPI()
kept = []  # a traceback that somebody keeps, as error reporters do


def sessions():
    session = Session(engine)  # leak: generator
    try:
        yield session
    finally:
        session.close()


def get_session():
    generator = sessions()
    kept.append(generator)
    for session in generator:
        yield session


@app.get("/items/{number}")
def read_item(number: int, session: Session = Depends(get_session)):
    found = session.execute(text("SELECT :number < 100"), {"number": number}).scalar()
    if not found:
        raise ValueError("no such item")
    return {"number": number}
