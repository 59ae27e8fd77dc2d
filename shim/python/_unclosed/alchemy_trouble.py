# SPDX-License-Identifier: Apache-2.0
"""Moments of trouble: a pool that ran dry, a second checkout, a transaction that failed and was not rolled back."""

import sys

from . import _native, context
from . import alchemy_watch as watch
from .alchemy_wrap import replaced, troubled

ADAPTER = "sqlalchemy"
CHECKOUT, SESSION, OPEN, WROTE, FAILED = watch.CHECKOUT, watch.SESSION, watch.OPEN, watch.WROTE, watch.FAILED
MOST_DESCRIBED = 200


def pools_watched(module):
    """`module`: sqlalchemy.pool.base."""
    timeouts.append(module.exc.TimeoutError)


def engines_watched(module):
    """`module`: sqlalchemy.engine.base."""
    replaced(module.Connection, "_handle_dbapi_exception", error_watched)


def sessions_watched(module):
    """`module`: sqlalchemy.orm.session. The only places that say no after a failed flush."""
    if "_raise_for_prerequisite_state" in module.SessionTransaction.__dict__:
        replaced(module.SessionTransaction, "_raise_for_prerequisite_state", refusal_watched)
    else:
        replaced(module.SessionTransaction, "_assert_active", assertion_watched)


# --- pools ------------------------------------------------------------------------------------------------------------

timeouts = []


def nested(pool, first):
    """Whoever has `first` asks the same pool for another connection, and may wait for itself."""
    if first() is None:
        return
    frame = sys._getframe(1)
    for _ in range(12):
        if frame is None or frame.f_code.co_name == "_connection_for_bind":
            break
        frame = frame.f_back
    second = "connection" if frame is None or frame.f_code.co_name != "_connection_for_bind" else "session"
    who = "session" if first.session is not None else "connection"
    text = f"a {second} took a connection of a pool while the same caller's {who} had one of it"
    _native.noticed("nested-checkout", CHECKOUT, first.address, text, context.frame())


def checkout_failed(pool, error):
    try:
        if isinstance(error, tuple(timeouts)):
            waited = watch.number_of(pool, "_timeout") or 0
            others = waiting(pool)
            text = str(error).partition(" (Background on this error")[0]
            if others:
                text += f"; {others + 1} callers were waiting"
        elif is_refused(error):
            waited, text = 0, str(error).strip()
        else:
            return
        holders_described()
        _native.incident("pool-exhausted", CHECKOUT, target_of(pool), text, int(waited * 1e9), context.frame())
    except Exception as ours:
        troubled(ADAPTER, ours)


def waiting(pool):
    """How many others wait in a queue.Queue of SQLAlchemy's, or an asyncio.Queue."""
    queue = getattr(pool, "_pool", None)
    condition = getattr(queue, "not_empty", None)
    if condition is not None:
        return len(condition._waiters)
    return len(getattr(getattr(queue, "_queue", None), "_getters", ()))


def is_refused(error):
    """Too many connections: PostgreSQL 53300, MySQL 1040 and 1203."""
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if state == "53300" or (error.args and error.args[0] in (1040, 1203)):
        return True
    text = str(error)
    return "too many clients already" in text or "remaining connection slots are reserved" in text


def target_of(pool):
    known = watch.pools.get(id(pool))
    engine = known.engine() if known is not None and known.engine is not None else None
    return watch.engine_url(engine) if engine is not None else None


def holders_described():
    for session in list(watch.sessions.values())[:MOST_DESCRIBED]:
        if session.state:
            try:
                watch.session_described(session)
            except (AttributeError, RuntimeError):  # it is being changed
                continue


# --- failed transactions ----------------------------------------------------------------------------------------------


def error_watched(real):
    """PostgreSQL takes nothing more in a transaction after an error; others go on."""

    def _handle_dbapi_exception(self, e, statement, parameters, cursor, *given, **named):
        try:
            return real(self, e, statement, parameters, cursor, *given, **named)
        except BaseException as error:
            context.hidden(error)
            raise
        finally:
            try:
                if cursor is not None and self.dialect.name == "postgresql":
                    aborted(self, e)
            except Exception as error:
                troubled(ADAPTER, error)

    return _handle_dbapi_exception


def has_transaction(connection):
    """One that was branched off another (1.4: Connection.connect()) has none but that one's."""
    return (getattr(connection, "_Connection__branch_from", None) or connection)._transaction is not None


def aborted(connection, error):
    known = watch.checkouts.get(id(connection._dbapi_connection))
    if known is None or not has_transaction(connection) or connection._is_autocommit_isolation():
        return
    if not isinstance(error, connection.dialect.dbapi.Error):
        return
    session = known.session
    if session is not None:
        session_failed(session)
    else:
        known.state |= OPEN | FAILED
        _native.transaction(CHECKOUT, known.address, known.state, context.frame())


def session_failed(session):
    if session.failed or not session.is_open:
        return
    session.failed = True
    _native.transaction(SESSION, session.address, OPEN | session.state | FAILED, context.frame())


def recovered(session):
    session.failed = False
    if session.is_open:
        _native.transaction(SESSION, session.address, session.state)


def savepoint_recovered(checkout):
    if checkout.session is not None:
        if checkout.session.failed:
            recovered(checkout.session)
    elif checkout.state & FAILED:
        checkout.state &= ~FAILED
        _native.transaction(CHECKOUT, checkout.address, checkout.state)


def after_soft_rollback(session, previous_transaction):
    """A failed flush has rolled back, and the session refuses to go on until the user says rollback(), too."""
    try:
        known = watch.sessions.get(id(session))
        if known is None or known() is not session:
            return
        if not session.is_active:
            session_failed(known)
        elif known.failed:
            recovered(known)
    except Exception as error:
        troubled(ADAPTER, error)


def refused(transaction):
    session = transaction.session
    known = watch.sessions.get(id(session))
    if known is not None and known.failed and known() is session:
        _native.used(SESSION, known.address, context.frame())


def refusal_watched(real):
    def _raise_for_prerequisite_state(self, *given, **named):
        try:
            refused(self)
        except Exception as error:
            troubled(ADAPTER, error)
        try:
            return real(self, *given, **named)
        except BaseException as error:
            context.hidden(error)
            raise

    return _raise_for_prerequisite_state


def assertion_watched(real):
    def _assert_active(self, *given, **named):
        try:
            return real(self, *given, **named)
        except BaseException as error:
            context.hidden(error)
            try:
                refused(self)
            except Exception as ours:
                troubled(ADAPTER, ours)
            raise

    return _assert_active


# --- closed in a transaction ------------------------------------------------------------------------------------------


def closed_in_transaction(checkout, is_unwinding):
    """Its writes are lost, and no error says so. While an exception unwinds that is meant."""
    if checkout.session is not None:
        session_cut(checkout.session, is_unwinding)
    elif checkout.state & WROTE and not (is_unwinding or checkout.unwinding or checkout.state & FAILED):
        _native.noticed("closed-in-transaction", CHECKOUT, checkout.address, None, context.frame())


def session_cut(session, is_unwinding):
    if session.state & WROTE and not (is_unwinding or session.unwinding or session.failed):
        _native.noticed("closed-in-transaction", SESSION, session.address, None, context.frame())
