# SPDX-License-Identifier: Apache-2.0
"""What every test of whole programs needs: the built things, a program run with and without the shim, a PostgreSQL."""
import glob
import json
import os
import pwd
import re
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

TESTS = Path(__file__).resolve().parent
SOURCES = TESTS / "programs"
BUILD = TESTS.parent / os.environ.get("BUILD", "build")
COMMAND = BUILD / "unclosed"
SHIM = BUILD / "libunclosed.so"
PYTHON = "/usr/bin/python3"
WATCHDOG = 60   # seconds; nothing here takes more than a few


def built(name):
    """The path of tests/programs/NAME.c or .cc, built."""
    path = BUILD / "tests" / "programs" / name
    assert path.exists(), f"{path} is not built: run `make programs`"
    return path


def is_test_program(word):
    return isinstance(word, str) and any((SOURCES / f"{word}{ending}").exists() for ending in (".c", ".cc"))


def line_of(source, text):
    """The number of the one line of tests/programs/SOURCE that has `text`."""
    lines = [number for number, line in enumerate((SOURCES / source).read_text().splitlines(), 1) if text in line]
    assert len(lines) == 1, f"{source} has {len(lines)} lines with {text!r}"
    return lines[0]


# --- running with a watchdog ------------------------------------------------------------------------------------------


def children_of(pid):
    found = []
    for stat in glob.glob("/proc/[0-9]*/stat"):
        try:
            fields = Path(stat).read_text().rsplit(")", 1)[1].split()
        except (OSError, IndexError):
            continue
        if int(fields[1]) == pid:
            found.append(int(Path(stat).parent.name))
    return found


def killed_with_descendants(pid):
    """`unclosed run` adopts the orphans of what it runs, so that nothing escapes from below it."""
    descendants = children_of(pid)
    for child in descendants:
        descendants += children_of(child)
    for each in [pid, *descendants]:
        try:
            os.kill(each, signal.SIGKILL)
        except ProcessLookupError:
            pass


def finished(words, *, cwd, environment=None, timeout=WATCHDOG, text=True, **options):
    """The ended process: status (negative: a signal), stdout, stderr. One that hangs is killed, and the test fails.

    `environment` is added to this process's own; a value of None takes a variable away.
    """
    merged = {key: value for key, value in {**os.environ, **(environment or {})}.items() if value is not None}
    options.setdefault("stdin", subprocess.DEVNULL)
    with subprocess.Popen([str(word) for word in words], cwd=cwd, env=merged, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=text,
                          errors="backslashreplace" if text else None, **options) as process:
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            killed_with_descendants(process.pid)
            stdout, stderr = process.communicate()
            pytest.fail(f"{words} hung for {timeout} s\n{stdout}\n{stderr}")
    return SimpleNamespace(status=process.returncode, stdout=stdout, stderr=stderr, pid=process.pid)


class Report:
    """What `unclosed run` or `unclosed report` said and left."""

    def __init__(self, process, directory, json_file):
        self.status, self.stdout, self.stderr, self.directory = process.status, process.stdout, process.stderr, directory
        self.json = json.loads(json_file.read_text()) if json_file.exists() else None

    @property
    def findings(self):
        assert self.json is not None, self.stderr
        return self.json["findings"]

    @property
    def counts(self):
        """{(rule, kind): how many}, the whole outcome in one comparison."""
        counted = {}
        for finding in self.findings:
            key = finding["rule"], finding["kind"]
            counted[key] = counted.get(key, 0) + finding["count"]
        return counted

    def finding(self, rule):
        """The only finding of that rule."""
        found = [finding for finding in self.findings if finding["rule"] == rule]
        assert len(found) == 1, (found, self.stderr)
        return found[0]

    def rows(self, query, *values):
        """The answer of the run database."""
        with sqlite3.connect(f"file:{self.directory}/report.db?mode=ro", uri=True) as database:
            return database.execute(query, values).fetchall()

    @property
    def traces(self):
        return sorted((self.directory / "traces").glob("*.trace"))

    @property
    def opened(self):
        """{kind: how many were ever opened}, over all processes."""
        return dict(self.rows("SELECT kind, sum(opened) FROM kind_count GROUP BY kind HAVING sum(opened) > 0"))


def stack_of(finding, name="stack"):
    return [frame["function"] for frame in finding[name]]


def is_subset_in_order(some, of):
    rest = iter(of)
    return all(each in rest for each in some)


@pytest.fixture
def run_unclosed(tmp_path):
    """run_unclosed(PROGRAM, ARGUMENT…, options=[…], environment={…}) -> Report. PROGRAM may be the name of a test program."""

    def run(program, *arguments, options=(), environment=None, name="unclosed-report", **more):
        if is_test_program(program):
            program = built(program)
        json_file = tmp_path / f"{name}.json"
        json_file.unlink(missing_ok=True)
        more.setdefault("cwd", tmp_path)
        words = [COMMAND, "run", "-o", tmp_path / name, f"--format=json={json_file}", *options, "--", program, *arguments]
        return Report(finished(words, environment=environment, **more), tmp_path / name, json_file)

    return run


@pytest.fixture
def report_of(tmp_path):
    """report_of(TRACE…) -> Report: `unclosed report`."""

    def report(*traces, options=(), name="report"):
        json_file = tmp_path / f"{name}.json"
        words = [COMMAND, "report", "-o", tmp_path / name, f"--format=json={json_file}", *options, *traces]
        return Report(finished(words, cwd=tmp_path), tmp_path / name, json_file)

    return report


@pytest.fixture
def preloaded(tmp_path):
    """preloaded(WORD…, environment={…}) -> finished process, with the shim loaded and traces in tmp_path/traces."""

    def run(*words, environment=None, options="report=off", preload=(SHIM,), **more):
        more.setdefault("cwd", tmp_path)
        injected = {"LD_PRELOAD": ":".join(map(str, preload)), "UNCLOSED_OPTIONS": f"dir={tmp_path}/traces:{options}"}
        return finished(words, environment={**injected, **(environment or {})}, **more)

    run.traces = lambda: sorted((tmp_path / "traces").glob("*.trace"))
    return run


@pytest.fixture
def plain(tmp_path):
    """plain(WORD…) -> finished process, without the shim."""

    def run(*words, **more):
        more.setdefault("cwd", tmp_path)
        return finished(words, **more)

    return run


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


PASSWORD = "tr0ub4dor-and-3"
READY = "database system is ready to accept connections"


def newest_postgresql():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(re.search(r"(\d+)/bin", path)[1]))
    assert found, "PostgreSQL is not installed: `make check` installs it"
    return Path(found[-1])


def unprivileged():
    """Words before a command: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return [], None
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"], user
    raise AssertionError("neither a user postgres nor nobody")


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL of this test session's own: on a Unix socket in a private directory, gone with the session.

    .environment: PGHOST, PGUSER, PGDATABASE for a trusted superuser; role `secret` must give PASSWORD.
    """
    binaries, (before, user) = newest_postgresql(), unprivileged()
    home = Path(tempfile.mkdtemp(prefix="unclosed-pg-", dir="/tmp"))   # short: a socket's path has 107 bytes
    if user:
        os.chown(home, user.pw_uid, user.pw_gid)
    clean = {"LD_PRELOAD": None, "UNCLOSED_OPTIONS": None, "LC_ALL": "C"}
    try:
        made = finished([*before, binaries / "initdb", "-D", home / "data", "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8"],
                        cwd="/", environment=clean)
        assert made.status == 0, made.stderr
        (home / "data" / "pg_hba.conf").write_text("local all secret scram-sha-256\nlocal all all trust\n")
        # The server goes when we go, however that is (SIGQUIT: at once).
        server = subprocess.Popen(["setpriv", *before[1:], "--pdeathsig=QUIT", binaries / "postgres", "-D", home / "data", "-k", home,
                                   "-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=60", "-c", "log_min_messages=log"],
                                  cwd="/", env={**os.environ, "LC_ALL": "C"}, stderr=subprocess.PIPE, text=True, errors="replace")
        try:
            log = []
            watchdog = threading.Timer(WATCHDOG, server.kill)
            watchdog.start()
            for line in server.stderr:
                log.append(line)
                if READY in line:
                    break
            watchdog.cancel()
            assert log and READY in log[-1], "".join(log)
            threading.Thread(target=lambda: log.extend(server.stderr), daemon=True).start()
            environment = {"PGHOST": str(home), "PGUSER": "postgres", "PGDATABASE": "postgres"}
            role = finished([binaries / "psql", "-q", "-c", f"CREATE ROLE secret LOGIN PASSWORD '{PASSWORD}'", "-c",
                             "CREATE TABLE orders (id int)"], cwd="/", environment={**clean, **environment})
            assert role.status == 0, role.stderr
            yield SimpleNamespace(host=home, environment=environment, binaries=binaries, password=PASSWORD)
        finally:
            server.send_signal(signal.SIGQUIT)
            server.wait(timeout=WATCHDOG)
    finally:
        shutil.rmtree(home)
