# SPDX-License-Identifier: Apache-2.0
"""Requests of ASGI servers and frameworks: uvicorn, hypercorn, gunicorn, Starlette, FastAPI, Django."""

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


def begun(scope):
    """The request of an ASGI call that begins; None if it has begun already, or this is another kind of call."""
    try:
        kind = scope["type"]
        if kind != "http" and kind != "websocket":
            return None
        request = context.request()
        if request is None:
            return context.request_begun(f"{verb_of(scope)} (no route)")
        context.request_joined(request)
    except Exception as error:
        hooks.troubled("servers", error)
    return None


def ended(request, error, receive):
    try:
        reason = context.reason_of(error)
        if error is None and client_has_left(getattr(receive, "__self__", None)):
            reason = "client disconnected"
        context.request_ended(request, reason)
    except Exception as trouble:
        hooks.troubled("servers", trouble)


def client_has_left(cycle):
    """uvicorn's object for a request knows that the client has gone, and how much of the response it has not got."""
    if not type(cycle).__module__.startswith("uvicorn."):
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
    module.Route.handle = routed(module.Route.handle, own_path)
    module.WebSocketRoute.handle = routed(module.WebSocketRoute.handle, own_path)
    module.Mount.handle = routed(module.Mount.handle, mounted_path)


def fastapi_routing_loaded(module):
    context.own_tasks(module)
    if "handle" in vars(module.APIRoute):
        module.APIRoute.handle = routed(module.APIRoute.handle, included_path)


def routed(original, path_of):
    """The method `handle(self, scope, receive, send)` of a route, by which the request gets its name.

    path_of(route, scope): the template. None: `original` leaves it to the method that it overrides.
    """

    def handle(self, scope, receive, send):
        reached(self, scope, path_of)
        return original(self, scope, receive, send)

    return context.coroutine_function(handle, original)


def reached(route, scope, path_of):
    try:
        request = context.request()
        path = None if request is None else path_of(route, scope)
        if path is not None:
            context.request_routed(f"{verb_of(scope)} {mount_of(request, scope)}{path}")
    except Exception as error:
        hooks.troubled("servers", error)


def own_path(route, scope):
    return route.path


def included_path(route, scope):
    """A FastAPI route that is included with a prefix knows its own part only; the scope tells of the whole."""
    included = scope.get("fastapi")
    effective = included.get("effective_route_context") if type(included) is dict else None
    return effective.path if effective is not None and effective.original_route is route else None


def mounted_path(mount, scope):
    """What is mounted may know the route better, but not what it is mounted at."""
    request = context.request()
    path = mount_of(request, scope) + mount.path
    if request.mounts is None:
        request.mounts = {}
    request.mounts[scope.get("root_path", "")] = path
    return "" if path else "/"


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
