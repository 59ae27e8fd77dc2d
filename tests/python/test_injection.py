# SPDX-License-Identifier: Apache-2.0
"""How the adapter gets into Python programs, and that nobody but the report can tell.

Every test compares real processes, with the shim and without it.
"""
import glob
import json
import os
import shutil
import stat
import subprocess
import tempfile
import zipfile
from pathlib import Path

import pytest

from conftest import BUILD, PYTHON, SHIM, SOURCES, built, finished, unprivileged

STATE = SOURCES / "inject_state.py"
PYTHONS = [PYTHON, *sorted(glob.glob(os.path.expanduser("~/.pyenv/versions/*/bin/python")))]
BARE = {"PYTHONPATH": None, "PYTHONDONTWRITEBYTECODE": "1"}


def version_of(python):
    words = subprocess.run([python, "-c", "import sys; print('%d %d' % sys.version_info[:2])"], capture_output=True, text=True,
                           check=True).stdout.split()
    return int(words[0]), int(words[1])


VERSIONS = {python: version_of(python) for python in PYTHONS}
ADAPTED = [python for python in PYTHONS if VERSIONS[python] >= (3, 9)]


def named(python):
    return "system" if python == PYTHON else "%d.%d" % VERSIONS[python]


every_python = pytest.mark.parametrize("python", PYTHONS, ids=named)
every_adapted_python = pytest.mark.parametrize("python", ADAPTED, ids=named)


@pytest.fixture
def both(plain, preloaded):
    """both(WORD…, environment={…}) -> the process without the shim, and with it."""

    def run(*words, environment=None, **more):
        environment = {**BARE, **(environment or {})}
        return plain(*words, environment=environment, **more), preloaded(*words, environment=environment, **more)

    return run


def states(process):
    assert process.status == 0, process.stderr
    return [json.loads(line) for line in process.stdout.splitlines()]


def assert_same_state(processes, adapted=True):
    without, watched = map(states, processes)
    assert [state.pop("adapted") for state in without] == [False] * len(without)
    assert [state.pop("adapted") for state in watched] == [adapted] * len(watched)
    assert watched == without
    assert processes[1].stderr == processes[0].stderr
    return watched


# --- what a program sees ----------------------------------------------------------------------------------------------


PATHS = {"unset": None, "empty": "", "one": "/nowhere", "several": "/nowhere:/tmp", "empty items": ":/nowhere::/tmp:",
         "long": ":".join(f"/nowhere/{number:0100}" for number in range(1000))}


@every_python
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_a_program_sees_what_it_would_see_without(both, python, path):
    processes = both(python, STATE, environment={"PYTHONPATH": path})
    if VERSIONS[python] < (3, 0) and path == "":
        pytest.skip("Python 2 reads the current directory's entry of an empty PYTHONPATH before site does")
    [state] = assert_same_state(processes, adapted=python in ADAPTED)
    assert dict(state["environment"]).get("PYTHONPATH") == path


@every_adapted_python
@pytest.mark.parametrize("words", [
    ["-c", "import sys; sys.path.insert(0, {directory!r}); import inject_state; inject_state.main()"],
    ["-m", "inject_state"],
    ["-B", "-X", "dev", "-W", "ignore", "{state}"],
    ["-O", "-s", "-u", "{state}"],
    ["-bbu", "-m", "inject_state"],
], ids=" ".join)
def test_ways_to_start(both, python, words):
    words = [word.format(directory=str(SOURCES), state=STATE) for word in words]
    assert_same_state(both(python, *words, cwd=SOURCES))


@every_adapted_python
def test_program_from_stdin(both, python):
    with open(STATE) as program, open(STATE) as again:
        environment = {**BARE}
        without = finished([python, "-"], cwd="/", environment=environment, stdin=program)
        watched = finished([python, "-"], cwd="/", environment={**environment, "LD_PRELOAD": str(SHIM)}, stdin=again)
    assert_same_state((without, watched))


@pytest.mark.parametrize("python", [python for python in ADAPTED if VERSIONS[python] >= (3, 11)], ids=named)
def test_safe_path(both, python):
    assert_same_state(both(python, "-P", STATE))


@every_adapted_python
@pytest.mark.parametrize("option", ["-v", "-Ximporttime"])
def test_options_that_tell_about_imports(both, python, option):
    without, watched = both(python, option, STATE)
    watched.stderr = without.stderr = ""
    assert_same_state((without, watched))


@every_adapted_python
def test_zip_application(both, python, tmp_path):
    with zipfile.ZipFile(tmp_path / "program.pyz", "w") as archive:
        archive.write(STATE, "__main__.py")
    assert_same_state(both(python, tmp_path / "program.pyz"))


@every_adapted_python
def test_virtual_environment(both, python, tmp_path):
    finished([python, "-m", "venv", "--without-pip", tmp_path / "venv"], cwd=tmp_path)
    [state] = assert_same_state(both(tmp_path / "venv/bin/python", STATE))
    assert any(str(tmp_path / "venv") in place for place in state["path"])


def test_started_by_a_shell_script(both, tmp_path):
    script = tmp_path / "start"
    script.write_text(f"#!/bin/sh\necho \"$PYTHONPATH\" >&2\n{PYTHON} {STATE} && exec {PYTHON} {STATE}\n")
    script.chmod(0o755)
    assert len(assert_same_state(both(script, environment={"PYTHONPATH": "/nowhere"}))) == 2


def test_other_programs_keep_their_environment(both):
    without, watched = both("/usr/bin/env", "-u", "LD_PRELOAD", "-u", "UNCLOSED_OPTIONS", "/usr/bin/env")
    assert watched.stdout == without.stdout


def test_environment_of_an_interpreter_can_be_changed_in_every_way(both):
    """A program that has Py_InitializeEx, but never runs sitecustomize."""
    without, watched = both(built("inject_environment"), environment={"PYTHONPATH": "/before"})
    directory = os.path.realpath(BUILD / "python")
    assert watched.stdout == without.stdout.replace("|/before|", f"|{directory}:/before|")
    assert "same 1" in watched.stdout and f"start|{directory}:/before|1|(none)" in watched.stdout


PLACES = """
import ctypes
libc = ctypes.CDLL(None)
libc.getenv.restype = ctypes.c_void_p
[stack] = [line.split()[0] for line in open('/proc/self/maps') if line.rstrip().endswith('[stack]')]
start, end = (int(address, 16) for address in stack.split('-'))
array = ctypes.c_void_p.in_dll(libc, 'environ').value
entries, index = ctypes.cast(array, ctypes.POINTER(ctypes.c_void_p)), 0
while entries[index]:
    assert start <= entries[index] < end, ctypes.string_at(entries[index])
    index += 1
print(start <= array < end, index > 3)
"""


@every_adapted_python
@pytest.mark.parametrize("path", [None, "", "/nowhere"])
def test_environment_lies_where_the_kernel_put_it(both, python, path):
    """What overwrites it to show a process title (setproctitle) needs its strings side by side."""
    without, watched = both(python, "-c", PLACES, environment={"PYTHONPATH": path})
    assert (watched.stdout, watched.stderr) == (without.stdout, without.stderr) == ("True True\n", "")


def test_switched_off(preloaded):
    [state] = states(preloaded(PYTHON, STATE, options="report=off:python=off"))
    assert not state["adapted"]


# --- children ---------------------------------------------------------------------------------------------------------


FAMILY = """
import subprocess, sys
sys.path.insert(0, {directory!r})
import inject_state
inject_state.main()
sys.stdout.flush()
if len(sys.argv) < 4:
    subprocess.run([sys.executable, *sys.orig_argv[1:], "x"] if sys.argv[1] == "inherited" else
                   [sys.executable, *sys.orig_argv[1:], "x"], env=dict(__import__("os").environ) if sys.argv[1] == "copied" else None,
                   check=True)
"""


@pytest.mark.parametrize("way", ["inherited", "copied"])
@pytest.mark.parametrize("path", [None, "", "/nowhere"])
def test_children_of_children(both, way, path):
    processes = both(PYTHON, "-c", FAMILY.format(directory=str(SOURCES)), way, environment={"PYTHONPATH": path})
    assert len(assert_same_state(processes)) == 3


def test_child_without_the_environment_is_unharmed(both):
    program = f"import subprocess, sys; subprocess.run([sys.executable, {str(STATE)!r}], env={{}}, check=True)"
    assert_same_state(both(PYTHON, "-c", program), adapted=False)


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_multiprocessing(both, tmp_path, method):
    (tmp_path / "program.py").write_text(
        "import multiprocessing, sys\n"
        f"sys.path.insert(0, {str(SOURCES)!r})\n"
        "import inject_state\n"
        "if __name__ == '__main__':\n"
        f"    context = multiprocessing.get_context({method!r})\n"
        "    for _ in range(2):\n"
        "        process = context.Process(target=inject_state.main)\n"
        "        process.start()\n"
        "        process.join()\n"
        "        assert process.exitcode == 0\n")
    without, watched = both(PYTHON, tmp_path / "program.py")
    for process in (without, watched):      # numbers of pipes and names of semaphores differ from run to run
        process.stdout = "\n".join(json.dumps({**state, "argv": []}) for state in states(process))
    assert len(assert_same_state((without, watched))) == 2


def test_program_that_clears_the_variable_and_executes_itself(both):
    program = ("import os, sys; sys.path.insert(0, {!r}); import inject_state; inject_state.main(); sys.stdout.flush()\n"
               "os.environ.pop('PYTHONPATH', None)\n"
               "if len(sys.argv) == 1: os.execv(sys.executable, [*sys.orig_argv, 'again'])").format(str(SOURCES))
    assert len(assert_same_state(both(PYTHON, "-c", program, environment={"PYTHONPATH": "/nowhere"}))) == 2


# --- the program's own sitecustomize ----------------------------------------------------------------------------------


def with_sitecustomize(tmp_path, text):
    (tmp_path / "own").mkdir()
    (tmp_path / "own/sitecustomize.py").write_text(text)
    return {"PYTHONPATH": str(tmp_path / "own")}


@every_python
def test_own_sitecustomize_runs_once_in_its_own_world(both, python, tmp_path):
    environment = with_sitecustomize(tmp_path, (
        "import os, sys\n"
        "sys.stderr.write('%s %s %s %s\\n' % (__name__, __file__, sys.path, os.environ['PYTHONPATH']))\n"
        "sys.path.append('/added')\n"))
    [state] = assert_same_state(both(python, STATE, environment=environment), adapted=python in ADAPTED)
    assert state["custom"].startswith(str(tmp_path / "own")) and state["path"].count("/added") == 1


@every_python
@pytest.mark.parametrize("text", ["raise ValueError('broken')", "import nothing_of_that_name", "syntax error", "import sys; sys.stderr.write('x'); 1/0",
                                  "raise ImportError('sitecustomize')"])
def test_broken_sitecustomize_is_broken_as_before(both, python, tmp_path, text):
    processes = both(python, STATE, environment=with_sitecustomize(tmp_path, text))
    assert_same_state(processes, adapted=python in ADAPTED)


@every_adapted_python
@pytest.mark.parametrize("text", ["raise SystemExit(3)", "raise KeyboardInterrupt", "import os; os._exit(7)"])
def test_sitecustomize_that_ends_the_program(both, python, tmp_path, text):
    without, watched = both(python, STATE, environment=with_sitecustomize(tmp_path, text))
    assert (watched.status, watched.stdout) == (without.status, without.stdout)
    assert set(without.stderr.splitlines()[-1:]) <= set(watched.stderr.splitlines())


def test_sitecustomize_can_be_reloaded_and_imported(both, tmp_path):
    environment = with_sitecustomize(tmp_path, "count = globals().get('count', 0) + 1")
    program = "import sitecustomize, importlib; importlib.reload(sitecustomize); print(sitecustomize.count, sitecustomize.__spec__.origin)"
    without, watched = both(PYTHON, "-c", program, environment=environment)
    assert watched.stdout == without.stdout and watched.stdout.startswith("2 ")


def test_usercustomize(both, tmp_path):
    base = Path(finished([PYTHON, "-c", "import site; print(site.getusersitepackages())"], cwd=tmp_path,
                         environment={"PYTHONUSERBASE": str(tmp_path / "base")}).stdout.strip())
    base.mkdir(parents=True)
    (base / "usercustomize.py").write_text("import sys; sys.stderr.write('user %s' % sys.path)")
    processes = both(PYTHON, STATE, environment={"PYTHONUSERBASE": str(tmp_path / "base")})
    assert_same_state(processes)
    assert processes[1].stderr.startswith("user ")


# --- what keeps it out ------------------------------------------------------------------------------------------------


KEEPS_OUT = ["-I", "-E", "-S", "-Es", "-IB", "-BWignoreS", "-ES"]


@every_python
@pytest.mark.parametrize("option", ["-E", "-S", "-Es"])
def test_interpreter_that_is_kept_apart_is_unharmed(both, python, option):
    [state] = assert_same_state(both(python, option, STATE), adapted=False)
    assert "PYTHONPATH" not in dict(state["environment"])


def problem_of(report):
    [(problem,)] = report.rows("SELECT python_problem FROM process WHERE executable LIKE '%/python%'")
    return problem


@pytest.mark.parametrize("option", KEEPS_OUT)
@pytest.mark.parametrize("program", ["pass", "import sqlite3; sqlite3.connect(':memory:').close()"], ids=["opens nothing", "opens something"])
def test_the_report_says_what_was_not_seen(run_unclosed, option, program):
    report = run_unclosed(PYTHON, option, "-c", program, environment=BARE)
    if option == "-BWignoreS":      # all of it is the filter: an error of Python's, and nothing of ours
        assert problem_of(report) is None if report.rows("SELECT 1 FROM process WHERE executable LIKE '%/python%'") else True
        return
    assert problem_of(report) == f"native view only: SQLAlchemy sessions were not seen (started with {option})"


def test_the_report_says_nothing_when_all_was_seen(run_unclosed):
    report = run_unclosed(PYTHON, "-c", "import sqlite3; sqlite3.connect(':memory:').close()", environment=BARE)
    assert report.rows("SELECT python_adapted, python_problem FROM process") == [(1, None)]
    report = run_unclosed(PYTHON, "-c", "pass", environment=BARE)
    assert report.rows("SELECT count(*) FROM process") == [(0,)]


@pytest.mark.parametrize("option", ["--version", "-V", "-h", "--help"])
def test_interpreter_that_runs_nothing_is_no_problem(run_unclosed, option):
    assert run_unclosed(PYTHON, option, environment=BARE).rows("SELECT python_problem FROM process") == []


def test_the_report_says_that_it_was_switched_off(run_unclosed):
    report = run_unclosed(PYTHON, "-c", "pass", environment={**BARE, "UNCLOSED_OPTIONS": "python=off"})
    assert problem_of(report) == "native view only: SQLAlchemy sessions were not seen (switched off by python=off)"


@pytest.mark.parametrize("python", [python for python in PYTHONS if python not in ADAPTED], ids=named)
def test_the_report_says_that_an_interpreter_is_too_old(run_unclosed, python):
    assert "is older than 3.9)" in problem_of(run_unclosed(python, "-c", "pass", environment=BARE))


def test_only_the_image_that_was_kept_apart_is_named(run_unclosed):
    program = f"import os; os.execv({PYTHON!r}, [{PYTHON!r}, '-I', '-c', 'pass'])"
    assert problem_of(run_unclosed(PYTHON, "-c", program, environment=BARE)).endswith("(started with -I)")
    program = f"import os; os.execv({PYTHON!r}, [{PYTHON!r}, '-c', 'pass'])"
    assert run_unclosed(PYTHON, "-c", program, environment=BARE).rows("SELECT * FROM process") == []


# --- the installed files ----------------------------------------------------------------------------------------------


@pytest.fixture
def installation():
    """A copy of what is installed, where any user can read it."""
    directory = Path(tempfile.mkdtemp(prefix="unclosed-installed-", dir="/tmp"))
    shutil.copytree(BUILD / "python", directory / "python", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(SHIM, directory)
    shutil.copy(STATE, directory)
    for place, _, files in os.walk(directory):
        os.chmod(place, 0o755)
        for name in files:
            os.chmod(Path(place, name), 0o644)
    yield directory
    shutil.rmtree(directory)


def installed(directory, *words, before=(), environment=None):
    environment = {**BARE, "LD_PRELOAD": str(directory / "libunclosed.so"), "UNCLOSED_OPTIONS": "report=off:dir=/nonexistent",
                   **(environment or {})}
    return finished([*before, "env", f"LD_PRELOAD={environment.pop('LD_PRELOAD')}", *words], cwd="/", environment=environment)


def test_read_only_directory(installation, plain):
    before, user = unprivileged()
    if user is None:
        for place, _, _ in os.walk(installation / "python"):
            os.chmod(place, stat.S_IRUSR | stat.S_IXUSR)
    watched = installed(installation, PYTHON, installation / STATE.name, before=before, environment={"PYTHONDONTWRITEBYTECODE": None})
    [state] = states(watched)
    assert state["adapted"] and watched.stderr == ""
    assert not list(installation.glob("python/**/*.pyc"))


def test_bytecode_is_kept_beside_our_files(installation):
    installed(installation, PYTHON, installation / STATE.name, environment={"PYTHONDONTWRITEBYTECODE": None})
    assert list(installation.glob("python/__pycache__/sitecustomize.*.pyc"))


@pytest.mark.parametrize("missing", ["python", "python/_unclosed", "python/_unclosed/hooks.py", "python/_unclosed/_native.so",
                                     "python/sitecustomize.py"])
def test_missing_files(installation, plain, missing):
    place = installation / missing
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    without = plain(PYTHON, installation / STATE.name, environment=BARE, cwd="/")
    watched = installed(installation, PYTHON, installation / STATE.name)
    if missing == "python/sitecustomize.py":    # nobody takes the variable away
        [state] = states(watched)
        assert not state["adapted"] and watched.stderr == ""
    else:
        assert_same_state((without, watched), adapted=False)


@pytest.mark.parametrize("text", ["1/0", "syntax error", "def start(): 1/0"])
def test_adapter_that_fails_is_not_noticed(installation, plain, text):
    (installation / "python/_unclosed/__init__.py").write_text(text)
    without = plain(PYTHON, installation / STATE.name, environment=BARE, cwd="/")
    watched = installed(installation, PYTHON, installation / STATE.name)
    assert_same_state((without, watched), adapted=False)


def test_preload_that_was_named_in_a_roundabout_way(installation):
    (installation / "link").symlink_to(".")
    for name in (installation / "link/libunclosed.so", installation / "python/../libunclosed.so",
                 os.path.relpath(installation / "libunclosed.so", "/")):
        [state] = states(installed(installation, PYTHON, installation / STATE.name, environment={"LD_PRELOAD": str(name)}))
        assert state["adapted"] and not [place for place in state["path"] + state["caches"] if place.endswith("/python")]


def test_directory_that_no_path_can_hold(installation):
    odd = installation / "a:b"
    odd.mkdir()
    shutil.move(installation / "python", odd)
    shutil.move(installation / "libunclosed.so", odd)
    (installation / "libunclosed.so").symlink_to("a:b/libunclosed.so")
    (installation / "python").symlink_to("a:b/python")
    [state] = states(installed(installation, PYTHON, installation / STATE.name))
    assert not state["adapted"] and "PYTHONPATH" not in dict(state["environment"])


def test_variable_without_the_preload_is_only_taken_away(plain, tmp_path):
    """Such as in a child of a program that has Python inside, but never ran it, and that lost LD_PRELOAD."""
    without = plain(PYTHON, STATE, environment={**BARE, "PYTHONPATH": "/nowhere"})
    alone = plain(PYTHON, STATE, environment={**BARE, "PYTHONPATH": f"{os.path.realpath(BUILD / 'python')}:/nowhere"})
    assert_same_state((without, alone), adapted=False)
