# SPDX-License-Identifier: Apache-2.0
"""What tests of Python programs need: virtual environments, servers under unclosed, findings by the marks in a source."""
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import BUILD, COMMAND, WATCHDOG, Report, finished, killed_with_descendants, unprivileged

HERE = Path(__file__).resolve().parent
SCENARIOS = HERE / "scenarios"
NEVER_CLOSED = {"closed-by-gc", "owner-gone"}


def environment_python(name):
    """The interpreter of a virtual environment that make/venv made."""
    path = BUILD / "venv" / name / "bin" / "python"
    assert path.exists(), f"{path} is not there: run `make/venv`"
    return path


@pytest.fixture(scope="session")
def python20():
    """Python with SQLAlchemy 2.0, psycopg2 from source, psycopg 3 with its binary; and every server and driver."""
    return environment_python("python20")


@pytest.fixture(scope="session")
def python14():
    """Python with SQLAlchemy 1.4, psycopg2's binary wheel, psycopg 3 in C."""
    return environment_python("python14")


@pytest.fixture(scope="session")
def python21():
    """Python with SQLAlchemy 2.1."""
    return environment_python("python21")


@pytest.fixture(params=["python14", "python20", "python21"])
def each_python(request):
    """One after the other: SQLAlchemy 1.4, 2.0, 2.1."""
    return environment_python(request.param)


def a_free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def free_port():
    return a_free_port()


# --- what is expected, by marks ---------------------------------------------------------------------------------------


def marks_in(*sources):
    """{mark: (file name, line)} for each comment `# leak: MARK` (also `# place: MARK`, `# note: MARK`) in those files."""
    found = {}
    for source in sources:
        for number, line in enumerate(Path(source).read_text().splitlines(), 1):
            for mark in re.findall(r"# (?:leak|place|note): ([^#\n]+?) *$", line):
                assert mark not in found, f"{source}: two lines are marked {mark!r}"
                found[mark] = Path(source).name, number
    return found


def place_of(frame):
    return Path(frame["file"] or "?").name, frame["line"]


def judged(report, *severities):
    """Counter of (rule, kind, function, file name, line) for the findings of those severities (error and warning)."""
    severities = severities or ("error", "warning")
    counted = Counter()
    for finding in report.findings:
        if finding["severity"] in severities:
            where = finding["where"]
            rule = "never-closed" if finding["rule"] in NEVER_CLOSED else finding["rule"]
            counted[(rule, finding["kind"], where["function"], *place_of(where))] += finding["count"]
    return dict(counted)


def expected(sources, *findings):
    """What judged() has to be. Each of `findings`: (rule, kind, function, mark, count).

    "never-closed" stands for closed-by-gc and owner-gone together: whether the collector came before the end of the
    program is its own affair; what was never closed is counted exactly.
    """
    marks = marks_in(*([sources] if isinstance(sources, (str, Path)) else sources))
    return {(rule, kind, function, *marks[mark]): count for rule, kind, function, mark, count in findings}


def assert_looked_at(report, *kinds):
    """Silence counts only if something was seen."""
    missing = [kind for kind in kinds if not report.opened.get(kind)]
    assert not missing, f"no {missing} were seen, only {report.opened}\n{report.stderr}"


# --- programs ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def run_scenario(run_unclosed, tmp_path, python20):
    """run_scenario(NAME, ARGUMENT…, python=…) -> Report of scenarios/NAME.py; .source is that file.

    The program's own status has to be 0, unless `ends_with` says otherwise.
    """

    def run(name, *arguments, python=python20, environment=None, options=(), ends_with=0, **more):
        source = SCENARIOS / f"{name}.py"
        default = {"DATABASE_URL": f"sqlite:///{tmp_path}/scenario.db", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": None}
        report = run_unclosed(python, source, *arguments, environment={**default, **(environment or {})},
                              options=["--exit-status=program", *options], **more)
        assert report.status == ends_with, f"{name} ended with {report.status}\n{report.stdout}\n{report.stderr}"
        report.source = source
        return report

    return run


# --- servers ----------------------------------------------------------------------------------------------------------


class Client:
    """Asks a served application. Each answer: .status, .text, .json(); a status of 500 and the like is an answer, too."""

    def __init__(self, port, pid):
        self.port, self.pid, self.report = port, pid, None

    def request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WATCHDOG)
        try:
            headers = {**({"Content-Type": "application/json"} if body is not None else {}), **(headers or {})}
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        return SimpleNamespace(status=answer.status, text=text, json=lambda: json.loads(text))

    def get(self, path, **more):
        return self.request("GET", path, **more)

    def post(self, path, body=None, **more):
        return self.request("POST", path, body=body, **more)

    def statuses(self, method, *paths):
        """{status: how often} of one request after the other."""
        return dict(Counter(self.request(method, path).status for path in paths))

    def at_once(self, *paths):
        """{status: how often} of GET requests at the same time."""
        answers = []
        threads = [threading.Thread(target=lambda path=path: answers.append(self.get(path).status)) for path in paths]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return dict(Counter(answers))

    def gone_after(self, path, size=1000):
        """A client that reads so much of the answer and leaves."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=WATCHDOG) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            read = 0
            while read < size:
                got = connection.recv(4096)
                assert got, "the answer ended early"
                read += len(got)


SERVERS = {
    "uvicorn": ["-m", "uvicorn", "--log-level", "warning", "--port", "{port}"],
    "gunicorn": ["-m", "gunicorn", "--log-level", "warning", "-b", "127.0.0.1:{port}"],
    "gunicorn-asgi": ["-m", "gunicorn", "--log-level", "warning", "-k", "uvicorn_worker.UvicornWorker", "-b", "127.0.0.1:{port}"],
    "hypercorn": ["-m", "hypercorn", "--log-level", "warning", "-b", "127.0.0.1:{port}"],
}


def wait_until_it_answers(process, port, log):
    until = time.monotonic() + WATCHDOG
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"the server does not answer:\n{log.read_text()}") from None
            time.sleep(0.02)


@contextmanager
def serving(home, app, directory=SCENARIOS, *, server="uvicorn", arguments=(), options=(), environment=None, python=None,
            stop=signal.SIGTERM, name="served", before=()):
    """with serving(home, "module:app", directory) as client: …; then client.report, which lies in `home`.

    The application runs under `unclosed run`, is stopped by `stop` (a signal) when the block is left, and judged then.
    `arguments` are the server's, `options` are unclosed's; `before` are words between the two.
    """
    port = a_free_port()
    json_file, log = home / f"{name}.json", home / f"{name}.log"
    default = {"DATABASE_URL": f"sqlite:///{home}/{name}.db", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": None, "PORT": str(port)}
    merged = {**os.environ, **default, **(environment or {})}
    words = [COMMAND, "run", "-o", home / name, f"--format=json={json_file}", *options, "--", *before,
             python or environment_python("python20"), *(word.format(port=port) for word in SERVERS[server]), *arguments,
             *([app] if app else [])]
    with open(log, "w") as output:
        process = subprocess.Popen([str(word) for word in words], cwd=directory, stdin=subprocess.DEVNULL, stdout=output,
                                   stderr=subprocess.STDOUT, env={key: value for key, value in merged.items() if value is not None})
    client = Client(port, process.pid)
    try:
        wait_until_it_answers(process, port, log)
        yield client
        process.send_signal(stop)
        try:
            process.wait(WATCHDOG)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{app} did not end within {WATCHDOG} s\n{log.read_text()}")
    finally:
        if process.poll() is None:
            killed_with_descendants(process.pid)
            process.wait()
    said = SimpleNamespace(status=process.returncode, stdout="", stderr=log.read_text())
    client.report = Report(said, home / name, json_file)


@pytest.fixture
def served(tmp_path):
    """serving(), in the test's own directory."""
    return partial(serving, tmp_path)


# --- MariaDB ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def mariadb():
    """A MariaDB of this test session's own, on a Unix socket in a private directory: .socket; database `orders`, no grants."""
    before, user = unprivileged()
    home = Path(tempfile.mkdtemp(prefix="unclosed-my-", dir="/tmp"))
    if user:
        os.chown(home, user.pw_uid, user.pw_gid)
    (home / "data" / "orders").mkdir(parents=True)
    for path in (home / "data", home / "data" / "orders"):
        if user:
            os.chown(path, user.pw_uid, user.pw_gid)
    log = home / "log"
    try:
        with open(log, "w") as output:
            server = subprocess.Popen(
                ["setpriv", *before[1:], "--pdeathsig=KILL", "/usr/sbin/mariadbd", "--no-defaults", f"--datadir={home}/data",
                 f"--socket={home}/s", f"--pid-file={home}/pid", "--skip-networking", "--skip-grant-tables", "--skip-log-bin",
                 "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=16M", "--innodb-log-file-size=4M"],
                cwd="/", stdout=output, stderr=subprocess.STDOUT)
        try:
            until = time.monotonic() + WATCHDOG
            while "ready for connections" not in log.read_text():
                assert server.poll() is None and time.monotonic() < until, log.read_text()
                time.sleep(0.05)
            yield SimpleNamespace(socket=home / "s")
        finally:
            server.kill()
            server.wait(timeout=WATCHDOG)
    finally:
        finished(["rm", "-rf", home], cwd="/")
