# SPDX-License-Identifier: Apache-2.0
"""Three sessions that nobody closes, and one connection that is at home in the pool; whatever the driver."""
import os

from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import QueuePool

engine = create_engine(os.environ["DATABASE_URL"], poolclass=QueuePool)


def forgotten():
    session = Session(engine)  # leak: session
    assert session.execute(text("SELECT 42")).scalar() == 42
    return session


with engine.connect() as connection:
    connection.execute(text("SELECT 1"))
kept = [forgotten(), forgotten(), forgotten()]
with engine.connect() as connection:
    connection.execute(text("SELECT 1"))
kept.clear()
