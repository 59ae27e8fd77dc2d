# SPDX-License-Identifier: Apache-2.0
"""Requests of WSGI servers and frameworks: gunicorn, werkzeug, wsgiref, hypercorn, Flask, Django.

A server's method that handles one request begins and ends it. Under a server that is not known, a framework does, and has
its own iterable tell of the end.
"""

from functools import update_wrapper

from . import _native, context, hooks
from .servers_asgi import method_of


def with_requests(original, method, own_thread=True):
    """A server's method that handles one request, from before the call of the application until its iterable is closed.

    `method(self, …)` knows the request's. own_thread: all that this thread does in the meantime is done for it.
    """

    def handle(self, *given, **named):
        request = context.request_begun(label_of(method, (self, *given)))
        before = _native.owner_enter(request.owner()) if own_thread and context.is_needed() else None
        try:
            return original(self, *given, **named)
        except BaseException as error:
            context.hidden(error)
            # gunicorn raises StopIteration after it has logged what went wrong while the response was sent.
            failure = error.__context__ if type(error) is StopIteration and error.__context__ else error
            request.error = request.error or type(failure).__name__
            raise
        finally:
            if before is not None:
                _native.owner_enter(before)
            context.request_ended(request, "returned")

    return update_wrapper(handle, original)


def label_of(method, given):
    try:
        return f"{method_of(method(*given))} (no route)"
    except Exception:
        return "OTHER (no route)"


# --- servers ----------------------------------------------------------------------------------------------------------


def gunicorn_sync_loaded(module):
    worker = module.SyncWorker
    worker.handle_request = with_requests(worker.handle_request, lambda self, listener, request, *rest: request.method)


def gunicorn_gthread_loaded(module):
    worker = module.ThreadWorker
    worker.handle_request = with_requests(worker.handle_request, lambda self, request, *rest: request.method)


def gunicorn_greenlets_loaded(module):
    worker = module.AsyncWorker
    worker.handle_request = with_requests(
        worker.handle_request, lambda self, listener, request, *rest: request.method, own_thread=False
    )


def werkzeug_loaded(module):
    handler = module.WSGIRequestHandler
    handler.run_wsgi = with_requests(handler.run_wsgi, lambda self: self.command)


def wsgiref_loaded(module):
    handler = module.BaseHandler
    handler.run = with_requests(handler.run, lambda self, application: self.base_env["REQUEST_METHOD"])


# --- frameworks below another server ----------------------------------------------------------------------------------


def application_with_requests(original, closers):
    """A framework's `__call__(self, environ, start_response)`.

    `closers(iterable)` is the list of functions that the iterable calls when it is closed; None if it has none, and the
    request is over with the call. A request without a token is one whose iterable has not been closed yet.
    """

    def __call__(self, environ, start_response):
        request = context.request()
        if request is not None:
            if request.token is not None:
                return original(self, environ, start_response)
            context.request_ended(request, "returned")
        return called(original, closers, self, environ, start_response)

    return update_wrapper(__call__, original)


def called(original, closers, self, environ, start_response):
    request = context.request_begun(f"{method_of(environ.get('REQUEST_METHOD'))} (no route)")
    before = _native.owner_enter(request.owner()) if context.is_needed() else None
    try:
        iterable = original(self, environ, start_response)
    except BaseException as error:
        context.hidden(error)
        context.request_ended(request, context.reason_of(error))
        raise
    finally:
        if before is not None:
            _native.owner_enter(before)
    answered(request, closers, iterable)
    return iterable


@hooks.harmless
def answered(request, closers, iterable):
    functions = closers(iterable)
    if functions is None:
        context.request_ended(request, "returned")
    else:
        request.token = None
        functions.append(lambda: context.request_ended(request, "returned"))


# --- Flask ------------------------------------------------------------------------------------------------------------


def flask_loaded(module):
    application = module.Flask
    application.__call__ = application_with_requests(
        application.__call__, lambda iterable: list_in(iterable, "_callbacks", "werkzeug")
    )
    original = application.handle_exception

    def handle_exception(self, error):
        request = context.request()
        if request is not None:
            request.error = type(error).__name__
        try:
            return original(self, error)
        except BaseException as raised:
            context.hidden(raised)
            raise

    application.handle_exception = update_wrapper(handle_exception, original)


def list_in(iterable, name, package):
    if type(iterable).__module__.partition(".")[0] != package:
        return None
    functions = getattr(iterable, name, None)
    return functions if type(functions) is list else None


def flask_context_loaded(module):
    """Flask before 3.2 matches the route in RequestContext, later in AppContext."""
    for name in ("RequestContext", "AppContext"):
        holder = vars(module).get(name)
        original = vars(holder).get("match_request") if isinstance(holder, type) else None
        if original is not None:
            holder.match_request = flask_matched(original)


def flask_matched(original):
    @hooks.harmless
    def matched(holder):
        rule = getattr(getattr(holder, "request", None), "url_rule", None)
        if rule is not None:
            context.request_routed(f"{method_of(holder.request.method)} {holder.request.script_root}{rule.rule}")

    def match_request(self, *given, **named):
        result = original(self, *given, **named)
        matched(self)
        return result

    return update_wrapper(match_request, original)


# --- Django -----------------------------------------------------------------------------------------------------------


def django_loaded(module):
    handler = module.WSGIHandler
    handler.__call__ = application_with_requests(
        handler.__call__, lambda iterable: list_in(iterable, "_resource_closers", "django")
    )


def django_base_loaded(module):
    original = module.BaseHandler.resolve_request

    @hooks.harmless
    def matched(request, match):
        if getattr(match, "route", None) is not None:
            context.request_routed(f"{method_of(request.method)} /{match.route}")

    def resolve_request(self, request):
        try:
            match = original(self, request)
        except BaseException as error:
            context.hidden(error)
            raise
        matched(request, match)
        return match

    module.BaseHandler.resolve_request = update_wrapper(resolve_request, original)


def django_exception_loaded(module):
    original = module.handle_uncaught_exception

    def handle_uncaught_exception(request, resolver, exc_info):
        scope = context.request()
        if scope is not None and exc_info[0] is not None:
            scope.error = exc_info[0].__name__
        try:
            return original(request, resolver, exc_info)
        except BaseException as error:
            context.hidden(error)
            raise

    module.handle_uncaught_exception = update_wrapper(handle_uncaught_exception, original)
