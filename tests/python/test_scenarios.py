# SPDX-License-Identifier: Apache-2.0
"""What users of SQLAlchemy, psycopg, sqlite3 get wrong, each with its verdict, exactly: rule, function, file, line, count.

L1 to L20 are those of the evidence (research on what people hit); each is a tiny program or application in scenarios/,
with one mistake, at a comment `# leak: …`. "never-closed" is closed-by-gc and owner-gone together (conftest.expected).
"""
import subprocess
from types import SimpleNamespace

import pytest
from conftest import COMMAND, WATCHDOG, Report, killed_with_descendants

from .conftest import SCENARIOS, assert_looked_at, expected, judged, marks_in, place_of

SESSION, CHECKOUT, ENGINE = "sqlalchemy.session", "sqlalchemy.checkout", "sqlalchemy.engine"
SQLITE3, LIBPQ = "sqlite3.connection", "libpq.connection"


def postgresql_url(postgres, driver="postgresql+psycopg2"):
    return f"{driver}://postgres@/postgres?host={postgres.host}"


def on_postgresql(postgres, driver="postgresql+psycopg2"):
    return {**postgres.environment, "DATABASE_URL": postgresql_url(postgres, driver)}


def items(right, wrong):
    """Paths of requests, `wrong` of them for items that are not there, spread among the others."""
    paths = [f"/items/{number}" for number in range(1, right + 1)]
    for i in range(wrong):
        paths.insert(i * len(paths) // wrong, f"/items/{1000 + i}")
    return paths


# --- L1: never closed ---------------------------------------------------------------------------------------------------


def test_l1_sessions_that_nobody_closes(run_scenario, each_python):
    report = run_scenario("l01_no_close", 10, python=each_python)
    assert judged(report) == expected(report.source, ("never-closed", SESSION, "answer", "no close", 10))


def test_l1_on_postgresql_the_connection_is_part_of_it(run_scenario, postgres):
    report = run_scenario("l01_no_close", 10, environment=on_postgresql(postgres))
    assert judged(report) == expected(report.source, ("never-closed", SESSION, "answer", "no close", 10))
    assert_looked_at(report, LIBPQ, CHECKOUT)


def test_l1_who_held_them_when_the_pool_was_empty(run_scenario, each_python):
    report = run_scenario("l01_no_close", 100, "exhaust", python=each_python)
    assert report.stdout == "the pool is empty\n"
    [incident] = report.json["incidents"]
    assert incident["rule"] == "pool-exhausted"
    assert 0.2 <= incident["waited_s"] < 5
    place = marks_in(report.source)["no close"]
    assert sum(holder.get("count", 1) for holder in incident["holders"]) == 15
    assert {(holder["where"]["function"], *place_of(holder["where"])) for holder in incident["holders"]} == {("answer", *place)}
    found = judged(report)
    assert found[("never-closed", SESSION, "answer", *place)] == 15   # the sixteenth had nothing to give back


# --- L2: only the happy path -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("app", "server", "arguments", "status"), [
    ("l02_happy_path", "uvicorn", [], 404),
    ("l02_async", "uvicorn", [], 500),
    ("l02_async", "uvicorn", ["--loop", "uvloop", "--http", "httptools"], 500),
    ("l02_happy_path", "hypercorn", [], 404),
    ("l02_happy_path", "gunicorn-asgi", [], 404),
    ("l02_flask", "gunicorn", ["--workers", "2"], 404),
    ("l02_flask", "gunicorn", ["--threads", "3"], 404),
    ("l02_flask", "gunicorn", ["--preload"], 404),
])
def test_l2_eleven_of_thirty_seven(served, app, server, arguments, status):
    with served(f"{app}:app", server=server, arguments=arguments) as client:
        assert client.statuses("GET", *items(right=26, wrong=11)) == {200: 26, status: 11}
    assert judged(client.report) == expected(SCENARIOS / f"{app}.py", ("never-closed", SESSION, "read_item", "happy path", 11))
    [finding] = {finding["where"]["line"]: finding for finding in client.report.findings if finding["severity"] == "error"}.values()
    assert finding["requests"] in (["GET /items/{number}"], ["GET /items/<int:number>"])


def test_l2_sqlalchemy_1_4(served, python14):
    with served("l02_happy_path:app", python=python14) as client:
        assert client.statuses("GET", *items(right=26, wrong=11)) == {200: 26, 404: 11}
    assert judged(client.report) == expected(SCENARIOS / "l02_happy_path.py", ("never-closed", SESSION, "read_item", "happy path", 11))


def test_l2_asyncpg(served, postgres):
    with served("l02_async:app", environment=on_postgresql(postgres, "postgresql+asyncpg")) as client:
        assert client.statuses("GET", *items(right=26, wrong=11)) == {200: 26, 500: 11}
    assert judged(client.report) == expected(SCENARIOS / "l02_async.py", ("never-closed", SESSION, "read_item", "happy path", 11))


def test_l2_reloading_server(served):
    """uvicorn --reload serves from a process that it spawns."""
    with served("l02_happy_path:app", arguments=["--reload"]) as client:
        assert client.statuses("GET", *items(right=26, wrong=11)) == {200: 26, 404: 11}
    assert judged(client.report) == expected(SCENARIOS / "l02_happy_path.py", ("never-closed", SESSION, "read_item", "happy path", 11))


def test_l2_workers(served):
    with served("l02_happy_path:app", arguments=["--workers", "2"]) as client:
        assert client.statuses("GET", *items(right=26, wrong=11)) == {200: 26, 404: 11}
    assert judged(client.report) == expected(SCENARIOS / "l02_happy_path.py", ("never-closed", SESSION, "read_item", "happy path", 11))


# --- L3, L4: generators --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("app", ["l03_generator_dependency", "l03_async"])
def test_l3_generator_behind_a_dependency(served, app):
    with served(f"{app}:app") as client:
        assert client.statuses("GET", *items(right=9, wrong=4)) == {200: 9, 500: 4}
    assert judged(client.report) == expected(SCENARIOS / f"{app}.py", ("never-closed", SESSION, "sessions", "generator", 4))


def test_l4_streams_whose_client_leaves(served):
    with served("l04_stream:app") as client:
        for _ in range(3):
            client.gone_after("/rows", 20000)
        for _ in range(2):
            client.gone_after("/async", 20000)
        assert client.statuses("GET", "/rows", "/async") == {200: 2}
    assert judged(client.report) == expected(
        SCENARIOS / "l04_stream.py",
        ("never-closed", SESSION, "rows_streamed.<locals>.rows", "stream", 3),
        ("never-closed", SESSION, "rows_streamed_async.<locals>.rows", "async stream", 2))


# --- L5: held while somebody else is asked --------------------------------------------------------------------------


def test_l5_held_long_is_not_a_leak(served, postgres):
    with served("l05_slow_call:app", options=["--held=4"], environment={**on_postgresql(postgres), "SLOW": "5.3"}) as client:
        assert client.get("/answer").status == 200
    found = judged(client.report)
    assert {rule for rule, *_ in found} == {"held-long", "idle-in-transaction"}
    assert judged(client.report, "error") == {}
    assert found[("held-long", CHECKOUT, "answer", *marks_in(SCENARIOS / "l05_slow_call.py")["begin"])] == 1
    begun = client.report.finding("idle-in-transaction")["begin_stack"]
    assert ("answer", *marks_in(SCENARIOS / "l05_slow_call.py")["begin"]) in [(frame["function"], *place_of(frame)) for frame in begun]


# --- L6: used after close ------------------------------------------------------------------------------------------------


def test_l6_sessions_used_after_their_close(served):
    with served("l06_reuse:app") as client:
        assert client.statuses("GET", "/task", "/task", "/task", "/generator", "/generator") == {200: 5}
    assert judged(client.report) == expected(
        SCENARIOS / "l06_reuse.py",
        ("used-after-close", SESSION, "note_visit", "background task", 3),
        ("never-closed", SESSION, "note_visit", "background task", 3),
        ("used-after-close", SESSION, "numbers", "generator", 2),
        ("never-closed", SESSION, "numbers", "generator", 2))


# --- L7: scoped_session ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("what", "function"), [("threads", "work"), ("middleware", "request")])
def test_l7_scoped_session_of_threads_that_end(run_scenario, each_python, what, function):
    report = run_scenario("l07_scoped_session", what, python=each_python)
    assert judged(report) == expected(report.source, ("never-closed", SESSION, function, what, 7))


# --- L8: no rollback -------------------------------------------------------------------------------------------------------


def test_l8_session_goes_on_after_a_swallowed_error(run_scenario, each_python):
    report = run_scenario("l08_swallowed_error", "session", python=each_python)
    assert judged(report) == expected(report.source, ("no-rollback-after-error", SESSION, "kept", "session", 3))


def test_l8_connection_goes_on_after_a_swallowed_error(run_scenario, postgres):
    report = run_scenario("l08_swallowed_error", "core", environment=on_postgresql(postgres))
    assert judged(report) == expected(report.source, ("no-rollback-after-error", CHECKOUT, "asked", "core", 2))


# --- L9: idle in transaction ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", ["postgresql+psycopg2", "postgresql+psycopg"])
def test_l9_session_idle_in_transaction(run_scenario, postgres, driver):
    report = run_scenario("l09_idle_in_transaction", "session", "5.3", environment=on_postgresql(postgres, driver))
    finding = report.finding("idle-in-transaction")
    assert (finding["count"], finding["severity"], finding["kind"]) == (1, "warning", SESSION)
    begun = [(frame["function"], *place_of(frame)) for frame in finding["begin_stack"]]
    assert ("session_forgotten", *marks_in(report.source)["begin"]) in begun
    assert len(judged(report)) == 1


def test_l9_psycopg2_idle_in_transaction(run_scenario, postgres):
    report = run_scenario("l09_idle_in_transaction", "psycopg2", "5.3", environment=postgres.environment)
    finding = report.finding("idle-in-transaction")
    assert (finding["count"], finding["kind"]) == (1, LIBPQ)
    assert ("connection_forgotten", *marks_in(report.source)["psycopg2 begin"]) in [
        (frame["function"], *place_of(frame)) for frame in finding["begin_stack"]]


# --- L10, L11: cancelled ----------------------------------------------------------------------------------------------------


def test_l10_endpoint_cancelled_by_a_middleware(served, postgres):
    with served("l10_cancelled:app", environment=on_postgresql(postgres, "postgresql+asyncpg")) as client:
        assert client.statuses("GET", "/wait/0", "/wait/30", "/wait/0", "/wait/30", "/wait/30") == {200: 2, 504: 3}
    assert judged(client.report) == expected(SCENARIOS / "l10_cancelled.py", ("never-closed", SESSION, "wait", "cancelled", 3))


# --- L12, L13: pools that wait -----------------------------------------------------------------------------------------------


def test_l12_second_connection_while_the_first_is_out(run_scenario, each_python):
    report = run_scenario("l12_nested", 2, python=each_python)
    assert judged(report) == expected(report.source, ("nested-checkout", CHECKOUT, "audited", "nested", 1))


def test_l12_pool_of_one_waits_for_itself(run_scenario):
    report = run_scenario("l12_nested", 1)
    assert report.stdout == "waited for itself\n"
    [incident] = report.json["incidents"]
    assert incident["rule"] == "pool-exhausted"
    [holder] = incident["holders"]
    assert ("order", *marks_in(report.source)["outer"]) == (holder["where"]["function"], *place_of(holder["where"]))
    assert ("nested-checkout", "audited") in {(rule, function) for rule, _, function, *_ in judged(report)}


def test_l13_threads_that_wait_for_threads(served):
    with served("l13_starvation:app") as client:
        answers = client.at_once(*["/items"] * 12)
        assert answers.get(500, 0) > 0, answers
    rules = {rule for rule, *_ in judged(client.report)}
    assert "pool-starved" in rules
    assert not rules & {"never-closed", "leaked"}


# --- L14: no pool -------------------------------------------------------------------------------------------------------------


def test_l14_engine_for_each_question(run_scenario, each_python):
    report = run_scenario("l14_churn", 12, python=each_python)
    assert judged(report) == expected(report.source, ("connection-churn", ENGINE, "asked", "engine", 12))


def test_l14_connection_for_each_request(served, postgres):
    with served("l14_churn_app:app", environment=postgres.environment) as client:
        assert client.statuses("GET", *["/"] * 12) == {200: 12}
    assert judged(client.report) == expected(SCENARIOS / "l14_churn_app.py", ("connection-churn", LIBPQ, "asked", "psycopg2", 12))


# --- L15, L16: `with` ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("python", ["python20", "python14"])   # built from source, and the wheel with a libpq of its own
def test_l15_with_does_not_close_psycopg2(run_scenario, postgres, python, request):
    report = run_scenario("l15_psycopg2_with", "dropped", environment=postgres.environment, python=request.getfixturevalue(python))
    assert judged(report) == expected(report.source, ("never-closed", LIBPQ, "asked", "with", 10))


def test_l15_kept_to_the_end_is_a_note(run_scenario, postgres):
    report = run_scenario("l15_psycopg2_with", "kept", environment=postgres.environment)
    assert judged(report) == {}
    notes = judged(report, "note")
    place = marks_in(report.source)["with"]
    assert sum(count for (_, kind, *where), count in notes.items() if kind == LIBPQ and where == ["asked", *place]) == 10


def test_l16_with_does_not_close_sqlite3(run_scenario):
    report = run_scenario("l16_sqlite_with")
    assert judged(report) == expected(report.source, ("never-closed", SQLITE3, "asked", "with", 10))


def test_l16_connection_of_a_library(run_scenario, tmp_path):
    library = tmp_path / "site-packages"
    library.mkdir()
    (library / "library.py").write_text("import sqlite3\nconnection = sqlite3.connect(':memory:')\n")
    report = run_scenario("l16_at_import", environment={"PYTHONPATH": str(library)})
    assert judged(report) == {}
    assert_looked_at(report, SQLITE3)


# --- L17: locked --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("what", "holder"), [("sqlite3", "noted_by_sqlite3"), ("session", "noted_by_session")])
def test_l17_writer_that_locks_the_others_out(run_scenario, what, holder):
    report = run_scenario("l17_locked", what)
    assert report.stdout == "locked\n"
    finding = report.finding("blocking-transaction")
    assert (finding["severity"], finding["count"]) == ("error", 1)
    frames = [frame["function"] for stack in ("stack", "begin_stack", "used_stack") for frame in finding.get(stack) or []]
    assert holder in frames, finding


# --- L18: owners that are gone -------------------------------------------------------------------------------------------------


def test_l18_connections_of_threads_that_are_gone(run_scenario):
    report = run_scenario("l18_thread_local")
    assert judged(report) == expected(report.source, ("never-closed", SQLITE3, "connection_of_this_thread", "thread", 9))
    assert report.finding("owner-gone")["count"] == 9


def test_l18_django(run_scenario):
    report = run_scenario("l18_django")
    assert judged(report) == expected(report.source, ("never-closed", SQLITE3, "request", "thread", 9))


# --- L19: fork -----------------------------------------------------------------------------------------------------------------


def test_l19_untouched_by_the_child(run_scenario, postgres):
    report = run_scenario("l19_fork", "untouched", environment=postgres.environment)
    assert judged(report) == {}
    assert_looked_at(report, LIBPQ)


@pytest.mark.parametrize("what", ["used", "closed"])
def test_l19_used_across_fork(run_scenario, postgres, what):
    report = run_scenario("l19_fork", what, environment=postgres.environment)
    facts = report.rows("SELECT fact.type, process.pid <> fact.other_pid FROM fact JOIN process ON process.id = fact.process")
    assert (f"{what}-elsewhere", 1) in facts
    finding = report.finding("used-across-fork")
    assert (finding["severity"], finding["kind"]) == ("error", LIBPQ)
    assert judged(report) == expected(report.source, ("used-across-fork", LIBPQ, "child", what, finding["count"]))


# --- L20: hangs ----------------------------------------------------------------------------------------------------------------


def test_l20_report_of_a_program_that_hangs(tmp_path, python20):
    """aiosqlite's thread is no daemon: Python waits for it, for ever. The report is made meanwhile, from outside."""
    source = SCENARIOS / "l20_aiosqlite_hangs.py"
    running = subprocess.Popen([COMMAND, "run", "-o", tmp_path / "run", "--", python20, source], cwd=tmp_path, text=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert [running.stdout.readline(), running.stdout.readline()] == ["(42,)\n", "the end of main\n"]
        json_file = tmp_path / "report.json"
        done = subprocess.run([COMMAND, "report", "-o", tmp_path / "report", f"--format=json={json_file}", tmp_path / "run" / "traces"],
                              cwd=tmp_path, capture_output=True, text=True, timeout=WATCHDOG, check=False)
        report = Report(SimpleNamespace(status=done.returncode, stdout=done.stdout, stderr=done.stderr), tmp_path / "report", json_file)
        [process] = report.json["processes"]
        assert process["ended"] == "running"
        assert report.rows("SELECT open FROM kind_count WHERE kind = ?", SQLITE3) == [(1,)]
        assert running.poll() is None
    finally:
        killed_with_descendants(running.pid)
        running.communicate()


# --- whole programs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_that_forget(run_scenario, method):
    report = run_scenario("processes", method)
    assert judged(report) == expected(report.source, ("never-closed", SESSION, "work", "process", 6))


@pytest.mark.parametrize(("what", "function", "mark", "count"), [
    ("threads", "in_threads.<locals>.forgets", "thread", 8), ("asyncio", "in_tasks.<locals>.forgets", "task", 5)])
def test_tasks_that_forget(run_scenario, what, function, mark, count):
    report = run_scenario("tasks", what)
    assert judged(report) == expected(report.source, ("never-closed", SESSION, function, mark, count))


def test_application_of_sqlmodels_tutorial(served):
    with served("sqlmodel_app:app") as client:
        for _ in range(3):
            assert client.post("/heroes/", {"name": "Deadpond"}).status == 200
            assert client.statuses("GET", "/heroes/", "/heroes/1", "/heroes/99", "/newest") == {200: 3, 404: 1}
    assert judged(client.report) == expected(SCENARIOS / "sqlmodel_app.py", ("never-closed", SESSION, "read_newest", "newest", 3))
