# SPDX-License-Identifier: Apache-2.0
"""Closed, unless the question is a wrong one."""
import os

from fastapi import FastAPI, HTTPException
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import QueuePool

engine = create_engine(os.environ["DATABASE_URL"], poolclass=QueuePool, pool_size=50, connect_args={"check_same_thread": False})
app = FastAPI()


@app.get("/items/{number}")
def read_item(number: int):
    session = Session(engine)  # leak: happy path
    found = session.execute(text("SELECT :number < 100"), {"number": number}).scalar()
    if not found:
        raise HTTPException(404)
    session.close()
    return {"number": number}
