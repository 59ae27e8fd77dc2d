# SPDX-License-Identifier: Apache-2.0
"""l07_scoped_session.py threads|middleware: a scoped_session whose remove() nobody calls."""
import os
import sys
import threading

from sqlalchemy import create_engine, text
from sqlalchemy.orm import scoped_session, sessionmaker
from sqlalchemy.pool import QueuePool

engine = create_engine(os.environ["DATABASE_URL"], poolclass=QueuePool, pool_size=50)
Scoped = scoped_session(sessionmaker(engine))


def work():
    Scoped.execute(text("SELECT 42"))  # leak: threads


def request():
    Scoped.execute(text("SELECT 42"))  # leak: middleware
    Scoped.commit()
    Scoped.execute(text("SELECT 'one more, for the log'"))


def in_threads(function, count):
    threads = [threading.Thread(target=function) for _ in range(count)]
    for thread in threads:
        thread.start()
        thread.join()


in_threads(work if sys.argv[1] == "threads" else request, 7)
