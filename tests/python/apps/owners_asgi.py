# SPDX-License-Identifier: Apache-2.0
"""ASGI applications without a framework."""
from owners_probe import keep


async def body_of(receive):
    while (await receive()).get("more_body"):
        pass


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await body_of(receive)
    _, first, *_ = scope["path"].split("/")
    if first == "leak":
        keep("leak")
    if first == "raise":
        keep("raise")
        raise ValueError("as it should")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
