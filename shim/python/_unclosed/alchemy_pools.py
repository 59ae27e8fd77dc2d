# SPDX-License-Identifier: Apache-2.0
"""Engines, pools and connections of SQLAlchemy: made, checked out, used, given back.

Every pool gives out connections through _ConnectionFairy._checkout, and takes them back through _finalize_fairy, be it by
close() or by the garbage collector. Every statement goes through Connection._execute_context.
"""

import re
import sys

from . import _native, alchemy_trouble, context
from . import alchemy_watch as watch
from .alchemy_wrap import constructor, replaced, troubled

ADAPTER = "sqlalchemy"
used, detail, transaction = _native.used, _native.detail, _native.transaction
CHECKOUT, SESSION, OPEN, WROTE, FAILED = watch.CHECKOUT, watch.SESSION, watch.OPEN, watch.WROTE, watch.FAILED
checkouts, graveyard, pools = watch.checkouts, watch.graveyard, watch.pools
frame, hidden, place = context.frame, context.hidden, context.place

# What a statement that changes rows may begin with; the rest reads.
MAY_WRITE = frozenset("IUDRMWiudrmw(-/ \t\r\n;")
WRITES = re.compile(
    r"(?:\s|--[^\n]*\n|/\*.*?\*/)*(?:insert|update|delete|replace|merge|with\b.*?\b(?:insert\s+into|update|delete\s+from))\b",
    re.IGNORECASE | re.DOTALL,
)
LONGEST_SQL = 4000


def pools_watched(module):
    """`module`: sqlalchemy.pool.base."""
    replaced(module._ConnectionFairy, "_checkout", checkout_watched)
    replaced(module._ConnectionFairy, "detach", detach_watched)
    replaced(module, "_finalize_fairy", finalize_watched)


def engines_watched(module):
    """`module`: sqlalchemy.engine.base."""
    module.Engine.__init__ = constructor(module.Engine.__init__, engine_made)
    replaced(module.Engine, "dispose", dispose_watched)
    replaced(module.Connection, "_execute_context", execute_watched)
    replaced(module.Connection, "_commit_impl", commit_watched)
    replaced(module.Connection, "_rollback_impl", rollback_watched)
    replaced(module.Connection, "_rollback_to_savepoint_impl", savepoint_watched)
    replaced(module.RootTransaction, "_do_close", transaction_close_watched)


# --- engines ----------------------------------------------------------------------------------------------------------


def engine_made(engine):
    try:
        watch.engine_opened(watch.engine_watched(engine), engine.pool)
    except Exception as error:
        troubled(ADAPTER, error)


def dispose_watched(real):
    def dispose(self, *given, **named):
        before = pools.get(id(self.pool))
        try:
            result = real(self, *given, **named)
        except BaseException as error:
            hidden(error)
            raise
        try:
            if before is not None and before.engine is not None:
                known = before.engine
                if pools.get(id(self.pool)) is not before:  # the next pool's
                    watch.told_who_died()
                    watch.pool_watched(self.pool, known)
                if known.is_open:
                    watch.engine_closed(known, watch.end_of(_native.EXPLICIT))
        except Exception as error:
            troubled(ADAPTER, error)
        return result

    return dispose


# --- checkouts --------------------------------------------------------------------------------------------------------


def checkout_watched(real):
    def _checkout(cls, pool, threadconns=None, fairy=None):
        if fairy is not None:  # one more use of what is out already
            try:
                return real(cls, pool, threadconns, fairy)
            except BaseException as error:
                hidden(error)
                raise
        known = who = None
        try:
            if graveyard:
                watch.told_who_died()
            known = pools.get(id(pool))
            if known is None or known() is not pool:
                known = watch.pool_watched(pool, None)
            if known.places is not None:
                who = place()
                if who in known.places:
                    alchemy_trouble.nested(known, known.places[who])
        except Exception as error:
            troubled(ADAPTER, error)
        try:
            fairy = real(cls, pool, threadconns)
        except BaseException as error:
            hidden(error)
            alchemy_trouble.checkout_failed(pool, error)
            raise
        try:
            watch.checkout_began(known, fairy, who)
        except Exception as error:
            troubled(ADAPTER, error)
        return fairy

    return _checkout


def finalize_watched(real):
    """`fairy`: given by close(), not by the garbage collector."""

    def _finalize_fairy(dbapi_connection, connection_record, pool, *given, fairy=None, **named):
        try:
            if fairy is not None:
                known = checkouts.get(id(fairy))
                if known is not None and known() is fairy:
                    how = _native.INVALIDATED if dbapi_connection is None else _native.EXPLICIT
                    watch.checkout_ended(known, watch.end_of(how))
                named["fairy"] = fairy
            elif graveyard:
                watch.told_who_died()
        except Exception as error:
            troubled(ADAPTER, error)
        try:
            return real(dbapi_connection, connection_record, pool, *given, **named)
        except BaseException as error:
            hidden(error)
            raise

    return _finalize_fairy


def detach_watched(real):
    def detach(self):
        try:
            known = checkouts.get(id(self))
            if known is not None and known() is self and self._connection_record is not None:
                native, known.native = known.native, None
                if native is not None:
                    watch.parent(native[0], native[1], CHECKOUT, None)
                watch.checkout_ended(known, _native.DETACHED)
        except Exception as error:
            troubled(ADAPTER, error)
        try:
            return real(self)
        except BaseException as error:
            hidden(error)
            raise

    return detach


# --- statements and transactions --------------------------------------------------------------------------------------


def execute_watched(real):
    def _execute_context(self, dialect, constructor, statement, *given, **named):
        known = checkouts.get(id(self._dbapi_connection))
        if known is None:
            try:
                return real(self, dialect, constructor, statement, *given, **named)
            except BaseException as error:
                hidden(error)
                raise
        sql = ""
        try:
            sql = statement if type(statement) is str else statement.string
            used(CHECKOUT, known.address, frame())
            if known.sql != hash(sql):
                known.sql = hash(sql)
                detail(CHECKOUT, known.address, "last_sql", without_marks(sql))
            session = known.session
            if session is not None and session.failed:
                used(SESSION, session.address, frame())
        except Exception as error:
            troubled(ADAPTER, error)
        try:
            result = real(self, dialect, constructor, statement, *given, **named)
        except BaseException as error:
            hidden(error)
            raise
        try:
            if sql[:1] in MAY_WRITE:
                if not (known.state if known.session is None else known.session.state) & WROTE:
                    if self._transaction is not None and has_written(statement, sql, result):
                        state_told(self, known, WROTE)
            elif known.session is None and not known.state and self._transaction is not None:
                state_told(self, known, 0)
        except Exception as error:
            troubled(ADAPTER, error)
        return result

    return _execute_context


def without_marks(sql):
    if "__[POSTCOMPILE_" in sql:
        sql = re.sub(r"__\[POSTCOMPILE_[^]]*\]", "?", sql)
    return sql[:LONGEST_SQL]


def has_written(statement, sql, result):
    compiled = type(statement) is not str
    if compiled and (
        getattr(statement, "isinsert", False)
        or getattr(statement, "isupdate", False)
        or getattr(statement, "isdelete", False)
    ):
        writes = True
    else:
        writes = WRITES.match(sql) is not None
    return writes and getattr(result, "rowcount", -1) != 0


def state_told(connection, checkout, bits):
    """The transaction of a session, or of a connection that is nobody's."""
    session = checkout.session
    if session is not None:
        if session.state:
            session.state |= bits
            transaction(SESSION, session.address, session.state, frame())
    elif checkout.state or not connection._is_autocommit_isolation():
        checkout.state |= OPEN | bits
        transaction(CHECKOUT, checkout.address, checkout.state, frame())


def transaction_ended(connection):
    known = checkouts.get(id(connection._dbapi_connection))
    if known is None:
        return
    if known.state:
        known.state = 0
        transaction(CHECKOUT, known.address, 0)
    elif known.session is not None and known.session.failed:
        alchemy_trouble.recovered(known.session)


def commit_watched(real):
    def _commit_impl(self, *given, **named):
        try:
            result = real(self, *given, **named)
        except BaseException as error:
            hidden(error)
            raise
        try:
            transaction_ended(self)
        except Exception as error:
            troubled(ADAPTER, error)
        return result

    return _commit_impl


def rollback_watched(real):
    def _rollback_impl(self, *given, **named):
        try:
            transaction_ended(self)
        except Exception as error:
            troubled(ADAPTER, error)
        try:
            return real(self, *given, **named)
        except BaseException as error:
            hidden(error)
            raise

    return _rollback_impl


def savepoint_watched(real):
    def _rollback_to_savepoint_impl(self, *given, **named):
        try:
            known = checkouts.get(id(self._dbapi_connection))
            if known is not None:
                alchemy_trouble.savepoint_recovered(known)
        except Exception as error:
            troubled(ADAPTER, error)
        try:
            return real(self, *given, **named)
        except BaseException as error:
            hidden(error)
            raise

    return _rollback_to_savepoint_impl


def transaction_close_watched(real):
    """A transaction that is neither committed nor rolled back but closed, with what holds it."""

    def _do_close(self, *given, **named):
        try:
            connection = self.connection
            known = checkouts.get(id(connection._dbapi_connection)) if self.is_active else None
            if known is not None:
                alchemy_trouble.closed_in_transaction(known, sys.exc_info()[1] is not None)
        except Exception as error:
            troubled(ADAPTER, error)
        try:
            return real(self, *given, **named)
        except BaseException as error:
            hidden(error)
            raise

    return _do_close
