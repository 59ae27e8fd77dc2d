# SPDX-License-Identifier: Apache-2.0
"""The same with asynchronous generators: `async for … yield` does not close the inner one when the endpoint raises."""
import os

from fastapi import Depends, FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

engine = create_async_engine(os.environ["DATABASE_URL"].replace("sqlite:", "sqlite+aiosqlite:"), pool_size=50)
app = FastAPI()
kept = []


async def sessions():
    session = AsyncSession(engine)  # leak: generator
    yield session
    await session.close()


async def get_session():
    generator = sessions()
    kept.append(generator)
    async for session in generator:
        yield session


@app.get("/items/{number}")
async def read_item(number: int, session: AsyncSession = Depends(get_session)):
    found = (await session.execute(text("SELECT :number < 100"), {"number": number})).scalar()
    if not found:
        raise ValueError("no such item")
    return {"number": number}
