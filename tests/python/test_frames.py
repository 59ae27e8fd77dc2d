# SPDX-License-Identifier: Apache-2.0
"""Python frames, read without the GIL: what the interpreter itself says of its frames is compared with what was recorded.

Each scene opens a connection whose class notes the frames that it sees, in the line that then calls SQLite. Nothing is left
out of the comparison: file, name and line of every Python frame out to the module or the thread's first function.
"""
import glob
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import PYTHON, SOURCES

SQLITE3, LIBPQ = "sqlite3.connection", "libpq.connection"


def has_sqlite(python):
    return subprocess.run([python, "-c", "import sqlite3"], capture_output=True).returncode == 0


def version_of(python):
    found = re.search(r"/(3\.\d+)\.\d+/bin/", python)
    return found[1] if found else "system"


PYTHONS = [PYTHON, *(path for path in sorted(glob.glob(str(Path.home() / ".pyenv/versions/3.*/bin/python3")))
                     if version_of(path) in ("3.9", "3.10", "3.11", "3.12", "3.13") and has_sqlite(path))]


@pytest.fixture(params=PYTHONS, ids=version_of)
def python(request):
    return request.param


PREAMBLE = '''# -*- coding: utf-8 -*-
import atexit, json, os, sqlite3, sys
expected, kept = [], []

def frames(frame):
    seen = []
    while frame:
        code = frame.f_code
        seen.append((code.co_filename, getattr(code, "co_qualname", code.co_name), frame.f_lineno))
        frame = frame.f_back
    return seen

class Noted(sqlite3.Connection):
    def __init__(self, *arguments, **options):
        expected.append(frames(sys._getframe())); super().__init__(*arguments, **options)

def connection():
    return sqlite3.connect(":memory:", check_same_thread=False, factory=Noted)

def told():
    with open(sys.argv[1], "w") as file:
        json.dump(expected, file)
'''

SCENES = {
    "nested functions": '''
def outer():
    def inner():
        kept.append(connection())
    return inner
outer()()
''',
    "module level": '''
kept.append(connection())
''',
    "class body": '''
class Body:
    kept.append(connection())
    class Inner:
        kept.append(connection())
''',
    "methods": '''
class Things:
    def method(self): kept.append(connection())
    @classmethod
    def of_class(cls): kept.append(connection())
    @staticmethod
    def of_nothing(): kept.append(connection())
    @property
    def prop(self): kept.append(connection())
    def __init__(self): self.method()
    def __getattr__(self, name): self.of_class(); return name
    def __enter__(self): kept.append(connection())
    def __exit__(self, *error): kept.append(connection())
    def __call__(self, other): kept.append(connection()); return 0
    def __lt__(self, other): kept.append(connection()); return True
class More(Things):
    def method(self): super().method()
things = More()
things.prop; things.other; things.of_nothing(); things(1)
with things:
    pass
sorted([things, things])
''',
    "decorator": '''
import functools
def twice(function):
    @functools.wraps(function)
    def wrapper(*arguments):
        function(*arguments)
        return function(*arguments)
    return wrapper
@twice
def decorated(x):
    kept.append(connection())
decorated(1)
''',
    "lambda": '''
later = lambda: (
    1,
    kept.append(connection()),
)
later()
''',
    "called from C": '''
import functools
list(map(lambda x: kept.append(connection()), [1]))
sorted([1, 2], key=lambda x: kept.append(connection()) or x)
functools.partial(lambda a, b: kept.append(connection()), 1)(2)
import re
re.sub("a", lambda match: kept.append(connection()) or "", "a")
''',
    "comprehensions": '''
def comprehended():
    kept.append([connection() for i in range(2)])
    kept.append({i: connection() for i in range(2)})
    kept.append([[connection() for j in range(1)] for i in range(2)])
    kept.append(list(connection() for i in range(2)))
comprehended()
''',
    "generators": '''
def numbers():
    for i in range(3):
        kept.append(connection())
        yield i
def delegating():
    yield from numbers()
    kept.append(connection())
for number in delegating():
    pass
def manager():
    try:
        yield
    finally:
        kept.append(connection())
import contextlib
with contextlib.contextmanager(manager)():
    pass
''',
    "coroutines": '''
import asyncio
async def leaf():
    await asyncio.sleep(0)
    kept.append(connection())
async def stream():
    kept.append(connection())
    yield 1
    kept.append(connection())
async def branch():
    await leaf()
    async for item in stream():
        pass
    await asyncio.gather(leaf(), asyncio.ensure_future(leaf()))
    await asyncio.get_running_loop().run_in_executor(None, lambda: kept.append(connection()))
asyncio.run(branch())
''',
    "threads": '''
import threading, concurrent.futures
def work():
    kept.append(connection())
thread = threading.Thread(target=work); thread.start(); thread.join()
import _thread, time
done = []
_thread.start_new_thread(lambda: (work(), done.append(1)), ())
while not done: time.sleep(0.01)
with concurrent.futures.ThreadPoolExecutor(2) as pool:
    list(pool.map(lambda x: work(), range(4)))
''',
    "exec and eval": '''
scope = dict(kept=kept, connection=connection)
exec("def made(): kept.append(connection())\\nmade()", scope)
exec(compile("\\n\\n\\ndef named():\\n  x = 1\\n  kept.append(connection())\\nnamed()", "/nowhere/template.html", "exec"), scope)
eval("kept.append(connection())", scope)
''',
    "exceptions": '''
def handled():
    try:
        try:
            raise ValueError
        except ValueError:
            kept.append(connection())
            raise KeyError
    except KeyError as error:
        kept.append(connection())
    finally:
        kept.append(connection())
handled()
''',
    "many lines": "\n".join(["def long():", "    x = [0]", *[f"    x[0] += {i}" for i in range(400)],
                             "    kept.append(", "        connection(", "        )", "    )",
                             *["    " + f"x[0] = {i}; y{i} = x" for i in range(300)],
                             "    for i in range(2):", "        kept.append(connection())", "long()", ""]),
    "calls over several lines": '''
def several(*arguments):
    return arguments
several(1,
        2,
        several(connection(),
                several(
                    connection()
                    ))
        .__class__(
            [connection()]))
x = (connection()
     if True
     else 1)
''',
    "names": '''
def größe():
    kept.append(connection())
def 名前(): größe()
class Ω:
    def ε(self): 名前()
Ω().ε()
exec(compile("def f(): kept.append(connection())\\nf()", "/tmp/🐍/ü.py", "exec"), dict(kept=kept, connection=connection))
exec(compile("def 𐐷(): kept.append(connection())\\n𐐷()", "ÿ", "exec"), dict(kept=kept, connection=connection))
''',
    "recursion": '''
def deeper(depth):
    if depth == 0:
        kept.append(connection())
    else:
        deeper(depth - 1)
deeper(20)
def one(depth): return two(depth - 1) if depth else kept.append(connection())
def two(depth): return list(map(one, [depth]))
one(6)
''',
    "destructors": '''
import weakref, gc
class Dying:
    def __del__(self): kept.append(connection())
def dies():
    dying = Dying()
    return 1
def called_back(nothing): kept.append(connection())
dies()
sorted([1, 2], key=lambda x: dies())
holder = Dying(); reference = weakref.ref(holder, called_back); del holder
circle = Dying(); circle.self = circle; del circle; gc.collect()
list(map(lambda x: [Dying(), 1][1], [1]))
''',
    "import": '''
with open("imported_by_scene.py", "w") as file:
    file.write("import __main__\\n\\n__main__.kept.append(__main__.connection())\\ndef f():\\n  return __main__.connection()\\n")
sys.path.insert(0, ".")
import imported_by_scene
kept.append(imported_by_scene.f())
del sys.modules["imported_by_scene"]
import imported_by_scene
kept.append(imported_by_scene.f())
''',
    "profiled": '''
def followed(): kept.append(connection())
sys.settrace(lambda *event: None); followed(); sys.settrace(None)
sys.setprofile(lambda *event: None); followed(); sys.setprofile(None)
''',
}


def recorded_stacks(report, kind=SQLITE3):
    """{((file, name, line), …)}, innermost first: the Python frames of each place where handles of that kind were opened."""
    rows = report.rows("SELECT stack, symbol.file, symbol.function, symbol.line FROM stack_frame "
                       "JOIN frame ON frame.id = stack_frame.frame JOIN symbol ON symbol.frame = frame.id "
                       "WHERE frame.type = 'python' AND stack IN (SELECT stack FROM site WHERE kind = ?) "
                       "ORDER BY stack, position", kind)
    stacks = {}
    for stack, *frame in rows:
        stacks.setdefault(stack, []).append(tuple(frame))
    return {tuple(frames) for frames in stacks.values()}


def names_of(report, kind=SQLITE3):
    return {tuple(name for _, name, _ in stack) for stack in recorded_stacks(report, kind)}


def approximate_stacks(report):
    return report.rows("SELECT count(*) FROM stack WHERE approximate")[0][0]


def scene_run(run_unclosed, tmp_path, python, scene, **more):
    program, told = tmp_path / "scene.py", tmp_path / "told.json"
    program.write_text(PREAMBLE + scene + "\ntold()\n", encoding="utf-8")
    report = run_unclosed(python, program, told, options=["--fail-on=never", *more.pop("options", ())], **more)
    assert report.status == 0, report.stderr
    expected = {tuple((str(tmp_path / file) if file[0] not in "/<" else file, name, line) for file, name, line in stack)
                for stack in json.loads(told.read_text())}
    assert expected
    return report, expected


@pytest.mark.parametrize("scene", SCENES)
def test_frames_are_those_of_the_interpreter(run_unclosed, tmp_path, python, scene):
    report, expected = scene_run(run_unclosed, tmp_path, python, SCENES[scene])
    assert recorded_stacks(report) == expected
    assert approximate_stacks(report) == 0


def lines_of(stack):
    return [(name, line) for _, name, line in stack]


def program_run(run_unclosed, tmp_path, python, text, **more):
    program = tmp_path / "program.py"
    program.write_text(text, encoding="utf-8")
    report = run_unclosed(python, program, options=["--fail-on=never"], **more)
    assert report.status == 0, report.stderr
    return report


# --- identity of code objects -------------------------------------------------------------------------------------------


def test_code_that_is_freed_and_made_anew_is_never_taken_for_what_was_there(run_unclosed, tmp_path, python):
    report = program_run(run_unclosed, tmp_path, python, '''
import sqlite3
for i in range(3000):
    scope = {"sqlite3": sqlite3}
    exec("def f%04d():\\n    sqlite3.connect(':memory:').close()\\n" % i, scope)
    scope["f%04d" % i]()
    scope.clear()
    del scope
''')
    innermost = {stack[0][:2] for stack in recorded_stacks(report)}
    assert innermost == {("<string>", f"f{i:04}") for i in range(3000)}


@pytest.mark.parametrize("made", [
    # what differs: the file, the qualified name, the line within the function, the first line
    ("compile('def f():\\n    connect()\\n', '/templates/%04d.html' % i, 'exec')", lambda i: (f"/templates/{i:04}.html", "f", 2)),
    ("compile('class C%04d:\\n    def f():\\n        connect()\\nf = C%04d.f' % (i, i), 'x', 'exec')",
     lambda i: ("x", f"C{i:04}.f", 3)),
    ("compile('def f():\\n' + '\\n' * (i % 100) + '    connect()\\n' + '\\n' * (100 - i % 100) + '    pass', 'x', 'exec')",
     lambda i: ("x", "f", 2 + i % 100)),
    ("compile('\\n' * (i % 100) + 'def f():\\n    connect()\\n', 'x', 'exec')", lambda i: ("x", "f", 2 + i % 100)),
], ids=["file", "qualified name", "line", "first line"])
def test_code_that_differs_in_one_thing_only(run_unclosed, tmp_path, python, made):
    source, expected = made
    report = program_run(run_unclosed, tmp_path, python, f'''
import sqlite3
def connect():
    sqlite3.connect(':memory:').close()
for i in range(1000):
    scope = dict(connect=connect)
    exec({source}, scope)
    scope["f"]()
    del scope
''')
    wanted = {expected(i) for i in range(1000)}
    if "qualified" in repr(made) or "C%04d" in source:
        wanted = wanted if any("." in stack[1][1] for stack in recorded_stacks(report)) else {("x", "f", 3)}
    assert {(Path(file).name if file.endswith("/x") else file, name, line)
            for stack in recorded_stacks(report) for file, name, line in stack[1:2]} == wanted


# --- threads and interpreters -------------------------------------------------------------------------------------------


CONFIGURATION = ("import sysconfig; v = sysconfig.get_config_var; "
                 "print(v('LIBDIR'), v('INSTSONAME'), v('LIBPL'), v('VERSION'), sys.prefix, sys.version.split()[0], sep='\\n')")
EMBEDDED_FRAMES = {(("inner", 3), ("<lambda>", 5), ("outer", 5), ("<module>", 6))}


class LibPython:
    def __init__(self, python):
        told = subprocess.run([python, "-c", "import sys; " + CONFIGURATION], capture_output=True, text=True, check=True)
        directory, name, self.static_directory, self.version, self.prefix, self.full_version = told.stdout.splitlines()
        self.path = Path(directory) / name
        self.environment = {"PYTHONHOME": None if self.prefix == "/usr" else self.prefix}


@pytest.fixture
def libpython(python):
    library = LibPython(python)
    if not library.path.suffix.startswith(".so") and ".so" not in library.path.name:
        library.path = library.path.with_name(f"libpython{library.version}.so.1.0")
    if not library.path.exists():
        pytest.skip(f"no shared libpython of {python}")
    return library


def embedded_frames(report):
    return {tuple((name.replace("outer.<locals>.", ""), line) for _, name, line in stack) for stack in recorded_stacks(report)}


@pytest.mark.parametrize("way", ["local", "global"])
def test_interpreter_that_is_loaded(run_unclosed, libpython, way):
    report = run_unclosed("python_embedded", way, libpython.path, environment=libpython.environment)
    assert (report.status, report.opened) == (0, {SQLITE3: 6}), report.stderr   # one of them below Python frames
    assert embedded_frames(report) == EMBEDDED_FRAMES
    assert report.rows("SELECT python, python_frames FROM process") == [(libpython.full_version, 1)]
    assert report.rows("SELECT count(*) FROM site") == [(6,)]


def test_interpreter_that_is_unloaded_and_loaded_again(run_unclosed, libpython):
    report = run_unclosed("python_embedded", "again", libpython.path, environment=libpython.environment)
    assert (report.status, report.opened) == (0, {SQLITE3: 11}), report.stderr
    assert embedded_frames(report) == EMBEDDED_FRAMES
    assert approximate_stacks(report) == 0


def test_interpreter_that_is_never_started(run_unclosed, libpython):
    report = run_unclosed("python_embedded", "unused", libpython.path, environment=libpython.environment)
    assert (report.status, report.opened, recorded_stacks(report)) == (0, {SQLITE3: 2}, set()), report.stderr


@pytest.mark.parametrize("way", ["shared", "static"])
def test_interpreter_that_is_linked(run_unclosed, tmp_path, way):
    library, program = LibPython(PYTHON), tmp_path / "linked"
    libraries = [f"-lpython{library.version}"] if way == "shared" else [
        f"{library.static_directory}/libpython{library.version}.a", "-lexpat", "-lz", "-lm", "-no-pie", "-Wl,--export-dynamic"]
    subprocess.run(["gcc", "-DLINKED", "-o", program, SOURCES / "python_embedded.c", *libraries, "-lsqlite3", "-pthread"], check=True)
    report = run_unclosed(program)
    assert (report.status, report.opened) == (0, {SQLITE3: 5}), report.stderr
    assert embedded_frames(report) == EMBEDDED_FRAMES


def test_subinterpreters(run_unclosed, tmp_path, python):
    """Up to 3.11 a thread has a state in each of them, and only the first can be asked for; 3.9 cannot tell whose runs."""
    report = program_run(run_unclosed, tmp_path, python, '''
import sqlite3
try:
    import _xxsubinterpreters as interpreters
except ImportError:
    import _interpreters as interpreters
import threading
inside = """
import sqlite3
def within():
    sqlite3.connect(':memory:').close()
within()
"""
def outside(number):
    sqlite3.connect(':memory:').close()
    interpreters.run_string(number, inside)
    sqlite3.connect(':memory:').close()
first = interpreters.create()
outside(first)
def in_thread(number):
    outside(number)
second = interpreters.create()
thread = threading.Thread(target=in_thread, args=(second,)); thread.start(); thread.join()
interpreters.destroy(first)
outside(second)
''')
    innermost = {stack[0][1:] for stack in recorded_stacks(report)}
    if version_of(python) == "3.9":
        assert {("outside", 15), ("outside", 17)} <= innermost and approximate_stacks(report) > 0
        return
    assert innermost == {("outside", 15), ("within", 4), ("outside", 17)}
    assert {tuple(lines_of(stack)) for stack in recorded_stacks(report) if stack[0][1] == "within"} == {
        (("within", 4), ("<module>", 5))}
    assert len({stack for stack in recorded_stacks(report) if stack[1][1] == "in_thread"}) == 2
    assert report.opened == {SQLITE3: 9}


def test_daemon_threads_while_the_interpreter_is_finalized(run_unclosed, tmp_path, python):
    for _ in range(3):
        report = program_run(run_unclosed, tmp_path, python, '''
import sqlite3, threading, time
def busy():
    while True:
        sqlite3.connect(':memory:').close()
for _ in range(4):
    threading.Thread(target=busy, daemon=True).start()
time.sleep(0.2)
''')
        assert {stack[0][1] for stack in recorded_stacks(report)} == {"busy"}


def test_forked_children(run_unclosed, tmp_path, python):
    report = program_run(run_unclosed, tmp_path, python, '''
import os, sqlite3, threading
def opens(where):
    sqlite3.connect(':memory:').close()
done, opened = threading.Event(), threading.Event()
threading.Thread(target=lambda: (opens(0), opened.set(), done.wait())).start()
opened.wait()
opens(1)
for _ in range(3):
    child = os.fork()
    if not child:
        opens(2)
        os._exit(0)
    os.waitpid(child, 0)
done.set()
''')
    assert report.opened == {SQLITE3: 5}
    assert report.rows("SELECT count(*) FROM process WHERE python_frames") == [(4,)]
    assert {lines_of(stack)[-1] for stack in recorded_stacks(report)} >= {("<module>", 8), ("<module>", 12)}


# --- other ways to a library --------------------------------------------------------------------------------------------


def test_ctypes(run_unclosed, tmp_path, python):
    report = program_run(run_unclosed, tmp_path, python, '''
import ctypes
sqlite = ctypes.CDLL("libsqlite3.so.0")
def opens():
    database = ctypes.c_void_p()
    sqlite.sqlite3_open(b":memory:", ctypes.byref(database))
    sqlite.sqlite3_close(database)
opens()
''')
    assert {tuple(lines_of(stack)) for stack in recorded_stacks(report)} == {(("opens", 6), ("<module>", 8))}


def test_python_called_back_from_sqlite(run_unclosed, tmp_path, python):
    """Python, C, Python, C: each call of the loop has its own frames."""
    report, expected = scene_run(run_unclosed, tmp_path, python, '''
database = sqlite3.connect(":memory:")
def function(x):
    kept.append(connection())
    return x
def asked():
    return database.execute("SELECT f(1)").fetchall()
database.create_function("f", 1, function)
asked()
''')
    assert expected <= recorded_stacks(report)
    assert approximate_stacks(report) == 0


def test_psycopg2(run_unclosed, tmp_path, postgres):
    report = program_run(run_unclosed, tmp_path, PYTHON, '''
import psycopg2
def connects():
    return psycopg2.connect("")
connects().close()
''', environment=postgres.environment)
    [stack] = recorded_stacks(report, LIBPQ)
    assert [frame[1] for frame in stack] == ["connect", "connects", "<module>"]
    assert lines_of(stack)[1:] == [("connects", 4), ("<module>", 5)]


# --- limits -------------------------------------------------------------------------------------------------------------


def test_deep_recursion_is_cut_at_its_outer_end(run_unclosed, tmp_path, python):
    report = program_run(run_unclosed, tmp_path, python, '''
import sqlite3
def deeper(depth):
    if depth:
        return deeper(depth - 1)
    sqlite3.connect(':memory:').close()
deeper(200)
''')
    [stack] = recorded_stacks(report)
    assert lines_of(stack) == [("deeper", 6)] + [("deeper", 5)] * 63
    assert report.rows("SELECT truncated FROM stack JOIN site ON site.stack = stack.id") == [(1,)]


def test_isolated_mode_has_frames(run_unclosed, tmp_path):
    """-I keeps our sitecustomize out, but not the frames."""
    report = run_unclosed(PYTHON, "-I", "-c", "import sqlite3\ndef f(): sqlite3.connect(':memory:').close()\nf()")
    assert names_of(report) == {("f", "<module>")}
