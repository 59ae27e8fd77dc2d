# SPDX-License-Identifier: Apache-2.0
"""The real function is found, whoever calls it and however. What a program prints with the shim is what it prints without."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
SHIM = os.environ.get("UNCLOSED_SHIM", str(HERE.parents[1] / os.environ.get("BUILD", "build") / "libunclosed.so"))
PYTHON = "/usr/bin/python3"


def compiled(directory, source, output, *flags):
    path = directory / output
    compiler = "g++" if source.endswith(".cc") else "gcc"
    subprocess.run([compiler, "-O2", "-g", "-D_GNU_SOURCE=", "-I", "/usr/include/postgresql", "-o", path, HERE / source, *flags], check=True)
    return path


def library(directory, name, *flags):
    return compiled(directory, "resolve_library.c", f"lib{name}.so", "-shared", "-fPIC", f'-DLIBRARY_NAME="{name}"',
                    f"-Wl,-soname,lib{name}.so", *flags)


def plugin(directory, name, linked_with=None, source="resolve_plugin.c", *flags):
    return compiled(directory, source, f"plugin-{name}.so", "-shared", "-fPIC", *flags,
                    *([linked_with, f"-Wl,-rpath,{directory}"] if linked_with else []))


@pytest.fixture(scope="session")
def room(tmp_path_factory):
    """Two libraries, a plugin for each, one for whoever is there, and the programs."""
    directory = tmp_path_factory.mktemp("resolve")
    for name in ("one", "two"):
        plugin(directory, name, library(directory, name))
        plugin(directory, f"waits-{name}", directory / f"lib{name}.so", "resolve_constructor.c", "-pthread")
    plugin(directory, "unlinked")
    compiled(directory, "resolve_main.c", "main")
    compiled(directory, "resolve_main.c", "main-one", "-Wl,--no-as-needed", directory / "libone.so", f"-Wl,-rpath,{directory}")
    compiled(directory, "resolve_interposer.c", "interposer.so", "-shared", "-fPIC")
    for program in ("reload", "fork"):
        compiled(directory, f"resolve_{program}.c", program, "-pthread")
    compiled(directory, "resolve_throw.cc", "throw")
    compiled(directory, "resolve_nobody.c", "nobody")
    return directory


def output_of(command, preload=(), cwd=None, timeout=60, **variables):
    environment = {**os.environ, **variables, "UNCLOSED_OPTIONS": f"dir={cwd}:report=off" if cwd else "report=off"}
    if preload:
        environment["LD_PRELOAD"] = ":".join(map(str, preload))
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd,
                          env=environment, timeout=timeout)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def same_as_without(command, room, others_before=(), others_after=(), **options):
    plain = output_of(command, [*others_before, *others_after], cwd=room, **options)
    assert output_of(command, [*others_before, SHIM, *others_after], cwd=room, **options) == plain
    return plain


def test_two_copies_each_called_by_its_own_plugin(room):
    said = same_as_without([room / "main", f"load:{room}/plugin-one.so", f"load:{room}/plugin-two.so", "open:0", "open:1", "open:0"], room)
    assert said[2:] == ["opened by one", "opened by two", "opened by one"]


def test_a_handle_goes_back_to_its_own_copy_whoever_closes(room):
    said = output_of([room / "main", f"load:{room}/plugin-one.so", f"load:{room}/plugin-two.so", "open:0", "open:1",
                      "tail-close:0:1", "pointer-close:1:0"], [SHIM], cwd=room)
    assert said[2:] == ["opened by one", "opened by two", "closed", "closed"]


def test_tail_calls_and_function_pointers(room):
    said = same_as_without([room / "main", f"load:{room}/plugin-two.so", "tail-open:0", "pointer-open:0", "tail-close:0:0",
                            "pointer-close:0:1"], room)
    assert said[1:] == ["opened by two", "opened by two", "closed", "closed"]


def test_a_tail_call_is_guessed_again_when_another_copy_came(room):
    """The first library stays loaded, but nobody who imports the function uses it any more than through dlsym."""
    said = same_as_without([room / "main", f"load:{room}/libone.so", "dlsym-open:0", f"load:{room}/plugin-two.so", "tail-open:1"], room)
    assert said == ["loaded", "opened by one", "loaded", "opened by two"]


def test_a_definition_in_the_global_scope_wins_over_the_plugins_own(room):
    said = same_as_without([room / "main-one", f"load:{room}/plugin-two.so", "open:0", "tail-open:0"], room)
    assert said[1:] == ["opened by one", "opened by one"]


def test_a_library_that_dlopen_made_global_wins_too(room):
    said = same_as_without([room / "main", f"load:{room}/libtwo.so", f"global:{room}/libone.so", f"load:{room}/plugin-two.so", "open:2"], room)
    assert said[3:] == ["opened by one"]


def test_a_plugin_that_names_no_library_gets_the_global_one(room):
    said = same_as_without([room / "main", f"load:{room}/libtwo.so", f"global:{room}/libone.so", f"load:{room}/plugin-unlinked.so", "open:2"],
                           room)
    assert said[3:] == ["opened by one"]


def test_dlsym_goes_where_the_handle_says(room):
    said = same_as_without([room / "main", f"load:{room}/libone.so", f"load:{room}/libtwo.so", f"load:{room}/plugin-two.so", "dlsym-open:1",
                            "dlsym-open:0", "dlsym-open:2", "dlsym-close:1:0", "dlsym-close:0:1", "dlsym-close:2:2"], room)
    assert said[3:] == ["opened by two", "opened by one", "opened by two", "closed", "closed", "closed"]


def test_dlvsym_too(room):
    (room / "any.map").write_text("ANY { global: *; };\n")
    versioned = library(room, "versioned", f"-Wl,--version-script={room}/any.map")
    said = same_as_without([room / "main", f"load:{room}/libone.so", f"load:{versioned}", "dlvsym-open:0", "dlvsym-open:1", "dlsym-close:1:1"],
                           room)
    assert said[2:] == ["failed -1", "opened by versioned", "closed"]


def test_dlsym_gives_the_same_pointer_for_the_same_definition(room):
    said = same_as_without([room / "main", f"load:{room}/libone.so", f"load:{room}/libtwo.so", f"load:{room}/plugin-two.so", "same:0:0",
                            "same:0:1", "same:1:2"], room)
    assert said[3:] == ["yes", "no", "yes"]


def test_dlsym_finds_nothing_where_there_is_nothing(room):
    said = same_as_without([room / "main", f"load:{room}/libone.so", "self", "errors"], room)
    assert said[1:] == ["no", "not found, named"]


def test_dlsym_of_the_program_itself(room):
    assert same_as_without([room / "main-one", "self", "default", "next"], room) == ["yes", "yes", "yes"]


def test_unload_and_load_again(room):
    said = same_as_without([room / "main", f"load:{room}/plugin-one.so", "open:0", "tail-close:0:0", "unload:0", f"load:{room}/plugin-two.so",
                            "open:1", "tail-close:1:1", f"load:{room}/plugin-one.so", "open:2", "tail-close:2:2"], room)
    assert said.count("closed") == 3 and said.count("opened by one") == 2


def test_threads_while_libraries_come_and_go(room):
    assert same_as_without([room / "reload", 200, room / "plugin-one.so", room / "libtwo.so", library(room, "three")], room) == ["wrong: 0"]


def test_a_constructor_that_waits_for_an_opening_thread(room):
    said = same_as_without([room / "main", f"load:{room}/plugin-waits-one.so", f"load:{room}/plugin-waits-two.so"], room, timeout=20)
    assert said == ["opened in a constructor", "loaded"] * 2


def test_children_forked_while_threads_load(room):
    assert same_as_without([room / "fork", 60, room / "plugin-one.so", room / "libtwo.so"], room, timeout=120) == ["failed: 0"]


@pytest.mark.parametrize("ahead", [True, False])
def test_another_preload_that_wraps_the_same_function(room, ahead):
    interposer = [room / "interposer.so"]
    said = same_as_without([room / "main-one", f"load:{room}/plugin-two.so", "open:0"], room, interposer if ahead else (), () if ahead else interposer)
    assert said == ["loaded", "interposed", "opened by one"]


@pytest.mark.parametrize("ahead", [True, False])
def test_another_preload_that_answers_dlsym(room, ahead):
    interposer = [compiled(room, "resolve_interposer.c", "answers.so", "-shared", "-fPIC", "-DANSWERS_DLSYM")]
    said = same_as_without([room / "main-one", f"load:{room}/plugin-two.so", "open:0", "dlsym-open:0"], room, interposer if ahead else (),
                           () if ahead else interposer)
    assert said == ["loaded", "interposed", "opened by one", "interposed", "opened by one"]


def test_a_preload_behind_us_does_not_take_what_it_does_not_wrap(room):
    said = same_as_without([room / "main-one", f"load:{room}/plugin-two.so", "open:0", "tail-close:0:0"], room, (), [room / "interposer.so"])
    assert said[1:] == ["interposed", "opened by one", "closed"]


def test_nobody_defines_it(room):
    said = output_of([room / "nobody"], [SHIM], cwd=room)
    assert said == ["1 NULL", "1 NULL"]


def test_exceptions_pass(room):
    assert same_as_without([room / "throw", room / "libone.so"], room) == ["thrown in a callback"]


@pytest.mark.parametrize("flags", [["-no-pie", "-fno-pie"], ["-Wl,-z,now"], ["-Wl,-z,lazy"], ["-s"], ["-rdynamic"], ["-Wl,--hash-style=sysv"],
                                   ["-fno-plt", "-no-pie", "-fno-pie"]], ids=" ".join)
def test_ways_to_link(room, flags):
    program = compiled(room, "resolve_linked.c", "linked", *flags, "-lsqlite3")
    assert same_as_without([program], room) == ["42"]


@pytest.mark.parametrize("sanitizer", ["address", "thread", "undefined"])
def test_a_sanitizer_that_looks_functions_up_before_it_works(room, sanitizer):
    program = compiled(room, "resolve_linked.c", f"linked-{sanitizer}", f"-fsanitize={sanitizer}", "-lsqlite3")
    linked = subprocess.run(["ldd", program], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    runtime = [word for word in linked if word.startswith("/") and "san.so" in word]
    assert same_as_without([program], room, runtime) == ["42"]


def test_a_library_with_the_old_hash_table(room):
    """The two hash tables tell the same."""
    old = library(room, "old", "-Wl,--hash-style=sysv")
    assert same_as_without([room / "main", f"load:{plugin(room, 'old', old)}", "open:0", "tail-close:0:0"], room)[1:] == ["opened by old", "closed"]


def test_a_version_that_the_caller_wants(room):
    """The first in the caller's scope has another version of the function, so the second one is it."""
    for name in ("new", "past"):
        (room / f"{name}.map").write_text(f"{name.upper()} {{ global: *; }};\n")
        library(room, name, f"-Wl,--version-script={room}/{name}.map")
    wants_past = plugin(room, "wants-past", room / "libpast.so")
    both = compiled(room, "resolve_library.c", "libboth.so", "-shared", "-fPIC", "-Dsqlite3_open=other_open", "-Dsqlite3_close=other_close",
                    "-Dsqlite3_exec=other_exec", "-Wl,-soname,libboth.so", "-Wl,--no-as-needed", room / "libnew.so", wants_past, f"-Wl,-rpath,{room}")
    said = same_as_without([room / "main", f"load:{both}", f"load:{wants_past}", "open:1"], room)
    assert said[2:] == ["opened by past"]


CTYPES = """
import ctypes
for name in ("libsqlite3.so.0", {copy!r}):
    library = ctypes.CDLL(name)
    db, statement = ctypes.c_void_p(), ctypes.c_void_p()
    library.sqlite3_column_text.restype = ctypes.c_char_p
    assert library.sqlite3_open(b":memory:", ctypes.byref(db)) == 0
    assert library.sqlite3_prepare_v2(db, b"select 'from ctypes'", -1, ctypes.byref(statement), None) == 0
    assert library.sqlite3_step(statement) == 100
    print(library.sqlite3_column_text(statement, 0).decode())
    assert library.sqlite3_finalize(statement) == 0
    assert library.sqlite3_close(db) == 0
"""


@pytest.fixture
def second_sqlite(room):
    """A copy of the real SQLite under a name of its own."""
    for directory in ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"):
        original = Path(directory) / "libsqlite3.so.0"
        if original.exists():
            copy = room / "libsqlitb.so.0"
            copy.write_bytes(original.read_bytes().replace(b"libsqlite3.so.0\0", b"libsqlitb.so.0\0\0"))
            return copy
    pytest.skip("no libsqlite3.so.0")


def test_ctypes_with_two_copies_of_sqlite(room, second_sqlite):
    assert same_as_without([PYTHON, "-c", CTYPES.format(copy=str(second_sqlite))], room) == ["from ctypes"] * 2


def test_python_and_ctypes_use_different_copies(room, second_sqlite):
    program = "import sqlite3\nc = sqlite3.connect(':memory:')\n" + CTYPES.format(copy=str(second_sqlite)) + \
        "print(c.execute('select 7').fetchone())\nc.close()\n"
    assert same_as_without([PYTHON, "-c", program], room)[-1] == "(7,)"


PSYCOPG = """
import psycopg
print(psycopg.pq.__impl__)
try:
    psycopg.connect("host=/nowhere")
except psycopg.OperationalError:
    print("refused")
"""


def test_psycopg_3(room):
    pytest.importorskip("psycopg")
    assert same_as_without([PYTHON, "-c", PSYCOPG], room) == ["python", "refused"]


def test_a_loadable_extension_that_calls_sqlite_by_name(room):
    source = room / "extension.c"
    source.write_text("""#include <sqlite3.h>
    int sqlite3_extension_init(sqlite3 *db, char **error, const sqlite3_api_routines *api);
    int sqlite3_extension_init(sqlite3 *db, char **error, const sqlite3_api_routines *api)
    {
        sqlite3 *other; (void)error, (void)api;
        return sqlite3_exec(db, "create table t (x)", 0, 0, 0) || sqlite3_open(":memory:", &other) || sqlite3_close(other);
    }""")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", room / "extension.so", source], check=True)
    program = f"""import sqlite3
c = sqlite3.connect(":memory:")
c.enable_load_extension(True)
c.load_extension({str(room / "extension.so")!r})
print(c.execute("select count(*) from t").fetchone())"""
    plain = output_of([PYTHON, "-c", program.replace("c.load_extension", "0 and c.load_extension").replace("from t", "from sqlite_master")])
    assert plain == ["(0,)"]
    assert output_of([PYTHON, "-c", program], [SHIM], cwd=room) == ["(0,)"]


def test_more_lookups_than_there_are_copies(room):
    """Forty libraries, one after the other: numbers are used again."""
    command = [room / "main"]
    for i in range(40):
        shutil.copy(library(room, f"many{i}") if i < 3 else room / "libmany0.so", room / f"copy{i}.so")
        command += [f"load:{room}/copy{i}.so", f"dlsym-open:{i}", f"dlsym-close:{i}:{i}", f"unload:{i}"]
    assert same_as_without(command, room).count("closed") == 40


if __name__ == "__main__":
    sys.exit(pytest.main([__file__, *sys.argv[1:]]))
