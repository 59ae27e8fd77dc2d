# SPDX-License-Identifier: Apache-2.0
"""What runs in the program's place: after its imports, and around its calls.

After imports: a finder stands first on sys.meta_path. It reacts to names that somebody waits for, asks the finders
behind it, and gives back the spec they found, unchanged, but for `exec_module` on that one loader, for that one
execution. So a program sees the types, loaders and specs that it would see without us; sys.meta_path has one entry more.
"""

import sys

from _frozen_importlib_external import spec_from_file_location
from _weakref import ref

from . import _native

_waiting = {}  # name of a module -> functions, and names of adapters
_executed = {}  # name -> weak reference to the module that they have been told of
_unhooked = set()  # names whose execution could not be hooked: looked for again at each import of something else
_versions = {}  # adapter -> version
_problems = {}  # adapter -> what was told first
_last_calls = []  # functions, for the moment before the interpreter takes its modules apart
_whole = [True]


def when_imported(name, function):
    """Has function(module) called once, right after the module of that name has been executed; now, if it has been.

    Called again if the program drops the module and imports it anew, as another object; not when it is reloaded.
    """
    _waiting.setdefault(name, []).append(function)
    module = sys.modules.get(name)
    if module is None:
        return
    if _is_executing(module):
        _unhooked.add(name)
    else:
        _executed[name] = ref(module)
        _call(function, name, module)


def harmless(function):
    """The function, without the exceptions: what goes wrong in it is told once, not raised."""

    def guarded(*given, **named):
        try:
            return function(*given, **named)
        except Exception as error:
            troubled(function.__globals__.get("ADAPTER", function.__module__.rpartition(".")[2]), error)

    guarded.__name__, guarded.__qualname__, guarded.__doc__ = function.__name__, function.__qualname__, function.__doc__
    guarded.__module__, guarded.__wrapped__ = function.__module__, function
    return guarded


def told(adapter, version=None, problem=None):
    """Tells who speaks: version, and what cannot be seen and why. The first problem stays."""
    version = _versions[adapter] = version or _versions.get(adapter)
    problem = _problems[adapter] = _problems.get(adapter) or problem
    _native.adapter(adapter, version, problem)


def troubled(adapter, error):
    """Tells that an adapter itself has failed. The message is left out: it may hold data of the program."""
    if _problems.get(adapter):
        return
    place = error.__traceback__
    while place and place.tb_next:
        place = place.tb_next
    where = f" in {place.tb_frame.f_code.co_filename.rpartition('/')[2]}, line {place.tb_lineno}" if place else ""
    told(adapter, problem=f"the adapter failed: {type(error).__name__}{where}")


# --- at the end -------------------------------------------------------------------------------------------------------


def before_modules_go(function):
    """Has function() called when the interpreter, shutting down, has collected all garbage and is about to take its
    modules apart. What has died by then was garbage; what dies later was referred to until the end."""
    _last_calls.append(function)


def modules_are_whole():
    return _whole[0]


class _Modules:
    """Dies when what alone leads to it is given up: the attributes of `sys` that the interpreter clears first."""

    __slots__ = ()

    def __del__(self):
        if not sys.is_finalizing() or not _whole[0]:  # the program has cleared sys.meta_path, or it is done
            return
        for function in _last_calls:
            try:
                function()
            except Exception as error:
                troubled("python", error)
        _whole[0] = False
        _native.adapter("python.modules", None, None)


def _modules_watched():
    _native.adapter("python.modules", "%d.%d.%d" % sys.version_info[:3], None)
    # In 3.10 and 3.11 a copy of sys.__dict__ keeps the list sys.meta_path itself; what site adds later is not in it.
    hook = getattr(sys, "__interactivehook__", None)
    if type(hook) is type(_modules_watched):
        hook.__dict__["_unclosed"] = _Modules()


# --- after imports ----------------------------------------------------------------------------------------------------


def _is_executing(module):
    return getattr(getattr(module, "__spec__", None), "_initializing", False)


def _call(function, name, module):
    adapter = function if isinstance(function, str) else "python"
    try:
        if adapter is function:
            getattr(sys.modules[__package__], adapter).imported(name, module)
        else:
            function(module)
    except Exception as error:
        troubled(adapter, error)


def _done(name, module):
    known = _executed.get(name)
    if known is not None and known() is module:
        return
    try:
        _executed[name] = ref(module)
    except TypeError:  # something else has taken the module's place
        pass
    for function in list(_waiting[name]):
        _call(function, name, module)


def _look_again():
    for name in list(_unhooked):
        module = sys.modules.get(name)
        if module is not None and not _is_executing(module):
            _unhooked.discard(name)
            _done(name, module)


class _Execution:
    """Takes the place of a loader's exec_module until the module that is waited for is executed."""

    __slots__ = ("attributes", "before", "loader")

    def __init__(self, loader):
        self.loader = loader
        self.attributes = loader.__dict__
        self.before = self.attributes.get("exec_module")

    def __call__(self, module):
        name = module.__spec__.name
        if name not in _waiting:  # of another module of the same archive
            return (self.before or type(self.loader).exec_module.__get__(self.loader))(module)
        if self.attributes.get("exec_module") is self:
            del self.attributes["exec_module"]
            if self.before:
                self.attributes["exec_module"] = self.before
        self.loader.exec_module(module)
        _done(name, sys.modules.get(name, module))


def _is_hooked(loader):
    if isinstance(loader, type) or type(getattr(loader, "__dict__", None)) is not dict:
        return False
    if not hasattr(loader, "exec_module"):
        return False
    if type(loader.__dict__.get("exec_module")) is not _Execution:
        loader.__dict__["exec_module"] = _Execution(loader)
    return True


class Finder:
    """First on sys.meta_path."""

    __slots__ = ("modules",)

    def __init__(self):
        self.modules = _Modules()

    def find_spec(self, name, path=None, target=None):
        if _unhooked:
            _look_again()
        if name not in _waiting:
            return None
        behind = False
        for finder in list(sys.meta_path):
            if not behind:
                behind = finder is self
                continue
            if not hasattr(finder, "find_spec"):  # before 3.12
                _unhooked.add(name)
                return None
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if not _is_hooked(spec.loader):
                    _unhooked.add(name)
                return spec
        return None


# importlib's own frames are left out of tracebacks by their file name; so are these, which stand between them.
for _function in (Finder.find_spec, _Execution.__call__):
    _function.__code__ = _function.__code__.replace(co_filename=spec_from_file_location.__code__.co_filename)
sys.meta_path.insert(0, Finder())
_modules_watched()
