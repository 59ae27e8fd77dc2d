# SPDX-License-Identifier: Apache-2.0
"""n01_pools.py sqlalchemy|async: pools that nobody disposes of; all their connections are at home."""
import os
import sys
import threading


def sqlalchemy():
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import QueuePool

    engine = create_engine(os.environ["DATABASE_URL"], poolclass=QueuePool)
    together = threading.Barrier(4)

    def work():
        with engine.connect() as connection:
            connection.execute(text("SELECT 42"))
            together.wait()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
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
