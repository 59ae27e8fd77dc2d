# SPDX-License-Identifier: Apache-2.0
"""A Django project in one file: `app` is its WSGI application, `asgi` its ASGI application."""
import sqlite3  # noqa: F401

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import include, path
from owners_probe import keep, keep_native

if not settings.configured:
    settings.configure(ROOT_URLCONF=__name__, SECRET_KEY="of a test", ALLOWED_HOSTS=["*"], USE_TZ=True)
    django.setup()


def leak(request, item_id):
    keep("leak")
    keep_native("leak native")
    return HttpResponse("ok")


async def leak_async(request, item_id):
    keep("leak in a coroutine")
    return HttpResponse("ok")


def right(request, item_id):
    return HttpResponse("ok")


def wrong(request, item_id):
    keep("raise")
    raise ValueError("as it should")


def stream(request, item_id):
    def parts():
        keep("stream")
        yield b"ok"
    return StreamingHttpResponse(parts())


urlpatterns = [
    path("leak/<int:item_id>", leak),
    path("leak-async/<int:item_id>", leak_async),
    path("right/<int:item_id>", right),
    path("raise/<int:item_id>", wrong),
    path("stream/<int:item_id>", stream),
    path("inner/<slug:inner_id>/", include([path("<int:item_id>", leak)])),
]
app = get_wsgi_application()
asgi = get_asgi_application()
