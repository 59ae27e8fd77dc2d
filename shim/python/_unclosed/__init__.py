# SPDX-License-Identifier: Apache-2.0
"""unclosed in Python: tells libunclosed.so, through `_native`, about sessions, requests and drivers.

A program that imports none of the libraries below pays for this file, `hooks` and `_native`, which take less than a
millisecond. Everything else is loaded when such a library has been.

    _native   C extension: unclosed.h for Python (shim/python/native)
    hooks     when_imported, harmless
    alchemy   SQLAlchemy
    servers   requests of ASGI and WSGI servers and frameworks
    context   who runs now: request, task, thread; where the user's frames are
    drivers   DBAPI drivers: their destructors, and the native handle behind a connection

The modules of this package import each other by `from . import NAME`. Nothing here raises into the program, keeps its
objects alive, or changes what the garbage collector does.
"""

import sys

from _frozen_importlib import module_from_spec
from _frozen_importlib_external import ExtensionFileLoader, spec_from_file_location

# Once a library has been executed, adapter.imported(name, module) is called. What an adapter wants of a library's other
# modules it asks of hooks.when_imported then.
ADAPTERS = {
    "sqlalchemy": "alchemy",
    "sqlmodel": "alchemy",
    "starlette": "servers",
    "fastapi": "servers",
    "uvicorn": "servers",
    "gunicorn": "servers",
    "hypercorn": "servers",
    "werkzeug": "servers",
    "wsgiref": "servers",
    "flask": "servers",
    "django": "servers",
    "_sqlite3": "drivers",
    "psycopg2._psycopg": "drivers",
    "psycopg_c.pq": "drivers",
    "psycopg_binary.pq": "drivers",
    "MySQLdb._mysql": "drivers",
}


def __getattr__(name):
    """A module of this package, loaded by its place: no finder of the program is asked, and no cache remembers it."""
    if name.startswith("__"):
        raise AttributeError(name)
    full_name = f"{__name__}.{name}"
    loader = None
    path = f"{__path__[0]}/{name}.py"
    if name == "_native":
        path = f"{__path__[0]}/_native.so"
        loader = ExtensionFileLoader(full_name, path)
    spec = spec_from_file_location(full_name, path, loader=loader)
    module = module_from_spec(spec)
    sys.modules[full_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[full_name]
        if isinstance(error, FileNotFoundError):
            raise AttributeError(name) from error
        raise
    globals()[name] = module
    return module


def start():
    """Called once in each interpreter, by sitecustomize."""
    from . import _native

    if not _native.kind("sqlalchemy.session"):
        return  # the library is not preloaded: the variable was inherited from a process where it was
    from . import hooks

    _native.adapter("python", "%d.%d.%d" % sys.version_info[:3], None)
    for name, adapter in ADAPTERS.items():
        hooks.when_imported(name, adapter)
