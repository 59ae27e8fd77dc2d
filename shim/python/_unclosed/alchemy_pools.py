# SPDX-License-Identifier: Apache-2.0
"""Engines, pools and connections of SQLAlchemy: made, checked out, used, given back.

Every pool gives out connections through _ConnectionFairy._checkout, and takes them back through _checkin, unless the garbage
collector does. Every statement goes through Connection._execute_context, and from 2.0 on through one of two that it calls.

These functions run around everything that a program does with its database: what they do every time is written out in them.
"""

import re
import sys

from . import _native, alchemy_trouble, context
from . import alchemy_watch as watch
from .alchemy_wrap import constructor, replaced, troubled

ADAPTER = "sqlalchemy"
opened, closed, parent, owned_by = _native.opened, _native.closed, _native.parent, _native.owned_by
used, detail, transaction = _native.used, _native.detail, _native.transaction
EXPLICIT, INVALIDATED, end_of = _native.EXPLICIT, _native.INVALIDATED, watch.end_of
ENGINE, SESSION, CHECKOUT, OPEN, WROTE = watch.ENGINE, watch.SESSION, watch.CHECKOUT, watch.OPEN, watch.WROTE
CheckoutWatch, collected = watch.CheckoutWatch, watch.checkout_collected
checkouts, graveyard, pools, records = watch.checkouts, watch.graveyard, watch.pools, watch.records
current, frame, hidden, thread_place = context.current, context.frame, context.hidden, context.thread_place
is_finalizing = sys.is_finalizing

is_async = False  # sqlalchemy.ext.asyncio is in use: the user's frames may be behind a greenlet

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
    replaced(module._ConnectionFairy, "_checkin", checkin_watched)


def engines_watched(module):
    """`module`: sqlalchemy.engine.base."""
    module.Engine.__init__ = constructor(module.Engine.__init__, engine_made)
    replaced(module.Engine, "dispose", dispose_watched)
    statements_watched(module.Connection)
    replaced(module.Connection, "_commit_impl", commit_watched)
    replaced(module.Connection, "_rollback_impl", rollback_watched)
    replaced(module.Connection, "_rollback_to_savepoint_impl", savepoint_watched)
    replaced(module.RootTransaction, "_do_close", transaction_close_watched)


def async_engines_watched(module):
    """`module`: sqlalchemy.ext.asyncio.engine."""
    global is_async
    is_async = True


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
        owner = 0
        try:
            if graveyard:
                watch.told_who_died()
            known = pools.get(id(pool))
            if known is None or known() is not pool:
                known = watch.pool_watched(pool, None)
            scope = current()
            if scope is not None:
                owner = scope.owner()
            if known.places is not None:
                who = scope or thread_place()
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
            address = id(fairy)
            made = CheckoutWatch(fairy, collected)
            made.address = address
            made.pool = known
            made.session = None
            made.state = made.sql = 0
            made.unwinding = False
            made.place = who
            made.owner = owner
            made.native = None
            opened(CHECKOUT, address, frame() if is_async else None)
            checkouts[address] = made
            if owner:
                owned_by(CHECKOUT, address, owner)
            out = known.out
            out[address] = made
            if len(out) > known.peak:
                watch.pool_grew(known)
            if who is not None and who not in known.places:
                known.places[who] = made
            engine = known.engine
            if engine is not None:
                if not engine.is_open:
                    watch.engine_opened(engine, pool)
                parent(CHECKOUT, address, ENGINE, engine.address)
            record = fairy._connection_record
            place = records.get(id(record))
            if place is None or place.since != record.starttime or place() is not record:
                place = watch.record_watched(record, known)
            native = place.native
            if native is not None:
                made.native = native
                place.checkout = address
                parent(native[0], native[1], CHECKOUT, address)
        except Exception as error:
            troubled(ADAPTER, error)
        return fairy

    return _checkout


def checkin_watched(real):
    """close(), and invalidate(), which takes the connection out first. As checkout_ended() in alchemy_watch."""

    def _checkin(self, transaction_was_reset=False):
        try:
            if graveyard:
                watch.told_who_died()
            address = id(self)
            known = checkouts.pop(address, None)
            if known is not None:
                pool = known.pool
                del pool.out[address]
                place = known.place
                if place is not None and pool.places.get(place) is known:
                    del pool.places[place]
                native = known.native
                if native is not None:
                    engine = pool.engine
                    parent(
                        native[0], native[1], ENGINE, engine.address if engine is not None and engine.is_open else None
                    )
                how = INVALIDATED if self.dbapi_connection is None else EXPLICIT
                closed(CHECKOUT, address, end_of(how) if is_finalizing() else how, frame() if is_async else None)
                session = known.session
                if session is not None:
                    watch.given_back(session, known)
        except Exception as error:
            troubled(ADAPTER, error)
        try:
            return real(self, transaction_was_reset)
        except BaseException as error:
            hidden(error)
            raise

    return _checkin


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


def statements_watched(connection):
    if "_exec_single_context" not in connection.__dict__:
        replaced(connection, "_execute_context", execute_watched)
        return
    replaced(connection, "_exec_single_context", single_watched)
    replaced(connection, "_exec_insertmany_context", many_watched)


def single_watched(real):
    def _exec_single_context(self, dialect, context, statement, parameters):
        try:
            known = checkouts.get(id(self._dbapi_connection))
            if known is not None:
                sql = context.statement
                session = known.session
                if is_async or (session is not None and session.failed):
                    begun(known, sql)
                else:
                    used(CHECKOUT, known.address)
                    if known.sql != hash(sql):
                        known.sql = hash(sql)
                        detail(CHECKOUT, known.address, "last_sql", sql[:LONGEST_SQL])
        except Exception as error:
            known = None
            troubled(ADAPTER, error)
        try:
            result = real(self, dialect, context, statement, parameters)
        except BaseException as error:
            hidden(error)
            raise
        if known is not None:
            try:
                if context.isinsert or context.isupdate or context.isdelete or sql[:1] in MAY_WRITE:
                    written(self, known, context, sql, result)
                elif session is None and not known.state:
                    state_told(self, known, 0)
            except Exception as error:
                troubled(ADAPTER, error)
        return result

    return _exec_single_context


def many_watched(real):
    def _exec_insertmany_context(self, dialect, context):
        try:
            known = checkouts.get(id(self._dbapi_connection))
            if known is not None:
                begun(known, context.statement)
        except Exception as error:
            known = None
            troubled(ADAPTER, error)
        try:
            result = real(self, dialect, context)
        except BaseException as error:
            hidden(error)
            raise
        if known is not None:
            try:
                written(self, known, context, "", result)
            except Exception as error:
                troubled(ADAPTER, error)
        return result

    return _exec_insertmany_context


def execute_watched(real):
    """Of SQLAlchemy 1.4."""

    def _execute_context(self, dialect, constructor, statement, *given, **named):
        sql = ""
        try:
            known = checkouts.get(id(self._dbapi_connection))
            if known is not None:
                sql = statement if type(statement) is str else statement.string
                begun(known, sql)
        except Exception as error:
            known = None
            troubled(ADAPTER, error)
        try:
            result = real(self, dialect, constructor, statement, *given, **named)
        except BaseException as error:
            hidden(error)
            raise
        if known is not None:
            try:
                if sql[:1] in MAY_WRITE:
                    written(self, known, statement, sql, result)
                elif known.session is None and not known.state:
                    state_told(self, known, 0)
            except Exception as error:
                troubled(ADAPTER, error)
        return result

    return _execute_context


def begun(checkout, sql):
    """A statement is about to run."""
    where = frame() if is_async else None
    used(CHECKOUT, checkout.address, where)
    session = checkout.session
    if session is not None and session.failed:
        used(SESSION, session.address, where)
    if checkout.sql != hash(sql):
        checkout.sql = hash(sql)
        detail(CHECKOUT, checkout.address, "last_sql", without_marks(sql))


def written(connection, checkout, context, sql, result):
    """A statement has run that may have changed rows. `context`: what knows isinsert, isupdate and isdelete, if anything."""
    session = checkout.session
    if (checkout.state if session is None else session.state) & WROTE or getattr(result, "rowcount", -1) == 0:
        return
    is_writing = (
        getattr(context, "isinsert", False)
        or getattr(context, "isupdate", False)
        or getattr(context, "isdelete", False)
        or WRITES.match(sql) is not None
    )
    if is_writing or (session is None and not checkout.state):
        state_told(connection, checkout, WROTE if is_writing else 0)


def without_marks(sql):
    if "__[POSTCOMPILE_" in sql:
        sql = re.sub(r"__\[POSTCOMPILE_[^]]*\]", "?", sql)
    return sql[:LONGEST_SQL]


def state_told(connection, checkout, bits):
    """The transaction of a session, or of a connection that is nobody's."""
    if not alchemy_trouble.has_transaction(connection):
        return
    session = checkout.session
    if session is not None:
        if session.state:
            session.state |= bits
            transaction(SESSION, session.address, session.state, frame())
    elif checkout.state or not connection._is_autocommit_isolation():
        checkout.state |= OPEN | bits
        transaction(CHECKOUT, checkout.address, checkout.state, frame())


def transaction_ended(checkout):
    session = checkout.session
    if session is None:
        checkout.state = 0
        transaction(CHECKOUT, checkout.address, 0)
    elif session.failed:
        alchemy_trouble.recovered(session)


def commit_watched(real):
    if real.__code__.co_argcount == 1:

        def _commit_impl(self):
            try:
                real(self)
            except BaseException as error:
                hidden(error)
                raise
            committed(self)

    else:

        def _commit_impl(self, autocommit=False):
            try:
                real(self, autocommit)
            except BaseException as error:
                hidden(error)
                raise
            committed(self)

    return _commit_impl


def committed(connection):
    try:
        known = checkouts.get(id(connection._dbapi_connection))
        if known is not None and (known.state or (known.session is not None and known.session.failed)):
            transaction_ended(known)
    except Exception as error:
        troubled(ADAPTER, error)


def rollback_watched(real):
    def _rollback_impl(self):
        try:
            known = checkouts.get(id(self._dbapi_connection))
            if known is not None and (known.state or (known.session is not None and known.session.failed)):
                transaction_ended(known)
        except Exception as error:
            troubled(ADAPTER, error)
        try:
            return real(self)
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
