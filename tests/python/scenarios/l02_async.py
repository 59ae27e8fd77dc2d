# SPDX-License-Identifier: Apache-2.0
"""Closed, unless the question is a wrong one; asynchronous."""
import os

from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

engine = create_async_engine(os.environ["DATABASE_URL"].replace("sqlite:", "sqlite+aiosqlite:"), pool_size=50)
app = FastAPI()


async def is_item(session, number):
    return (await session.execute(text("SELECT :number < 100"), {"number": number})).scalar()


@app.get("/items/{number}")
async def read_item(number: int):
    session = AsyncSession(engine)  # leak: happy path
    if not await is_item(session, number):
        raise ValueError("no such item")
    await session.close()
    return {"number": number}
