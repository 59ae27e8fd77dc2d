# SPDX-License-Identifier: Apache-2.0
"""However a program ends, what it had opened is in the report; what cannot be known is not claimed."""
import pytest

CONNECTION = "sqlite3.connection"


def ended(report):
    return [process["ended"] for process in report.json["processes"]]


@pytest.mark.parametrize("how", ["exit", "return"])
def test_normal_exit(run_unclosed, how):
    report = run_unclosed("endings", how)
    assert (report.status, report.counts, ended(report)) == (23, {("leaked", CONNECTION): 5}, ["exit 0"])


def test_kill_9_in_the_middle_of_a_loop(run_unclosed):
    report = run_unclosed("endings", "kill-in-loop", options=["--expect-signal=KILL"])
    [process] = report.json["processes"]
    said = len(report.stdout)
    assert said >= 3000 and process["opened"] - said in (0, 1)
    assert process["ended"] == "signal 9" and process["closed"] == 0
    [finding] = report.findings
    assert finding["count"] == process["opened"]
    assert finding["rule"] != "leaked" and "could not tell leaked from referenced" in finding["evidence"]


@pytest.mark.parametrize("how, signal", [("abort", 6), ("term", 15), ("kill", 9)])
def test_signals(run_unclosed, how, signal):
    report = run_unclosed("endings", how)
    assert (report.status, ended(report)) == (128 + signal, [f"signal {signal}"])
    assert report.counts == {("in-use-at-termination", CONNECTION): 5}
    [finding] = report.findings
    assert "killed" in finding["evidence"] and stack_begins(finding, "forget")


def stack_begins(finding, function):
    return finding["stack"][0]["function"] == function


@pytest.mark.parametrize("how", ["_exit", "_Exit", "quick_exit"])
def test_exits_without_handlers(run_unclosed, how):
    report = run_unclosed("endings", how)
    assert ended(report) == ["exit 0"]
    assert sum(report.counts.values()) == 5


def test_exec_of_another_program(run_unclosed):
    report = run_unclosed("endings", "exec")
    assert "exec" in ended(report)
    assert sum(report.counts.values()) == 5 and "leaked" not in [finding["rule"] for finding in report.findings]
    [finding] = report.findings
    assert "became another program" in finding["evidence"] + finding["title"]


def test_exec_of_itself_does_not_overwrite_the_first_trace(run_unclosed):
    report = run_unclosed("endings", "exec-self")
    assert sorted(ended(report)) == ["exec", "exit 0"]
    assert len({process["pid"] for process in report.json["processes"]}) == 1
    assert len(report.traces) == 2 and report.opened == {CONNECTION: 10}


def test_exec_that_fails_is_no_end(run_unclosed):
    report = run_unclosed("endings", "exec-fails")
    assert (ended(report), report.counts) == (["exit 0"], {("leaked", CONNECTION): 5})


def test_main_leaves_by_pthread_exit(run_unclosed):
    """The process ends with its last thread, which opens one more."""
    report = run_unclosed("endings", "pthread_exit")
    assert (ended(report), report.opened) == (["exit 0"], {CONNECTION: 6})
    assert sum(report.counts.values()) == 6
