# SPDX-License-Identifier: Apache-2.0
"""A WSGI application without a framework. What it answers is an iterable that is to be closed."""
import sqlite3  # noqa: F401  a driver that libunclosed.so watches, so that threads get owners

from owners_probe import keep, keep_native


class Answer:
    def __init__(self, name):
        self.name = name
        self.parts = iter([b"o", b"k"])

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.parts)

    def close(self):
        if self.name == "leak":
            keep("leak when closed")


def app(environ, start_response):
    _, first, *_ = environ["PATH_INFO"].split("/")
    if first == "leak":
        keep("leak")
        keep_native("leak native")
    if first == "raise":
        keep("raise")
        raise ValueError("as it should")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return Answer(first)


if __name__ == "__main__":
    import os
    from wsgiref.simple_server import make_server
    make_server("127.0.0.1", int(os.environ["PORT"]), app).serve_forever()
