# SPDX-License-Identifier: Apache-2.0
"""Applications called by what is no known server: their frameworks begin and end the requests."""
import asyncio
import sys

import owners_django
import owners_fastapi
import owners_flask


def wsgi(app, path):
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": "", "SERVER_NAME": "here", "SERVER_PORT": "80",
               "wsgi.url_scheme": "http", "wsgi.input": sys.stdin.buffer, "wsgi.errors": sys.stderr, "wsgi.version": (1, 0),
               "wsgi.multithread": False, "wsgi.multiprocess": False, "wsgi.run_once": False, "SERVER_PROTOCOL": "HTTP/1.1"}
    statuses = []
    iterable = app(environ, lambda status, headers, error=None: statuses.append(status))
    try:
        body = b"".join(iterable)
    finally:
        if hasattr(iterable, "close"):
            iterable.close()
    print(path, statuses[0], len(body) == 2)


async def asgi(app, path):
    messages, requests = [], [{"type": "http.request"}]

    async def receive():
        return requests.pop() if requests else await asyncio.Event().wait()

    async def send(message):
        messages.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"", "headers": [],
             "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1", "scheme": "http", "root_path": ""}
    await app(scope, receive, send)
    print(path, messages[0]["status"])


if sys.argv[1] == "flask":
    for path in "/leak/1", "/stream/2", "/raise/3":
        wsgi(owners_flask.app, path)
elif sys.argv[1] == "django":
    for path in "/leak/1", "/stream/2", "/raise/3":
        wsgi(owners_django.app, path)
else:
    for path in "/leak/1", "/stream/2":
        asyncio.run(asgi(owners_fastapi.app, path))
