# SPDX-License-Identifier: Apache-2.0
"""Closed, unless the question is a wrong one; a WSGI application."""
import os

from flask import Flask, abort
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import QueuePool

engine = create_engine(os.environ["DATABASE_URL"], poolclass=QueuePool, pool_size=50)
app = Flask(__name__)


@app.get("/items/<int:number>")
def read_item(number):
    session = Session(engine)  # leak: happy path
    found = session.execute(text("SELECT :number < 100"), {"number": number}).scalar()
    if not found:
        abort(404)
    session.close()
    return {"number": number}
