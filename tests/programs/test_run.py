# SPDX-License-Identifier: Apache-2.0
"""`unclosed run` and bare use, as whole commands: what they leave of a program's behaviour, and what they see of it."""
import os
import pty
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
BUILT = HERE.parents[1] / os.environ.get("BUILD", "build")
COMMAND = os.environ.get("UNCLOSED_COMMAND", str(BUILT / "unclosed"))
SHIM = os.environ.get("UNCLOSED_SHIM", str(BUILT / "libunclosed.so"))
JEMALLOC = Path("/usr/lib/x86_64-linux-gnu/libjemalloc.so.2")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def compiled(directory, output, *flags, compiler="gcc", source="run_database.c", libraries=("-lsqlite3",)):
    subprocess.run([compiler, "-O1", "-g", "-D_GNU_SOURCE=", "-o", directory / output, HERE / source, *flags, *libraries],
                   check=True, stderr=subprocess.DEVNULL)
    return str(directory / output)


@pytest.fixture(scope="session")
def room(tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    directory.chmod(0o755)
    return directory


@pytest.fixture(scope="session")
def database(room):
    return compiled(room, "database")


@pytest.fixture(scope="session")
def static(room):
    return compiled(room, "static-database", "-static", libraries=("-lsqlite3", "-lm", "-lpthread", "-ldl"))


def run(place, *words, **variables):
    return subprocess.run([COMMAND, "run", *words], cwd=place, text=True, capture_output=True, timeout=60,
                          env={**os.environ, **variables})


def rows(place, query, directory="unclosed-report"):
    with sqlite3.connect(place / directory / "report.db") as report:
        return report.execute(query).fetchall()


# --- the exit status -------------------------------------------------------------------------------------------------


def test_leak_fails(tmp_path, database):
    assert run(tmp_path, "--", database, "lose", "5").returncode == 23


def test_all_closed_is_fine(tmp_path, database):
    assert run(tmp_path, database).returncode == 0


def test_status_of_the_program_comes_first(tmp_path, database):
    assert run(tmp_path, "sh", "-c", f"{database} lose 5; exit 7").returncode == 7


def test_signal_that_killed_the_program_is_its_status(tmp_path, database):
    assert run(tmp_path, database, "lose-and-die").returncode == 137
    assert rows(tmp_path, "SELECT ended, end_words FROM process") == [("signal", "signal 9")]


def test_expected_signal_lets_findings_decide(tmp_path, database):
    script = ["sh", "-c", f"{database}; kill -TERM $$"]
    assert run(tmp_path, *script).returncode == 143
    assert run(tmp_path, "--expect-signal", "TERM", *script).returncode == 0
    assert run(tmp_path, "--expect-signal=SIGINT", *script).returncode == 143


def test_command_that_is_not_there(tmp_path):
    done = run(tmp_path, "no-such-command")
    assert done.returncode == 127 and "command not found" in done.stderr
    assert not (tmp_path / "unclosed-report").exists()


def test_command_that_cannot_be_run(tmp_path):
    (tmp_path / "text").write_text("no program")
    (tmp_path / "script").write_text("#!/nonexistent/interpreter\n")
    (tmp_path / "script").chmod(0o755)
    assert run(tmp_path, "./text").returncode == 126
    assert run(tmp_path, "./script").returncode == 126


@pytest.mark.parametrize("words", [["--bad"], [], ["--wait=some", "true"], ["--max-size=x", "true"], ["-o", "%x", "true"],
                                   ["--expect-signal=NO", "true"]])
def test_wrong_usage(tmp_path, words):
    assert run(tmp_path, *words).returncode == 2


def test_options_after_the_command_are_its_own(tmp_path):
    assert run(tmp_path, "sh", "-c", "echo $1", "-o", "--fail-on").stdout == "--fail-on\n"


# --- what was not seen -----------------------------------------------------------------------------------------------


def unseen(done):
    assert done.returncode == 24, done.stderr
    return [line for line in done.stderr.splitlines() if line.startswith("unseen")][0]


def test_static_program(tmp_path, static):
    assert "is a static program" in unseen(run(tmp_path, static))
    assert "is a static program" in unseen(run(tmp_path, "sh", "-c", f"{static}; true"))
    assert run(tmp_path, "--allow-unobserved", static).returncode == 0


def test_preload_taken_away(tmp_path, database):
    assert "without LD_PRELOAD" in unseen(run(tmp_path, "env", "-i", database))


def test_python_without_preload(tmp_path):
    assert "may use" in unseen(run(tmp_path, "env", "-u", "LD_PRELOAD", "/usr/bin/python3", "-c", ""))


def test_program_without_database_may_be_unseen(tmp_path):
    done = run(tmp_path, "env", "-i", "/bin/true")
    assert done.returncode == 0 and "NOTHING TO JUDGE" in done.stderr


@as_root
def test_setuid_program(tmp_path, room, database):
    setuid = room / "setuid-database"
    shutil.copy(database, setuid)
    os.chown(setuid, 65534, 65534)
    setuid.chmod(0o4755)
    assert "setuid" in unseen(run(tmp_path, setuid))


@pytest.mark.skipif(not shutil.which("musl-gcc"), reason="no musl-gcc")
def test_musl_program_is_unharmed(tmp_path):
    (tmp_path / "musl.c").write_text('#include <stdio.h>\nconst char *marks[] = {"SQLite format 3", "malformed database schema"};\n'
                                     "int main(int n, char **v) { (void)v; puts(marks[n & 1]); return 0; }\n")
    subprocess.run(["musl-gcc", "-o", tmp_path / "musl", tmp_path / "musl.c"], check=True)
    for command in (["./musl"], ["sh", "-c", "./musl; true"]):
        done = run(tmp_path, *command)
        assert done.stdout == "malformed database schema\n"
        assert "musl" in unseen(done)


# --- as if there were no run -----------------------------------------------------------------------------------------


def test_environment_holds_only_the_injection(tmp_path):
    before = {**os.environ, "PWD": str(tmp_path)}
    out = subprocess.run([COMMAND, "run", "env", "-0"], cwd=tmp_path, capture_output=True, env=before, check=True).stdout
    inside = dict(line.split("=", 1) for line in os.fsdecode(out).split("\0") if line)
    assert inside.pop("LD_PRELOAD").endswith("/libunclosed.so")
    assert inside.pop("UNCLOSED_OPTIONS").startswith("dir=")
    assert inside == before


def test_other_preload_and_options_stay(tmp_path):
    if not JEMALLOC.exists():
        pytest.skip("no jemalloc")
    out = run(tmp_path, "--depth=9", "env", LD_PRELOAD=str(JEMALLOC), UNCLOSED_OPTIONS="scan=off:depth=5:dir=/x\\:y").stdout
    assert f"libunclosed.so:{JEMALLOC}\n" in out
    options = [line for line in out.splitlines() if line.startswith("UNCLOSED_OPTIONS=")][0]
    assert "scan=off" in options and "depth=9" in options and "depth=5" not in options and "/x" not in options


def test_nothing_opened_leaves_no_trace(tmp_path):
    done = run(tmp_path, "sh", "-c", "echo out; echo err >&2")
    assert done.stdout == "out\n" and done.stderr.startswith("err\n") and "NOTHING TO JUDGE" in done.stderr
    assert not list((tmp_path / "unclosed-report/traces").glob("*.trace"))


@pytest.mark.parametrize("compiler, flag", [("gcc", "address"), ("gcc", "leak"), ("gcc", "thread"), ("clang", "address")])
def test_sanitized_program_runs(tmp_path, room, compiler, flag):
    if not shutil.which(compiler):
        pytest.skip(compiler)
    program = compiled(room, f"{compiler}-{flag}", f"-fsanitize={flag}", compiler=compiler)
    done = run(tmp_path, program)
    assert done.returncode == 0 and "1 SQLite connection opened" in done.stderr, done.stderr


def test_sanitizer_goes_on_finding_and_leaves_children_alone(tmp_path):
    (tmp_path / "bug.c").write_text('#include <stdlib.h>\nint main(int n, char **v) { (void)v; char *p = malloc(8);\n'
                                    'if (n > 1) return p[7 + n]; int s = system("perl -e 1"); free(p); return s != 0; }\n')
    subprocess.run(["gcc", "-g", "-w", "-fsanitize=address", "-o", tmp_path / "bug", tmp_path / "bug.c"], check=True)
    done = run(tmp_path, "./bug")
    assert done.returncode == 0 and "Sanitizer" not in done.stderr, done.stderr
    assert "heap-buffer-overflow" in run(tmp_path, "./bug", "x", ASAN_OPTIONS="color=never").stderr


def test_sanitized_program_behind_a_script_runs_where_its_options_are_set(tmp_path, room):
    program = compiled(room, "behind-script", "-fsanitize=address")
    assert run(tmp_path, "sh", "-c", f"{program}; exit $?", ASAN_OPTIONS="color=never").returncode == 0


@pytest.mark.skipif(not shutil.which("valgrind"), reason="no valgrind")
def test_program_under_valgrind_runs(tmp_path, database):
    done = run(tmp_path, "--", "valgrind", "-q", database)
    assert done.returncode == 0 and "1 SQLite connection opened" in done.stderr, done.stderr


# --- as a parent -----------------------------------------------------------------------------------------------------


def started(place, *words):
    process = subprocess.Popen([COMMAND, "run", *words], cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("group", [False, True])
def test_signal_that_was_passed_on_lets_findings_decide(tmp_path, database, group):
    process = started(tmp_path, database, "lose-and-wait")
    (os.killpg if group else os.kill)(process.pid, signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert rows(tmp_path, "SELECT end_words FROM process") == [("signal 15",)]


def test_daemon_is_waited_for(tmp_path, database):
    run(tmp_path, database, "daemon")
    assert ("signal 9",) in rows(tmp_path, "SELECT end_words FROM process")


def test_daemon_is_left_alone(tmp_path, database):
    began = time.monotonic()
    run(tmp_path, "--wait=first", "sh", "-c", "setsid sleep 2 >/dev/null 2>&1 &")
    assert time.monotonic() - began < 1.8


@as_root
def test_as_pid_1(tmp_path, database):
    script = f"{database} lose 5; (setsid sh -c 'sleep 0.2; {database} lose 5' >/dev/null 2>&1 &)"
    done = subprocess.run(["unshare", "-pf", "--mount-proc", COMMAND, "run", "sh", "-c", script], cwd=tmp_path, timeout=60)
    assert done.returncode == 23
    assert rows(tmp_path, "SELECT sum(opened) FROM process") == [(10,)]


def terminal_session(place, steps):
    """What a shell on a terminal shows; steps are (keys, seconds to wait)."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(place)
        os.execvpe("bash", ["bash", "--norc", "--noediting", "-i"], {**os.environ, "PS1": "$ "})
    shown = b""
    for keys, wait in steps:
        os.write(terminal, keys.encode())
        until = time.monotonic() + wait
        while time.monotonic() < until:
            if select.select([terminal], [], [], 0.05)[0]:
                try:
                    shown += os.read(terminal, 65536)
                except OSError:
                    break
    os.close(terminal)
    os.waitpid(pid, 0)
    return shown.decode()


COUNTING = """import signal, time
count = 0
def counted(*_):
    global count
    count += 1
signal.signal(signal.SIGINT, counted)
end = time.monotonic() + 1.2
while time.monotonic() < end:
    time.sleep(0.05)
print("interrupted", count)
"""


def test_interrupt_from_the_terminal_arrives_once(tmp_path):
    (tmp_path / "counting.py").write_text(COUNTING)
    shown = terminal_session(tmp_path, [(f"{COMMAND} run {sys.executable} counting.py\n", 0.8), ("\x03", 2), ("exit\n", 0.5)])
    assert "interrupted 1" in shown


def test_job_can_be_stopped_and_goes_on(tmp_path):
    shown = terminal_session(tmp_path, [(f"{COMMAND} run sleep 0.7\n", 0.4), ("\x1a", 0.7), ("fg\n", 2), ("echo status $?\n", 0.5),
                                        ("exit\n", 0.5)])
    assert "Stopped" in shown and "status 0" in shown


# --- the directory ---------------------------------------------------------------------------------------------------


def test_directory_by_name_and_pid(tmp_path):
    run(tmp_path, "-o", "reports/%n-%p", "true")
    [directory] = (tmp_path / "reports").iterdir()
    assert directory.name.startswith("true-")
    assert (directory / ".gitignore").read_text() == "*\n"


def test_run_inside_a_run_takes_over(tmp_path, database):
    done = run(tmp_path, "sh", "-c", f"{COMMAND} run {database} lose 5; echo inner $?")
    assert done.stdout == "inner 23\n" and done.returncode == 0, done.stderr
    [inner] = (tmp_path / "unclosed-report").glob("run.*")
    assert rows(tmp_path, "SELECT opened FROM process", inner) == [(5,)]
    run(tmp_path, "true")
    assert not inner.exists()


def test_two_runs_do_not_share_a_directory(tmp_path):
    first = started(tmp_path, "sh", "-c", "echo ready; sleep 1")
    second = run(tmp_path, "echo", "ran")
    first.communicate(timeout=30)
    assert second.returncode == 2 and second.stdout == "" and "in use" in second.stderr
    assert first.returncode == 0


@as_root
@pytest.mark.parametrize("trouble", ["read-only", "full"])
def test_place_that_cannot_be_written_to(tmp_path, database, trouble):
    place = tmp_path / "place"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", place], check=True)
    try:
        if trouble == "full":
            subprocess.run(["dd", "if=/dev/zero", f"of={place}/fill", "bs=1k"], stderr=subprocess.DEVNULL)
        else:
            subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        done = run(place, database, "lose", "5", TMPDIR=str(tmp_path))
    finally:
        subprocess.run(["umount", place], check=True)
    assert done.returncode == 23 and "cannot write to unclosed-report" in done.stderr
    assert list(tmp_path.glob("unclosed-report.*/report.db"))


# --- bare use --------------------------------------------------------------------------------------------------------


def bare(place, *words, options=""):
    return subprocess.run(words, cwd=place, text=True, capture_output=True, timeout=60,
                          env={**os.environ, "LD_PRELOAD": SHIM, "UNCLOSED_OPTIONS": f"dir=traces{options}"})


def names(place, pattern="*"):
    return sorted(path.name for path in (place / "traces").glob(pattern))


def test_bare_short_program_that_closed_everything_leaves_nothing(tmp_path, database):
    done = bare(tmp_path, database)
    assert (done.returncode, done.stderr, names(tmp_path)) == (0, "", [])


def test_bare_leak_leaves_a_page_and_a_summary_but_not_a_status(tmp_path, database):
    done = bare(tmp_path, database, "lose", "5")
    assert done.returncode == 0 and "SQLite connection never closed" in done.stderr
    [page], [trace] = names(tmp_path, "*.html"), names(tmp_path, "*.trace")
    assert page.removesuffix(".html") == trace.removesuffix(".trace")


def test_bare_status_changes_on_demand(tmp_path, database):
    assert bare(tmp_path, database, "lose", "5", options=":fail_on=error").returncode == 23


def test_bare_keeps_the_newest(tmp_path, database):
    made = []
    for _ in range(4):
        before = set(names(tmp_path, "*.html")) if made else set()
        bare(tmp_path, database, "lose", "5", options=":keep=2")
        made += set(names(tmp_path, "*.html")) - before
    assert names(tmp_path, "*.html") == sorted(made[-2:])
    assert len(names(tmp_path, "*.trace")) == 2


def test_bare_traces_only(tmp_path, database):
    done = bare(tmp_path, database, "lose", "5", options=":report=off")
    assert done.stderr == "" and len(names(tmp_path, "*.trace")) == 1 and not names(tmp_path, "*.html")
