# SPDX-License-Identifier: Apache-2.0
"""What is recorded: before main and after exit, in threads, in signal handlers, in deep stacks, by the program itself."""
import pytest

from conftest import built, is_subset_in_order, line_of, stack_of

CONNECTION = "sqlite3.connection"


def test_opened_before_main_and_closed_after_exit_began(run_unclosed):
    report = run_unclosed("early_late")
    assert (report.status, report.counts, report.opened, report.json["verdict"]) == (0, {}, {CONNECTION: 2}, "clean")


def test_opened_by_a_destructor_and_lost(run_unclosed):
    """Memory was searched before it was there: open, but not called leaked."""
    report = run_unclosed("early_late", "lose")
    assert (report.status, report.counts) == (0, {("open-at-exit", CONNECTION): 1})
    assert report.finding("open-at-exit")["where"]["function"] == "after_exit"


def test_constructor_is_on_the_stack(run_unclosed):
    report = run_unclosed("early_late")
    functions = report.rows("SELECT DISTINCT where_function FROM site JOIN stack ON stack.id = site.stack")
    assert functions == [("before_main",)]


def test_threads_are_counted_exactly(run_unclosed):
    report = run_unclosed("threads_counted")
    assert (report.opened, report.counts) == ({CONNECTION: 8040}, {("leaked", CONNECTION): 40})
    [process] = report.json["processes"]
    assert (process["closed"], process["open"], process["dropped_records"]) == (8000, 40, 0)


def test_threads_are_named(run_unclosed):
    threads = run_unclosed("threads_counted").finding("leaked")["threads"]
    assert {thread["name"] for thread in threads} == {"worker"} and len({thread["id"] for thread in threads}) == 8


@pytest.mark.parametrize("calls, options, kept", [(300, [], 64), (300, ["--depth=16"], 16), (30, [], None),
                                                  (10, ["--depth=16"], None)])
def test_stack_deeper_than_the_limit_is_marked(run_unclosed, calls, options, kept):
    report = run_unclosed("deep", calls, options=options)
    functions = stack_of(report.finding("leaked"))
    if kept is None:
        assert functions.count("deeper") == calls + 1 and functions[-1] == "_start"
    else:
        assert functions == ["deeper"] * kept + ["(outer frames are missing)"]
    assert report.rows("SELECT truncated FROM stack JOIN site ON site.stack = stack.id") == [(int(kept is not None),)]


def test_signal_handlers_that_interrupt_the_shim(run_unclosed):
    """Nothing hangs, nothing is mixed up, and what passed through unrecorded (an open and its close) is counted."""
    report = run_unclosed("signal_storm", options=["--allow-unobserved"])
    outside, inside = map(int, report.stdout.split())
    lost = sum(count for (count,) in report.rows("SELECT count FROM loss"))
    assert report.opened["storm.outside"] == outside
    assert report.opened["storm.inside"] + lost // 2 == inside
    assert report.counts == {}


# --- unclosed.h ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def api(run_unclosed):
    return run_unclosed("api", options=["--exit-status=program"])


def test_own_interface_does_nothing_without_the_shim(plain, api):
    done = plain(built("api"))
    assert (done.status, done.stdout, done.stderr) == (0, "done\n", "") and api.stdout == "done\n"


def test_declared_kinds_and_their_counts(api):
    rows = api.rows("SELECT kind, opened, closed, open FROM kind_count WHERE opened ORDER BY kind")
    assert rows == [("api.lease", 11, 9, 2), ("api.pool", 1, 0, 1)]
    assert api.rows("SELECT name, parent FROM kind WHERE name LIKE 'api.%' ORDER BY name") == [("api.lease", "api.pool"), ("api.pool", None)]


def test_only_the_root_is_reported_and_never_what_is_ignored(api):
    assert api.counts == {("open-at-exit", "api.pool"): 1, ("closed-twice", "api.lease"): 1, ("used-after-close", "api.lease"): 1,
                          ("owner-gone", "api.lease"): 2, ("pool-exhausted", "api.lease"): 1}
    finding = api.finding("open-at-exit")
    assert [(child["kind"], child["count"]) for child in finding["children"]] == [("api.lease", 1)]
    assert is_subset_in_order(["open_parent_and_child", "main", "_start"], stack_of(finding))
    assert finding["where"]["line"] == line_of("api.c", "/* parent */")


def test_target_without_its_password(api):
    assert api.finding("open-at-exit")["target"] == "https://user:***@example.org/db?password=***"
    assert "hunter2" not in (api.directory / "index.html").read_text()


def test_detail_is_the_last_one_given(api):
    assert api.rows("SELECT key, value FROM detail") == [("tenant", "second")]


def test_every_way_to_end_is_counted(api):
    ways = "ended_gc, ended_finalization, ended_invalidated, ended_detached, ended_owner_gone"
    sums = ", ".join(f"sum({way})" for way in ways.split(", "))
    assert api.rows(f"SELECT {sums} FROM site") == [(1, 1, 1, 1, 1)]


def test_incident_has_its_holders(api):
    [(rule, waited, message)] = api.rows("SELECT rule, waited_ns, message FROM incident")
    assert (rule, waited, message) == ("pool-exhausted", 3000000000, "no lease for 3 s")
    assert api.rows("SELECT owner_label FROM holder WHERE owner_label IS NOT NULL ORDER BY 1") == [("GET /orders",), ("GET /orders",)]
    [incident] = api.json["incidents"]
    assert incident["rule"] == "pool-exhausted" and incident["waited_s"] == 3
