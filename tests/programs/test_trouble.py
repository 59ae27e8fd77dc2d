# SPDX-License-Identifier: Apache-2.0
"""Moments of trouble and who held what then; transactions that lie idle or have failed; how things end that nobody closes."""
import pytest

from conftest import PYTHON, finished, line_of

CONNECTION = "sqlite3.connection"


@pytest.fixture
def trouble(run_unclosed):
    return lambda what: run_unclosed("trouble", what)


def places(report, column, table="fact", where="1"):
    return report.rows(f"SELECT where_function, where_line FROM {table} JOIN stack ON stack.id = {table}.{column} WHERE {where}")


def test_who_is_locked_out_learns_by_whom(trouble):
    """Of five connections one is in the way: same file by another name, in a transaction."""
    report = trouble("locked-out")
    [incident] = report.rows("SELECT rule, waited_ns, message, count FROM incident")
    assert (incident[0], incident[2], incident[3]) == ("blocking-transaction", "database is locked", 3)
    assert 0.15e9 < incident[1] < 5e9
    assert report.rows("SELECT kind, owner_label, last_sql, in_transaction FROM holder") == [
        (CONNECTION, "GET /orders", "UPDATE t SET a = ?", 1)]
    assert places(report, "transaction_stack", "holder") == [("begin", line_of("trouble.c", "/* begun */"))]
    assert places(report, "stack", "incident")[0][0] == "wait_in_vain"


def test_another_process_in_the_way_is_no_incident(trouble):
    report = trouble("locked-out-by-another-process")
    assert report.rows("SELECT type, count FROM fact WHERE type = 'busy'") == [("busy", 1)]
    assert report.rows("SELECT * FROM incident") == []


def test_extended_codes_are_known(trouble):
    report = trouble("outdated")
    assert report.rows("SELECT code FROM fact WHERE type = 'busy'") == [(517,)]
    assert report.rows("SELECT * FROM incident") == []


def test_idle_in_a_transaction_until_it_was_used(trouble):
    report = trouble("idle")
    [(kind, count, code)] = report.rows("SELECT kind, count, code FROM fact WHERE type = 'idle-in-transaction'")
    assert (kind, count) == (CONNECTION, 1) and 5250 <= code < 20000
    assert places(report, "begin_stack") == [("begin", line_of("trouble.c", "/* begun */"))]
    assert places(report, "stack") == [("use", line_of("trouble.c", "/* used */"))]


def test_idle_in_a_transaction_until_it_was_closed(trouble):
    report = trouble("idle-until-closed")
    rows = report.rows("SELECT count, function FROM fact WHERE type = 'idle-in-transaction'")
    assert rows == [(1, "sqlite3_close")]


@pytest.mark.parametrize("what", ["busy-for-long", "idle-outside"])
def test_at_work_or_outside_is_not_idle_in_a_transaction(trouble, what):
    assert trouble(what).rows("SELECT * FROM fact") == []


def test_use_of_a_failed_transaction_has_all_its_places(trouble):
    report = trouble("used-while-failed")
    assert report.rows("SELECT text, kind FROM fact WHERE type = 'used-while-failed'") == [
        ("INSERT INTO users VALUES (?)", "sqlalchemy.session")]
    for column, what in ("begin_stack", "begins"), ("close_stack", "fails"), ("stack", "is used"):
        assert places(report, column)[0] == (f"session_{what.replace(' ', '_')}", line_of("trouble.c", f"/* session {what} */"))


def test_what_a_destructor_closes_was_not_closed(trouble):
    report = trouble("ended")
    ends = {function: how for function, how in report.rows(
        "SELECT where_function, how FROM closed_handle JOIN site ON site.id = closed_handle.site JOIN stack ON stack.id = site.stack "
        "WHERE closed_handle.kind = ?", CONNECTION)}
    assert ends == {"dropped": "gc", "pooled": "with-parent", "closed": "explicit", "failed": "explicit"}
    assert report.rows("SELECT sum(ended_gc) FROM site") == [(2,)]


def test_a_thread_is_whose_handles_it_leaves(trouble):
    report = trouble("left-by-threads")
    assert report.rows("SELECT count(*), kind, label, end_reason FROM owner WHERE ended_at NOT NULL GROUP BY 2, 3, 4") == [
        (2, "thread", "leaver", "thread ended")]
    assert report.rows("SELECT count(*) FROM handle JOIN owner ON owner.id = handle.owner") == [(2,)]


def test_a_postgresql_that_gives_no_more_connections(run_unclosed, postgres):
    psql = [postgres.binaries / "psql", "-q", "-c", "DROP ROLE IF EXISTS few", "-c", "CREATE ROLE few LOGIN CONNECTION LIMIT 2"]
    assert finished(psql, cwd="/", environment={"LD_PRELOAD": None, **postgres.environment}).status == 0
    report = run_unclosed("full_server", "user=few", environment=postgres.environment)
    [(rule, message, target)] = report.rows("SELECT rule, message, target FROM incident")
    assert rule == "pool-exhausted" and 'too many connections for role "few"' in message and target.startswith("postgresql://few@")
    assert report.rows("SELECT kind, in_transaction FROM holder ORDER BY 2") == [("libpq.connection", 0), ("libpq.connection", 1)]


@pytest.mark.parametrize("what, facts", [("idle", 1), ("at-work", 0)])
def test_idle_on_postgresql(run_unclosed, postgres, what, facts):
    report = run_unclosed("full_server", what, environment=postgres.environment)
    assert report.status == 0, report.stderr
    rows = report.rows("SELECT kind, function FROM fact WHERE type = 'idle-in-transaction'")
    assert rows == [("libpq.connection", "PQexec")] * facts


THREADS = """
import sqlite3, sys, threading, time
kept = []
def work():
    kept.append(sqlite3.connect(":memory:", check_same_thread=False))
    while threading.current_thread().daemon:
        time.sleep(0.001)
threads = [threading.Thread(target=work, daemon=len(sys.argv) > 1) for _ in range(4)]
for thread in threads:
    thread.start()
while len(kept) < 4:
    time.sleep(0.001)
for thread in threads if len(sys.argv) == 1 else []:
    thread.join()
"""
OWNERS = "SELECT count(*) FROM owner WHERE kind = 'thread' AND ended_at IS {} NULL"


def test_python_threads_have_ended_when_they_were_joined(run_unclosed):
    """Also those that were joined in the last line: Python is done with them before the system is."""
    report = run_unclosed(PYTHON, "-c", THREADS)
    assert report.counts == {("owner-gone", CONNECTION): 4}


def test_python_threads_that_the_shutdown_stops_have_not_left_anything(run_unclosed):
    report = run_unclosed(PYTHON, "-c", THREADS, "daemon")
    assert report.status == 0, report.stderr
    assert (report.rows(OWNERS.format("NOT")), report.rows(OWNERS.format(""))) == ([(0,)], [(4,)])
