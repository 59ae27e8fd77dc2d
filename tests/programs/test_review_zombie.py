# SPDX-License-Identifier: Apache-2.0
"""A connection that sqlite3_close_v2 has accepted is closed for its program, though it lives until its last statement is gone."""
import pytest

from conftest import stack_of


@pytest.mark.parametrize("what, rule, again", [("close", "closed-twice", "close_again"), ("use", "used-after-close", "use_it")])
def test_closed_or_used_again(run_unclosed, what, rule, again):
    report = run_unclosed("zombie", what)
    finding = report.finding(rule)
    assert report.counts == {(rule, "sqlite3.connection"): 1}
    assert (stack_of(finding, "closed_stack")[0], stack_of(finding, "used_stack")[0]) == ("close_it", again)


def test_its_statements_may_be_used(run_unclosed):
    report = run_unclosed("zombie")
    assert (report.status, report.counts, report.json["verdict"]) == (0, {}, "clean")
