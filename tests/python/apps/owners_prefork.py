# SPDX-License-Identifier: Apache-2.0
"""A master that forks workers, as celery does; each takes its tasks from a pipe and ends without interpreter shutdown."""
import gc
import os
import sys

from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

engine = create_engine(os.environ["DATABASE_URL"])


def right():
    with Session(engine) as session:
        session.execute(text("select 1"))


def wrong():
    session = Session(engine)  # leak: task
    session.execute(text("select 1"))


def work(tasks):
    for line in tasks:
        {"right": right, "wrong": wrong}[line.strip()]()


workers = []
right()
engine.dispose()
for _ in range(2):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writer)
        for _, other in workers:
            other.close()
        with open(reader) as tasks:
            work(tasks)
        gc.collect()  # as in the life of a worker that goes on
        os._exit(0)
    os.close(reader)
    workers.append((pid, open(writer, "w")))
for number in range(10):
    print(["right", "wrong"][number % 5 == 0], file=workers[number % 2][1], flush=True)
for pid, tasks in workers:
    tasks.close()
    assert os.waitpid(pid, 0)[1] == 0
sys.stdout.write("done\n")
