# SPDX-License-Identifier: Apache-2.0
"""Requests: what begins and ends one, and what it is called, in servers and frameworks.

A request is an owner from the moment a server, or else a framework, calls the application until that call is over: for ASGI until its
coroutine has returned or raised, for WSGI until the iterable that it returned has been closed. Its label is its method and
the template of its route, as the framework knows it: "GET /orders/{order_id}", never what stood in the place of order_id,
and no query string; "GET (no route)" before or without one.

A framework below a server that is known here finds the request begun, and only names its route. What is wrapped keeps its name and
signature, raises what it raised, and from Python 3.11 on is not seen in tracebacks.
"""

from . import context, hooks, servers_asgi, servers_wsgi

# package -> its modules -> what to do once that module is there
MODULES = {
    "uvicorn": {"uvicorn.config": servers_asgi.uvicorn_loaded},
    "hypercorn": {"hypercorn.app_wrappers": servers_asgi.hypercorn_loaded},
    "gunicorn": {
        "gunicorn.workers.sync": servers_wsgi.gunicorn_sync_loaded,
        "gunicorn.workers.gthread": servers_wsgi.gunicorn_gthread_loaded,
        "gunicorn.workers.base_async": servers_wsgi.gunicorn_greenlets_loaded,
        "gunicorn.workers.gasgi": servers_asgi.gunicorn_loaded,
    },
    "werkzeug": {"werkzeug.serving": servers_wsgi.werkzeug_loaded},
    "wsgiref": {"wsgiref.handlers": servers_wsgi.wsgiref_loaded},
    "starlette": {
        "starlette.applications": servers_asgi.starlette_loaded,
        "starlette.routing": servers_asgi.starlette_routing_loaded,
        "starlette.middleware.base": context.own_tasks,
        "starlette.responses": context.own_tasks,
        "sse_starlette.sse": context.own_tasks,
    },
    "fastapi": {"fastapi.routing": servers_asgi.fastapi_routing_loaded},
    "flask": {"flask.app": servers_wsgi.flask_loaded, "flask.ctx": servers_wsgi.flask_context_loaded},
    "django": {
        "django.core.handlers.base": servers_wsgi.django_base_loaded,
        "django.core.handlers.exception": servers_wsgi.django_exception_loaded,
        "django.core.handlers.wsgi": servers_wsgi.django_loaded,
        "django.core.handlers.asgi": servers_asgi.django_loaded,
        "asgiref.sync": servers_asgi.asgiref_loaded,
    },
}


def imported(name, module):
    """Called by `hooks` when one of these packages has been imported."""
    for part, function in MODULES.get(name, {}).items():
        hooks.when_imported(part, told_of(name, function))


def told_of(package, function):
    """The function; and where it finds a version of the package that it does not know, that is told."""

    def loaded(module):
        try:
            function(module)
        except Exception as error:
            hooks.troubled(package, error)

    return loaded
