# SPDX-License-Identifier: Apache-2.0
"""Inside a watched program: hooks after imports, drivers, and the C module that speaks to the shim."""
import sys
import textwrap
import zipfile

import pytest

from conftest import PYTHON
from .test_injection import ADAPTED, BARE, named

every_adapted_python = pytest.mark.parametrize("python", ADAPTED, ids=named)


@pytest.fixture
def watched(preloaded, tmp_path):
    """watched(PYTHON, PROGRAM) -> what it printed, as lines; the program has `hooks`, `native`, and `told`, a list of what was told."""

    def run(python, program, **more):
        begin = ("import sys\nfrom _unclosed import hooks, _native as native, drivers\ntold = []\n"
                 "class Native:\n"
                 "    def __getattr__(self, name): return getattr(native, name)\n"
                 "    def adapter(self, *given): told.append(given)\n"
                 "hooks._native = Native()\n")
        (tmp_path / "program.py").write_text(begin + textwrap.dedent(program))
        process = preloaded(python, tmp_path / "program.py", environment=BARE, **more)
        assert (process.status, process.stderr) == (0, ""), process.stderr
        return process.stdout.splitlines()

    return run


# --- after imports ----------------------------------------------------------------------------------------------------


@every_adapted_python
def test_function_is_called_once_after_the_module_was_executed(watched, python, tmp_path):
    (tmp_path / "library.py").write_text("print('executed')\nvalue = 1")
    assert watched(python, """
        import importlib
        hooks.when_imported('library', lambda module: print('imported', module.value, module is sys.modules['library']))
        import library
        import library
        importlib.reload(library)
        hooks.when_imported('library', lambda module: print('late', module.value))
        print(type(library.__loader__).__name__, 'exec_module' in vars(library.__loader__), library.__spec__.loader is library.__loader__)
        del sys.modules['library']
        import library
    """) == ["executed", "imported 1 True", "executed", "late 1", "SourceFileLoader False True", "executed", "imported 1 True", "late 1"]


@every_adapted_python
def test_failure_of_a_function_is_told_and_not_raised(watched, python, tmp_path):
    (tmp_path / "library.py").write_text("")
    lines = watched(python, """
        hooks.when_imported('library', lambda module: module.nothing)
        hooks.when_imported('library', lambda module: print('second'))
        import library
        print(told)
    """)
    assert lines[0] == "second"
    assert "the adapter failed: AttributeError in program.py, line 9" in lines[1]


BROKEN = ["1/0", "raise ImportError('x')", "import nothing_of_that_name", "syntax error", "from os import nothing", "raise KeyboardInterrupt"]


@every_adapted_python
@pytest.mark.parametrize("text", BROKEN)
def test_errors_of_imports_pass_unchanged(plain, watched, python, text, tmp_path):
    (tmp_path / "library.py").write_text(text)
    program = textwrap.dedent("""
        import traceback
        for _ in range(2):
            try:
                import library
            except BaseException as error:
                shown = traceback.format_exception(type(error), error, error.__traceback__)
                print(''.join(shown[:1] + shown[2:]), 'library' in sys.modules)
    """)
    (tmp_path / "plainly.py").write_text("import sys\n" + program)
    without = plain(python, tmp_path / "plainly.py", environment=BARE).stdout.splitlines()
    assert watched(python, "hooks.when_imported('library', print)\n" + program) == without
    assert len(without) >= 4


@every_adapted_python
def test_errors_of_other_finders_pass_unchanged(watched, python):
    assert watched(python, """
        import traceback
        class Forbids:
            def find_spec(self, name, path=None, target=None):
                if name == 'library':
                    raise ImportError('forbidden')
        sys.meta_path.append(Forbids())
        hooks.when_imported('library', print)
        try:
            import library
        except ImportError as error:
            print(error, [frame.name for frame in traceback.extract_tb(error.__traceback__)])
    """) == ["forbidden ['<module>', 'find_spec']"]


@every_adapted_python
def test_modules_from_an_archive_built_in_and_namespace(watched, python, tmp_path):
    with zipfile.ZipFile(tmp_path / "library.zip", "w") as archive:
        archive.writestr("first/__init__.py", "from . import other\nimport second")
        archive.writestr("first/other.py", "")
        archive.writestr("second.py", "")
    (tmp_path / "space").mkdir()
    assert sorted(watched(python, f"""
        sys.path.insert(0, {str(tmp_path / 'library.zip')!r})
        for name in ('first', 'second', 'space', 'faulthandler', 'first.other'):
            hooks.when_imported(name, lambda module: print(module.__name__))
        import first, second, space, faulthandler
        import colorsys     # whatever could not be hooked is found at the next import
        assert 'exec_module' not in vars(second.__loader__), vars(second.__loader__)
    """)) == ["faulthandler", "first", "first.other", "second", "space"]


@every_adapted_python
def test_module_that_was_only_looked_for(watched, python, tmp_path):
    (tmp_path / "library.py").write_text("")
    assert watched(python, """
        import importlib.util
        hooks.when_imported('library', lambda module: print('imported'))
        assert importlib.util.find_spec('library') and importlib.util.find_spec('no_library') is None
        spec = importlib.util.find_spec('library')
        loader = importlib.util.LazyLoader(spec.loader)
        spec.loader = loader
        module = importlib.util.module_from_spec(spec)
        sys.modules['library'] = module
        loader.exec_module(module)
        print('lazy')
        module.__dict__, module.nothing if hasattr(module, 'nothing') else None
    """) == ["lazy", "imported"]


@every_adapted_python
def test_threads_that_import_at_once(watched, python, tmp_path):
    for number in range(20):
        (tmp_path / f"library{number}.py").write_text("import time; time.sleep(0.01)")
    assert watched(python, """
        import threading, importlib
        calls = []
        for number in range(20):
            hooks.when_imported(f'library{number}', calls.append)
        def work():
            for number in range(20):
                importlib.import_module(f'library{number}')
        threads = [threading.Thread(target=work) for _ in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        print(len(calls), len({module.__name__ for module in calls}))
    """) == ["20 20"]


@every_adapted_python
def test_module_that_puts_something_else_in_its_place(watched, python, tmp_path):
    (tmp_path / "library.py").write_text("import sys\nclass Other: __slots__ = ('value',)\nsys.modules[__name__] = other = Other()\nother.value = 5")
    assert watched(python, """
        hooks.when_imported('library', lambda module: print(module.value))
        import library
        print(library.value)
    """) == ["5", "5"]


@every_adapted_python
def test_module_whose_import_is_under_way(watched, python, tmp_path):
    (tmp_path / "library.py").write_text("import inner\nvalue = 7")
    (tmp_path / "inner.py").write_text("import __main__\n__main__.hooks.when_imported('library', lambda module: print(module.value))")
    assert watched(python, "import library\nimport colorsys") == ["7"]


# --- around the program's calls ---------------------------------------------------------------------------------------


@every_adapted_python
def test_harmless(watched, python):
    lines = watched(python, """
        @hooks.harmless
        def fails(number, *, word):
            'its words'
            raise ValueError('secret')
        @hooks.harmless
        def interrupted():
            raise KeyboardInterrupt
        print(fails(1, word='x'), fails.__name__, fails.__doc__, told)
        fails(1)
        try: interrupted()
        except KeyboardInterrupt: print('passed', len(told), sys.exc_info()[1] is not None)
    """)
    assert lines[0].startswith("None fails its words [('__main__', None, 'the adapter failed: ValueError in program.py, line 12')]")
    assert lines[1] == "passed 1 True"


# --- the C module -----------------------------------------------------------------------------------------------------


@every_adapted_python
def test_nothing_that_is_given_makes_it_raise(watched, python):
    assert watched(python, """
        import itertools
        class Odd:
            def __index__(self): raise ValueError
            def __int__(self): raise ValueError
        things = [None, -1, 2 ** 70, 1.5, 'text', '\\udcff', 'nul\\0', b'', Odd(), Odd, sys._getframe(), type, 3]
        functions = [value for name, value in sorted(vars(native).items()) if callable(value) and not name.startswith('_')]
        assert len(functions) == 21, len(functions)
        for function in functions:
            if function in (native.thread_sentinel, native.owner_enter, native.owner_begin, native.destructor_of):
                continue
            function()
            for count in (1, 2):
                for given in itertools.product(things, repeat=count):
                    function(*given)
            for thing in things:
                function(*[thing] * 3), function(*[thing] * 5), function(3, 4, *[thing] * 4)
        for thing in things:
            native.destructor_of(thing), native.owner_begin(thing, thing, thing)
        print(native.thread_sentinel('x'), native.owner_enter(0), native.kind('sqlalchemy.session') > 0, native.kind('x' * 70))
    """) == ["None 0 True 0"]


@every_adapted_python
def test_reference_counts_stay(watched, python):
    assert watched(python, """
        class Handle: pass
        handle, frame, text = Handle(), sys._getframe(), 'text %d' % len(sys.argv)
        kind = native.kind('test.handle')
        before = [sys.getrefcount(each) for each in (handle, frame, text, native)]
        for _ in range(1000):
            native.opened(kind, handle, frame)
            native.target(kind, handle, text)
            native.detail(kind, handle, text, text)
            native.used(kind, handle, frame)
            native.transaction(kind, handle, native.TRANSACTION, frame)
            native.noticed(text, kind, handle, text, frame)
            native.closed(kind, handle, native.EXPLICIT, frame)
            native.sqlite_handle(handle), native.mysql_handle(handle), native.destructor_of(Handle)
        print(before == [sys.getrefcount(each) for each in (handle, frame, text, native)])
    """) == ["True"]


@every_adapted_python
def test_handles_are_numbers_or_addresses(run_unclosed, python, tmp_path):
    (tmp_path / "program.py").write_text(textwrap.dedent("""
        import sys
        from _unclosed import _native as native
        class Thing: pass
        kept, lost = Thing(), Thing()
        kind, inner = native.kind('test.thing'), native.kind('test.inner', 'test.thing')
        for thing in (kept, lost): native.opened(kind, thing)
        native.closed(kind, id(kept), native.EXPLICIT)
        native.opened(inner, 2 ** 63 + 5)
        native.parent(inner, 2 ** 63 + 5, kind, lost)
        native.target(kind, lost, 'what it is')
        native.detail(kind, lost, 'key', 'value')
    """))
    report = run_unclosed(python, tmp_path / "program.py", environment=BARE)
    assert report.rows("SELECT kind, opened, closed FROM kind_count WHERE opened ORDER BY kind") == [("test.inner", 1, 0), ("test.thing", 2, 1)]
    assert report.rows("SELECT target FROM handle WHERE kind = 'test.thing'") == [("what it is",)]


@every_adapted_python
def test_end_of_a_sentinel_is_the_end_of_its_owner(run_unclosed, python, tmp_path):
    (tmp_path / "program.py").write_text(textwrap.dedent("""
        from _unclosed import _native as native
        kind, owner = native.kind('test.thing'), native.owner_begin(native.THREAD, 'worker', 0)
        before = native.owner_enter(owner)
        native.opened(kind, 77)
        native.owner_enter(before)
        sentinel = native.thread_sentinel(owner)
        try: raise ValueError
        except ValueError: del sentinel
    """))
    report = run_unclosed(python, tmp_path / "program.py", environment=BARE)
    assert report.rows("SELECT ended_at IS NOT NULL, end_reason FROM owner WHERE label = 'worker'") == [(1, "thread ended")]


@pytest.mark.skipif(sys.version_info < (3, 9), reason="sub-interpreters by _xxsubinterpreters")
@every_adapted_python
def test_sub_interpreters(watched, python):
    assert watched(python, """
        try: import _interpreters as interpreters
        except ImportError: import _xxsubinterpreters as interpreters
        for _ in range(3):
            one = interpreters.create()
            failed = interpreters.run_string(one, "import sys; from _unclosed import _native, hooks; assert _native.kind('sqlalchemy.session');"
                                                  "assert type(sys.meta_path[0]) is hooks.Finder; _native.opened(_native.kind('a.b'), 5)")
            assert not failed, failed
            interpreters.destroy(one)
        print('done')
    """) == ["done"]


# --- drivers ----------------------------------------------------------------------------------------------------------


@every_adapted_python
def test_handle_of_sqlite3_in_any_thread(watched, python):
    assert watched(python, """
        import sqlite3, threading
        class Mine(sqlite3.Connection): pass
        for connection in (sqlite3.connect(':memory:'), sqlite3.connect(':memory:', factory=Mine)):
            found = []
            thread = threading.Thread(target=lambda: found.append(drivers.native_handle(connection)))
            thread.start(), thread.join()
            assert found == [drivers.native_handle(connection)] and found[0][0] == 'sqlite3.connection' and found[0][1]
            connection.close()
            assert drivers.native_handle(connection) is None
        class NotOne: pass
        print(drivers.native_handle(NotOne()), drivers.native_handle(None), native.sqlite_handle(NotOne()))
    """) == ["None None 0"]


HANDLES = """
    from _unclosed import _native as native, drivers
    import {module}
    connection = {module}.connect({arguments})
    kind, pointer = drivers.native_handle(connection)
    native.detail(native.kind(kind), pointer, 'known by', '{module}')
    connection.close()
    assert drivers.native_handle(connection) is None
    other = {module}.connect({arguments})
    native.detail(native.kind(kind), drivers.native_handle(other)[1], 'known by', 'its number')
    import os; os._exit(0)
"""


@pytest.mark.parametrize("module, arguments, kind", [("sqlite3", "':memory:'", "sqlite3.connection"), ("psycopg2", "''", "libpq.connection"),
                                                     ("psycopg", "''", "libpq.connection")])
def test_handle_is_the_one_that_the_shim_knows(run_unclosed, postgres, tmp_path, module, arguments, kind):
    (tmp_path / "program.py").write_text(textwrap.dedent(HANDLES.format(module=module, arguments=arguments)))
    report = run_unclosed(PYTHON, tmp_path / "program.py", environment={**BARE, **postgres.environment})
    assert report.rows("SELECT value FROM detail JOIN handle ON handle.id = detail.handle WHERE kind = ? AND key = 'known by'", kind) \
        == [("its number",)]


@every_adapted_python
@pytest.mark.parametrize("collected", ["del connection; gc.collect()", "connection = [connection]; connection.append(connection); del connection; gc.collect()"],
                         ids=["dropped", "in a cycle"])
def test_connection_that_is_collected_was_not_closed(run_unclosed, python, tmp_path, collected):
    (tmp_path / "program.py").write_text(f"import gc, sqlite3\nconnection = sqlite3.connect(':memory:')\n{collected}\n"
                                         "sqlite3.connect(':memory:').close()\n")
    report = run_unclosed(python, tmp_path / "program.py", environment=BARE)
    assert report.rows("SELECT opened, closed FROM kind_count WHERE kind = 'sqlite3.connection'") == [(2, 2)]
    assert report.rows("SELECT sum(ended_explicit), sum(ended_gc) FROM site WHERE kind = 'sqlite3.connection'") == [(1, 1)]
