# SPDX-License-Identifier: Apache-2.0
"""A session is held, in a transaction, while somebody else is asked: it is closed in the end, but much too late."""
import os
import time

from fastapi import Depends, FastAPI
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

engine = create_engine(os.environ["DATABASE_URL"])
app = FastAPI()


def get_session():
    session = Session(engine)  # place: dependency
    try:
        yield session
    finally:
        session.close()


@app.get("/answer")
def answer(session: Session = Depends(get_session)):
    found = session.execute(text("SELECT 42")).scalar()  # place: begin
    time.sleep(float(os.environ["SLOW"]))  # a language model, a payment, a mail server
    return {"answer": found}
