# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL's client library against a real server."""
import pytest

from conftest import SOURCES, line_of, stack_of

CONNECTION, RESULT = "libpq.connection", "libpq.result"


@pytest.fixture
def case(run_unclosed, postgres):
    def run(what, info="", **more):
        return run_unclosed("libpq_cases", what, info, environment=postgres.environment, **more)
    return run


def test_ten_lost_three_kept_the_rest_closed(case):
    report = case("counted")
    assert (report.status, report.counts) == (23, {("leaked", CONNECTION): 10, ("open-at-exit", CONNECTION): 3})
    where = report.finding("leaked")["where"]
    assert (where["function"], where["file"], where["line"]) == ("forget", str(SOURCES / "libpq_cases.c"),
                                                                 line_of("libpq_cases.c", "/* lost */"))
    [process] = report.json["processes"]
    assert (process["opened"], process["closed"], process["watched"]) == (313, 300, ["libpq"])


def test_target_is_what_the_library_connected_to(case, postgres):
    target = case("counted").finding("leaked")["target"]
    assert target.startswith("postgresql://postgres@/postgres") and str(postgres.host) in target


# --- failed connects ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["failed", "failed-params"])
def test_failed_connect_that_was_never_finished(case, what):
    report = case(what, "dbname=nowhere")
    assert (report.status, report.counts) == (23, {("failed-open-not-closed", CONNECTION): 1})
    finding = report.finding("failed-open-not-closed")
    assert finding["severity"] == "error" and "/nowhere" in finding["target"]


def test_failed_connect_is_found_at_its_line(case):
    where = case("failed", "dbname=nowhere").finding("failed-open-not-closed")["where"]
    assert (where["function"], where["line"]) == ("fail_to_connect", line_of("libpq_cases.c", "/* failed */"))


def test_failed_connect_that_was_finished_is_fine(case):
    report = case("failed-finished", "dbname=nowhere")
    assert (report.status, report.counts, report.json["verdict"]) == (0, {}, "clean")


@pytest.mark.parametrize("what", ["failed", "failed-params", "failed-finished"])
@pytest.mark.parametrize("info", ["user=secret password=not-{} dbname=postgres", "postgresql://secret:not-{}@/postgres?host={host}",
                                  "user=secret password='not-{}'"])
def test_no_password_anywhere(case, postgres, what, info):
    """Not in the traces, the database, the page, the JSON or the summary: also not in the command line that they hold."""
    report = case(what, info.format(postgres.password, host=postgres.host), options=["--format=text=summary.txt"])
    places = [path for path in report.directory.rglob("*") if path.is_file()]
    assert {".db", ".html", ".trace"} <= {path.suffix for path in places}
    for path in [*places, report.directory.with_suffix(".json")]:
        assert not holds(path, postgres.password.encode()), path
    assert postgres.password not in report.stderr


def holds(path, needle):
    """Traces are sparse files of 256 MiB: only what has storage is read."""
    import os
    with open(path, "rb") as file:
        at, size = 0, path.stat().st_size
        while at < size:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                return False
            end = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            if needle in os.pread(file.fileno(), end - at, at):
                return True
            at = end
    return False


def test_the_right_password_is_kept_out_too(case, postgres):
    report = case("counted", f"user=secret password={postgres.password} dbname=postgres")
    assert report.status == 23
    assert not [path for path in report.directory.rglob("*") if path.is_file() and holds(path, postgres.password.encode())]


# --- connecting by and by -----------------------------------------------------------------------------------------------


def test_connection_made_by_polling_is_one_connection(case):
    report = case("slowly")
    assert (report.status, report.counts, report.opened) == (23, {("leaked", CONNECTION): 1}, {CONNECTION: 1})


def test_polling_that_fails_is_a_failed_open(case):
    assert case("slowly", "dbname=nowhere").counts == {("failed-open-not-closed", CONNECTION): 1}


# --- results ------------------------------------------------------------------------------------------------------------


def test_results_not_cleared(case):
    report = case("result", options=["--fail-on=warning"])
    assert (report.status, report.counts) == (23, {("result-not-freed", RESULT): 5})
    finding = report.finding("result-not-freed")
    assert finding["severity"] == "warning" and stack_of(finding)[0] == "forget_result"
    assert finding["where"]["line"] == line_of("libpq_cases.c", "/* result */")
    assert case("result", name="by-default").status == 0


def test_result_of_a_lost_connection_is_part_of_its_finding(case):
    report = case("result-and-connection")
    assert report.counts == {("leaked", CONNECTION): 1}
    assert [(child["kind"], child["count"]) for child in report.finding("leaked")["children"]] == [(RESULT, 1)]


def test_every_way_to_get_a_result_is_counted(case):
    report = case("all-results")
    assert (report.status, report.counts) == (0, {})
    assert report.opened == {CONNECTION: 1, RESULT: 9, "libpq.cancel": 1}


# --- transactions ---------------------------------------------------------------------------------------------------------


def test_finish_inside_a_transaction_that_wrote(case):
    report = case("wrote", options=["--fail-on=warning"])
    assert (report.status, report.counts) == (23, {("closed-in-transaction", CONNECTION): 1})
    finding = report.finding("closed-in-transaction")
    assert finding["severity"] == "warning"
    assert (stack_of(finding)[0], stack_of(finding, "begin_stack")[0], stack_of(finding, "closed_stack")[0]) == ("connect_it", "begin",
                                                                                                            "finish")
    assert finding["begin_stack"][0]["line"] == line_of("libpq_cases.c", "/* begun */")
    assert finding["where"]["line"] == line_of("libpq_cases.c", "/* finished */")


@pytest.mark.parametrize("what", ["read", "committed", "failed-in"])
def test_finish_that_loses_nothing(case, what):
    """A transaction that only read, that was committed, that the server had already given up."""
    report = case(what)
    assert (report.status, report.counts) == (0, {})


def test_transactions_are_counted(case):
    opened = dict(case("committed").rows("SELECT kind, sum(opened) FROM kind_count GROUP BY kind"))
    assert opened["libpq.transaction"] == 1
