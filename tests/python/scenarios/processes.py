# SPDX-License-Identifier: Apache-2.0
"""processes.py fork|spawn|forkserver: two processes, each of which forgets three sessions."""
import multiprocessing
import os
import sys

from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session


def work(count):
    engine = create_engine(os.environ["DATABASE_URL"])
    for _ in range(count):
        session = Session(engine)  # leak: process
        session.execute(text("SELECT 42"))


if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    processes = [multiprocessing.Process(target=work, args=(3,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
