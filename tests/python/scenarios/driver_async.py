# SPDX-License-Identifier: Apache-2.0
"""Three sessions that nobody closes, and one connection that is at home in the pool; whatever the asynchronous driver."""
import asyncio
import os
import warnings

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

warnings.simplefilter("ignore")  # SQLAlchemy tells of asynchronous connections that were collected
engine = create_async_engine(os.environ["DATABASE_URL"].replace("psycopg_async", "psycopg"), poolclass=AsyncAdaptedQueuePool)


async def forgotten():
    session = AsyncSession(engine)  # leak: session
    assert (await session.execute(text("SELECT 42"))).scalar() == 42
    return session


async def main():
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
    kept = [await forgotten() for _ in range(3)]
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
    kept.clear()


asyncio.run(main())
os._exit(0)  # aiosqlite's threads would wait for ever
