# SPDX-License-Identifier: Apache-2.0
"""Leaked means: no pointer is left. What a program can still reach is never called leaked."""
import pytest

CONNECTION = "sqlite3.connection"


def test_static_destructors_that_close_leave_nothing_to_say(run_unclosed):
    report = run_unclosed("containers", "free")
    assert (report.status, report.counts, report.opened) == (0, {}, {CONNECTION: 60})
    assert report.json["verdict"] == "clean"


def test_containers_that_do_not_close_are_a_note(run_unclosed):
    report = run_unclosed("containers", "keep")
    assert (report.status, report.counts) == (0, {("open-at-exit", CONNECTION): 60})


@pytest.mark.parametrize("where", ["tls", "thread-tls", "thread-stack", "main-stack", "heap-chain", "interior", "mapping", "tagged"])
def test_reachable_from(run_unclosed, where):
    report = run_unclosed("reachable", where)
    assert (report.status, report.counts) == (0, {("open-at-exit", CONNECTION): 1})


def test_register_of_a_running_thread(run_unclosed):
    """It cannot be seen, and so it is not judged."""
    report = run_unclosed("reachable", "thread-register")
    assert report.status == 0
    assert report.counts in ({("in-use-at-termination", CONNECTION): 1}, {("open-at-exit", CONNECTION): 1})


def test_chunk_that_nobody_reaches_keeps_nothing(run_unclosed):
    report = run_unclosed("reachable", "lost-chain")
    assert (report.status, report.counts) == (23, {("leaked", CONNECTION): 1})


def test_a_stale_pointer_in_stdouts_buffer_hides_nothing(run_unclosed):
    """The buffer is a block of malloc, and holds what was in its memory before."""
    report = run_unclosed("stale_buffer")
    assert report.counts == {("leaked", "sqlite3.connection"): 1}
