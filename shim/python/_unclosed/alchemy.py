# SPDX-License-Identifier: Apache-2.0
"""SQLAlchemy 1.4, 2.0 and 2.1: engines, sessions, checkouts.

    alchemy_watch     what is known of each object, and how it began and ended
    alchemy_pools     engines, pools and connections: made, checked out, used, given back
    alchemy_sessions  sessions: made, in a transaction, closed, used again
    alchemy_trouble   pools that ran dry, transactions that failed

Hooks are set once, at classes, so that they also see what was made before. They are wrappers of the few functions that
every way of using SQLAlchemy goes through; where an event costs no more, it is an event. A pool's events cost three
times as much as the wrappers (tests/bench/bench_alchemy.py), and listening to an engine's makes SQLAlchemy itself slower.
"""

import atexit

from . import alchemy_pools, alchemy_sessions, alchemy_trouble, alchemy_watch, context, hooks

ADAPTER = "sqlalchemy"
KNOWN = ((1, 4), (2, 0), (2, 1))


def imported(name, module):
    """Called by the package when `sqlalchemy` has been executed."""
    if name != "sqlalchemy":
        return
    version = str(getattr(module, "__version__", "?"))
    hooks.told(ADAPTER, version, None if is_known(version) else f"version {version} is not known; trying all the same")
    hooks.when_imported("sqlalchemy.pool.base", attached(alchemy_pools.pools_watched))
    hooks.when_imported("sqlalchemy.engine.base", attached(alchemy_pools.engines_watched))
    hooks.when_imported("sqlalchemy.pool.base", attached(alchemy_trouble.pools_watched))
    hooks.when_imported("sqlalchemy.engine.base", attached(alchemy_trouble.engines_watched))
    hooks.when_imported("sqlalchemy.ext.asyncio.engine", attached(alchemy_pools.async_engines_watched))
    hooks.when_imported("sqlalchemy.orm.session", attached(alchemy_sessions.sessions_watched))
    hooks.when_imported("sqlalchemy.orm.session", attached(alchemy_trouble.sessions_watched))
    hooks.when_imported("sqlalchemy.orm.events", attached(alchemy_sessions.session_events_watched))
    hooks.when_imported("sqlalchemy.ext.asyncio.session", attached(alchemy_sessions.async_sessions_watched))
    hooks.when_imported("sqlalchemy.ext.asyncio.engine", attached(alchemy_sessions.async_connections_watched))
    atexit.register(at_exit)
    context.before_requests_end(request_ending)


def is_known(version):
    return any(version.startswith("%d.%d." % known) for known in KNOWN)


def attached(attach):
    """What a future version lacks is told; what else there is gets watched all the same."""

    def function(module):
        try:
            attach(module)
        except (AttributeError, KeyError, TypeError) as error:
            hooks.told(ADAPTER, problem=f"{module.__name__} is not as it was known: {error}")

    return function


@hooks.harmless
def request_ending(owner):
    """What the request's sessions hold is told while they can be read."""
    for session in list(alchemy_watch.sessions.values()):
        if session.owner == owner and session.state:
            described(session)


@hooks.harmless
def described(session):
    alchemy_watch.session_described(session)


@hooks.harmless
def at_exit():
    alchemy_watch.told_who_died()
    for session in list(alchemy_watch.sessions.values()):
        if session.state:
            described(session)
