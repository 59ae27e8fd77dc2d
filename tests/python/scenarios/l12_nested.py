# SPDX-License-Identifier: Apache-2.0
"""l12_nested.py ROOM: a second connection is taken while the first is out. With room for one it waits for itself."""
import os
import sys

from sqlalchemy import create_engine, text
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session
from sqlalchemy.pool import QueuePool

engine = create_engine(os.environ["DATABASE_URL"], poolclass=QueuePool, pool_size=int(sys.argv[1]), max_overflow=0, pool_timeout=0.3)


def audited(what):
    with engine.connect() as connection:  # leak: nested
        connection.execute(text("SELECT :what"), {"what": what})


def order():
    with Session(engine) as session:  # place: outer
        session.execute(text("SELECT 42"))
        audited("order")


try:
    order()
except PoolTimeout:
    print("waited for itself")
