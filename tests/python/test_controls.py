# SPDX-License-Identifier: Apache-2.0
"""What looks like a leak and is none: nothing here may be more than a note, and it must have been looked at.

N1 to N20 are those of the evidence, as far as they concern Python (N3 is test_scenarios' L19 `untouched`, N10 is ODBC's).
"""
import http.client
import signal
import threading
from contextlib import suppress

import pytest

from .conftest import SCENARIOS, assert_looked_at, expected, judged
from .test_scenarios import CHECKOUT, LIBPQ, SESSION, SQLITE3, on_postgresql


def assert_silent(report, *kinds):
    assert judged(report) == {}
    assert report.json["verdict"] in ("clean", "note"), report.stderr
    assert_looked_at(report, *kinds)


def everything_right(client):
    """Every endpoint of n00_right, the right way and with an error on the way; all is to be silent."""
    for kind in ("dependency", "async", "with", "begin", "core"):
        assert client.statuses("GET", *[f"/{kind}/{number}" for number in (1, 42, 3, 42, 5)]) == {200: 3, 500: 2}
    assert client.statuses("GET", *[f"/{kind}/{number}" for number in (1, 2, 3) for kind in ("async-core", "scoped", "task", "rollback")]) == {200: 12}
    assert client.at_once(*[f"/{kind}/{number}" for number in (1, 2) for kind in ("dependency", "async", "task", "core")]) == {200: 8}
    assert client.get("/stream").status == 200


@pytest.mark.parametrize(("server", "arguments"), [
    ("uvicorn", []), ("uvicorn", ["--loop", "uvloop"]), ("gunicorn-asgi", ["--workers", "2"]), ("hypercorn", [])])
def test_n0_everything_right(served, server, arguments):
    with served("n00_right:app", server=server, arguments=arguments) as client:
        everything_right(client)
    assert_silent(client.report, SESSION, CHECKOUT, SQLITE3)


def test_n0_on_postgresql(served, postgres):
    """psycopg 3 in both worlds; tables of its own, for other tests use the same server."""
    with served("n00_right:app", environment={**on_postgresql(postgres, "postgresql+psycopg"), "PGOPTIONS": "-c search_path=pg_temp"}) as client:
        assert client.statuses("GET", *[f"/{kind}/{number}" for number in (1, 42) for kind in ("dependency", "async", "with", "core")]) == {
            200: 4, 500: 4}
    assert_silent(client.report, SESSION, CHECKOUT)


@pytest.mark.parametrize("what", ["sqlalchemy", "async"])
def test_n1_pools_are_not_disposed_of(run_scenario, postgres, what):
    report = run_scenario("n01_pools", what, environment=on_postgresql(postgres, "postgresql+psycopg"))
    assert_silent(report, CHECKOUT)


@pytest.mark.parametrize("python", ["python14", "python21"])
def test_n1_pools_of_other_releases(run_scenario, postgres, python, request):
    report = run_scenario("n01_pools", "sqlalchemy", environment=on_postgresql(postgres), python=request.getfixturevalue(python))
    assert_silent(report, CHECKOUT, LIBPQ)


def test_n2_singletons(run_scenario, postgres):
    assert_silent(run_scenario("n02_singleton", environment=postgres.environment), SQLITE3, LIBPQ, CHECKOUT)


def test_n4_statement_caches(run_scenario, postgres):
    assert_silent(run_scenario("n04_statements", environment=postgres.environment), SQLITE3)


def test_n5_connections_of_live_threads(run_scenario):
    report = run_scenario("n05_thread_local", ends_with=128 + signal.SIGTERM)
    assert report.stdout == "done\n"
    assert_silent(report, SQLITE3, CHECKOUT)


def test_n5_connections_that_threads_keep_for_requests(run_scenario):
    """Each was opened for a request and used by the next ones; it goes with its thread."""
    assert_silent(run_scenario("n05_kept_for_requests"), SQLITE3)


def test_n6_connections_that_listen(run_scenario, postgres):
    assert_silent(run_scenario("n06_listen", environment=postgres.environment, options=["--held=0.5"]), LIBPQ)


def test_n7_stream_that_really_fetches(served, postgres):
    with served("n07_server_cursor:app", environment=on_postgresql(postgres), options=["--held=0.9"]) as client:
        assert client.get("/rows").text.splitlines() == [str(number) for number in range(1, 61)]
    assert_silent(client.report, SESSION, LIBPQ)


@pytest.mark.parametrize("arguments", [[], ["-p", "xdist", "-n", "2"]])
def test_n8_tests_with_one_engine(run_unclosed, python20, tmp_path, postgres, arguments):
    (tmp_path / "test_items.py").write_text((SCENARIOS / "n08_tests.py").read_text())
    environment = {**on_postgresql(postgres), "PGOPTIONS": "-c search_path=pg_temp", "PYTEST_XDIST_WORKER": None, "PYTHONPATH": None,
                   "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    report = run_unclosed(python20, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, "test_items.py", environment=environment)
    assert report.status == 0, report.stdout + report.stderr
    assert "6 passed" in report.stdout
    assert_silent(report, SESSION, LIBPQ)


@pytest.mark.parametrize("python", ["python14", "python20"])
def test_n9_pools_that_close_connections_by_themselves(run_scenario, python, request):
    report = run_scenario("n09_recycle", python=request.getfixturevalue(python))
    assert {rule for rule, *_ in judged(report)} <= {"nested-checkout"}   # that one is true: two at a time
    assert_looked_at(report, CHECKOUT, SQLITE3)


def test_n11_database_in_memory(run_scenario, each_python):
    assert_silent(run_scenario("n11_in_memory", python=each_python), SQLITE3, CHECKOUT)


def asked_in_vain(client, path):
    with suppress(OSError, http.client.HTTPException):
        client.get(path)


@pytest.mark.parametrize(("stop", "still_open"), [(signal.SIGTERM, 1), (signal.SIGINT, 0)])   # after SIGINT Python ends by itself
def test_n13_stopped_in_the_middle_of_a_request(served, stop, still_open):
    with served("n00_right:app", arguments=["--timeout-graceful-shutdown", "1"], stop=stop) as client:
        asking = threading.Thread(target=asked_in_vain, args=(client, "/slow/3"))
        asking.start()
        while client.get("/busy").text != "1":
            pass
    asking.join()
    assert_silent(client.report, SESSION)
    assert client.report.rows("SELECT count(*) FROM open_handle WHERE kind = ?", SESSION) == [(still_open,)]


def test_n13_reload_in_the_middle(run_scenario):
    """The worker of `uvicorn --reload` is killed; that is the end of everything it had, and no leak."""
    report = run_scenario("n13_terminated", ends_with=0)
    assert_silent(report, SESSION, CHECKOUT)


def test_n15_closed_again(run_scenario, postgres, each_python):
    assert_silent(run_scenario("n15_closed_again", environment=on_postgresql(postgres), python=each_python), SESSION, SQLITE3, LIBPQ)


def test_n16_same_address(run_scenario):
    report = run_scenario("n16_same_address")
    assert_silent(report, SESSION, SQLITE3)
    assert (report.opened[SESSION], report.opened[SQLITE3]) >= (500, 500)


@pytest.mark.parametrize("implementation", ["python", "binary"])
def test_n17_reset(run_scenario, postgres, implementation):
    report = run_scenario("n17_reset", environment={**postgres.environment, "PSYCOPG_IMPL": implementation})
    assert_silent(report, LIBPQ)
    assert report.opened[LIBPQ] == 1


def test_n18_closed_a_moment_later(served):
    with served("n18_closed_a_moment_later:app") as client:
        assert client.statuses("GET", *["/"] * 8) == {200: 8}
        while client.get("/closed").text != "8":
            pass
    assert_silent(client.report, SESSION)


def test_n19_exit_while_threads_work(run_scenario):
    assert_silent(run_scenario("n19_exit_in_use"), SESSION, SQLITE3)


def test_n20_reading_without_a_commit(run_scenario, each_python):
    assert_silent(run_scenario("n20_reading", "read", python=each_python), CHECKOUT)


def test_n20_writing_without_a_commit(run_scenario):
    report = run_scenario("n20_reading", "write")
    assert judged(report) == expected(report.source, ("closed-in-transaction", CHECKOUT, "written", "write", 5))
