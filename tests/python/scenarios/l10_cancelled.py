# SPDX-License-Identifier: Apache-2.0
"""A timeout in a middleware cancels the endpoint between open and close; nothing there says `finally`."""
import asyncio
import os

from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse

engine = create_async_engine(os.environ["DATABASE_URL"], pool_size=50)
app = FastAPI()


class Hurried(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        try:
            return await asyncio.wait_for(call_next(request), 0.3)
        except asyncio.TimeoutError:
            return PlainTextResponse("too slow", 504)


app.add_middleware(Hurried)


@app.get("/wait/{seconds}")
async def wait(seconds: float):
    session = AsyncSession(engine)  # leak: cancelled
    await session.execute(text("SELECT 42"))
    await asyncio.sleep(seconds)
    await session.close()
    return seconds
