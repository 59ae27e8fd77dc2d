# SPDX-License-Identifier: Apache-2.0
"""Everything done right: sessions and connections of every usual sort, closed whatever happens."""
import asyncio
import os
import time
from contextlib import asynccontextmanager

from fastapi import BackgroundTasks, Depends, FastAPI
from fastapi.responses import StreamingResponse
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

engine = create_engine(os.environ["DATABASE_URL"])
async_engine = create_async_engine(os.environ["DATABASE_URL"].replace("sqlite:", "sqlite+aiosqlite:"))
SessionLocal = sessionmaker(engine)
AsyncSessionLocal = async_sessionmaker(async_engine)
Scoped = scoped_session(SessionLocal)
SELECT = text("SELECT 42")
busy = []
NUMBERS = text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) SELECT i FROM n")


@asynccontextmanager
async def lifespan(_):
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE item (id int)"))
    yield


app = FastAPI(lifespan=lifespan)


def get_session():
    session = SessionLocal()
    try:
        yield session
    finally:
        session.close()


async def get_async_session():
    async with AsyncSessionLocal() as session:
        yield session


@app.middleware("http")
async def scoped_session_removed(request, call_next):
    try:
        return await call_next(request)
    finally:
        Scoped.remove()


@app.get("/dependency/{number}")
def dependency(number: int, session: Session = Depends(get_session)):
    if session.execute(SELECT).scalar() == number:
        raise ValueError(number)
    return number


@app.get("/async/{number}")
async def async_dependency(number: int, session: AsyncSession = Depends(get_async_session)):
    if (await session.execute(SELECT)).scalar() == number:
        raise ValueError(number)
    return number


@app.get("/with/{number}")
def with_session(number: int):
    with Session(engine) as session:
        if session.execute(SELECT).scalar() == number:
            raise ValueError(number)
        return number


@app.get("/begin/{number}")
def begin(number: int):
    with SessionLocal.begin() as session:
        session.execute(text("INSERT INTO item VALUES (:number)"), {"number": number})
        if number == 42:
            raise ValueError(number)
        return number


@app.get("/core/{number}")
def core(number: int):
    with engine.connect() as connection:
        if connection.execute(SELECT).scalar() == number:
            raise ValueError(number)
        return number


@app.get("/async-core/{number}")
async def async_core(number: int):
    async with async_engine.connect() as connection:
        await connection.execute(SELECT)
        await asyncio.sleep(0)
        return number


@app.get("/scoped/{number}")
async def scoped(number: int):
    Scoped.execute(SELECT)
    return number


@app.get("/task/{number}")
def task(number: int, tasks: BackgroundTasks, session: Session = Depends(get_session, scope="function")):
    def noted():
        with SessionLocal.begin() as own:
            own.execute(text("INSERT INTO item VALUES (1)"))

    tasks.add_task(noted)
    return session.execute(SELECT).scalar()


@app.get("/stream")
def stream():
    def rows():
        with SessionLocal() as session:
            for (number,) in session.execute(NUMBERS):
                yield f"{number}".ljust(10000) + "\n"

    return StreamingResponse(rows())


@app.get("/rollback/{number}")
def rolled_back(number: int, session: Session = Depends(get_session)):
    try:
        session.execute(text("SELECT * FROM nowhere"))
    except Exception:  # noqa: BLE001
        session.rollback()
    session.execute(SELECT)
    return number


@app.get("/slow/{seconds}")
def slow(seconds: float, session: Session = Depends(get_session)):
    session.execute(SELECT)
    busy.append(seconds)
    time.sleep(seconds)
    return seconds


@app.get("/busy")
def how_many_are_busy():
    return len(busy)
