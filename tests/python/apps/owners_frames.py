# SPDX-License-Identifier: Apache-2.0
"""Coroutines that use SQLAlchemy, which runs behind a greenlet: at each checkout a handle is opened and left."""
import asyncio
import os

from owners_probe import keep
from sqlalchemy import MetaData, event, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.pool import Pool

engine = create_async_engine(os.environ["DATABASE_URL"])
names = iter(["session in a task", "core", "SQLAlchemy's own function", "function of ours", "sync in a coroutine"])


@event.listens_for(Pool, "checkout")
def checked_out(*given):
    keep(next(names))


async def query(session):
    await session.execute(text("select 1"))  # place: query


async def handler():
    async with AsyncSession(engine) as session:
        await query(session)  # place: handler


def ours(session):
    session.execute(text("select 1"))  # place: ours


async def main():
    await asyncio.create_task(handler())
    async with engine.connect() as connection:  # place: connect
        await connection.execute(text("select 1"))
    async with engine.begin() as connection:  # place: begin
        await connection.run_sync(MetaData().create_all)
    async with AsyncSession(engine) as session:
        await session.run_sync(ours)
    async with AsyncSession(engine) as session:
        await session.run_sync(lambda session: session.connection())  # place: connection
    await engine.dispose()


asyncio.run(main())
