# SPDX-License-Identifier: Apache-2.0
"""tasks.py threads|asyncio: work in a pool of threads, or in tasks; some of it never closes its session."""
import asyncio
import os
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

warnings.simplefilter("ignore")
SELECT = text("SELECT 42")


def in_threads():
    engine = create_engine(os.environ["DATABASE_URL"], pool_size=30)

    def forgets(_):
        session = Session(engine)  # leak: thread
        return session.execute(SELECT).scalar()

    def closes(_):
        with Session(engine) as session:
            return session.execute(SELECT).scalar()

    with ThreadPoolExecutor(3) as executor:
        assert set(executor.map(forgets, range(8))) == {42}
        assert set(executor.map(closes, range(8))) == {42}


async def in_tasks():
    engine = create_async_engine(os.environ["DATABASE_URL"].replace("sqlite:", "sqlite+aiosqlite:"), pool_size=30)

    async def forgets():
        session = AsyncSession(engine)  # leak: task
        return (await session.execute(SELECT)).scalar()

    async def closes():
        async with AsyncSession(engine) as session:
            return (await session.execute(SELECT)).scalar()

    assert set(await asyncio.gather(*(forgets() for _ in range(5)), *(closes() for _ in range(5)))) == {42}


if sys.argv[1] == "threads":
    in_threads()
else:
    asyncio.run(in_tasks())
    os._exit(0)  # aiosqlite's threads would wait for ever
