# SPDX-License-Identifier: Apache-2.0
"""Whose a handle is that is opened in a task or a thread, and where the user's frames are behind a greenlet."""
from conftest import finished

from .conftest import HERE, marks_in

APPS = HERE / "apps"


def kept(report):
    """{what a handle that is still open is to: (its owner's kind, label, why that ended, has it ended)}"""
    assert report.rows("SELECT name, problem FROM adapter WHERE problem IS NOT NULL") == []
    rows = report.rows("SELECT handle.target, owner.kind, owner.label, owner.end_reason, owner.ended_at IS NOT NULL"
                       " FROM handle LEFT JOIN owner ON owner.id = handle.owner WHERE handle.kind = 'probe.handle'")
    assert len({row[0] for row in rows}) == len(rows), rows
    return {target: tuple(owner) for target, *owner in rows}


def places(report, target):
    """[(function, line)] of the user's functions, innermost first, in the stack of the handle to `target`."""
    return report.rows("SELECT symbol.function, symbol.line FROM handle JOIN stack_frame USING (stack) JOIN symbol USING (frame)"
                       " WHERE handle.target = ? AND symbol.owner = 'user' AND symbol.language = 'python'"
                       " AND symbol.file NOT LIKE '%owners_probe.py' AND symbol.function NOT IN ('checked_out', '<module>') ORDER BY position, level", target)


# --- tasks and threads ------------------------------------------------------------------------------------------------


def test_owners(run_unclosed, python20):
    report = run_unclosed(python20, APPS / "owners_tasks.py", "owners", options=["--exit-status=program"])
    assert (report.status, report.stdout) == (0, "")
    returns = ("task", "Work.returns", "returned", 1)
    main = ("task", "owners", "returned", 1)
    found = kept(report)
    assert [found.pop(name)[0::2] for name in ("executor", "thread")] == [("thread", "thread ended")] * 2
    assert found == {
        "main": main,
        "returned": returns,
        "returned, later": returns,
        "raised": ("task", "Work.raises", "exception ValueError", 1),
        "cancelled": ("task", "Work.waits", "cancelled", 1),
        "child 0": ("task", "child", "returned", 1),
        "child 1": ("task", "child", "returned", 1),
        "thread of main": main,
        "native on the loop's thread": (None, None, None, 0),
    }


def test_tasks_are_as_they_were(run_unclosed, python20, tmp_path):
    """No cycles, nothing logged, nothing marked as seen, no frames in tracebacks."""
    watched = run_unclosed(python20, APPS / "owners_tasks.py", "behaves", options=["--exit-status=program"])
    plain = finished([python20, APPS / "owners_tasks.py", "behaves"], cwd=tmp_path)
    assert (watched.status, watched.stdout) == (0, plain.stdout)
    assert "gone without the collector: True" in plain.stdout
    assert "Task exception was never retrieved" in plain.stdout
    assert kept(watched) == {"weakly": ("task", "child", "returned", 1), "not retrieved": ("task", "not_retrieved", "exception LookupError", 1)}


def test_places_are_never_the_same_again(run_unclosed, python20):
    report = run_unclosed(python20, APPS / "owners_tasks.py", "places", options=["--exit-status=program"])
    assert (report.status, report.stdout) == (0, "42 41\n"), report.stderr


def test_task_that_never_finishes(run_unclosed, python20, tmp_path):
    """At the interpreter's end nothing of ours is said."""
    watched = run_unclosed(python20, APPS / "owners_tasks.py", "never_finished", options=["--exit-status=program"])
    plain = finished([python20, APPS / "owners_tasks.py", "never_finished"], cwd=tmp_path)
    assert (watched.status, watched.stdout) == (plain.status, plain.stdout)
    program, _, _ = watched.stderr.partition("unclosed: ")
    assert [line.partition(" coro=")[0] for line in program.splitlines()] == [line.partition(" coro=")[0] for line in plain.stderr.splitlines()]
    [owner] = kept(watched).values()
    assert owner[:2] == ("task", "Work.waits")


# --- frames behind a greenlet -----------------------------------------------------------------------------------------


def test_frames(run_unclosed, each_python, tmp_path):
    report = run_unclosed(each_python, APPS / "owners_frames.py", options=["--exit-status=program"],
                          environment={"DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}/frames.db"})
    assert report.status == 0, report.stderr
    lines = {mark: line for mark, (_, line) in marks_in(APPS / "owners_frames.py").items()}
    assert places(report, "session in a task") == [("query", lines["query"]), ("handler", lines["handler"])]
    assert places(report, "core")[0] == ("main", lines["connect"])
    assert places(report, "SQLAlchemy's own function")[0] == ("main", lines["begin"])
    assert places(report, "function of ours") == [("ours", lines["ours"])]
    assert places(report, "sync in a coroutine") == [("main.<locals>.<lambda>", lines["connection"])]


def test_owners_of_coroutines_that_use_sqlalchemy(run_unclosed, each_python, tmp_path):
    report = run_unclosed(each_python, APPS / "owners_frames.py", options=["--exit-status=program"],
                          environment={"DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}/frames.db"})
    found = kept(report)
    assert found.pop("session in a task") == ("task", "handler", "returned", 1)
    assert set(found.values()) == {("task", "main", "returned", 1)}
