# SPDX-License-Identifier: Apache-2.0
"""What the scan at exit says under other allocators, settings of malloc and tools: right, or "unknown", never a false "lost"."""
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
PROGRAM = HERE.parents[1] / os.environ.get("BUILD", "build") / "tests" / "programs" / "scan_verdicts"
LOST, KEPT = 30, 6
DONE = 0
LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")


def verdicts(*command, timeout=120, **variables):
    """(outcome, {unknown, held, lost, in use} of what was lost, the same of what was kept, reason)"""
    done = subprocess.run([*command, str(PROGRAM)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env={**os.environ, **variables}, timeout=timeout)
    assert done.returncode == 0, done.stdout + done.stderr
    line = re.fullmatch(r"outcome (\d) lost: (\d+) (\d+) (\d+) (\d+) kept: (\d+) (\d+) (\d+) (\d+) (.*)\n", done.stdout)
    assert line, done.stdout
    names = ("unknown", "held", "lost", "in use")
    numbers = [int(number) for number in line.groups()[:9]]
    return numbers[0], dict(zip(names, numbers[1:5])), dict(zip(names, numbers[5:9])), line.group(10)


def told_apart(result):
    outcome, lost, kept, reason = result
    return outcome == DONE and lost["lost"] == LOST and kept["held"] == KEPT and reason == ""


def test_lost_and_kept_are_told_apart():
    assert told_apart(verdicts())


def test_and_at_fixed_addresses():
    if subprocess.run(["setarch", "-R", "true"], stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip("addresses cannot be fixed here")
    assert told_apart(verdicts("setarch", "-R"))


@pytest.mark.parametrize("setting", ["tcache_count=0", "arena_max=1", "mmap_threshold=4096", "mmap_threshold=16777216",
                                     "perturb=165", "top_pad=0", "tcache_max=64", "mxfast=0", "trim_threshold=4096"])
def test_however_malloc_is_set(setting):
    assert told_apart(verdicts(GLIBC_TUNABLES=f"glibc.malloc.{setting}"))


@pytest.mark.parametrize("allocator", ["libjemalloc.so.2", "libtcmalloc_minimal.so.4", "libmimalloc.so.2"])
def test_with_another_allocator_nothing_is_called_lost_and_a_global_variable_holds(allocator):
    if not (LIBRARIES / allocator).exists():
        pytest.skip(f"{allocator} is not installed")
    outcome, lost, kept, reason = verdicts(LD_PRELOAD=allocator)
    assert outcome != DONE and "malloc" in reason
    assert lost["lost"] == 0 and kept["lost"] == 0
    assert lost["unknown"] == LOST and kept["held"] >= 1


def test_under_valgrind_nothing_is_called_lost():
    if not shutil.which("valgrind"):
        pytest.skip("valgrind is not installed")
    outcome, lost, kept, reason = verdicts("valgrind", "-q")
    assert outcome != DONE and reason
    assert lost["lost"] == 0 and kept["lost"] == 0


def test_heaps_of_huge_pages_are_not_misread():
    _, lost, kept, _ = verdicts(GLIBC_TUNABLES="glibc.malloc.hugetlb=2")
    assert kept["lost"] == 0 and lost["held"] == 0
