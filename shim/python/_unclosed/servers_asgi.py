# SPDX-License-Identifier: Apache-2.0
"""Requests of ASGI servers and frameworks: uvicorn, hypercorn, gunicorn, Starlette, FastAPI, Django."""

import sys

from functools import partial, update_wrapper

from . import _native, context, hooks

METHODS = frozenset(
    "CONNECT COPY DELETE GET HEAD LOCK MKCOL MOVE OPTIONS PATCH POST PROPFIND PROPPATCH PUT QUERY REPORT SEARCH TRACE"
    " UNLOCK".split()
)


def method_of(name):
    """The request's method, as long as it is one: clients can send any word."""
    return name if name in METHODS else "OTHER"


def verb_of(scope):
    """What a label begins with."""
    return "WEBSOCKET" if scope["type"] == "websocket" else method_of(scope["method"])


# --- the request ------------------------------------------------------------------------------------------------------


@hooks.harmless
def begun(scope):
    """The request of an ASGI call that begins; None if it has begun already, or this is another kind of call."""
    if scope["type"] not in ("http", "websocket"):
        return None
    request = context.request()
    if request is not None:
        context.request_joined(request)
        return None
    return context.request_begun(f"{verb_of(scope)} (no route)")


@hooks.harmless
def ended(request, error, receive):
    reason = context.reason_of(error)
    if reason == "returned" and client_has_left(getattr(receive, "__self__", None)):
        reason = "client disconnected"
    context.request_ended(request, reason)


def client_has_left(cycle):
    """uvicorn's object for a request knows that the client has gone, and how much of the response it has not got."""
    if type(cycle).__module__.partition(".")[0] != "uvicorn":
        return False
    if not getattr(cycle, "disconnected", False) or getattr(cycle, "response_complete", True):
        return False
    if not getattr(cycle, "response_started", False) or getattr(cycle, "chunked_encoding", False):
        return True
    h11 = getattr(getattr(cycle, "conn", None), "_writer", None)
    return getattr(cycle, "expected_content_length", getattr(h11, "_length", None)) != 0


def with_requests(application):
    """The ASGI application, each call a request."""

    async def app(scope, receive, send):
        request = begun(scope)
        try:
            result = await application(scope, receive, send)
        except BaseException as error:
            context.hidden(error)
            if request is not None:
                ended(request, error, receive)
            raise
        if request is not None:
            ended(request, None, receive)
        return result

    return app


def method_with_requests(original):
    """The same for a method `__call__(self, scope, receive, send, …)`."""

    async def __call__(self, scope, receive, send, *more, **named):
        request = begun(scope)
        try:
            result = await original(self, scope, receive, send, *more, **named)
        except BaseException as error:
            context.hidden(error)
            if request is not None:
                ended(request, error, receive)
            raise
        if request is not None:
            ended(request, None, receive)
        return result

    return update_wrapper(__call__, original)


# --- servers ----------------------------------------------------------------------------------------------------------


def uvicorn_loaded(module):
    """The one place through which every protocol of every version gets the application."""
    original = module.Config.load

    def load(self):
        try:
            original(self)
        except BaseException as error:
            context.hidden(error)
            raise
        self.loaded_app = with_requests(self.loaded_app)

    module.Config.load = update_wrapper(load, original)


def hypercorn_loaded(module):
    from . import servers_wsgi

    module.ASGIWrapper.__call__ = method_with_requests(module.ASGIWrapper.__call__)
    module.WSGIWrapper.run_app = servers_wsgi.with_requests(
        module.WSGIWrapper.run_app, lambda self, environ, send: environ["REQUEST_METHOD"]
    )


def gunicorn_loaded(module):
    original = module.ASGIWorker.load_wsgi

    def load_wsgi(self):
        original(self)
        self.asgi = with_requests(self.asgi)

    module.ASGIWorker.load_wsgi = update_wrapper(load_wsgi, original)


# --- Starlette and FastAPI --------------------------------------------------------------------------------------------


def starlette_loaded(module):
    module.Starlette.__call__ = method_with_requests(module.Starlette.__call__)


def starlette_routing_loaded(module):
    module.Route.handle = routed(module.Route.handle)
    module.WebSocketRoute.handle = routed(module.WebSocketRoute.handle)
    module.Mount.handle = mounted(module.Mount.handle)


def fastapi_routing_loaded(module):
    context.own_tasks(module)
    if "handle" in vars(module.APIRoute):
        module.APIRoute.handle = routed(module.APIRoute.handle)


def routed(original):
    """The method `handle(self, scope, receive, send)` of a route, by which the request gets its name."""

    @hooks.harmless
    def reached(route, scope):
        request = context.request()
        if request is not None and scope["type"] in ("http", "websocket"):
            context.request_routed(f"{verb_of(scope)} {mount_of(request, scope)}{path_of(route, scope)}")

    def handle(self, scope, receive, send):
        reached(self, scope)
        return original(self, scope, receive, send)

    return coroutine_function(handle, original)


def mounted(original):
    """The same of a mount. What it mounts may know the route better, but not what it is mounted at."""

    @hooks.harmless
    def reached(mount, scope):
        request = context.request()
        if request is not None and scope["type"] in ("http", "websocket"):
            path = mount_of(request, scope) + mount.path
            if request.mounts is None:
                request.mounts = {}
            request.mounts[scope.get("root_path", "")] = path
            context.request_routed(f"{verb_of(scope)} {path or '/'}")

    def handle(self, scope, receive, send):
        reached(self, scope)
        return original(self, scope, receive, send)

    return coroutine_function(handle, original)


def mount_of(request, scope):
    """The template of what this scope is mounted at: known by the concrete root_path, which grows with each mount."""
    if not request.mounts:
        return ""
    root = scope.get("root_path", "")
    place = ""
    for known in request.mounts:
        if root.startswith(known) and len(known) >= len(place):
            place = known
    return request.mounts.get(place, "")


def path_of(route, scope):
    """A FastAPI route that is included with a prefix knows its own part only; the scope tells of the whole."""
    included = scope.get("fastapi")
    if type(included) is dict:
        effective = included.get("effective_route_context")
        if effective is not None and getattr(effective, "original_route", None) is route:
            return effective.path
    return route.path


def coroutine_function(function, original):
    """A plain function that returns the coroutine of the original, and says so where Python lets it."""
    update_wrapper(function, original)
    mark = getattr(sys.modules.get("inspect"), "markcoroutinefunction", None)
    return function if mark is None else mark(function)


# --- Django -----------------------------------------------------------------------------------------------------------


def django_loaded(module):
    module.ASGIHandler.__call__ = method_with_requests(module.ASGIHandler.__call__)
    context.own_tasks(module)


class ThreadHandler:
    """SyncToAsync.thread_handler, which runs in the thread; the attribute is read in the task that has it run."""

    def __init__(self, original):
        self.original = original

    def __get__(self, instance, owner=None):
        if instance is None:
            return self.original
        bound = self.original.__get__(instance, owner)
        scope = context.current() if context.is_needed() else None
        return bound if scope is None else partial(self.run, bound, scope)

    @staticmethod
    def run(bound, scope, *given, **named):
        before = _native.owner_enter(scope.owner())
        try:
            return bound(*given, **named)
        except BaseException as error:
            context.hidden(error)
            raise
        finally:
            _native.owner_enter(before)


def asgiref_loaded(module):
    """Coroutines that synchronous code waits for belong to who runs that; threads that a coroutine waits for, to who runs it."""
    context.own_tasks(module)
    module.SyncToAsync.thread_handler = ThreadHandler(module.SyncToAsync.thread_handler)
