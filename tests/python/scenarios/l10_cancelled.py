# SPDX-License-Identifier: Apache-2.0
"""A timeout in a middleware cancels the endpoint between open and close; nothing there says `finally`."""
import asyncio
import os

from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from starlette.responses import PlainTextResponse

engine = create_async_engine(os.environ["DATABASE_URL"], pool_size=50)
app = FastAPI()


class Hurried:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        try:
            return await asyncio.wait_for(self.app(scope, receive, send), 0.3)
        except asyncio.TimeoutError:
            return await PlainTextResponse("too slow", 504)(scope, receive, send)


app.add_middleware(Hurried)


@app.get("/wait/{seconds}")
async def wait(seconds: float):
    session = AsyncSession(engine)  # leak: cancelled
    await session.execute(text("SELECT 42"))
    await asyncio.sleep(seconds)
    await session.close()
    return seconds
