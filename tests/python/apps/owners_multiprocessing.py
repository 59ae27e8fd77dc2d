# SPDX-License-Identifier: Apache-2.0
"""Processes of multiprocessing, each with a session that nothing closes."""
import gc
import multiprocessing
import os
import sys

from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session


def work(number):
    engine = create_engine(os.environ["DATABASE_URL"])
    with Session(engine) as session:
        session.execute(text("select 1"))
    if number == 1:
        session = Session(engine)  # leak: process
        session.execute(text("select 1"))
        del session
        gc.collect()
    engine.dispose()


if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    processes = [context.Process(target=work, args=(number,)) for number in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    print([process.exitcode for process in processes])
