# SPDX-License-Identifier: Apache-2.0
"""Corners of libpq: what it makes itself, and commands whose results come later."""
import pytest

CONNECTION = "libpq.connection"


@pytest.fixture
def detail(run_unclosed, postgres):
    def run(what):
        report = run_unclosed("libpq_details", what, environment=postgres.environment, options=["--fail-on=warning"])
        assert report.stdout == "well\n"
        return report
    return run


def test_a_notice_is_nothing_that_the_program_closed(detail):
    assert detail("notices").counts == {}


@pytest.mark.parametrize("what", ["insert", "copy in"])
def test_writes_whose_results_come_later(detail, what):
    assert detail(what).counts == {("closed-in-transaction", CONNECTION): 1}


@pytest.mark.parametrize("what", ["select", "copy out", "commit"])
def test_what_loses_nothing(detail, what):
    assert detail(what).counts == {}
