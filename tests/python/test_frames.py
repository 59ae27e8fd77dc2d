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
from conftest import PYTHON, built

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
    rows = report.rows("SELECT site.stack, symbol.file, symbol.function, symbol.line FROM site "
                       "JOIN stack_frame ON stack_frame.stack = site.stack JOIN frame ON frame.id = stack_frame.frame "
                       "JOIN symbol ON symbol.frame = frame.id WHERE frame.type = 'python' AND site.kind = ? "
                       "ORDER BY site.stack, stack_frame.position", kind)
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
