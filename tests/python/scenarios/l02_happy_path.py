# SPDX-License-Identifier: Apache-2.0
"""Closed, unless the question is a wrong one."""
import os

from fastapi import FastAPI, HTTPException
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

engine = create_engine(os.environ["DATABASE_URL"], pool_size=50)
app = FastAPI()


@app.get("/items/{number}")
def read_item(number: int):
    session = Session(engine)  # leak: happy path
    found = session.execute(text("SELECT :number < 100"), {"number": number}).scalar()
    if not found:
        raise HTTPException(404)
    session.close()
    return {"number": number}
