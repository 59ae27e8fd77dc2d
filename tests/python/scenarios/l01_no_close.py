# SPDX-License-Identifier: Apache-2.0
"""l01_no_close.py N [exhaust]: N sessions that nobody closes; `exhaust`: the pool has room for 15, and nothing is collected yet."""
import gc
import os
import sys

from sqlalchemy import create_engine, text
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import sessionmaker
from sqlalchemy.pool import QueuePool

exhaust = "exhaust" in sys.argv
room = {"pool_size": 5, "max_overflow": 10, "pool_timeout": 0.2} if exhaust else {"pool_size": 100}
engine = create_engine(os.environ["DATABASE_URL"], poolclass=QueuePool, **room)
SessionLocal = sessionmaker(engine)


def answer():
    session = SessionLocal()  # leak: no close
    return session.execute(text("SELECT 42")).scalar()


if exhaust:
    gc.disable()
try:
    for _ in range(int(sys.argv[1])):
        assert answer() == 42
except PoolTimeout:
    print("the pool is empty")
finally:
    gc.enable()
