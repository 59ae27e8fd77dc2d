# SPDX-License-Identifier: Apache-2.0
"""n05_kept_for_requests.py: a thread keeps its connection for all requests that it serves, as Django's CONN_MAX_AGE does."""
import gc
import sqlite3
import threading
import urllib.request
from wsgiref.simple_server import WSGIRequestHandler, make_server

local = threading.local()


class Quiet(WSGIRequestHandler):
    def log_message(self, *arguments):
        pass


def application(environ, start_response):
    if not hasattr(local, "connection"):
        local.connection = sqlite3.connect(":memory:", check_same_thread=False)
    answer = local.connection.execute("SELECT 42").fetchone()[0]
    start_response("200 OK", [])
    return [str(answer).encode()]


def serve(server):
    for _ in range(3):
        server.handle_request()


for _ in range(8):
    with make_server("127.0.0.1", 0, application, handler_class=Quiet) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        for _ in range(3):
            urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/", timeout=20).read()
            threading.Event().wait(0.02)
        thread.join()
    gc.collect()
