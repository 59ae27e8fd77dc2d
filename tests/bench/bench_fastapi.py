# SPDX-License-Identifier: Apache-2.0
"""Requests to a FastAPI application under uvicorn, in rounds, as rounds.h has it: for each line on stdin one round,
answered by a line on stdout with two numbers, nanoseconds per request by the clock and of the server's processor time.

    bench_fastapi.py REQUESTS

The server is a process of its own, and this one, which asks it over one connection, does nothing else. Each request reads
a row through a session that a dependency closes, as most endpoints do; from a SQLite file that nobody else uses.
"""
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

APPLICATION = '''
from fastapi import Depends, FastAPI
from pydantic import BaseModel, ConfigDict
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

engine = create_engine("sqlite:///orders.db")
SessionLocal = sessionmaker(engine)


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[str]


class OrderRead(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    id: int
    item: str


Base.metadata.create_all(engine)
with SessionLocal.begin() as session:
    session.add(Order(id=1, item="tea"))
app = FastAPI()


def get_session():
    session = SessionLocal()
    try:
        yield session
    finally:
        session.close()


@app.get("/orders/{order_id}", response_model=OrderRead)
def read_order(order_id: int, session: Session = Depends(get_session)):
    return session.get(Order, order_id)
'''
REQUEST = b"GET /orders/1 HTTP/1.1\r\nHost: localhost\r\n\r\n"


def processor_time_of(pid):
    """Seconds, of all its threads; the clock's number is as in clock_getcpuclockid(3)."""
    return time.clock_gettime(~pid << 3 | 2)


def asked(connection, times):
    for _ in range(times):
        connection.sendall(REQUEST)
        answer = connection.recv(65536)
        while not answer.endswith(b"}"):
            more = connection.recv(65536)
            if not more:
                sys.exit("the server hung up")
            answer += more
        if not answer.startswith(b"HTTP/1.1 200"):
            sys.exit(answer.decode())


def connected_to(address, server):
    connection = socket.socket(socket.AF_UNIX)
    until = time.monotonic() + 30
    while True:
        try:
            connection.connect(address)
            return connection
        except OSError:
            if server.poll() is not None or time.monotonic() > until:
                sys.exit("the server does not start")
            time.sleep(0.02)


def main(requests):
    requests = int(requests)
    with tempfile.TemporaryDirectory(prefix="unclosed-bench-") as directory:
        Path(directory, "application.py").write_text(APPLICATION)
        server = subprocess.Popen([sys.executable, "-m", "uvicorn", "application:app", "--uds", "s", "--log-level", "error",
                                   "--no-access-log"], cwd=directory, stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": directory})
        try:
            connection = connected_to(f"{directory}/s", server)
            asked(connection, 200)
            for _ in sys.stdin:
                asked(connection, (requests + 3) // 4)
                clock, processor = time.perf_counter(), processor_time_of(server.pid)
                asked(connection, requests)
                processor, clock = processor_time_of(server.pid) - processor, time.perf_counter() - clock
                print(f"{clock / requests * 1e9:.1f} {processor / requests * 1e9:.1f}", flush=True)
        finally:
            server.kill()
            server.wait()


main(*sys.argv[1:])
