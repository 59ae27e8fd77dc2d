# SPDX-License-Identifier: Apache-2.0
"""Requests as owners, under real servers: what each is called, when and why it ended, and that servers stay as they are."""
import time

import pytest

from .conftest import HERE, SERVERS, WATCHDOG  # noqa: F401

APPS = HERE / "apps"
SERVERS.setdefault("program", [])   # the application serves itself, at $PORT


def kept(report):
    """{what a handle that is still open is to: (its owner's kind, label, why that ended)}"""
    rows = report.rows("SELECT handle.target, owner.kind, owner.label, owner.end_reason FROM handle LEFT JOIN owner ON owner.id = handle.owner"
                       " WHERE handle.kind = 'probe.handle'")
    assert len({row[0] for row in rows}) == len(rows), rows
    return {target: owner for target, *owner in rows}


def request(label, reason="returned"):
    return ["request", label, reason]


@pytest.mark.parametrize("server, arguments", [
    ("uvicorn", []),
    ("uvicorn", ["--loop", "uvloop", "--http", "httptools"]),
    ("hypercorn", []),
    ("gunicorn-asgi", []),
    ("gunicorn", ["-k", "asgi"]),
], ids=lambda value: " ".join(value) if isinstance(value, list) else value)
def test_raw_asgi(served, server, arguments):
    with served("owners_asgi:app", APPS, server=server, arguments=arguments) as client:
        assert client.statuses("GET", "/leak/1", "/raise/2", "/right/3") == {200: 2, 500: 1}
    assert kept(client.report) == {"leak": request("GET (no route)"), "raise": request("GET (no route)", "exception ValueError")}


@pytest.mark.parametrize("server, arguments", [
    ("gunicorn", []),
    ("gunicorn", ["--threads", "3"]),
    ("gunicorn", ["--preload"]),
    ("hypercorn", []),
], ids=lambda value: " ".join(value) if isinstance(value, list) else value)
def test_raw_wsgi(served, server, arguments):
    """The request is over when its iterable has been closed; a driver's handles are the request's, too."""
    app = "wsgi:owners_wsgi:app" if server == "hypercorn" else "owners_wsgi:app"
    with served(app, APPS, server=server, arguments=arguments) as client:
        client.statuses("GET", "/leak/1", "/raise/2", "/right/3")
    wanted = dict.fromkeys(["leak", "leak native", "leak when closed"], request("GET (no route)"))
    assert kept(client.report) == {**wanted, "raise": request("GET (no route)", "exception ValueError")}


@pytest.mark.parametrize("server, app, arguments", [
    ("gunicorn", "owners_flask:app", []),
    ("gunicorn", "owners_flask:app", ["--threads", "3"]),
    ("gunicorn", "owners_flask:app", ["--workers", "2", "--preload"]),
    ("hypercorn", "owners_flask:app", []),
    ("program", "owners_flask.py", []),
], ids=lambda value: " ".join(value) if isinstance(value, list) else value)
def test_flask(served, server, app, arguments):
    with served(app, APPS, server=server, arguments=arguments) as client:
        answers = client.statuses("GET", "/leak/1", "/raise/2", "/right/3", "/stream/4", "/inner/5/6", "/nowhere?before=yes")
        assert answers == {200: 4, 500: 1, 404: 1}
    assert kept(client.report) == {
        "leak": request("GET /leak/<int:item_id>"),
        "leak native": request("GET /leak/<int:item_id>"),
        "raise": request("GET /raise/<int:item_id>", "exception ValueError"),
        "stream": request("GET /stream/<int:item_id>"),
        "blueprint": request("GET /inner/<inner_id>/<item_id>"),
        "before_request": request("GET (no route)"),
    }


@pytest.mark.parametrize("server, app, arguments", [
    ("gunicorn", "owners_django:app", []),
    ("gunicorn", "owners_django:app", ["--threads", "3"]),
    ("uvicorn", "owners_django:asgi", []),
    ("hypercorn", "owners_django:asgi", []),
], ids=lambda value: " ".join(value) if isinstance(value, list) else value)
def test_django(served, server, app, arguments):
    with served(app, APPS, server=server, arguments=arguments) as client:
        answers = client.statuses("GET", "/leak/1", "/leak-async/2", "/raise/3", "/right/4", "/stream/5", "/nowhere")
        assert answers == {200: 4, 500: 1, 404: 1}
    assert kept(client.report) == {
        "leak": request("GET /leak/<int:item_id>"),
        "leak native": request("GET /leak/<int:item_id>"),
        "leak in a coroutine": request("GET /leak-async/<int:item_id>"),
        "raise": request("GET /raise/<int:item_id>", "exception ValueError"),
        "stream": request("GET /stream/<int:item_id>"),
    }


@pytest.mark.parametrize("server, arguments", [
    ("uvicorn", []),
    ("uvicorn", ["--workers", "2"]),
    ("uvicorn", ["--reload"]),
    ("uvicorn", ["--loop", "uvloop", "--http", "httptools"]),
    ("hypercorn", []),
    ("gunicorn-asgi", []),
    ("gunicorn", ["-k", "asgi"]),
], ids=lambda value: " ".join(value) if isinstance(value, list) else value)
def test_fastapi(served, server, arguments):
    with served("owners_fastapi:app", APPS, server=server, arguments=arguments) as client:
        answers = client.statuses("GET", "/leak/1", "/sync/2", "/raise/3", "/right/4", "/depends/5", "/tasks", "/threads", "/stream/6",
                                  "/v1/outer/7/inner/8/9", "/mount/tenant/item/10", "/leak/word", "/right/11?middleware&raw", "/nowhere")
        assert answers == {200: 10, 500: 1, 422: 1, 404: 1}
        time.sleep(0.5)   # for the task that outlives its request
    assert kept(client.report) == {
        "leak": request("GET /leak/{item_id}"),
        "leak later": request("GET /leak/{item_id}"),
        "sync": request("GET /sync/{item_id}"),
        "sync native": request("GET /sync/{item_id}"),
        "raise": request("GET /raise/{item_id}", "exception ValueError"),
        "dependency before": request("GET /depends/{item_id}"),
        "dependency after": request("GET /depends/{item_id}"),
        "async dependency before": request("GET /depends/{item_id}"),
        "async dependency after": request("GET /depends/{item_id}"),
        "BackgroundTasks": request("GET /tasks"),
        "outliving task": ["task", "outlives", "returned"],
        "outliving task's thread": ["task", "outlives", "returned"],
        "to_thread": request("GET /threads"),
        "to_thread native": request("GET /threads"),
        "stream": request("GET /stream/{item_id}"),
        "stream later": request("GET /stream/{item_id}"),
        "included": request("GET /v1/outer/{outer_id}/inner/{inner_id}/{item_id}"),
        "mounted": request("GET /mount/{tenant}/item/{item_id}"),
        "inner middleware": request("GET /right/{item_id}"),
        "outer middleware, after": request("GET /right/{item_id}"),
        "raw middleware": request("GET /right/{item_id}"),
    }
