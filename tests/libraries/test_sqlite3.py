# SPDX-License-Identifier: Apache-2.0
"""SQLite: what opens, what closes, what refuses; transactions; a leak's children are part of it."""
import pytest

from conftest import built, line_of, stack_of

CONNECTION, STATEMENT = "sqlite3.connection", "sqlite3.statement"


@pytest.fixture
def case(run_unclosed):
    def run(what, **more):
        return run_unclosed("sqlite_cases", what, **more)
    return run


@pytest.mark.parametrize("what, kind, count", [("prepare", STATEMENT, 6), ("open", CONNECTION, 3), ("blob", "sqlite3.blob", 1),
                                               ("backup", "sqlite3.backup", 1)])
def test_every_way_to_open_and_close(case, what, kind, count):
    report = case(what)
    assert (report.status, report.counts, report.json["verdict"]) == (0, {}, "clean")
    assert report.opened[kind] == count


def test_failed_open_that_was_never_closed(case):
    report = case("failed")
    assert (report.status, report.counts) == (23, {("failed-open-not-closed", CONNECTION): 1})
    finding = report.finding("failed-open-not-closed")
    assert finding["target"] == "/nonexistent/directory/shop.db" and "SQLITE_CANTOPEN" in finding["evidence"]
    assert (finding["where"]["function"], finding["where"]["line"]) == ("forget_failed", line_of("sqlite_cases.c", "/* failed */"))


def test_failed_open_that_was_closed_is_fine(case):
    assert (case("failed-closed").status, case("failed-closed").counts) == (0, {})


def test_lost_statements_of_a_connection_that_is_kept(case):
    report = case("statements")
    assert report.counts[("leaked", STATEMENT)] == 3 and report.status == 23
    finding = report.finding("leaked")
    assert stack_of(finding)[0] == "forget_statements" and finding["where"]["line"] == line_of("sqlite_cases.c", "/* prepared */")


def test_lost_connection_takes_its_statements_along(case):
    """One finding for the root cause, with the statements as its children."""
    report = case("connection-with-statements")
    assert report.counts == {("leaked", CONNECTION): 1}
    assert [(child["kind"], child["count"]) for child in report.finding("leaked")["children"]] == [(STATEMENT, 3)]


def test_blob_in_the_way_of_a_close(case):
    report = case("blob-in-the-way")
    assert report.counts == {("close-failed", CONNECTION): 1}
    assert [child["kind"] for child in report.finding("close-failed")["children"]] == ["sqlite3.blob"]


def test_close_with_unsaved_rows(case):
    report = case("wrote", options=["--fail-on=warning"])
    assert (report.status, report.counts) == (23, {("closed-in-transaction", CONNECTION): 1})
    finding = report.finding("closed-in-transaction")
    assert stack_of(finding, "begin_stack")[:3] == ["done", "begin", "main"]
    assert finding["where"]["line"] == line_of("sqlite_cases.c", "/* closed */")


@pytest.mark.parametrize("what", ["read", "committed"])
def test_close_that_loses_nothing(case, what):
    report = case(what)
    assert (report.status, report.counts) == (0, {})
    assert report.opened["sqlite3.transaction"] == 1


def test_busy_is_recorded_with_its_stack(case):
    report = case("busy")
    rows = report.rows("SELECT type, code, where_function FROM fact JOIN stack ON stack.id = fact.stack")
    assert rows == [("busy", 5, "wait_in_vain")]
    assert report.counts == {("blocking-transaction", CONNECTION): 1}


def test_a_module_with_the_library_built_in_is_seen(run_unclosed):
    """Its calls are the module's own, though they come from the object that defines the functions."""
    report = run_unclosed("embedded_library", built("embeds_library.so"))
    assert report.opened == {CONNECTION: 3}
    assert report.counts == {("leaked", CONNECTION): 2}
