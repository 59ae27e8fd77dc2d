# SPDX-License-Identifier: Apache-2.0
"""A request hands its session over to somebody who closes it a moment later."""
import os
import queue
import threading

from fastapi import FastAPI
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

engine = create_engine(os.environ["DATABASE_URL"])
app = FastAPI()
closing = queue.Queue()
closed = []


def closed_behind():
    while True:
        timer = threading.Event()
        session = closing.get()
        timer.wait(0.05)
        session.close()
        closed.append(session)


threading.Thread(target=closed_behind, daemon=True).start()


@app.get("/")
def answer():
    session = Session(engine)
    closing.put(session)
    return session.execute(text("SELECT 42")).scalar()


@app.get("/closed")
def how_many_are_closed():
    return len(closed)
