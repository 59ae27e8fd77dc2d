# SPDX-License-Identifier: Apache-2.0
"""Sessions that are used after they have been closed: they begin anew, silently, and nobody closes them a second time."""
import os

from fastapi import BackgroundTasks, FastAPI
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

engine = create_engine(os.environ["DATABASE_URL"], pool_size=50)
app = FastAPI()


def note_visit(session):
    session.execute(text("SELECT 'noted'"))  # leak: background task


@app.get("/task")
def with_task(tasks: BackgroundTasks):
    with Session(engine) as session:
        tasks.add_task(note_visit, session)
        return session.execute(text("SELECT 42")).scalar()


def numbers(session):
    for number in range(3):
        yield session.execute(text("SELECT :number"), {"number": number}).scalar()  # leak: generator


@app.get("/generator")
def with_generator():
    with Session(engine) as session:
        found = numbers(session)
    return list(found)
