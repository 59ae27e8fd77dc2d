# SPDX-License-Identifier: Apache-2.0
"""Requests as owners, under real servers: what each is called, when and why it ended, and that servers stay as they are."""
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest
from conftest import COMMAND, WATCHDOG, killed_with_descendants

from .conftest import HERE, SERVERS, Client, a_free_port, expected, judged

APPS = HERE / "apps"
SESSION = "sqlalchemy.session"
SERVERS.setdefault("program", [])   # the application serves itself, at $PORT


def kept(report):
    """{what a handle that is still open is to: (its owner's kind, label, why that ended)}"""
    assert report.rows("SELECT name, problem FROM adapter WHERE problem IS NOT NULL") == []
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
    ("program", []),   # wsgiref
], ids=lambda value: " ".join(value) if isinstance(value, list) else value)
def test_raw_wsgi(served, server, arguments):
    """The request is over when its iterable has been closed; a driver's handles are the request's, too."""
    app = {"hypercorn": "wsgi:owners_wsgi:app", "program": "owners_wsgi.py"}.get(server, "owners_wsgi:app")
    with served(app, APPS, server=server, arguments=arguments) as client:
        client.statuses("GET", "/leak/1", "/raise/2", "/right/3")
    wanted = dict.fromkeys(["leak", "leak native", "leak when closed"], request("GET (no route)"))
    failed = "returned" if server == "program" else "exception ValueError"   # wsgiref answers itself
    assert kept(client.report) == {**wanted, "raise": request("GET (no route)", failed)}


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


def test_reloaded(served, tmp_path):
    """Each generation of uvicorn --reload is a process of its own, and leaves what it had open."""
    for name in "owners_asgi.py", "owners_probe.py":
        shutil.copy(APPS / name, tmp_path)
    source = tmp_path / "owners_asgi.py"
    with served("owners_asgi:app", tmp_path, arguments=["--reload"], name="report") as client:
        assert client.get("/leak/1").text == "ok"
        time.sleep(1)   # until uvicorn has looked at the files for the first time
        source.write_text(source.read_text().replace('b"ok"', 'b"OK"'))
        until = time.monotonic() + WATCHDOG
        while True:
            try:
                if client.get("/right/1").text == "OK":
                    break
            except OSError:
                pass
            assert time.monotonic() < until
            time.sleep(0.1)
        assert client.get("/leak/1").text == "OK"
    rows = client.report.rows("SELECT owner.label, owner.end_reason, count(DISTINCT handle.process) FROM handle JOIN owner"
                              " ON owner.id = handle.owner WHERE handle.kind = 'probe.handle' GROUP BY 1, 2")
    assert rows == [("GET (no route)", "returned", 2)]


def test_cancelled_by_a_middleware(served):
    """What a middleware runs in a task of its own, to cancel it, is the request."""
    with served("owners_fastapi:hurried", APPS) as client:
        assert client.get("/sleep/60").status == 504
    assert kept(client.report) == {"sleep": request("GET /sleep/{seconds}")}


def test_websocket(served):
    with served("owners_fastapi:app", APPS, arguments=["--ws", "wsproto"]) as client:
        with socket.create_connection(("127.0.0.1", client.port), timeout=WATCHDOG) as connection:
            connection.sendall(b"GET /socket/1 HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                               b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
            assert connection.recv(4096).startswith(b"HTTP/1.1 101 ")
            connection.sendall(b"\x88\x82\0\0\0\0\x03\xe8")   # close, 1000
            while connection.recv(4096):
                pass
    assert kept(client.report) == {"socket": request("WEBSOCKET /socket/{item_id}")}


def test_client_that_leaves(served):
    """uvicorn knows of it; for the application the request just returns."""
    with served("owners_fastapi:app", APPS) as client:
        client.gone_after("/endless/1")
        time.sleep(0.5)
    assert kept(client.report) == {"endless": request("GET /endless/{item_id}", "client disconnected")}


@pytest.mark.parametrize("method, label", [("PATCH", "PATCH (no route)"), ("BREW", "OTHER (no route)")])
def test_labels_are_made_of_known_words_only(served, method, label):
    with served("owners_asgi:app", APPS, arguments=["--http", "h11"]) as client:
        client.request(method, "/leak/secret?token=secret")
    assert kept(client.report) == {"leak": request(label)}
    assert not any(b"secret" in trace.read_bytes() for trace in client.report.traces)


@pytest.mark.parametrize("framework, label", [("flask", "<int:item_id>"), ("django", "<int:item_id>"), ("fastapi", "{item_id}")])
def test_under_no_known_server(run_unclosed, python20, framework, label):
    report = run_unclosed(python20, APPS / "owners_unknown_server.py", framework, options=["--exit-status=program"])
    assert report.status == 0, report.stderr
    found = kept(report)
    assert found.pop("leak") == request(f"GET /leak/{label}")
    if framework == "fastapi":
        assert found == dict.fromkeys(["stream", "stream later"], request(f"GET /stream/{label}")) | {
            "leak later": request(f"GET /leak/{label}")}
    else:
        assert found == {
            "leak native": request(f"GET /leak/{label}"),
            "stream": request(f"GET /stream/{label}"),
            "raise": request(f"GET /raise/{label}", "exception ValueError"),
        }


# --- servers stay as they are -----------------------------------------------------------------------------------------


def said(words, cwd, environment, port, stop):
    """(status, stdout, stderr) of a server that was asked and stopped; numbers are N, and what `unclosed run` says is left out."""
    with subprocess.Popen([str(word) for word in words], cwd=cwd, env={**os.environ, **environment}, text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            client = Client(port, process.pid)
            until = time.monotonic() + WATCHDOG
            while True:
                try:
                    client.get("/right/1")
                    break
                except OSError:
                    assert process.poll() is None and time.monotonic() < until, process.communicate()
                    time.sleep(0.05)
            client.statuses("GET", "/leak/1", "/raise/2")
            time.sleep(0.3)
            process.send_signal(stop)
            stdout, stderr = process.communicate(timeout=WATCHDOG)
        finally:
            if process.poll() is None:
                killed_with_descendants(process.pid)
    stderr = stderr.partition("\nunclosed: ")[0].rstrip("\n")
    lines = [f"exit {process.returncode}"]
    for text in stdout, stderr:
        lines += sorted(re.sub(r"0x[0-9a-f]+|\d+", "N", text).splitlines())
    return lines


@pytest.mark.parametrize("server, app, stop", [
    (["uvicorn", "--port"], "owners_fastapi:app", signal.SIGTERM),
    (["uvicorn", "--port"], "owners_fastapi:app", signal.SIGINT),
    (["uvicorn", "--port"], "owners_asgi:app", signal.SIGTERM),
    (["hypercorn", "-b"], "owners_fastapi:app", signal.SIGTERM),
    (["hypercorn", "-b"], "owners_fastapi:app", signal.SIGINT),
    # gunicorn kills its workers at SIGINT, in the middle of what they do: that is never the same
    (["gunicorn", "-b"], "owners_flask:app", signal.SIGTERM),
    (["gunicorn", "--threads", "2", "-b"], "owners_django:app", signal.SIGTERM),
    (["gunicorn", "-k", "uvicorn_worker.UvicornWorker", "-b"], "owners_fastapi:app", signal.SIGTERM),
], ids=lambda value: " ".join(value) if isinstance(value, list) else str(value))
def test_same_output_and_status(tmp_path, python20, server, app, stop):
    """Also the same tracebacks (without frames of ours: on Python 3.11 and later)."""
    outcomes = []
    for before in [], [COMMAND, "run", "-o", tmp_path / "report", "--exit-status=program", "--"]:
        port = a_free_port()
        where = f"127.0.0.1:{port}" if server[-1] == "-b" else port
        environment = {"PYTHONPATH": str(APPS), "PYTHONDONTWRITEBYTECODE": "1"}
        outcomes.append(said([*before, python20, "-m", *server, where, app], APPS, environment, port, stop))
    plain, watched = outcomes
    plain[0] = plain[0].replace("exit -", "exit 128 + ")
    watched[0] = re.sub(r"exit 1(2[89]|[3-9]\d)", lambda match: f"exit 128 + {int('1' + match[1]) - 128}", watched[0])
    assert watched == plain


# --- processes that start processes -----------------------------------------------------------------------------------


def leaks(report, mark, app, function, count):
    assert judged(report) == expected(APPS / app, ("never-closed", SESSION, function, mark, count))


def test_workers_forked_ahead(run_unclosed, python20, tmp_path):
    report = run_unclosed(python20, APPS / "owners_prefork.py", options=["--exit-status=program"],
                          environment={"DATABASE_URL": f"sqlite:///{tmp_path}/prefork.db"})
    assert (report.status, report.stdout) == (0, "done\n")
    assert report.opened[SESSION] == 11
    leaks(report, "task", "owners_prefork.py", "wrong", 2)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(run_unclosed, python20, tmp_path, method):
    report = run_unclosed(python20, APPS / "owners_multiprocessing.py", method, options=["--exit-status=program"],
                          environment={"DATABASE_URL": f"sqlite:///{tmp_path}/{method}.db"})
    assert (report.status, report.stdout) == (0, "[0, 0, 0]\n")
    assert report.opened[SESSION] == 4
    leaks(report, "process", "owners_multiprocessing.py", "work", 1)


@pytest.mark.parametrize("plugin", [[], ["-p", "xdist", "-n", "2"]], ids=["pytest", "xdist"])
def test_pytest(run_unclosed, python20, tmp_path, plugin):
    report = run_unclosed(python20, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin, APPS / "owners_suite.py",
                          options=["--exit-status=program"],
                          environment={"DATABASE_URL": f"sqlite:///{tmp_path}/suite.db", "PYTEST_ADDOPTS": None, "PYTEST_PLUGINS": None})
    assert report.status == 0, report.stdout
    assert " 7 passed in " in report.stdout or "\n7 passed in " in report.stdout
    assert report.opened[SESSION] == 7
    leaks(report, "test", "owners_suite.py", "test_wrong", 1)


def test_what_a_kept_session_holds(served):
    with served("owners_kept_sessions:app", APPS) as client:
        assert client.statuses("GET", "/orders/1", "/orders/2", "/orders/3") == {200: 3}
    finding = client.report.finding("owner-gone")
    assert (finding["kind"], finding["count"], finding["requests"]) == (SESSION, 3, ["GET /orders/{number}"])
    assert {"objects: 1", "unsaved: 2 new"} <= set(finding["details"])
