# SPDX-License-Identifier: Apache-2.0
"""DBAPI drivers: who closes a native connection below them, and which one is behind a connection object.

Nothing here uses a connection: no network, no lock, no state of it changes. Of a sqlite3.Connection, which belongs to a
thread, not even an attribute is read.
"""

from . import _native

# Modules and the type in them whose destructor closes the client library's connection. psycopg's Python implementation
# does it in __del__, which the shim knows by its name.
CLOSE_WHEN_COLLECTED = {
    "_sqlite3": "Connection",
    "psycopg2._psycopg": "connection",
    "psycopg_c.pq": "PGconn",
    "psycopg_binary.pq": "PGconn",
    "MySQLdb._mysql": "connection",
}


def imported(name, module):
    """Called by the package when one of these modules has been executed."""
    _native.destructor_of(getattr(module, CLOSE_WHEN_COLLECTED[name], None))


def native_handle(connection):
    """("libpq.connection", 94115…) of a driver's connection, or of SQLAlchemy's adapter to an asynchronous one.

    None: it has none, it is closed, or its driver is not known.
    """
    for base in type(connection).__mro__:
        way = _WAYS.get((base.__module__, base.__name__))
        if way:
            return way(connection)
        if base.__name__.startswith("AsyncAdapt_"):  # of SQLAlchemy before 1.4.24
            return _of_wrapped(connection)
    return None


def _of_sqlite(connection):
    pointer = _native.sqlite_handle(connection)
    return ("sqlite3.connection", pointer) if pointer else None


def _of_psycopg2(connection):
    pointer = getattr(connection, "pgconn_ptr", None)  # from psycopg2 2.8 on
    return ("libpq.connection", pointer) if pointer else None


def _of_psycopg(connection):
    pointer = getattr(getattr(connection, "pgconn", None), "pgconn_ptr", None)
    return ("libpq.connection", pointer) if pointer else None


def _of_mysqlclient(connection):
    pointer = _native.mysql_handle(connection)
    return ("mysql.connection", pointer) if pointer else None


def _of_wrapped(connection):
    inside = getattr(connection, "_connection", None)
    return native_handle(inside) if inside is not None else None


_WAYS = {
    ("sqlite3", "Connection"): _of_sqlite,
    ("psycopg2.extensions", "connection"): _of_psycopg2,
    ("psycopg._connection_base", "BaseConnection"): _of_psycopg,
    ("psycopg.connection", "BaseConnection"): _of_psycopg,  # before 3.2
    ("MySQLdb.connections", "Connection"): _of_mysqlclient,
    ("sqlalchemy.engine.interfaces", "AdaptedConnection"): _of_wrapped,
    ("aiosqlite.core", "Connection"): _of_wrapped,
}
