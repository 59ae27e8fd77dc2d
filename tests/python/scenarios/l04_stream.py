# SPDX-License-Identifier: Apache-2.0
"""Streams that close their session after the last row; the client does not stay so long."""
import asyncio
import os

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

engine = create_engine(os.environ["DATABASE_URL"], pool_size=50)
async_engine = create_async_engine(os.environ["DATABASE_URL"].replace("sqlite:", "sqlite+aiosqlite:"), pool_size=50)
app = FastAPI()
NUMBERS = text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) SELECT i FROM n")


@app.get("/rows")
def rows_streamed():
    def rows():
        session = Session(engine)  # leak: stream
        for (number,) in session.execute(NUMBERS):
            yield f"{number}".ljust(10000) + "\n"
        session.close()

    return StreamingResponse(rows())


@app.get("/async")
async def rows_streamed_async():
    async def rows():
        session = AsyncSession(async_engine)  # leak: async stream
        for (number,) in await session.execute(NUMBERS):
            yield f"{number}".ljust(10000) + "\n"
            await asyncio.sleep(0)
        await session.close()

    return StreamingResponse(rows())
