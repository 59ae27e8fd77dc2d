# SPDX-License-Identifier: Apache-2.0
"""Sessions of SQLAlchemy: made, in a transaction, closed, used again.

A session is open from its construction to close(), but matters only while it holds a connection: then it is in a
transaction. A session that borrows somebody's connection (bind=connection) holds nothing of its own.
"""

import sys

from . import _native, alchemy_trouble, context
from . import alchemy_watch as watch
from .alchemy_wrap import constructor, replaced, troubled

ADAPTER = "sqlalchemy"
CHECKOUT, SESSION, ENGINE, OPEN = watch.CHECKOUT, watch.SESSION, watch.ENGINE, watch.OPEN
hidden = context.hidden
checkouts, graveyard, sessions = watch.checkouts, watch.graveyard, watch.sessions


def sessions_watched(module):
    """`module`: sqlalchemy.orm.session."""
    real = module.Session.__init__
    module.Session.__init__ = constructor(real, session_made)
    constructors.add(module.Session.__init__)
    replaced(module.Session, "_close_impl", close_watched)


def session_events_watched(module):
    """`module`: sqlalchemy.orm.events."""
    session, listen = module.Session, module.event.listen
    listen(session, "after_begin", after_begin)
    listen(session, "after_soft_rollback", alchemy_trouble.after_soft_rollback)


def async_sessions_watched(module):
    """`module`: sqlalchemy.ext.asyncio.session."""
    replaced(module.AsyncSession, "__aexit__", session_aexit_watched)
    replaced(module.AsyncSession, "close", session_aclose_watched)


def async_connections_watched(module):
    """`module`: sqlalchemy.ext.asyncio.engine."""
    replaced(module.AsyncConnection, "__aexit__", connection_aexit_watched)


# --- made -------------------------------------------------------------------------------------------------------------

constructors = set()  # what Session.__init__ is now


def session_made(session):
    try:
        if graveyard:
            watch.told_who_died()
        known = sessions.get(id(session))
        if known is None or known() is not session:
            watch.session_opened(watch.session_watched(session), construction(session))
    except Exception as error:
        troubled(ADAPTER, error)


def construction(session):
    """The frame that a subclass was constructed in, if it has an __init__ of its own; None: the caller's is right."""
    if type(session).__init__ in constructors:
        return None
    own = set()
    for kind in type(session).__mro__:
        made = kind.__dict__.get("__init__")
        if made in constructors:
            break
        own.add(getattr(made, "__code__", None))
    frame = sys._getframe(3)
    if frame.f_code not in own:
        return None
    while frame.f_back is not None and frame.f_code in own:
        frame = frame.f_back
    return frame


def session_known(session):
    """Its watch; opened here and now if it was not seen before, or was closed and is used again."""
    if graveyard:
        watch.told_who_died()
    known = sessions.get(id(session))
    if known is None or known() is not session:
        known = watch.session_watched(session)
    elif not known.is_open:
        _native.used(SESSION, known.address, context.frame())
    if not known.is_open:
        watch.session_opened(known, context.frame())
    return known


# --- in a transaction -------------------------------------------------------------------------------------------------


def after_begin(session, transaction, connection):
    try:
        checkout = checkouts.get(id(connection._dbapi_connection))
        if checkout is not None and checkout.session is not None and checkout.session() is session:
            return  # a savepoint's
        known = session_known(session)
        joined = transaction._connections.get(connection)
        if checkout is None or checkout.session is not None or (joined is not None and not joined[-1]):
            return
        checkout.session = known
        known.held.append(checkout)
        watch.parent(CHECKOUT, checkout.address, SESSION, known.address)
        if checkout.state:
            checkout.state = 0
            _native.transaction(CHECKOUT, checkout.address, 0)
        engine = checkout.pool.engine
        if engine is not None and known.engine is not engine:
            known.engine = engine
            watch.parent(SESSION, known.address, ENGINE, engine.address)
        if not known.state:
            known.state = OPEN
            _native.transaction(SESSION, known.address, OPEN, context.frame())
            owner = context.owner()
            if owner and owner != known.owner:
                known.owner = owner
                watch.owned_by(SESSION, known.address, owner)
    except Exception as error:
        troubled(ADAPTER, error)


# --- closed -----------------------------------------------------------------------------------------------------------


def close_watched(real):
    """close(), reset(), invalidate(), the end of `with`, scoped_session.remove(), AsyncSession.close()."""

    def _close_impl(self, invalidate, *given, **named):
        try:
            return real(self, invalidate, *given, **named)
        except BaseException as error:
            hidden(error)
            raise
        finally:
            try:
                known = sessions.get(id(self))
                if known is not None and known.is_open and known() is self:
                    is_reset = named.get("is_reset") or (given and given[0])
                    if is_reset:
                        known.failed = False
                    else:
                        how = _native.INVALIDATED if invalidate else _native.EXPLICIT
                        watch.session_closed(known, watch.end_of(how))
                    known.unwinding = False
            except Exception as error:
                troubled(ADAPTER, error)

    return _close_impl


def unwinding(session):
    known = sessions.get(id(session))
    if known is not None and known() is session:
        known.unwinding = True


def session_aexit_watched(real):
    """The close runs in a task of its own, where the exception is not seen."""

    async def __aexit__(self, type_, value, traceback):
        try:
            if type_ is not None:
                unwinding(self.sync_session)
        except Exception as error:
            troubled(ADAPTER, error)
        try:
            return await real(self, type_, value, traceback)
        except BaseException as error:
            hidden(error)
            raise

    return __aexit__


def session_aclose_watched(real):
    async def close(self):
        try:
            if sys.exc_info()[1] is not None:
                unwinding(self.sync_session)
        except Exception as error:
            troubled(ADAPTER, error)
        try:
            return await real(self)
        except BaseException as error:
            hidden(error)
            raise

    return close


def connection_aexit_watched(real):
    async def __aexit__(self, type_, value, traceback):
        try:
            if type_ is not None and self.sync_connection is not None:
                known = checkouts.get(id(self.sync_connection._dbapi_connection))
                if known is not None:
                    known.unwinding = True
        except Exception as error:
            troubled(ADAPTER, error)
        try:
            return await real(self, type_, value, traceback)
        except BaseException as error:
            hidden(error)
            raise

    return __aexit__
