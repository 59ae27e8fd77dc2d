# SPDX-License-Identifier: Apache-2.0
"""A program that loses 10 connections, keeps 3 and closes 1,000: exactly that is said, in every form."""
import pytest

from conftest import COMMAND, SOURCES, built, finished, line_of

SOURCE = str(SOURCES / "counted.c")


@pytest.fixture
def report(run_unclosed):
    return run_unclosed("counted")


def test_ten_are_leaked_three_are_a_note_and_nothing_else(report):
    assert report.counts == {("leaked", "sqlite3.connection"): 10, ("open-at-exit", "sqlite3.connection"): 3}
    assert [report.finding(rule)["severity"] for rule in ("leaked", "open-at-exit")] == ["error", "note"]


def test_exit_status(report):
    assert report.status == 23


def test_the_leak_is_at_the_functions_own_line(report):
    where = report.finding("leaked")["where"]
    assert where == {"function": "forget", "file": SOURCE, "line": line_of("counted.c", "/* lost */"), "module": str(built("counted")),
                     "language": "c"}
    assert report.finding("open-at-exit")["where"]["line"] == line_of("counted.c", "/* kept */")


def test_the_whole_stack_is_there(report):
    functions = [frame["function"] for frame in report.finding("leaked")["stack"]]
    assert functions[:2] == ["forget", "main"] and functions[-1] == "_start"


def test_process_is_counted(report):
    [process] = report.json["processes"]
    assert (process["opened"], process["closed"], process["open"]) == (1013, 1000, 13)
    assert (process["ended"], process["dropped_records"], process["watched"]) == ("exit 0", 0, ["sqlite3"])


def test_sites_are_counted(report):
    rows = report.rows("SELECT where_function, sum(opened), sum(closed), sum(site.open) FROM site "
                       "JOIN stack ON stack.id = site.stack GROUP BY 1")
    assert rows == [("forget", 10, 0, 10), ("keep", 3, 0, 3), ("opened", 1000, 1000, 0)]


def test_summary_has_verdict_first_and_status_last(report):
    lines = [line for line in report.stderr.splitlines() if line]
    assert lines[0].startswith("unclosed: FAILED") and lines[-1].startswith("exit   23")
    assert any("leaked 10×" in line and "counted.c" in line and "forget" in line for line in lines)


# --- the JSON has the shape that DESIGN promises ------------------------------------------------------------------------

NUMBER, TEXT, NULL = (int, float), str, type(None)
PLACE = {"function": TEXT, "file": (TEXT, NULL), "line": (int, NULL), "module": (TEXT, NULL), "language": TEXT}
SCHEMA = {
    "schema": int,
    "verdict": TEXT,
    "processes": [{"host": (TEXT, NULL), "pid": int, "parent": (int, NULL), "started": (TEXT, NULL), "label": (TEXT, NULL),
                   "command": (TEXT, NULL), "ended": TEXT, "opened": int, "closed": int, "open": int, "dropped_records": int,
                   "watched": [TEXT], "unwatched": [TEXT]}],
    "findings": [{"id": TEXT, "rule": TEXT, "severity": TEXT, "kind": TEXT, "count": int, "title": TEXT, "evidence": TEXT,
                  "where": PLACE, "stack": [PLACE], "target": (TEXT, NULL), "oldest_s": (*NUMBER, NULL),
                  "held_s": {"p50": (*NUMBER, NULL), "p99": (*NUMBER, NULL), "max": (*NUMBER, NULL)},
                  "threads": list, "requests": list, "tests": list, "children": list, "suppressed": (TEXT, NULL), "baseline": TEXT}],
    "incidents": list,
}


def assert_shape(value, shape, path="$"):
    if isinstance(shape, dict):
        assert shape.keys() <= value.keys(), f"{path} lacks {shape.keys() - value.keys()}"
        for key in shape:
            assert_shape(value[key], shape[key], f"{path}.{key}")
    elif isinstance(shape, list):
        for index, item in enumerate(value):
            assert_shape(item, shape[0], f"{path}[{index}]")
    else:
        assert isinstance(value, shape) and not isinstance(value, bool), f"{path} is {value!r}"


def test_json_schema(report):
    assert_shape(report.json, SCHEMA)
    assert report.json["schema"] == 1 and report.json["verdict"] == "error"
    for finding in report.findings:
        assert len(finding["id"]) == 16 and int(finding["id"], 16)


def test_identity_does_not_depend_on_the_run(run_unclosed):
    first, second = run_unclosed("counted"), run_unclosed("counted", name="again")
    assert [finding["id"] for finding in first.findings] == [finding["id"] for finding in second.findings]
    assert len(first.findings) == 2


def test_page_says_the_same_without_scripts(report):
    page = (report.directory / "index.html").read_text()
    assert "forget" in page and "counted.c" in page and "leaked" in page


# --- what fails is for the user to say ----------------------------------------------------------------------------------


@pytest.mark.parametrize("option, status", [("--fail-on=never", 0), ("--fail-on=note", 23), ("--exitcode=7", 7), ("--rule=leaked=note", 0),
                                            ("--rule=leaked=off", 0), ("--exit-status=program", 0), ("--require=libpq.connection", 23)])
def test_options_decide_the_exit_status(run_unclosed, option, status):
    report = run_unclosed("counted", options=[option])
    assert (report.status, report.opened) == (status, {"sqlite3.connection": 1013})


def test_requiring_what_was_not_seen_fails(run_unclosed):
    assert run_unclosed("counted", options=["--require=libpq.connection", "--rule=leaked=off"]).status not in (0, 23)
    assert run_unclosed("counted", options=["--require=sqlite3.connection", "--rule=leaked=off"], name="seen").status == 0


def test_report_from_the_trace_says_the_same(run_unclosed, report_of):
    report = run_unclosed("counted")
    again = report_of(*report.traces)
    assert (again.status, again.findings) == (23, report.findings)


def test_json_on_stdout_is_for_report_only(run_unclosed, tmp_path):
    report = run_unclosed("counted")
    done = finished([COMMAND, "report", "--format=json=-", *report.traces], cwd=tmp_path)
    assert '"leaked"' in done.stdout
    assert run_unclosed("counted", options=["--format=json=-"]).status == 2
