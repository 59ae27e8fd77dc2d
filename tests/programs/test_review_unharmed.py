# SPDX-License-Identifier: Apache-2.0
"""Ways in which the shim's own system calls could kill or stop a program that would have lived."""
import os
import resource
import shutil
import signal
import subprocess

import pytest

from conftest import SHIM, built

RECORD = 256    # of the roll call


@pytest.mark.parametrize("limit", [0, 300, 1000])
def test_file_size_limit_in_a_run(preloaded, tmp_path, limit):
    """The roll call is a file, too: no SIGXFSZ, and no half record that puts those of others out of step."""
    (tmp_path / "traces").mkdir()
    for _ in range(5):
        done = preloaded(built("many"), 1, options="run=tests", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
        assert (done.status, done.stdout) == (0, "done\n")
    assert (tmp_path / "traces" / "rollcall").stat().st_size == limit // RECORD * RECORD


def said_to(stderr, tmp_path):
    """Exit status of a program that the shim has something to say about."""
    environment = {**os.environ, "LD_PRELOAD": str(SHIM), "UNCLOSED_OPTIONS": "dir=/proc/nowhere:report=off"}
    return subprocess.run([built("many"), "1"], stderr=stderr, stdout=subprocess.DEVNULL, env=environment, cwd=tmp_path, timeout=20, check=False).returncode


def test_nobody_reads_stderr_any_more(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    assert said_to(writer, tmp_path) == 0
    os.close(writer)


def test_nobody_empties_stderr(tmp_path):
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    while True:
        try:
            os.write(writer, bytes(4096))
        except BlockingIOError:
            break
    os.set_blocking(writer, True)
    assert said_to(writer, tmp_path) == 0
    os.close(reader)
    os.close(writer)


def test_child_of_a_sealed_program(run_unclosed, plain):
    """It cannot have a trace of its own, for that would take an openat()."""
    report = run_unclosed("sealed_fork")
    assert report.stdout == plain(built("sealed_fork")).stdout == "child ended with 0\n"


def test_threads_that_are_earlier_than_the_shim(preloaded, report_of):
    """Whoever is first loads it; the others wait, and nothing is lost."""
    for _ in range(20):
        done = preloaded("/bin/true", preload=(SHIM, built("early_threads.so")))
        assert (done.status, done.stderr) == (0, "")
    report = report_of(*preloaded.traces())
    assert [process["opened"] for process in report.json["processes"]] == [4] * 20


def test_a_reporter_that_hangs_is_ended(preloaded, tmp_path):
    """The program waits for it: it runs with a timer that it need not know of, even where the program ignores SIGALRM."""
    shutil.copy(SHIM, tmp_path / "libunclosed.so")
    reporter = tmp_path / "unclosed"
    reporter.write_text("#!/usr/bin/python3\n"
                        "import signal\n"
                        "print(1 < signal.getitimer(signal.ITIMER_REAL)[0] <= 60, signal.getsignal(signal.SIGALRM) == signal.SIG_DFL, file=open('seen', 'w'))\n")
    reporter.chmod(0o755)
    done = preloaded(built("many"), 1, options="report=on", preload=(tmp_path / "libunclosed.so",), preexec_fn=lambda: signal.signal(signal.SIGALRM, signal.SIG_IGN))
    assert (done.status, done.stdout) == (0, "done\n")
    assert (tmp_path / "seen").read_text() == "True True\n"
