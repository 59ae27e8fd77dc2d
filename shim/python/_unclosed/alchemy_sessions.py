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
EXPLICIT, INVALIDATED, end_of = _native.EXPLICIT, _native.INVALIDATED, watch.end_of
closed, parent, transaction_told = _native.closed, _native.parent, _native.transaction
checkouts, graveyard, sessions = watch.checkouts, watch.graveyard, watch.sessions
frame, hidden, session_opened = context.frame, context.hidden, watch.session_opened
is_finalizing = sys.is_finalizing

is_async = False  # sqlalchemy.ext.asyncio is in use: the user's frames may be behind a greenlet
constructors = set()  # what Session.__init__ is now


def sessions_watched(module):
    """`module`: sqlalchemy.orm.session."""
    module.Session.__init__ = constructor(module.Session.__init__, session_made)
    constructors.add(module.Session.__init__)
    replaced(module.Session, "close", close_watched)
    replaced(module.Session, "invalidate", invalidate_watched)


def session_events_watched(module):
    """`module`: sqlalchemy.orm.events."""
    session, listen = module.Session, module.event.listen
    listen(session, "after_begin", after_begin)
    listen(session, "after_soft_rollback", alchemy_trouble.after_soft_rollback)


def async_sessions_watched(module):
    """`module`: sqlalchemy.ext.asyncio.session."""
    global is_async
    is_async = True
    replaced(module.AsyncSession, "__aexit__", session_aexit_watched)
    replaced(module.AsyncSession, "close", session_aclose_watched)


def async_connections_watched(module):
    """`module`: sqlalchemy.ext.asyncio.engine."""
    replaced(module.AsyncConnection, "__aexit__", connection_aexit_watched)


# --- made -------------------------------------------------------------------------------------------------------------


def session_made(session):
    try:
        if graveyard:
            watch.told_who_died()
        session_opened(session, None if type(session).__init__ in constructors else construction(session))
    except Exception as error:
        troubled(ADAPTER, error)


def construction(session):
    """The frame that a subclass with an __init__ of its own was constructed in; None: the caller's is right."""
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


# --- in a transaction -------------------------------------------------------------------------------------------------


def after_begin(session, transaction, connection):
    try:
        checkout = checkouts.get(id(connection._dbapi_connection))
        if checkout is not None and checkout.session is not None and checkout.session() is session:
            return  # a savepoint's
        where = frame() if is_async else None
        known = sessions.get(id(session))
        if known is None or not known.is_open or known() is not session:
            known = opened_by_use(session, known, where)
        joined = transaction._connections.get(connection)
        if checkout is None or checkout.session is not None or (joined is not None and not joined[-1]):
            return
        checkout.session = known
        known.held += (checkout,)
        parent(CHECKOUT, checkout.address, SESSION, known.address)
        if checkout.state:
            checkout.state = 0
            transaction_told(CHECKOUT, checkout.address, 0)
        engine = checkout.pool.engine
        if engine is not None and known.engine is not engine:
            known.engine = engine
            parent(SESSION, known.address, ENGINE, engine.address)
        if not known.state:
            known.state = OPEN
            transaction_told(SESSION, known.address, OPEN, where)
            if checkout.owner and checkout.owner != known.owner:
                known.owner = checkout.owner
                watch.owned_by(SESSION, known.address, known.owner)
    except Exception as error:
        troubled(ADAPTER, error)


def opened_by_use(session, known, where):
    """It was not seen before (a copy), or was closed, or another one that is gone was at its address."""
    if graveyard:
        watch.told_who_died()
    if known is not None and known() is session:
        _native.used(SESSION, known.address, where)
    return session_opened(session, where)


# --- closed -----------------------------------------------------------------------------------------------------------


def close_watched(real):
    """close(), the end of `with`, scoped_session.remove(), AsyncSession.close()."""

    def close(self):
        try:
            real(self)
        except BaseException as error:
            hidden(error)
            ended(self, EXPLICIT)
            raise
        try:
            known = sessions.get(id(self))
            if known is not None and known.is_open and known() is self:
                known.is_open = False
                closed(
                    SESSION,
                    known.address,
                    end_of(EXPLICIT) if is_finalizing() else EXPLICIT,
                    frame() if is_async else None,
                )
        except Exception as error:
            troubled(ADAPTER, error)

    return close


def invalidate_watched(real):
    def invalidate(self):
        try:
            real(self)
        except BaseException as error:
            hidden(error)
            ended(self, INVALIDATED)
            raise
        ended(self, INVALIDATED)

    return invalidate


def ended(session, how):
    try:
        known = sessions.get(id(session))
        if known is not None and known.is_open and known() is session:
            watch.session_closed(known, end_of(how) if is_finalizing() else how, frame() if is_async else None)
    except Exception as error:
        troubled(ADAPTER, error)


# --- closed by asyncio ------------------------------------------------------------------------------------------------

# The close runs in a task of its own, where neither the exception that unwinds is seen nor the user's frames: what there is
# to say of it is said before.


def is_closing(session, is_unwinding):
    known = sessions.get(id(session))
    if known is not None and known() is session and not known.unwinding:
        alchemy_trouble.session_cut(known, is_unwinding)
        known.unwinding = True


def session_aexit_watched(real):
    async def __aexit__(self, type_, value, traceback):
        try:
            is_closing(self.sync_session, type_ is not None)
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
            is_closing(self.sync_session, sys.exc_info()[1] is not None)
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
            connection = self.sync_connection
            known = checkouts.get(id(connection._dbapi_connection)) if connection is not None else None
            if known is not None:
                alchemy_trouble.closed_in_transaction(known, type_ is not None)
                known.unwinding = True
        except Exception as error:
            troubled(ADAPTER, error)
        try:
            return await real(self, type_, value, traceback)
        except BaseException as error:
            hidden(error)
            raise

    return __aexit__
