# SPDX-License-Identifier: Apache-2.0
"""Python programs, by their native stacks: connections are counted right, whoever loads the driver."""
import pytest

from conftest import PYTHON

SQLITE3, LIBPQ = "sqlite3.connection", "libpq.connection"


def on_the_stacks(report, kind, column):
    """That column of all symbols on the stacks where handles of `kind` were opened."""
    rows = report.rows(f"SELECT symbol.{column} FROM site JOIN stack_frame ON stack_frame.stack = site.stack "
                       "JOIN symbol ON symbol.frame = stack_frame.frame WHERE site.kind = ?", kind)
    return {name for (name,) in rows}


def functions_of(report, kind):
    return on_the_stacks(report, kind, "function")


def modules_of(report, kind):
    return on_the_stacks(report, kind, "module")


def test_sqlite3(run_unclosed):
    program = ("import sqlite3\n"
               "for _ in range(100): sqlite3.connect(':memory:').close()\n"
               "kept = [sqlite3.connect(':memory:') for _ in range(7)]")
    report = run_unclosed(PYTHON, "-c", program)
    assert (report.status, report.opened[SQLITE3]) == (0, 107)
    [process] = report.json["processes"]
    assert process["dropped_records"] == 0 and process["ended"] == "exit 0"


def test_stack_goes_from_the_driver_through_the_interpreter_to_main(run_unclosed):
    report = run_unclosed(PYTHON, "-c", "import sqlite3\ndef f(): sqlite3.connect(':memory:')\nf()")
    functions = functions_of(report, SQLITE3)
    assert {"Py_BytesMain", "_start"} <= functions
    assert any("_sqlite3" in str(module) for module in modules_of(report, SQLITE3))
    assert report.rows("SELECT max(truncated) FROM stack JOIN site ON site.stack = stack.id") == [(0,)]


def test_killed_python_keeps_its_records(run_unclosed):
    program = "import os, sqlite3\nkept = [sqlite3.connect(':memory:') for _ in range(7)]\nos.kill(os.getpid(), 9)"
    report = run_unclosed(PYTHON, "-c", program)
    assert (report.status, report.opened[SQLITE3]) == (137, 7)
    assert report.rows("SELECT sum(handles) FROM handle WHERE kind = ?", SQLITE3) == [(7,)]


def test_psycopg2(run_unclosed, postgres):
    program = ("import psycopg2\n"
               "for _ in range(20):\n"
               "    db = psycopg2.connect('')\n"
               "    cursor = db.cursor()\n"
               "    cursor.execute('SELECT 1')\n"
               "    assert cursor.fetchall() == [(1,)]\n"
               "    db.close()\n"
               "del cursor\n"
               "kept = [psycopg2.connect('') for _ in range(3)]\n"
               "import os; os._exit(0)\n")
    report = run_unclosed(PYTHON, "-c", program, environment=postgres.environment)
    assert report.rows("SELECT opened, closed, open FROM kind_count WHERE kind = ?", LIBPQ) == [(23, 20, 3)]
    assert report.rows("SELECT opened - closed FROM kind_count WHERE kind = 'libpq.result'") == [(0,)]
    assert any("_psycopg" in str(module) for module in modules_of(report, LIBPQ))
    assert "Py_BytesMain" in functions_of(report, LIBPQ)


def test_psycopg2_that_closes_everything_is_clean(run_unclosed, postgres):
    program = "import psycopg2\nfor _ in range(5):\n    db = psycopg2.connect('')\n    db.close()"
    report = run_unclosed(PYTHON, "-c", program, environment=postgres.environment)
    assert (report.status, report.counts, report.opened) == (0, {}, {LIBPQ: 5, "libpq.cancel": 5})


@pytest.mark.parametrize("dsn", ["user=secret password=wrong", "dbname=nowhere"])
def test_psycopg2_finishes_what_failed(run_unclosed, postgres, dsn):
    program = ("import psycopg2\n"
               "for _ in range(3):\n"
               "    try:\n"
               f"        psycopg2.connect('{dsn}')\n"
               "    except psycopg2.OperationalError: pass")
    report = run_unclosed(PYTHON, "-c", program, environment=postgres.environment)
    assert (report.status, report.counts, report.opened) == (0, {}, {LIBPQ: 3})


def test_both_in_one_process(run_unclosed, postgres):
    program = ("import psycopg2, sqlite3, threading\n"
               "def work():\n"
               "    for _ in range(10):\n"
               "        psycopg2.connect('').close()\n"
               "        sqlite3.connect(':memory:').close()\n"
               "threads = [threading.Thread(target=work) for _ in range(4)]\n"
               "for thread in threads: thread.start()\n"
               "for thread in threads: thread.join()\n")
    report = run_unclosed(PYTHON, "-c", program, environment=postgres.environment)
    assert (report.status, report.counts) == (0, {("connection-churn", LIBPQ): 40})
    assert (report.opened[LIBPQ], report.opened[SQLITE3]) == (40, 40)
    [process] = report.json["processes"]
    assert sorted(process["watched"]) == ["libpq", "sqlite3"]


def test_psycopg3_through_ctypes(run_unclosed, postgres):
    pytest.importorskip("psycopg", reason="python3-psycopg is not installed")
    program = "import psycopg\nfor _ in range(5): psycopg.connect('').close()"
    report = run_unclosed(PYTHON, "-c", program, environment={**postgres.environment, "PSYCOPG_IMPL": "python"})
    assert (report.status, report.counts) == (0, {})
    assert report.opened[LIBPQ] == 5


def test_unsaved_rows(run_unclosed, tmp_path):
    """Python's sqlite3 begins transactions by itself: a close without commit loses them."""
    program = ("import sqlite3\n"
               "db = sqlite3.connect('x.db')\n"
               "db.execute('CREATE TABLE t (a)')\n"
               "db.execute('INSERT INTO t VALUES (1)')\n"
               "db.close()")
    report = run_unclosed(PYTHON, "-c", program)
    assert report.counts == {("closed-in-transaction", SQLITE3): 1}
