# SPDX-License-Identifier: Apache-2.0
"""Work of SQLAlchemy in rounds, as rounds.h has it: for each line on stdin one round, answered by a line on stdout with
two numbers, nanoseconds per operation by the clock and of this thread's processor time.

    bench_alchemy.py connect|select|insert OPERATIONS [DEPTH]

connect: engine.connect() and close(). select: a session, an ORM select, commit, close. insert: the same with an insert.
On a SQLite file that nobody else uses; DEPTH functions deep, as programs are.
"""

import sys
import tempfile
import time

from sqlalchemy import Column, Integer, String, create_engine, select
from sqlalchemy.orm import Session, declarative_base
from sqlalchemy.pool import QueuePool

Base = declarative_base()


class Order(Base):
    __tablename__ = "orders"
    id = Column(Integer, primary_key=True)
    item = Column(String(40))


def connected(engine):
    engine.connect().close()


def selected(engine):
    with Session(engine) as session:
        session.execute(select(Order).where(Order.id == 1)).scalars().all()
        session.commit()


def inserted(engine):
    with Session(engine) as session:
        session.add(Order(item="tea"))
        session.commit()


def repeated(work, engine, operations):
    for _ in range(operations):
        work(engine)


def deep(depth, function, *given):
    return function(*given) if depth == 0 else deep(depth - 1, function, *given)


def main(name, operations, depth=12):
    work = {"connect": connected, "select": selected, "insert": inserted}[name]
    operations, depth = int(operations), int(depth)
    with tempfile.TemporaryDirectory() as directory:
        engine = create_engine(f"sqlite:///{directory}/orders.db", poolclass=QueuePool)
        Base.metadata.create_all(engine)
        inserted(engine)
        for _ in sys.stdin:
            deep(depth, repeated, work, engine, operations // 4 + 1)
            wall, processor = time.perf_counter_ns(), time.thread_time_ns()
            deep(depth, repeated, work, engine, operations)
            processor, wall = time.thread_time_ns() - processor, time.perf_counter_ns() - wall
            print(wall / operations, processor / operations, flush=True)
        engine.dispose()


main(*sys.argv[1:])
