# SPDX-License-Identifier: Apache-2.0
"""n01_pools.py sqlalchemy|psycopg_pool|async: pools that nobody disposes of; all their connections are at home."""
import os
import sys


def sqlalchemy():
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import QueuePool

    engine = create_engine(os.environ["DATABASE_URL"], poolclass=QueuePool)
    connections = [engine.connect() for _ in range(4)]
    for connection in connections:
        connection.execute(text("SELECT 42"))
        connection.close()
    return engine


def asynchronous():
    import asyncio

    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(os.environ["DATABASE_URL"])

    async def main():
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 42"))

    asyncio.run(main())
    return engine


kept = {"sqlalchemy": sqlalchemy, "async": asynchronous}[sys.argv[1]]()
