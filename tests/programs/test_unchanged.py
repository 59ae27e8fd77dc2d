# SPDX-License-Identifier: Apache-2.0
"""A program with the shim does what it does without."""
import os
import re
import shutil
import subprocess

import pytest

from conftest import BUILD, PYTHON, TESTS, built

FUNCTIONS = TESTS.parent / "shim" / "libraries" / "functions.def"


# --- what a process can see of itself ------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["database", "nothing"])
@pytest.mark.parametrize("options", ["report=off", "report=html"])
def test_process_sees_no_difference(plain, preloaded, what, options):
    """Descriptors, threads, signal dispositions and masks, limits, directory, environment, exit status."""
    program = built("describe_itself")
    before, after = plain(program, what), preloaded(program, what, options=options)
    assert after.stdout == before.stdout
    assert (after.status, before.status) == (42, 42)
    assert options != "report=off" or bool(preloaded.traces()) == (what == "database")
    assert before.stdout.count("Threads:\t1\n") == before.stdout.count("--- ") == (4 if what == "database" else 2)


def test_process_sees_no_difference_under_run(plain, run_unclosed):
    program = built("describe_itself")
    before, after = plain(program, "database"), run_unclosed(program, "database")
    assert after.stdout == before.stdout and after.status == 42


def test_errno_and_results_of_every_wrapped_function(plain, preloaded, postgres):
    program = built("errno_kept")
    before = plain(program, environment=postgres.environment)
    after = preloaded(program, environment=postgres.environment)
    assert after.stdout.splitlines() == before.stdout.splitlines() and after.status == before.status == 0
    assert preloaded.traces()


ABSENT = {"PQclosePrepared", "PQclosePortal", "PQsendClosePrepared", "PQsendClosePortal", "PQcancelCreate", "PQcancelFinish",
          "PQcancelStart", "PQcancelBlocking", "PQcancelPoll", "PQcancelReset", "sqlite3session_create", "sqlite3session_delete"}   # in older libraries
ENDING = {"__libc_start_main", "exit", "_exit", "_Exit", "quick_exit"}   # do not return
NOT_A_FUNCTION = {"unclosed_api_table"}


def test_no_wrapped_function_was_forgotten(plain, postgres):
    said = {re.sub(r".* = ", "", line.split()[-3]) for line in
            plain(built("errno_kept"), environment=postgres.environment).stdout.splitlines()}
    wrapped = set(re.findall(r"^    (\w+);", (BUILD / "exports.map").read_text(), re.M))
    assert len(wrapped) > 80
    assert wrapped - said - ABSENT - ENDING - NOT_A_FUNCTION == set()


FEATURES = """
import ctypes
ctypes.CDLL("libpq.so.5", ctypes.RTLD_GLOBAL)
dlsym = ctypes.CDLL(None).dlsym
dlsym.restype = ctypes.c_void_p
for name in "PQclosePrepared", "PQcancelCreate", "PQexec", "sqlite3_open":
    print(name, HOW)
"""


@pytest.mark.parametrize("how", [
    "hasattr(ctypes.CDLL('libpq.so.5'), name)", "hasattr(ctypes.CDLL(None), name)",
    "dlsym(0, name.encode()) is not None"])
def test_function_that_no_library_has_is_not_found(plain, preloaded, how):
    """Programs look in this way whether a library is new enough for them."""
    same(plain, preloaded, PYTHON, "-c", FEATURES.replace("HOW", how))


# --- programs that people use ---------------------------------------------------------------------------------------------


def same(plain, preloaded, *words, **more):
    before, after = plain(*words, **more), preloaded(*words, **more)
    assert (after.status, after.stdout, after.stderr) == (before.status, before.stdout, before.stderr)
    return after


def opened_something(preloaded):
    return len(preloaded.traces()) == 1


SQL = """CREATE TABLE t (a, b);
INSERT INTO t VALUES (1, 'one'), (2, 'two');
SELECT * FROM t;
BEGIN; UPDATE t SET a = a + 1; SELECT sum(a) FROM t; ROLLBACK;
SELECT sum(a) FROM t;
SELECT * FROM nowhere;
.tables
.schema
SELECT count(*) FROM generate_series(1, 100);
"""


def test_sqlite3(plain, preloaded):
    done = same(plain, preloaded, "sqlite3", ":memory:", SQL)
    assert "1|one" in done.stdout and opened_something(preloaded)


def test_psql(plain, preloaded, postgres):
    statements = ["-c", "SELECT generate_series(1, 3)", "-c", "BEGIN; SELECT 1/0; COMMIT", "-c", r"\d orders", "-c", "SELECT 7"]
    done = same(plain, preloaded, postgres.binaries / "psql", "-X", *statements, environment=postgres.environment)
    assert "division by zero" in done.stderr and opened_something(preloaded)


def test_psql_that_cannot_connect(plain, preloaded, postgres):
    done = same(plain, preloaded, postgres.binaries / "psql", "-X", "-d", "nowhere", environment=postgres.environment)
    assert done.status == 2


def test_git(plain, preloaded, tmp_path):
    fixed = {"GIT_AUTHOR_DATE": "2020-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "2020-01-01T00:00:00Z", "GIT_CONFIG_GLOBAL": "/dev/null",
             "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@b"}
    script = ("rm -rf repository && git -c init.defaultBranch=m init -q repository && cd repository && echo text >file && git add file && "
              "git commit -q -m first && git log --stat && git gc -q && git fsck && git diff HEAD --exit-code && git nonsense")
    done = same(plain, preloaded, "sh", "-c", script, environment=fixed)
    assert "first" in done.stdout and done.status == 1
    assert preloaded.traces() == []


@pytest.mark.parametrize("words", [["ls", "-la", "/etc/passwd"], ["ls", "/nonexistent"], ["sh", "-c", "echo $((6*7)) | cat; exit 9"],
                                   ["bash", "-c", "trap 'echo ended' EXIT; (exit 3); echo $?; kill -TERM $$"],
                                   ["perl", "-e", "print 'x' x 3, $!+0; exit 5"], [PYTHON, "-c", "import sys; print(len(sys.argv)); sys.exit(4)"]])
def test_programs_without_a_database_leave_no_trace(plain, preloaded, tmp_path, words):
    if not shutil.which(words[0]):
        pytest.skip(f"no {words[0]}")
    same(plain, preloaded, *words)
    assert not (tmp_path / "traces").exists()


def python_with_tests():
    """A Python that brings CPython's own tests of sqlite3: Debian's does not."""
    for directory in [os.path.dirname(PYTHON), *os.get_exec_path(), "/usr/local/bin"]:
        python = shutil.which("python3", path=directory)
        if python and subprocess.run([python, "-c", "import test.test_sqlite3"], capture_output=True, cwd="/").returncode == 0:
            return python
    return None


def outcomes(process):
    return sorted(re.sub(r" \.\.\. ", " ", line) for line in process.stderr.splitlines()
                  if re.search(r"\.\.\. |^(OK|FAILED|Ran)", line) and not line.startswith("Ran ")), process.status


def test_cpythons_own_tests_of_sqlite3(plain, preloaded):
    python = python_with_tests()
    if not python:
        pytest.skip("no Python here that ships its tests")
    words = [python, "-m", "unittest", "-v", "test.test_sqlite3"]
    before, after = plain(*words, timeout=120), preloaded(*words, timeout=120)
    assert outcomes(after) == outcomes(before)
    assert len(outcomes(after)[0]) > 300 and preloaded.traces()
