# SPDX-License-Identifier: Apache-2.0
"""Places where recording is hard or impossible: the program is unharmed, what is not known is said, in a clear line."""
import os
import resource
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import COMMAND, SHIM, built

CONNECTION = "sqlite3.connection"
LEASE = "many.lease"
JEMALLOC = next(Path("/usr/lib").glob("*/libjemalloc.so.2"), None)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount, chroot and setuid")


def losses(report):
    return dict(report.rows("SELECT name, sum(count) FROM loss GROUP BY name"))


# --- no room ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A directory of its own of `size`; gone with the test."""
    mounted = []

    def mount(size):
        place = tmp_path / "small"
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", place], check=True)
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "-l", place], check=True)


@as_root
def test_full_disk_from_the_start(preloaded, small_disk):
    place = small_disk("16k")
    done = preloaded(built("many"), 1000, environment={"UNCLOSED_OPTIONS": f"dir={place}/traces:report=off"})
    assert (done.status, done.stdout) == (0, "done\n")
    assert "no space left on device" in done.stderr and len(done.stderr.splitlines()) == 1


@as_root
def test_disk_that_fills_up_meanwhile(preloaded, report_of, small_disk):
    """What was recorded until then stays readable; what was lost is counted, and the report is not called clean."""
    place = small_disk("1500k")
    done = preloaded(built("many"), 100000, environment={"UNCLOSED_OPTIONS": f"dir={place}/traces:report=off"})
    assert (done.status, done.stdout) == (0, "done\n")
    [line] = done.stderr.splitlines()
    assert line.startswith("unclosed: ") and "no space left on device" in line and str(place) in line
    [trace] = (place / "traces").glob("*.trace")
    report = report_of(trace)
    [process] = report.json["processes"]
    assert report.status == 24 and report.json["verdict"] == "unobserved"
    assert 100 < process["open"] < 100000
    assert sum(losses(report).values()) > 0 and process["dropped_records"] == sum(losses(report).values())


def test_read_only_directory(preloaded, tmp_path):
    """Not even root can write below /proc."""
    done = preloaded(built("many"), 10, environment={"UNCLOSED_OPTIONS": "dir=/proc/nowhere:report=off"})
    assert (done.status, done.stdout) == (0, "done\n")
    assert "/proc/nowhere" in done.stderr and len(done.stderr.splitlines()) == 1


def test_file_size_limit(run_unclosed):
    """RLIMIT_FSIZE kills who writes beyond it: the shim does not, and says that there is too little room."""
    report = run_unclosed("sh", "-c", f"ulimit -f 2000; {built('many')} 100000")
    assert report.stdout == "done\n"
    assert report.status == 24 and "unclosed: " in report.stderr


def test_trace_stays_below_the_file_size_limit(run_unclosed):
    report = run_unclosed("sh", "-c", f"ulimit -f 40000; {built('many')} 10")     # of 512 bytes
    assert (report.stdout, report.status, report.opened) == ("done\n", 0, {LEASE: 10})
    [trace] = report.traces
    assert trace.stat().st_size <= 40000 * 512


def test_file_size_limit_of_nothing(preloaded):
    done = preloaded(built("many"), 10, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)))
    assert (done.status, preloaded.traces()) == (0, []) and "file size limit" in done.stderr


def test_address_space_limit(run_unclosed):
    """The trace takes a small part of what the program may have."""
    report = run_unclosed("sh", "-c", f"ulimit -v 100000; {built('many')} 10")
    assert (report.stdout, report.status, report.opened) == ("done\n", 0, {LEASE: 10})
    [trace] = report.traces
    assert trace.stat().st_size < 100000 * 1024 / 8


@pytest.mark.parametrize("first", [[], ["first"]])
def test_no_descriptor_left(plain, run_unclosed, first):
    report = run_unclosed("no_descriptors", *first)
    assert report.stdout == plain(built("no_descriptors"), *first).stdout
    assert report.opened == {CONNECTION: 5} and sum(report.counts.values()) == 5


def test_limit_of_the_trace(run_unclosed):
    """Losses are counted and said, and a run that lost something is not clean."""
    report = run_unclosed("many", 300000, options=["--max-size=4m"])
    [process] = report.json["processes"]
    assert report.stdout == "done\n" and report.status == 24
    assert losses(report)["handles"] == process["dropped_records"] > 100000
    assert process["open"] + losses(report)["handles"] >= 300000
    assert any(line.startswith("lost ") and "handles" in line for line in report.stderr.splitlines())
    assert run_unclosed("many", 300000, options=["--max-size=4m", "--allow-unobserved"], name="allowed").status == 0


@pytest.mark.parametrize("number, arguments, left", [(10000, [], 10000), (10000, ["half"], 5000)])
def test_many_handles(run_unclosed, number, arguments, left):
    report = run_unclosed("many", number, *arguments)
    assert (report.opened, report.counts, losses(report)) == ({LEASE: number}, {("open-at-exit", LEASE): left}, {})


# --- programs that lock themselves in ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recorded_before", [True, False])
@pytest.mark.parametrize("how", ["prctl", "syscall"])
def test_programs_own_seccomp_filter(run_unclosed, how, recorded_before):
    """It dies of any system call that it did not allow; recording goes on without one."""
    report = run_unclosed("sealed", how, *([] if recorded_before else ["fresh"]))
    assert report.stdout == "survived\n" and report.status == 0
    assert (report.opened, losses(report)) == ({CONNECTION: 1005}, {})
    finding = report.finding("open-at-exit")
    assert finding["count"] == 5 and finding["where"]["function"] == "forget"
    assert "seccomp" in finding["evidence"]


def test_asking_for_seccomp_is_not_sealing(run_unclosed):
    assert run_unclosed("sealed", "asks").counts == {("leaked", CONNECTION): 5}


def test_sealed_program_without_a_database_gets_no_trace(preloaded):
    program = "import ctypes; c = ctypes.CDLL(None); print(c.prctl(22, 2, 0), c.syscall(317, 1, 0, 0))"
    done = preloaded("/usr/bin/python3", "-c", program)
    assert done.stdout == "-1 -1\n" and preloaded.traces() == []


@as_root
def test_daemon_that_locks_itself_in_is_recorded_to_its_end(run_unclosed, tmp_path):
    """Connected as root, then chroot, setuid, closefrom and into the background: `run` waits for it."""
    (tmp_path / "empty").mkdir()
    tmp_path.chmod(0o755)
    report = run_unclosed("daemon", tmp_path / "empty")
    processes = report.rows("SELECT opened, open, ended, pid FROM process WHERE trace IS NOT NULL ORDER BY opened")
    assert [process[:3] for process in processes] == [(1, 1, "exit"), (5, 5, "exit")]
    assert report.rows("SELECT type, other_pid FROM fact") == [("used-elsewhere", processes[0][3])]
    assert report.counts == {("open-at-exit", "sqlite3.connection"): 6, ("used-across-fork", "sqlite3.connection"): 1}
    assert {finding["severity"] for finding in report.findings} == {"note"}
    assert (losses(report), report.status) == ({}, 0)


@as_root
def test_daemons_spare_traces_are_cleared_away(run_unclosed, tmp_path):
    (tmp_path / "empty").mkdir()
    report = run_unclosed("daemon", tmp_path / "empty")
    assert len(report.traces) <= 2 + 8
    assert len(report.json["processes"]) == 2


# --- other preloads, other allocators -------------------------------------------------------------------------------------------


@pytest.mark.skipif(JEMALLOC is None, reason="no jemalloc")
def test_jemalloc(run_unclosed):
    """Its heap is not glibc's: nothing is called leaked that could not be looked for."""
    report = run_unclosed("counted", environment={"LD_PRELOAD": str(JEMALLOC)})
    assert report.opened == {CONNECTION: 1013} and losses(report) == {}
    assert sum(report.counts.values()) == 13
    assert set(report.counts) <= {("open-at-exit", CONNECTION), ("leaked", CONNECTION)}
    assert report.counts.get(("leaked", CONNECTION), 0) in (0, 10)


def test_another_preload(run_unclosed):
    report = run_unclosed("stdbuf", "-oL", built("counted"))
    assert (report.status, report.counts) == (23, {("leaked", CONNECTION): 10, ("open-at-exit", CONNECTION): 3})


def test_second_copy_of_the_shim_stays_passive(preloaded, report_of, tmp_path):
    copy = shutil.copy(SHIM, tmp_path / "libunclosed-copy.so")
    assert preloaded(built("counted"), preload=(SHIM, copy)).status == 0
    [trace] = preloaded.traces()
    assert report_of(trace).opened == {CONNECTION: 1013}


def test_run_inside_a_run(run_unclosed, tmp_path):
    """The inner one takes over its children."""
    report = run_unclosed(COMMAND, "run", "-o", tmp_path / "inner", "--", built("counted"))
    assert report.status == 23 and "leaked 10×" in report.stderr
    assert report.rows("SELECT count(*) FROM process WHERE trace IS NOT NULL") == [(0,)]
    assert (tmp_path / "inner" / "index.html").exists()


def test_programs_of_a_shell_are_told_apart(run_unclosed):
    report = run_unclosed("sh", "-c", f"{built('counted')}; {built('endings')} _exit; ls >/dev/null")
    rows = report.rows("SELECT command, opened FROM process WHERE opened ORDER BY opened")
    assert rows == [(f"{built('endings')} _exit", 5), (str(built("counted")), 1013)]


# --- options that nobody understands ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", ["nonsense", "=", ":::", "dir", "dir=:depth=-1:max_size=nonsense:mode=9z", "x" * 10000, "dir=" + "y" * 5000,
                                     "a=b\\", "depth=0:keep=0", "\udcff\udcfe=\udc80"], ids=lambda options: ascii(options[:20]))
def test_garbage_in_the_options(preloaded, options):
    """The program runs as if there were none."""
    done = preloaded(built("many"), 5, environment={"UNCLOSED_OPTIONS": options})
    assert (done.status, done.stdout) == (0, "done\n")


def test_unknown_option_is_named(preloaded):
    done = preloaded(built("many"), 5, options="report=off:nonsense=1")
    assert "nonsense" in done.stderr and done.status == 0 and len(preloaded.traces()) == 1


def test_unreadable_place_is_named_once(preloaded):
    words = "for i in 1 2 3; do " + str(built("many")) + " 5; done"
    done = preloaded("sh", "-c", words, environment={"UNCLOSED_OPTIONS": "dir=/proc/nowhere:report=off"})
    assert done.stdout == "done\n" * 3 and done.stderr.count("/proc/nowhere") == 3


def test_stderr_that_the_program_replaced_is_not_written_to(preloaded, tmp_path):
    """fd 2 is now somebody's database: no word of ours in there."""
    replaced = "import os; os.dup2(os.open('database', os.O_CREAT | os.O_RDWR), 2)\n"
    uses_it = "import sqlite3; sqlite3.connect(':memory:')\n"
    trouble = {"UNCLOSED_OPTIONS": "dir=/proc/nowhere:report=off"}
    assert "unclosed: " in preloaded("/usr/bin/python3", "-c", uses_it, environment=trouble).stderr
    done = preloaded("/usr/bin/python3", "-c", replaced + uses_it, environment=trouble)
    assert (done.status, done.stderr) == (0, "")
    assert (tmp_path / "database").read_bytes() == b""
