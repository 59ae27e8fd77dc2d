# SPDX-License-Identifier: Apache-2.0
"""Live threads of a pool, each with a connection of its own, none in a transaction; the pool lives to the end."""
import os
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import create_engine, text

local = threading.local()
engine = create_engine("sqlite://")  # SQLAlchemy's SingletonThreadPool: one connection a thread
together = threading.Barrier(3)


def work(_):
    together.wait()
    if not hasattr(local, "connection"):
        local.connection = sqlite3.connect(":memory:")
    local.connection.execute("SELECT 42").fetchall()
    with engine.connect() as connection:
        connection.execute(text("SELECT 42"))


executor = ThreadPoolExecutor(3)
list(executor.map(work, range(30)))
print("done", flush=True)
os.kill(os.getpid(), 15)   # while the threads live
