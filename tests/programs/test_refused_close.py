# SPDX-License-Identifier: Apache-2.0
"""sqlite3_close refuses while a statement is alive, sqlite3_close_v2 puts it off: a finding if it stays so."""
import pytest

from conftest import line_of, stack_of


@pytest.mark.parametrize("how, function, mark", [("close", "give_up", "/* refused */"), ("close_v2", "give_up_v2", "/* zombie */")])
def test_and_then_dropped(run_unclosed, how, function, mark):
    report = run_unclosed("refused_close", how)
    assert (report.status, report.counts) == (23, {("close-failed", "sqlite3.connection"): 1})
    finding = report.finding("close-failed")
    assert finding["closed_stack"][0]["function"] == function
    assert finding["closed_stack"][0]["line"] == line_of("refused_close.c", mark)
    assert stack_of(finding)[0] == "main"


@pytest.mark.parametrize("how", ["close", "close_v2"])
def test_names_the_statement_that_was_in_the_way(run_unclosed, how):
    report = run_unclosed("refused_close", how)
    [child] = report.finding("close-failed")["children"]
    assert (child["kind"], child["count"]) == ("sqlite3.statement", 1)
    assert "prepare" in str(child) and str(line_of("refused_close.c", "/* prepared */")) in str(child)


@pytest.mark.parametrize("how", ["close", "close_v2"])
def test_and_closed_after_all(run_unclosed, how):
    report = run_unclosed("refused_close", how, "later")
    assert (report.status, report.counts, report.json["verdict"]) == (0, {}, "clean")
