# SPDX-License-Identifier: Apache-2.0
"""A closed handle that is closed or used again: three stacks, also when the program does not survive it."""
import pytest

from conftest import built, line_of, stack_of


def assert_three_stacks(finding, again, line=None):
    assert stack_of(finding)[:2] == ["open_it", "main"]
    assert stack_of(finding, "closed_stack")[:2] == ["close_it", "main"]
    assert stack_of(finding, "used_stack")[:2] == [again, "main"]
    assert finding["closed_stack"][0]["line"] == line_of("twice.c", "/* first close */")
    assert line is None or finding["used_stack"][0]["line"] == line_of("twice.c", line)


def test_closed_twice(run_unclosed):
    report = run_unclosed("twice", "close", options=["--exit-status=findings"])
    assert (report.status, report.counts) == (23, {("closed-twice", "sqlite3.connection"): 1})
    assert_three_stacks(report.finding("closed-twice"), "close_again", "/* second close */")


@pytest.mark.parametrize("use", ["exec", "prepare"])
def test_used_after_close(run_unclosed, use):
    report = run_unclosed("twice", use, options=["--exit-status=findings"])
    assert (report.status, report.counts) == (23, {("used-after-close", "sqlite3.connection"): 1})
    assert_three_stacks(report.finding("used-after-close"), f"{use}_it", "/* use */" if use == "exec" else None)


@pytest.mark.parametrize("what, rule, again", [("close", "closed-twice", "close_again"), ("exec", "used-after-close", "exec_it")])
def test_and_then_it_crashes(run_unclosed, what, rule, again):
    report = run_unclosed("twice", what, "crash")
    assert report.status == 128 + 11
    assert report.json["processes"][0]["ended"] == "signal 11"
    assert_three_stacks(report.finding(rule), again)


def test_the_library_gets_the_second_close_all_the_same(run_unclosed, plain):
    """Nothing is prevented: the program ends as it would have."""
    report = run_unclosed("twice", "close", options=["--exit-status=program"])
    assert report.status == plain(built("twice"), "close").status % 256
    assert report.finding("closed-twice")
