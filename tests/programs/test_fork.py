# SPDX-License-Identifier: Apache-2.0
"""Children: none hangs, none writes into its parent's records, and what they do with inherited handles is known as theirs."""
import re

import pytest

from conftest import PYTHON, built

CONNECTION = "sqlite3.connection"


def test_a_thousand_forks_beside_threads(run_unclosed):
    report = run_unclosed("fork_storm", 1000, timeout=100)
    parent, leases, failed = map(int, re.findall(r"\d+", report.stdout))
    assert failed == 0
    by_parent = dict(report.rows("SELECT kind_count.kind, kind_count.opened - kind_count.closed FROM kind_count JOIN process "
                                 "ON process.id = process WHERE pid = ? AND kind_count.opened", parent))
    assert by_parent == {CONNECTION: 0, "storm.lease": 0}
    assert report.rows("SELECT sum(kind_count.opened) FROM kind_count JOIN process ON process.id = process "
                       "WHERE pid = ? AND kind = 'storm.lease'", parent) == [(leases,)]
    by_children = report.rows("SELECT kind_count.kind, kind_count.opened, kind_count.open, count(*) FROM kind_count JOIN process "
                              "ON process.id = process WHERE parent_pid = ? AND kind_count.opened GROUP BY 1, 2, 3", parent)
    assert by_children == [("storm.lease", 2, 1, 100)]
    assert report.rows("SELECT count(*), sum(dropped) FROM process WHERE trace IS NOT NULL") == [(101, 0)]
    assert [(finding["kind"], finding["count"]) for finding in report.findings] == [("storm.lease", 100)]


@pytest.mark.parametrize("what, fact", [("close", "closed-elsewhere"), ("use", "used-elsewhere")])
def test_what_a_child_does_with_its_parents_connection_names_both(run_unclosed, what, fact):
    report = run_unclosed("fork_inherits", what)
    parent, child = map(int, report.stdout.split())
    facts = report.rows("SELECT type, fact.kind, process.pid, other_pid, fact.count FROM fact JOIN process ON process.id = process")
    assert facts == [(fact, CONNECTION, child, parent, 1)]


def test_fact_has_the_stack_of_the_open_and_of_the_close(run_unclosed):
    report = run_unclosed("fork_inherits", "close")
    functions = "SELECT where_function FROM fact JOIN stack ON stack.id = "
    assert report.rows(functions + "fact.stack") == [("in_the_child",)]
    assert report.rows(functions + "fact.opened_stack") == [("main",)]


def test_a_childs_close_leaves_the_parents_record_open(run_unclosed):
    report = run_unclosed("fork_inherits", "close")
    parent, _ = map(int, report.stdout.split())
    assert report.rows("SELECT opened, closed FROM process WHERE pid = ?", parent) == [(1, 1)]
    assert "closed-twice" not in [finding["rule"] for finding in report.findings]


def test_inherited_and_left_alone_is_nothing(run_unclosed):
    for what in ("own", "nothing"):
        report = run_unclosed("fork_inherits", what, name=what)
        assert (report.status, report.findings, report.rows("SELECT * FROM fact")) == (0, [], [])


def test_vfork_children_change_nothing(run_unclosed):
    report = run_unclosed("vfork_child")
    assert (report.status, report.findings, report.opened) == (0, [], {CONNECTION: 1})
    assert report.rows("SELECT ended, opened, closed FROM process WHERE trace IS NOT NULL") == [("exit", 1, 1)]


@pytest.mark.parametrize("how", ["exec", "_exit"])
def test_end_of_a_vfork_child_is_not_its_parents(preloaded, report_of, how):
    """The parent is killed at once: nothing of its own overwrites what the child may have left."""
    assert preloaded(built("vfork_child"), how).status == -9
    [process] = report_of(*preloaded.traces()).json["processes"]
    assert (process["ended"], process["open"]) == ("killed", 1)


SUBPROCESSES = """
import sqlite3, subprocess
db = sqlite3.connect(":memory:")
for _ in range(30):
    subprocess.run(["/bin/true"], close_fds=True, check=True)
    subprocess.run(["/bin/true"], start_new_session=True, check=True)
    assert subprocess.run(["/bin/sh", "-c", "exit 3"]).returncode == 3
    try:
        subprocess.run(["/nonexistent"])
    except FileNotFoundError:
        pass
db.close()
print("done")
"""


def test_pythons_subprocess(run_unclosed):
    report = run_unclosed(PYTHON, "-c", SUBPROCESSES)
    assert (report.status, report.stdout, report.findings) == (0, "done\n", [])
    assert report.rows("SELECT opened, closed, ended FROM process WHERE trace IS NOT NULL") == [(1, 1, "exit")]


FORKING_PYTHON = """
import os, sqlite3, threading
stop = threading.Event()
def work():
    while not stop.is_set():
        sqlite3.connect(":memory:").close()
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads: thread.start()
failed = 0
for _ in range(100):
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    failed += os.waitpid(pid, 0)[1] != 0
stop.set()
for thread in threads: thread.join()
print("failed", failed)
"""


def test_fork_of_a_python_with_threads(run_unclosed):
    report = run_unclosed(PYTHON, "-c", FORKING_PYTHON)
    assert (report.status, report.stdout, report.findings) == (0, "failed 0\n", [])
    [(opened, closed)] = report.rows("SELECT opened, closed FROM process WHERE trace IS NOT NULL")
    assert opened == closed > 0


def test_connection_of_libpq_used_in_a_child(run_unclosed, postgres):
    """psycopg2 closes a connection that its child inherited in its own way: it does not touch it. Used, it is said."""
    program = ("import os, psycopg2\n"
               "db = psycopg2.connect('')\n"
               "if os.fork() == 0:\n"
               "    db.cursor().execute('SELECT 1')\n"
               "    os._exit(0)\n"
               "os.wait()\n"
               "db.close()\n")
    report = run_unclosed(PYTHON, "-c", program, environment=postgres.environment)
    facts = report.rows("SELECT type, fact.kind, process.forked_from IS NOT NULL, other_pid = parent_pid FROM fact JOIN process "
                        "ON process.id = process")
    assert set(facts) == {("used-elsewhere", "libpq.connection", 1, 1)}
