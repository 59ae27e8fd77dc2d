# SPDX-License-Identifier: Apache-2.0
"""What libunclosed.so shows to and wants from the program it is loaded into: exactly what is listed, nothing else."""
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "build" / "libunclosed.so"


def output_of(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def listed():
    functions = (ROOT / "shim/libraries/functions.def").read_text()
    names = set(re.findall(r"^FUNCTION\(\w+, (\w+),", functions, re.MULTILINE))
    for line in (ROOT / "shim/exports.list").read_text().splitlines():
        name = line.split("#")[0].strip()
        if name:
            names.add(name)
    return names


def test_it_exports_what_is_listed_and_nothing_else():
    exported = {line.split()[-1].split("@")[0] for line in output_of("nm", "-D", "--defined-only", LIBRARY).splitlines()}
    assert exported == listed()


def test_it_needs_libc_and_the_dynamic_linker_only():
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", output_of("readelf", "-d", LIBRARY))
    assert sorted(needed) == ["ld-linux-x86-64.so.2", "libc.so.6"]


def test_its_own_unwinder_is_nobody_elses():
    dynamic = output_of("nm", "-D", LIBRARY)
    assert not re.search(r"\b(_?unw_|_U)", dynamic.replace("_Unwind_Find_FDE", ""))


def test_threads_pay_little_for_it():
    """Thread-local storage is carved from every thread's stack."""
    size = re.search(r"^\s+TLS\s+\S+ \S+ \S+\s+\S+ (\S+)", output_of("readelf", "-lW", LIBRARY), re.MULTILINE)
    assert int(size.group(1), 16) <= 512
