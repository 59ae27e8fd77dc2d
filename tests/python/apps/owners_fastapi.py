# SPDX-License-Identifier: Apache-2.0
"""A FastAPI application: one handle left open in each way to be asked."""
import asyncio
import sqlite3  # noqa: F401  a driver that libunclosed.so watches, so that threads get owners

from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, WebSocket
from fastapi.responses import StreamingResponse
from owners_probe import keep, keep_native

app = FastAPI()
background_tasks = []


@app.get("/leak/{item_id}")
async def leak(item_id: int):
    keep("leak")
    await asyncio.sleep(0)
    keep("leak later")
    return "ok"


@app.get("/sync/{item_id}")
def sync(item_id: int):
    keep("sync")
    keep_native("sync native")
    return "ok"


@app.get("/right/{item_id}")
async def right(item_id: int):
    return "ok"


@app.get("/raise/{item_id}")
async def wrong(item_id: int):
    keep("raise")
    raise ValueError("as it should")


def dependency():
    keep("dependency before")
    yield
    keep("dependency after")


async def async_dependency():
    keep("async dependency before")
    yield
    keep("async dependency after")


@app.get("/depends/{item_id}")
async def depends(item_id: int, first=Depends(dependency), second=Depends(async_dependency)):
    return "ok"


async def outlives():
    await asyncio.sleep(0.2)
    keep("outliving task")
    await asyncio.to_thread(keep, "outliving task's thread")


@app.get("/tasks")
async def tasks(background: BackgroundTasks):
    background.add_task(keep, "BackgroundTasks")
    background_tasks.append(asyncio.create_task(outlives()))
    return "ok"


@app.get("/threads")
async def threads():
    await asyncio.to_thread(keep, "to_thread")
    await asyncio.to_thread(keep_native, "to_thread native")
    return "ok"


@app.get("/stream/{item_id}")
async def stream(item_id: int):
    async def parts():
        keep("stream")
        yield "o"
        await asyncio.sleep(0)
        keep("stream later")
        yield "k"
    return StreamingResponse(parts())


@app.get("/endless/{item_id}")
async def endless(item_id: int):
    async def parts():
        keep("endless")
        while True:
            yield "x" * 1000
            await asyncio.sleep(0.01)
    return StreamingResponse(parts())


@app.get("/sleep/{seconds}")
async def sleep(seconds: int):
    keep("sleep")
    await asyncio.sleep(seconds)


@app.websocket("/socket/{item_id}")
async def socket(websocket: WebSocket, item_id: int):
    await websocket.accept()
    keep("socket")
    await websocket.close()


inner = APIRouter(prefix="/inner/{inner_id}")


@inner.get("/{item_id}")
async def included(item_id: int):
    keep("included")
    return "ok"


outer = APIRouter(prefix="/outer/{outer_id}")
outer.include_router(inner)
app.include_router(outer, prefix="/v1")
mounted = FastAPI()


@mounted.get("/item/{item_id}")
async def item(item_id: int):
    keep("mounted")
    return "ok"


app.mount("/mount/{tenant}", mounted)


class Raw:
    """A middleware that is just a callable."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http" and b"raw" in scope["query_string"]:
            keep("raw middleware")
        await self.app(scope, receive, send)


app.add_middleware(Raw)


@app.middleware("http")
async def first_middleware(request, call_next):
    if "middleware" in request.url.query:
        keep("inner middleware")
    return await call_next(request)


@app.middleware("http")
async def second_middleware(request, call_next):
    response = await call_next(request)
    if "middleware" in request.url.query:
        keep("outer middleware, after")
    return response


async def hurried(scope, receive, send):
    """The application, given half a second for each request."""
    if scope["type"] != "http":
        return await app(scope, receive, send)
    try:
        await asyncio.wait_for(app(scope, receive, send), 0.5)
    except asyncio.TimeoutError:
        await send({"type": "http.response.start", "status": 504, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})
