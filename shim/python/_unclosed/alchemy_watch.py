# SPDX-License-Identifier: Apache-2.0
"""What is known of SQLAlchemy's objects, and how each of them began and ended.

A watch is registered when it is whole: a signal handler may raise between any two lines.

Nothing here keeps an object of the program alive: it is known by its address and by a weak reference. The callback of
such a reference is a method of a deque, so that no code of ours runs where an object dies; who died is told at our next
call, before anything is opened at an address that may be in use again. Only checkouts and engines have a callback of ours: a
pool that the garbage collector gives a connection back to must be right at once, and after the interpreter's last
collection there is no next call.

A handle's address: of an engine, of a session, and for a checkout that of the pool's proxy (_ConnectionFairy), since the
record is shared by several checkouts in a StaticPool.
"""

import os
from _thread import interrupt_main
from collections import deque
from weakref import ref

from . import _native, context, drivers, hooks

ADAPTER = "sqlalchemy"

ENGINE = _native.kind("sqlalchemy.engine")
SESSION = _native.kind("sqlalchemy.session")
CHECKOUT = _native.kind("sqlalchemy.checkout")

OPEN = _native.TRANSACTION
WROTE = _native.TRANSACTION_WROTE
FAILED = _native.TRANSACTION_FAILED

opened, closed, parent, transaction = _native.opened, _native.closed, _native.parent, _native.transaction
detail, owned_by = _native.detail, _native.owned_by

engines = {}  # address -> EngineWatch
pools = {}  # address -> PoolWatch
records = {}  # address -> RecordWatch
checkouts = {}  # address -> CheckoutWatch
sessions = {}  # address -> SessionWatch

graveyard = deque()
buried = graveyard.append


def told_who_died():
    while graveyard:
        try:
            watch = graveyard.popleft()
        except IndexError:  # another thread was faster
            return
        if type(watch) is SessionWatch and not watch.is_open:  # nearly always
            if sessions.get(watch.address) is watch:
                del sessions[watch.address]
        else:
            watch.died()


def end_of(how):
    """While modules are being emptied, whoever ends something does it because of that. The collection before is one like any
    other: what it finds was lost."""
    return how if hooks.modules_are_whole() else _native.FINALIZATION


# --- engines and pools ------------------------------------------------------------------------------------------------


class EngineWatch(ref):
    __slots__ = ("address", "is_open")


def engine_collected(watch):
    try:
        if engines.get(watch.address) is watch:
            del engines[watch.address]
        how = end_of(_native.GC)
        if watch.is_open and how == _native.GC:  # what lasts until modules are emptied was there to the end
            engine_closed(watch, how)
    except Exception as error:
        hooks.troubled(ADAPTER, error)
    except KeyboardInterrupt:  # nobody would see it here
        interrupt_main()


class PoolWatch(ref):
    """`out`: its open checkouts. `places`: who has one (see context.place), for pools that can run dry."""

    __slots__ = ("address", "engine", "out", "peak", "places")

    def died(self):
        if pools.get(self.address) is self:
            del pools[self.address]


def engine_watched(engine):
    told_who_died()
    watch = EngineWatch(engine, engine_collected)
    watch.address = id(engine)
    watch.is_open = False
    engines[id(engine)] = watch
    pool_watched(engine.pool, watch)
    return watch


def pool_watched(pool, engine):
    watch = PoolWatch(pool, buried)
    watch.address = id(pool)
    watch.engine = engine
    watch.out = {}
    watch.peak = 0
    watch.places = {} if is_bounded(pool) else None
    pools[id(pool)] = watch
    return watch


def is_bounded(pool):
    return number_of(pool, "_max_overflow") not in (None, -1) and bool(
        number_of(getattr(pool, "_pool", None), "maxsize")
    )


def number_of(thing, name):
    """A setting, if it is one: a program may have put something quite different in a pool's place."""
    value = getattr(thing, name, None)
    return value if type(value) in (int, float) else None


def engine_opened(watch, pool):
    """The engine begins to be of use: it was made, or is used again after dispose() or a fork."""
    engine = watch()
    if engine is None:
        return
    watch.is_open = True
    opened(ENGINE, watch.address, context.frame())
    owner = context.owner()
    if owner:
        owned_by(ENGINE, watch.address, owner)
    url = engine_url(engine)
    if url is not None:
        _native.target(ENGINE, watch.address, url)
    for key, value in pool_described(pool):
        detail(ENGINE, watch.address, key, value)


def engine_url(engine):
    """Without its password."""
    rendered = getattr(engine.url, "render_as_string", None)
    url = rendered(hide_password=True) if rendered is not None else None
    return url if type(url) is str else None


def pool_described(pool):
    yield "pool", type(pool).__name__
    for key, thing, name, unit in (
        ("pool_size", getattr(pool, "_pool", None), "maxsize", ""),
        ("max_overflow", pool, "_max_overflow", ""),
        ("pool_timeout", pool, "_timeout", " s"),
        ("pool_recycle", pool, "_recycle", " s"),
    ):
        value = number_of(thing, name)
        if value is not None and (value >= 0 or key == "max_overflow"):
            yield key, f"{value}{unit}"
    if getattr(pool, "_pre_ping", None) is True:
        yield "pool_pre_ping", "yes"


def engine_closed(watch, how):
    """What belongs to it lives on by itself: it ends when it ends."""
    watch.is_open = False
    for pool in list(pools.values()):
        if pool.engine is watch:
            for checkout in list(pool.out.values()):
                if checkout.session is None:
                    parent(CHECKOUT, checkout.address, ENGINE, None)
    for session in list(sessions.values()):
        if session.engine is watch:
            session.engine = None
            parent(SESSION, session.address, ENGINE, None)
    for record in list(records.values()):
        if record.native and record.pool.engine is watch and record.pool.out.get(record.checkout) is None:
            parent(record.native[0], record.native[1], ENGINE, None)
    closed(ENGINE, watch.address, how, context.frame())


# --- checkouts --------------------------------------------------------------------------------------------------------


class RecordWatch(ref):
    """A pool's place for a connection. `native`: kind and handle of the client library's connection, if it has one."""

    __slots__ = ("address", "checkout", "native", "pool", "since")

    def died(self):
        if records.get(self.address) is self:
            del records[self.address]


class CheckoutWatch(ref):
    """`state`: of its own transaction, when no session has one with it. `sql`: hash of the last statement."""

    __slots__ = ("address", "native", "owner", "place", "pool", "session", "sql", "state", "unwinding")


def checkout_collected(watch):
    try:
        if checkouts.get(watch.address) is not watch:
            return
        session = watch.session
        if session is None or session() is not None:
            checkout_ended(watch, end_of(_native.GC))
            return
        session.is_lost = True
        checkout_ended(watch, _native.WITH_PARENT)
        if not session.held:
            session.died()
    except Exception as error:
        hooks.troubled(ADAPTER, error)
    except KeyboardInterrupt:  # nobody would see it here
        interrupt_main()


def record_watched(record, pool):
    watch = RecordWatch(record, buried)
    watch.address = id(record)
    watch.checkout = 0
    watch.pool = pool
    watch.since = record.starttime
    connection = record.dbapi_connection
    native = drivers.native_handle(connection)
    watch.native = None
    if native:
        watch.native = kind, handle = _native.kind(native[0]), native[1]
        parent(kind, handle, ENGINE, pool.address if pool.engine is None else pool.engine.address)  # it is a pool's
    records[id(record)] = watch
    return watch


def pool_grew(pool):
    pool.peak = len(pool.out)
    if pool.engine is not None and pool.engine.is_open:
        detail(ENGINE, pool.engine.address, "most_checked_out", str(pool.peak))


def checkout_ended(watch, how, frame=None):
    """Its connection first, which stays open in the pool: what is left below a handle ends with it."""
    address = watch.address
    try:
        del checkouts[address]
    except KeyError:  # another thread was faster
        return
    pool = watch.pool
    pool.out.pop(address, None)
    place = watch.place
    if place is not None and pool.places.get(place) is watch:
        del pool.places[place]
    native = watch.native
    if native is not None:
        engine = pool.engine
        parent(native[0], native[1], ENGINE, engine.address if engine is not None and engine.is_open else None)
    closed(CHECKOUT, address, how, frame)
    session = watch.session
    if session is not None:
        given_back(session, watch)


def given_back(session, checkout):
    held = session.held
    session.held = () if len(held) == 1 else tuple(other for other in held if other is not checkout)
    if session.state and not session.held and not session.is_lost:
        session.state = 0
        session.failed = False
        transaction(SESSION, session.address, 0)


# --- sessions ---------------------------------------------------------------------------------------------------------


class SessionWatch(ref):
    """`held`: its checkouts. `is_lost`: it died holding one. `state`: of its transaction. `failed`: nothing goes on before
    a rollback. `unwinding`: it is being closed, and what there was to say of its
    writes has been said, or an exception unwinds."""

    __slots__ = ("address", "engine", "failed", "held", "is_lost", "is_open", "owner", "state", "unwinding")

    def died(self):
        if sessions.get(self.address) is self:
            del sessions[self.address]
        if not self.is_open:
            return
        for checkout in self.held:
            self.is_lost = True
            if checkout() is None:
                checkout_ended(checkout, _native.WITH_PARENT)
            else:  # its connection is still in somebody's hands
                checkout.session = None
                engine = checkout.pool.engine
                parent(CHECKOUT, checkout.address, ENGINE, engine.address if engine is not None else None)
        session_closed(self, end_of(_native.GC) if self.is_lost else _native.EXPLICIT)


def session_opened(session, frame):
    """Also again, after it was closed."""
    address = id(session)
    watch = sessions.get(address)
    if watch is None or watch() is not session:
        watch = SessionWatch(session, buried)
        watch.address = address
    watch.engine = None
    watch.failed = watch.is_lost = watch.unwinding = False
    watch.held = ()
    watch.owner = watch.state = 0
    watch.is_open = True
    sessions[address] = watch
    opened(SESSION, address, frame)
    scope = context.current()
    if scope is not None:
        watch.owner = scope.owner()
        owned_by(SESSION, address, watch.owner)
    return watch


def session_closed(watch, how, frame=None):
    watch.is_open = False
    watch.engine = None
    watch.failed = False
    watch.state = 0
    closed(SESSION, watch.address, how, frame)


def session_described(watch):
    """What it holds, as details. Loads nothing and asks no database; other threads may be changing it meanwhile."""
    session = watch()
    if session is None or not watch.is_open:
        return
    identities = session.identity_map
    new, deleted = len(session._new), len(session._deleted)
    dirty = max(len(identities._modified) - deleted, 0)
    detail(SESSION, watch.address, "objects", str(len(identities._dict)))
    unsaved = ", ".join(f"{n} {what}" for n, what in ((new, "new"), (dirty, "dirty"), (deleted, "deleted")) if n)
    if unsaved:
        detail(SESSION, watch.address, "unsaved", unsaved)


# --- fork -------------------------------------------------------------------------------------------------------------


def parents_forgotten():
    """In a forked child: what is open is the parent's. Engines are opened again where the child first uses them."""
    graveyard.clear()
    checkouts.clear()
    sessions.clear()
    records.clear()
    for engine in engines.values():
        engine.is_open = False
    for pool in pools.values():
        pool.out.clear()
        pool.peak = 0
        if pool.places is not None:
            pool.places.clear()


os.register_at_fork(after_in_child=parents_forgotten)
hooks.before_modules_go(told_who_died)
