# SPDX-License-Identifier: Apache-2.0
"""Who runs now: the request, else the asyncio task; and where the user's frames are.

    owner()   whose a handle is that is opened now, as a number for _native; 0: the thread's, which is the shim's own business
    place()   who runs now, as something to hash and compare: for things that one and the same must not do twice
    frame()   where the user's frames begin if we run behind a greenlet; else None

A request is a Scope in a context variable, so that it goes wherever its context is copied to: callbacks, worker threads,
tasks. A task that was made inside of a request may outlive it, and so is an owner of its own, unless it is one of those in which
a server or framework runs the request itself (Scope.runs_in). The same Scope serves for such tasks.

To the shim an owner begins when it opens something, so that programs that open nothing stay without a trace. Nothing
here holds on to a task, a frame or a greenlet.
"""

import sys

from functools import update_wrapper

from _contextvars import ContextVar
from _thread import _local
from _weakref import ref

from . import _native, hooks

# Drivers whose handles libunclosed.so sees by itself, and what speaks for the others. While none of them is there, nobody asks
# who owns a thread.
DRIVERS = ("sqlalchemy", "_sqlite3", "psycopg2", "psycopg", "MySQLdb", "mariadb", "pyodbc", "apsw")

REQUEST = _native.REQUEST

_scope = ContextVar("unclosed", default=None)
_tasks = {}  # id of a task -> Scope; only of those that opened something or made a thread do so
_threads = _local()
_greenlets = {}  # id of a greenlet -> Place; see place()
_before_end = []  # functions, see before_requests_end
_own_files = set()  # of servers and frameworks: their tasks run a part of the request that made them, and end before it


def _none():
    return None


_running_loop = _none  # asyncio's, once it is there
_current_task = None
_current_greenlet = None


class Scope:
    """Something that begins, opens handles, and ends: a request or a task."""

    parent = None
    tasks = None  # other tasks that run this request: references
    reason = None  # why it ended, once it has
    error = None  # name of an exception that a framework answered
    mounts = None  # see servers_asgi
    token = None

    def __init__(self, kind, label, task):
        self.kind = kind
        self.label = label
        self.task = task  # a reference, or None
        self.begun = []  # its number, once it has one

    def owner(self):
        """The number of this owner. Threads may ask at the same time."""
        begun = self.begun
        if begun:
            return begun[0]
        parent = self.parent
        number = _native.owner_begin(
            self.kind, self.label, parent.owner() if parent is not None and parent.reason is None else 0
        )
        begun.append(number)
        if begun[0] != number:
            _native.owner_end(number, None)
        elif self.reason is not None:
            _native.owner_end(number, self.reason)
        return begun[0]

    def labelled(self, label):
        if label != self.label:
            self.label = label
            if self.begun:
                _native.owner_label(self.begun[0], label)

    def ended(self, reason):
        if self.reason is None:
            self.reason = reason
            if self.begun:
                _native.owner_end(self.begun[0], reason)

    def runs_in(self, task):
        own = self.task
        if own is not None and own() is task:
            return True
        return self.tasks is not None and any(other() is task for other in self.tasks)

    def joined(self, task):
        """This task runs a part of the request, and ends before it does."""
        if self.tasks is None:
            self.tasks = []
        self.tasks.append(ref(task))


class TaskReference(ref):
    """To a task, and back to its number when it has gone without an end."""

    __slots__ = ("number",)

    def __new__(cls, task):
        return ref.__new__(cls, task, _task_gone)

    def __init__(self, task):
        ref.__init__(self, task, _task_gone)
        self.number = id(task)


class Place:
    """A thread or a greenlet."""

    __slots__ = ("reference",)


def owner():
    scope = current()
    return 0 if scope is None else scope.owner()


def place():
    return current() or thread_place()


def thread_place():
    """The place() of who has no Scope. Not the thread's identifier, which the next thread gets again."""
    greenlet = _running_greenlet()
    if greenlet is not None and greenlet.parent is not None:
        return _place_of(greenlet)
    try:
        return _threads.place
    except AttributeError:
        _threads.place = Place()
        return _threads.place


def frame():
    """SQLAlchemy runs synchronous code behind a greenlet, of which a coroutine of the user's is the parent. With run_sync
    that code is the user's own: then its frames are the thread's.
    """
    greenlet = _running_greenlet()
    found = None
    while type(greenlet).__name__ == "_AsyncIoGreenlet":
        greenlet = greenlet.parent
        outer = None if greenlet is None else greenlet.gr_frame
        if outer is None:
            break
        found = outer
        caller = outer.f_back
        if caller is not None and caller.f_code.co_name == "run_sync" and not _is_sqlalchemy(sys._getframe(1)):
            return None
    return found


def _is_sqlalchemy(place):
    """Was the function from which all that began, SQLAlchemy's?"""
    while place.f_back is not None:
        place = place.f_back
    return place.f_globals.get("__name__", "").startswith("sqlalchemy.")


def current():
    """The Scope of the request or the task that runs now, or None."""
    scope = _scope.get()
    loop = _running_loop()
    task = None if loop is None else _current_task(loop)
    if scope is not None and scope.reason is None and (task is None or scope.runs_in(task)):
        return scope
    if task is None:
        return None
    known = _tasks.get(id(task))
    return _task_begun(task, scope) if known is None else known


def request():
    """The request that is going on in this context, or None."""
    scope = _scope.get()
    return scope if scope is not None and scope.reason is None and scope.kind == REQUEST else None


def running_task():
    loop = _running_loop()
    return None if loop is None else _current_task(loop)


def request_begun(label):
    """A request that runs in this task or thread from now on; in its context, until request_ended."""
    task = running_task()
    scope = Scope(REQUEST, label, None if task is None else ref(task))
    scope.token = _scope.set(scope)
    return scope


def before_requests_end(function):
    """Has function(owner) called before the owner of a request that opened something ends."""
    _before_end.append(function)


def request_ended(scope, reason):
    if scope.begun:
        for function in _before_end:
            function(scope.begun[0])
    scope.ended(f"exception {scope.error}" if scope.error and reason == "returned" else reason)
    token, scope.token = scope.token, None
    if token is not None:
        try:
            _scope.reset(token)
        except Exception:  # ended from another context: a collected coroutine
            pass


def request_routed(label):
    """The request of this context has reached the route with that label: so what runs now, runs it."""
    scope = request()
    if scope is not None:
        scope.labelled(label)
        request_joined(scope)


def request_joined(scope):
    """The task that runs now runs a part of that request, and ends before it does."""
    task = running_task()
    if task is not None and not scope.runs_in(task):
        scope.joined(task)


def own_tasks(module):
    """Tasks of coroutines in this module's file run a part of the request that made them, and end before it does."""
    _own_files.add(module.__file__)


def reason_of(error):
    """Why something ended with that exception (None: without), in words."""
    if error is None:
        return "returned"
    name = type(error).__name__
    if name == "CancelledError":
        return "cancelled"
    if name == "ClientDisconnect":
        return "client disconnected"
    return f"exception {name}"


def hidden(error):
    """Takes the innermost function out of the exception's traceback: call it first thing in `except`, and then `raise`.

    Python before 3.11 keeps that function in it.
    """
    place = error.__traceback__
    if place is not None:
        BaseException.with_traceback(error, place.tb_next)


# --- asyncio tasks ----------------------------------------------------------------------------------------------------


@hooks.harmless
def _task_begun(task, request):
    """A task opens something, or has a thread do so, for the first time."""
    coroutine = _coroutine_of(task)
    if request is not None and (request.reason is not None or request.kind != REQUEST):
        request = None
    code = getattr(coroutine, "cr_code", None)
    if request is not None and code is not None and code.co_filename in _own_files:
        request.joined(task)
        return request
    scope = Scope(_native.TASK, getattr(coroutine, "__qualname__", None) or task.get_name(), TaskReference(task))
    scope.parent = request
    _tasks[id(task)] = scope
    task.add_done_callback(_task_done)
    return scope


def _coroutine_of(task):
    """What the task runs; anyio runs it in a coroutine of its own, which has it as `coro` or in `self`."""
    coroutine = task.get_coro()
    code = getattr(coroutine, "cr_code", None)
    if code is not None and "/anyio/" in code.co_filename and coroutine.cr_frame is not None:
        names = coroutine.cr_frame.f_locals
        inner = names.get("coro") or getattr(names.get("self"), "_coro", None)
        if inner is not None:
            return inner
    return coroutine


@hooks.harmless
def _task_done(task):
    scope = _tasks.pop(id(task), None)
    if scope is not None:
        # Not task.exception(): who asks for that has seen it.
        scope.ended("cancelled" if task.cancelled() else reason_of(getattr(task, "_exception", None)))


def _task_gone(reference):
    try:
        scope = _tasks.get(reference.number)
        if scope is not None and scope.task is reference:
            del _tasks[reference.number]
            scope.ended("never finished")
    except Exception:  # this module is being taken down
        pass


# --- worker threads ---------------------------------------------------------------------------------------------------


def is_needed():
    """May anything be opened in this program?"""
    modules = sys.modules
    for name in DRIVERS:
        if name in modules:
            return True
    return False


def in_thread(function):
    """The function, for a worker thread that runs it for who runs now, in a copy of this context."""
    scope = current() if is_needed() else None
    if scope is None:
        return function

    def call(*given, **named):
        token = None if _scope.get() is scope else _scope.set(scope)
        before = _native.owner_enter(scope.owner())
        try:
            return function(*given, **named)
        except BaseException as error:
            hidden(error)
            raise
        finally:
            _native.owner_enter(before)
            if token is not None:
                _scope.reset(token)

    return call


def in_threads(original):
    """The coroutine function that calls its first argument in a worker thread, so that it does it for who runs now."""

    async def run(function, *given, **named):
        try:
            return await original(in_thread(function), *given, **named)
        except BaseException as error:
            hidden(error)
            raise

    return update_wrapper(run, original)


def in_threads_at_once(original):
    """The same for one that is awaited by its caller, and not in a task of its own: one coroutine less."""

    def run(function, *given, **named):
        return original(in_thread(function), *given, **named)

    return coroutine_function(run, original)


def coroutine_function(function, original):
    """A plain function that returns the coroutine of the original, and says so where Python lets it."""
    update_wrapper(function, original)
    mark = getattr(sys.modules.get("inspect"), "markcoroutinefunction", None)
    return function if mark is None else mark(function)


# --- greenlets --------------------------------------------------------------------------------------------------------


def _running_greenlet():
    if _current_greenlet is None:
        return None
    try:
        return _current_greenlet()
    except RuntimeError:  # at the interpreter's end
        return None


def _place_of(greenlet):
    known = _greenlets.get(id(greenlet))
    if known is not None and known.reference() is greenlet:
        return known
    number = id(greenlet)

    def gone(reference):
        try:
            if _greenlets[number].reference is reference:
                del _greenlets[number]
        except Exception:  # another has its number, or this module is being taken down
            pass

    known = Place()
    known.reference = ref(greenlet, gone)
    _greenlets[number] = known
    return known


# --- what they need of other modules ----------------------------------------------------------------------------------


def _asyncio_loaded(module):
    global _running_loop, _current_task
    _current_task = module.current_task
    _running_loop = sys.modules["asyncio.events"]._get_running_loop


def _threads_loaded(module):
    original = module.to_thread
    module.to_thread = in_threads(original)
    package = sys.modules.get("asyncio")
    if getattr(package, "to_thread", None) is original:
        package.to_thread = module.to_thread


def _anyio_loaded(module):
    module.run_sync = in_threads_at_once(module.run_sync)


def _greenlet_loaded(module):
    global _current_greenlet
    _current_greenlet = module.getcurrent


def _forked():
    """The child has none of its parent's owners."""
    _tasks.clear()
    _greenlets.clear()
    _scope.set(None)


hooks.when_imported("asyncio.tasks", _asyncio_loaded)
hooks.when_imported("asyncio.threads", _threads_loaded)
hooks.when_imported("anyio.to_thread", _anyio_loaded)
hooks.when_imported("greenlet", _greenlet_loaded)
sys.modules["os"].register_at_fork(after_in_child=_forked)
