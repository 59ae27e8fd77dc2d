# SPDX-License-Identifier: Apache-2.0
"""The SQLAlchemy adapter: what it says of engines, sessions and checkouts, and that the program cannot tell.

Whole mistakes with their verdicts are in test_scenarios.py, whole things done right in test_controls.py. Here each
program is a few lines; a comment `# place: NAME` marks a line that a finding must be at.
"""
from textwrap import dedent

import pytest

from .conftest import assert_looked_at, expected, judged, place_of

SESSION, CHECKOUT, ENGINE, SQLITE3 = "sqlalchemy.session", "sqlalchemy.checkout", "sqlalchemy.engine", "sqlite3.connection"

PRELUDE = """
import gc, os, sys, threading
from sqlalchemy import Column, Integer, String, create_engine, event, func, pool, select, text
from sqlalchemy import exc
from sqlalchemy.orm import Session, declarative_base, scoped_session, sessionmaker

Base = declarative_base()

class Order(Base):
    __tablename__ = "drinks"
    id = Column(Integer, primary_key=True)
    item = Column(String(40))

URL = os.environ["DATABASE_URL"]

def engine_of(**options):
    options.setdefault("poolclass", pool.QueuePool)
    engine = create_engine(URL, **options)
    Base.metadata.create_all(engine)
    with engine.connect() as connection:
        connection.execute(text("DELETE FROM drinks"))
        getattr(connection, "commit", lambda: None)()
    return engine
"""
ASYNC_PRELUDE = PRELUDE + """
import asyncio
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

async def async_engine_of(**options):
    engine = create_async_engine(URL, **options)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    return engine
"""


@pytest.fixture
def run_python(run_unclosed, tmp_path):
    """run_python(TEXT, python=…, prelude=…) -> Report of that program, which must end with 0; .source is its file."""

    def run(lines, python, prelude=PRELUDE, url=None, name="program", environment=None):
        source = tmp_path / f"{name}.py"
        source.write_text(prelude + dedent(lines))
        default = {"DATABASE_URL": url or f"sqlite:///{tmp_path}/{name}.db", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": None,
                   "SQLALCHEMY_SILENCE_UBER_WARNING": "1"}
        report = run_unclosed(python, source, environment={**default, **(environment or {})}, options=["--exit-status=program"])
        assert report.status == 0, report.stdout + report.stderr
        assert report.rows("SELECT name, problem FROM adapter WHERE problem IS NOT NULL") == []
        report.source = source
        return report

    return run


def ends_of(report, kind):
    """{how: how many} of all handles of that kind that ended."""
    ways = ("explicit", "gc", "finalization", "invalidated", "detached", "owner_gone", "with_parent", "replaced")
    [counts] = report.rows(f"SELECT {', '.join(f'sum(ended_{way})' for way in ways)} FROM site WHERE kind = ?", kind)
    return {way: count for way, count in zip(ways, counts) if count}


def details_of(report, kind):
    return dict(report.rows("SELECT key, value FROM detail JOIN handle ON handle.id = detail.handle WHERE kind = ?", kind))


# --- how they end -----------------------------------------------------------------------------------------------------


def test_each_way_to_close_a_session_is_explicit(run_python, each_python):
    report = run_python("""
        engine = engine_of()
        make = sessionmaker(engine)
        first = make(); first.query(Order).all(); first.close()
        with make() as second: second.query(Order).all()
        with make.begin() as third: third.query(Order).all()
        scoped = scoped_session(make); scoped.query(Order).all(); scoped.remove()
        fifth = make(); fifth.query(Order).all(); fifth.close(); fifth.close()
        engine.dispose()
    """, each_python)
    assert report.findings == []
    assert ends_of(report, SESSION) == {"explicit": 5}
    assert set(ends_of(report, CHECKOUT)) == {"explicit"}
    assert ends_of(report, ENGINE) == {"explicit": 1}


def test_collected_with_a_connection_is_gc_and_without_one_explicit(run_python, each_python):
    report = run_python("""
        engine = engine_of()
        def leaks():
            session = Session(engine)  # place: leak
            session.query(Order).all()
        def has_nothing():
            Session(engine)
            session = Session(engine)
            session.query(Order).all()
            session.commit()
        for _ in range(3): leaks(); has_nothing()
        gc.collect()
        with engine.connect(): pass
    """, each_python)
    assert judged(report) == expected(report.source, ("never-closed", SESSION, "leaks", "leak", 3))
    assert ends_of(report, SESSION) == {"gc": 3, "explicit": 6}


def test_leaked_session_is_one_finding_with_its_checkout_and_connection(run_python, each_python):
    report = run_python("""
        engine = engine_of()
        def leaks():
            session = Session(engine)  # place: leak
            tea = Order(item="tea")
            session.add(tea)
            session.flush()
            session.add(Order(item="milk"))
            return session, tea
        kept = leaks()
        import atexit; atexit._run_exitfuncs()
        os._exit(0)
    """, each_python)
    sessions = [finding for finding in report.findings if finding["kind"] == SESSION]
    assert sessions and all((finding["where"]["function"], *place_of(finding["where"])) ==
                            ("leaks", report.source.name, expected_line(report, "leak")) for finding in sessions)
    assert not [finding for finding in report.findings if finding["kind"] == CHECKOUT]
    assert {row[0] for row in report.rows("SELECT kind FROM handle WHERE is_child")} >= {CHECKOUT, SQLITE3}
    details = details_of(report, SESSION)
    assert details["objects"] == "1"
    assert details["unsaved"] == "1 new"
    assert details_of(report, CHECKOUT)["last_sql"].startswith("INSERT INTO drinks")


def expected_line(report, mark):
    [(_, _, _, _, line)] = expected(report.source, ("", "", "", mark, 1))
    return line


def test_invalidated_and_detached(run_python, each_python):
    report = run_python("""
        engine = engine_of()
        lost = engine.connect(); lost.invalidate(); lost.close()
        taken = engine.connect(); taken.detach(); taken.close()
        session = Session(engine); session.query(Order).all(); session.invalidate()
    """, each_python)
    assert judged(report) == {}
    ends = ends_of(report, CHECKOUT)
    assert (ends["invalidated"], ends["detached"]) == (2, 1)
    assert ends_of(report, SESSION) == {"invalidated": 1}


def test_connection_of_core_that_is_never_closed(run_python, each_python):
    report = run_python("""
        engine = engine_of(pool_size=10)
        def core():
            engine.connect().execute(text("SELECT 1"))  # place: core
        def raw():
            engine.raw_connection()  # place: raw
        def streaming():
            rows = engine.connect().execution_options(stream_results=True).execute(select(Order))  # place: streaming
            return iter(rows)
        core(); raw(); kept = streaming(); del kept
        gc.collect()
    """, each_python)
    assert judged(report) == expected(report.source, *(("never-closed", CHECKOUT, name, name, 1) for name in ("core", "raw", "streaming")))


def test_session_that_died_while_its_connection_lives_on(run_python, each_python):
    report = run_python("""
        engine = engine_of()
        def leaks():
            session = Session(engine)  # place: leak
            return session.connection()
        connection = leaks()
        gc.collect()
        connection.execute(text("SELECT 1"))
        connection.close()
    """, each_python)
    assert judged(report) == expected(report.source, ("never-closed", SESSION, "leaks", "leak", 1))
    assert set(ends_of(report, CHECKOUT)) == {"explicit"}


def test_at_the_interpreters_end_it_is_finalization_or_open(run_python, each_python):
    report = run_python("""
        engine = engine_of()
        class Holder:
            def __del__(self): self.session.close()
        holder = Holder(); holder.session = Session(engine); holder.session.query(Order).all()
        sys.holder = holder
        del holder
    """, each_python)
    assert judged(report) == {}
    assert "gc" not in ends_of(report, SESSION)


# --- used again -------------------------------------------------------------------------------------------------------


def test_used_after_close_has_both_stacks_and_its_second_life_is_judged(run_python, each_python):
    report = run_python("""
        engine = engine_of()
        def reuses():
            session = Session(engine)
            session.query(Order).all()
            session.close()  # place: close
            session.query(Order).all()  # place: use
            return session
        reuses()
        gc.collect()
    """, each_python)
    used = report.finding("used-after-close")
    assert (used["kind"], used["count"], used["where"]["function"]) == (SESSION, 1, "reuses")
    assert place_of(used["where"]) == (report.source.name, expected_line(report, "use"))
    assert (report.source.name, expected_line(report, "close")) in [place_of(frame) for frame in used["closed_stack"]]
    assert ends_of(report, SESSION) == {"explicit": 1, "gc": 1}


def test_reset_and_commit_are_no_close(run_python, python20):
    report = run_python("""
        engine = engine_of()
        session = Session(engine, close_resets_only=False)
        for _ in range(3):
            session.query(Order).all()
            session.commit()
            session.query(Order).all()
            session.reset()
        session.close()
        try: session.query(Order).all()
        except exc.InvalidRequestError: print("refused")
    """, python20)
    assert report.stdout == "refused\n"
    assert judged(report) == {}
    assert ends_of(report, SESSION) == {"explicit": 1}


# --- failed transactions ----------------------------------------------------------------------------------------------


def test_use_after_a_failed_flush(run_python, each_python):
    report = run_python("""
        engine = engine_of()
        def swallows():
            with Session(engine) as session:
                session.add(Order(id=1)); session.commit()
                session.add(Order(id=1))
                try: session.commit()
                except exc.IntegrityError: pass
                try: session.query(Order).all()  # place: use
                except exc.PendingRollbackError: pass
        swallows()
    """, each_python)
    assert judged(report) == expected(report.source, ("no-rollback-after-error", SESSION, "swallows", "use", 1))


def test_rolled_back_is_silent(run_python, each_python):
    report = run_python("""
        engine = engine_of()
        with Session(engine) as session:
            session.add(Order(id=1)); session.commit()
            session.add(Order(id=1))
            try: session.commit()
            except exc.IntegrityError: session.rollback()
            session.query(Order).all()
            try:
                with session.begin_nested(): session.add(Order(id=1))
            except exc.IntegrityError: pass
            session.query(Order).all()
            session.rollback()
        with Session(engine) as session:
            session.add(Order(id=1))
            try: session.flush()
            except exc.IntegrityError: pass
        with engine.connect() as connection:
            try: connection.execute(text("SELECT nonsense"))
            except exc.OperationalError: pass
            connection.execute(text("SELECT 1"))  # SQLite goes on
        with Session(engine) as session:
            try: session.execute(text("SELECT nonsense"))
            except exc.OperationalError: pass
            session.execute(text("SELECT 1"))
    """, each_python)
    assert judged(report) == {}
    assert_looked_at(report, SESSION)


def test_postgresql_refuses_what_comes_after_an_error(run_python, python20, postgres):
    report = run_python("""
        engine = create_engine(URL)
        def session_goes_on():
            with Session(engine) as session:
                try: session.execute(text("SELECT nonsense"))
                except exc.ProgrammingError: pass
                try: session.execute(text("SELECT 1"))  # place: session
                except exc.InternalError: pass
        def session_goes_back():
            with Session(engine) as session:
                try: session.execute(text("SELECT nonsense"))
                except exc.ProgrammingError: session.rollback()
                session.execute(text("SELECT 1"))
                try:
                    with session.begin_nested(): session.execute(text("SELECT nonsense"))
                except exc.ProgrammingError: pass
                session.execute(text("SELECT 1"))
        def connection_goes_back():
            with engine.connect() as connection:
                try: connection.execute(text("SELECT nonsense"))
                except exc.ProgrammingError: connection.rollback()
                connection.execute(text("SELECT 1"))
                connection.rollback()
                with connection.execution_options(isolation_level="AUTOCOMMIT").begin():
                    try: connection.execute(text("SELECT nonsense"))
                    except exc.ProgrammingError: pass
                    connection.execute(text("SELECT 1"))
        session_goes_on(); session_goes_back(); connection_goes_back()
        engine.dispose()
    """, python20, url=f"postgresql+psycopg2://postgres@/postgres?host={postgres.host}", environment=postgres.environment)
    assert judged(report) == expected(report.source, ("no-rollback-after-error", SESSION, "session_goes_on", "session", 1))


# --- what was written ---------------------------------------------------------------------------------------------------


def test_closed_with_unsaved_writes(run_python, each_python):
    report = run_python("""
        engine = engine_of()
        def forgets():
            with Session(engine) as session:
                session.add(Order(item="tea"))
                session.flush()
        def reads():
            with Session(engine) as session: session.query(Order).all()
        def commits():
            with Session(engine) as session:
                session.add(Order(item="tea")); session.commit()
                session.query(Order).all()
        def changes_nothing():
            with Session(engine) as session: session.execute(text("UPDATE drinks SET item = 'x' WHERE id = -1"))
        def says_so():
            with Session(engine) as session:
                session.add(Order(item="tea")); session.flush(); session.rollback()
        def unwinds():
            with Session(engine) as session:
                session.add(Order(item="tea")); session.flush()
                raise KeyError
        for function in forgets, reads, commits, changes_nothing, says_so, unwinds:
            try: function()
            except KeyError: pass
    """, each_python)
    [(rule, kind, function, _, _)] = judged(report)
    assert (rule, kind, function) == ("closed-in-transaction", SESSION, "forgets")


def test_borrowed_connection_is_its_owners(run_python, each_python):
    report = run_python("""
        engine = engine_of()
        with engine.connect() as connection:
            outer = connection.begin()
            for _ in range(3):
                session = Session(bind=connection)
                session.add(Order(item="tea")); session.flush()
            del session
            gc.collect()
            outer.rollback()
    """, each_python)
    assert judged(report) == {}
    assert set(ends_of(report, SESSION)) <= {"explicit"}


# --- pools --------------------------------------------------------------------------------------------------------------


def test_nested_checkout(run_python, each_python):
    report = run_python("""
        engine = engine_of(pool_size=2)
        def nests():
            with Session(engine) as outer:
                outer.query(Order).all()
                with Session(engine) as inner:
                    inner.query(Order).all()  # place: inner
        nests(); nests()
        def elsewhere():
            with Session(engine) as session: session.query(Order).all()
        with Session(engine) as session:
            session.query(Order).all()
            thread = threading.Thread(target=elsewhere); thread.start(); thread.join()
            other = create_engine(URL, poolclass=pool.QueuePool)
            with other.connect(): pass
            for kind in pool.NullPool, pool.StaticPool:
                unlimited = create_engine(URL, poolclass=kind)
                with unlimited.connect(), unlimited.connect(): pass
    """, each_python)
    nested = report.finding("nested-checkout")
    assert nested["count"] == 2
    assert "session" in nested["evidence"]


def test_incident_says_who_waited_and_what_holders_have(run_python, each_python):
    report = run_python("""
        engine = engine_of(pool_size=2, max_overflow=0, pool_timeout=1)
        kept = []
        for _ in range(2):
            session = Session(engine); kept.append(session)
            session.add(Order(item="tea"))
            session.query(Order).all() if len(kept) == 1 else session.connection()
        def waits():
            try: engine.connect()
            except exc.TimeoutError: pass
        threads = [threading.Thread(target=waits) for _ in range(5)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        engine_full = create_engine("sqlite://", poolclass=pool.QueuePool)
        for session in kept: session.close()
    """, each_python)
    texts = report.rows("SELECT message, waited_ns FROM incident WHERE rule = 'pool-exhausted'")
    assert texts and "QueuePool limit of size 2 overflow 0 reached" in texts[0][0]
    assert texts[0][0].endswith("; 5 callers were waiting")
    assert texts[0][1] == 1_000_000_000
    assert "sqlalche.me" not in texts[0][0]


def test_every_pool_is_silent_when_used_right(run_python, each_python):
    report = run_python("""
        import time
        for kind in pool.QueuePool, pool.NullPool, pool.StaticPool, pool.SingletonThreadPool, pool.AssertionPool:
            for options in {}, {"pool_pre_ping": True}, {"pool_recycle": 0}:
                engine = create_engine(URL, poolclass=kind, connect_args={"check_same_thread": False}, **options)
                for _ in range(3):
                    with Session(engine) as session: session.execute(text("SELECT 1"))
                    with engine.connect() as connection: connection.execute(text("SELECT 1"))
                    raw = engine.raw_connection(); raw.cursor().execute("SELECT 1"); raw.close()
                engine.dispose()
        shared = create_engine("sqlite://", poolclass=pool.StaticPool, connect_args={"check_same_thread": False})
        first, second = Session(shared), Session(shared)
        for session in first, second: session.execute(text("SELECT 1"))
        for session in first, second: session.close()
        memory = create_engine("sqlite://")
        def in_a_thread():
            with memory.connect() as connection: connection.execute(text("SELECT 1"))
        for _ in range(3):
            thread = threading.Thread(target=in_a_thread); thread.start(); thread.join()
    """, each_python)
    assert {rule for rule, *_ in judged(report)} <= {"connection-churn"}   # an engine each time round, as it is
    assert set(ends_of(report, CHECKOUT)) == {"explicit"}
    assert set(ends_of(report, SESSION)) == {"explicit"}


def test_engine_tells_its_pool_and_how_full_it_was(run_python, each_python):
    report = run_python("""
        engine = create_engine(URL, poolclass=pool.QueuePool, pool_size=7, max_overflow=3, pool_timeout=9, pool_recycle=60)
        connections = [engine.connect() for _ in range(4)]
        for connection in connections: connection.close()
        with engine.connect(): pass
    """, each_python)
    assert details_of(report, ENGINE) == {"pool": "QueuePool", "pool_size": "7", "max_overflow": "3", "pool_timeout": "9 s",
                                          "pool_recycle": "60 s", "most_checked_out": "4"}


def test_disposed_engine_is_opened_again_where_it_is_used(run_python, each_python):
    report = run_python("""
        engine = create_engine(URL, poolclass=pool.QueuePool)
        session = Session(engine); session.execute(text("SELECT 1"))
        engine.dispose()
        session.close()
        def again():
            with engine.connect(): pass
        again()
    """, each_python)
    assert judged(report) == {}
    assert ends_of(report, ENGINE) == {"explicit": 1}
    assert report.opened[ENGINE] == 2
    assert ends_of(report, CHECKOUT) == {"explicit": 2}


# --- sessions of every make -----------------------------------------------------------------------------------------------


def test_place_is_where_a_subclass_is_constructed(run_python, each_python):
    report = run_python("""
        engine = engine_of(pool_size=20)
        class Own(Session):
            def __init__(self, *given, **named):
                self.mine = 1
                super().__init__(*given, **named)
        class Plain(Session): pass
        made = sessionmaker(engine, class_=Own)
        scoped = scoped_session(sessionmaker(engine))
        def own(): Own(engine).query(Order).all()  # place: own
        def plain(): Plain(engine).query(Order).all()  # place: plain
        def factory(): made().query(Order).all()  # place: factory
        def registry(): scoped().query(Order).all()  # place: registry
        own(); plain(); factory()
        thread = threading.Thread(target=registry); thread.start(); thread.join()
        gc.collect()
    """, each_python)
    assert judged(report) == expected(report.source, *(("never-closed", SESSION, name, name, 1) for name in ("own", "plain", "factory", "registry")))


def test_session_of_sqlmodel(run_python, python20):
    report = run_python("""
        from sqlmodel import Session as ModelSession
        engine = engine_of()
        def leaks():
            session = ModelSession(engine)  # place: leak
            session.exec(select(Order)).all()
        leaks()
        gc.collect()
    """, python20)
    assert judged(report) == expected(report.source, ("never-closed", SESSION, "leaks", "leak", 1))


def test_session_that_was_not_seen_made_is_opened_by_its_use(run_python, each_python):
    report = run_python("""
        engine = engine_of()
        def leaks():
            session = Session.__new__(Session)
            session.__dict__.update(Session(engine).__dict__)
            session.execute(text("SELECT 1"))  # place: use
        leaks()
        gc.collect()
    """, each_python)
    assert judged(report) == expected(report.source, ("never-closed", SESSION, "leaks", "use", 1))


def test_session_with_two_engines_is_one_finding(run_python, each_python):
    report = run_python("""
        one, two = engine_of(), create_engine(URL + "2", poolclass=pool.QueuePool)
        def leaks():
            session = Session(binds={Order: one}, bind=two)  # place: leak
            session.query(Order).all()
            session.execute(text("SELECT 1"), **({"bind_arguments": {"bind": two}}))
        leaks()
        gc.collect()
    """, each_python)
    assert judged(report) == expected(report.source, ("never-closed", SESSION, "leaks", "leak", 1))
    assert ends_of(report, CHECKOUT)["with_parent"] == 2


def test_exact_in_many_threads(run_python, each_python):
    report = run_python("""
        engine = engine_of(pool_size=30, max_overflow=200, connect_args={"check_same_thread": False})
        def works(number):
            for i in range(60):
                session = Session(engine)  # place: leak
                session.execute(text("SELECT 1"))
                if i % 12: session.close()
        threads = [threading.Thread(target=works, args=(n,)) for n in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        gc.collect()
    """, each_python)
    assert judged(report) == expected(report.source, ("never-closed", SESSION, "works", "leak", 40))
    assert ends_of(report, SESSION)["explicit"] == 440


# --- asyncio --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", ["sqlite+aiosqlite", "postgresql+asyncpg"])
def test_async_sessions(run_python, each_python, postgres, tmp_path, driver):
    url = f"{driver}://postgres@/postgres?host={postgres.host}" if "asyncpg" in driver else f"{driver}:///{tmp_path}/async.db"
    report = run_python("""
        async def leaks(engine):
            session = AsyncSession(engine)  # place: leak
            await session.execute(select(Order))
        async def core(engine):
            connection = await engine.connect()  # place: core
            await connection.execute(text("SELECT 1"))
        async def reuses(engine):
            session = AsyncSession(engine)
            await session.execute(select(Order))
            await session.close()
            await session.execute(select(Order))  # place: use
        async def forgets(engine, unwinds):
            async with AsyncSession(engine) as session:
                session.add(Order(item="tea"))
                await session.flush()
                if unwinds: raise KeyError
        async def right(engine):
            async with AsyncSession(engine) as session:
                session.add(Order(item="tea"))
                await session.commit()
            async with engine.begin() as connection: await connection.execute(text("SELECT 1"))
            async with engine.connect() as connection:
                result = await connection.stream(text("SELECT 1"))
                async for row in result: pass
        async def cancelled(engine):
            async with AsyncSession(engine) as session:
                await session.execute(select(Order))
                await asyncio.sleep(60)
        async def main():
            engine = await async_engine_of()
            await right(engine)
            await leaks(engine); gc.collect()
            await core(engine); gc.collect()
            await reuses(engine); gc.collect()
            await forgets(engine, False)
            try: await forgets(engine, True)
            except KeyError: pass
            task = asyncio.ensure_future(cancelled(engine))
            await asyncio.sleep(0.3)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await engine.dispose()
        asyncio.run(main())
    """, each_python, prelude=ASYNC_PRELUDE, url=url, environment={**postgres.environment, "PYTHONWARNINGS": "ignore"})
    found = judged(report)
    closed = [key for key in found if key[0] == "closed-in-transaction"]
    assert [key[1:3] for key in closed] == [(SESSION, "forgets")]
    assert {key: count for key, count in found.items() if key not in closed} == expected(
        report.source, ("never-closed", SESSION, "leaks", "leak", 1), ("never-closed", CHECKOUT, "core", "core", 1),
        ("used-after-close", SESSION, "reuses", "use", 1), ("never-closed", SESSION, "reuses", "use", 1))


# --- fork -------------------------------------------------------------------------------------------------------------------


def test_child_is_not_blamed_for_its_parents_sessions(run_python, each_python):
    report = run_python("""
        engine = engine_of()
        kept = Session(engine); kept.query(Order).all()
        def leaks():
            session = Session(engine)  # place: leak
            session.query(Order).all()
        pid = os.fork()
        if pid == 0:
            engine.dispose(close=False)
            leaks(); gc.collect()
            with engine.connect(): pass
            kept.invalidate()
            os._exit(0)
        os.waitpid(pid, 0)
        kept.close()
    """, each_python)
    found = {key: count for key, count in judged(report).items() if key[1].startswith("sqlalchemy.")}
    assert found == expected(report.source, ("never-closed", SESSION, "leaks", "leak", 1))


# --- the program cannot tell ------------------------------------------------------------------------------------------------

LOOKS = """
    import inspect, pickle, traceback, warnings, weakref
    from unittest import mock
    from sqlalchemy.engine import base
    from sqlalchemy.pool import base as pools
    warnings.simplefilter("error")
    for function in (Session.__init__, Session.close, Session.invalidate, base.Engine.__init__, base.Engine.dispose,
                     base.Connection._execute_context, pools._ConnectionFairy._checkout, pools._ConnectionFairy._checkin):
        print(function.__qualname__, function.__module__, inspect.signature(function), len(function.__doc__ or ""))
    print(pickle.loads(pickle.dumps(Session.close)) is Session.close)
    print(Session.__init__.__code__.co_varnames[:Session.__init__.__code__.co_argcount])
    engine = engine_of(pool_size=1, max_overflow=0, pool_timeout=0.01, echo=False, hide_parameters=False)
    with mock.patch.object(Session, "close", autospec=True) as close:
        Session(engine).close()
        print(close.call_count)
    counts = []
    event.listen(engine, "checkout", lambda *given: counts.append("checkout"))
    event.listen(engine, "checkin", lambda *given: counts.append("checkin"))
    event.listen(engine, "reset", lambda connection, record, state=None: counts.append("reset"))
    event.listen(Session, "after_begin", lambda *given: counts.append("begin"))
    with Session(engine) as session: session.execute(text("SELECT 1"))
    print(counts)
    def failing(statement):
        try:
            with engine.connect() as connection: connection.execute(text(statement))
        except Exception:
            if sys.version_info >= (3, 11):  # before, a function cannot take itself out of a traceback
                for line in traceback.format_exc().splitlines():
                    if "_unclosed" in line: print("seen:", line)
                print(traceback.format_exc().count("File"))
            print(sys.exc_info()[0].__name__)
    failing("SELECT nonsense")
    with engine.connect(): failing("SELECT 1")
    try: Session(engine, nonsense=1)
    except TypeError as error: print(error)
    session = Session(engine); session.execute(text("SELECT 1"))
    gone = weakref.ref(session, lambda ref: print("session gone"))
    record = weakref.ref(session.connection().connection)
    del session
    gc.collect()
    print(gone(), record(), gc.garbage, engine.pool.checkedout())
    print(sorted(name for name in sys.modules if "unclosed" in name and not name.startswith("_unclosed")))
    print(sys.getrefcount(engine), len(gc.get_referrers(engine.pool)))
"""


def test_program_cannot_tell(run_python, each_python, plain, tmp_path):
    report = run_python(LOOKS, each_python)
    without = plain(each_python, report.source, environment={"DATABASE_URL": f"sqlite:///{tmp_path}/plain.db", "PYTHONPATH": None,
                                                             "SQLALCHEMY_SILENCE_UBER_WARNING": "1"})
    assert report.stdout == without.stdout
    assert "session gone" in report.stdout


def test_interrupted_at_any_moment(run_python, each_python):
    """An exception from a signal handler, wherever it comes, reaches the program; what was cut short is not counted wrong."""
    report = run_python("""
        import signal, time
        engine = engine_of(pool_size=1000)
        class Interrupt(BaseException): pass
        armed = raised = caught = 0
        def handler(*given):
            global armed, raised
            if armed:
                armed = 0
                raised += 1
                raise Interrupt
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.002, 0.0017)
        until = time.monotonic() + 2
        while time.monotonic() < until:
            try:
                armed = 1
                with Session(engine) as session: session.execute(text("SELECT 1"))
                armed = 0
            except BaseException:
                caught += 1
        armed = 0
        signal.setitimer(signal.ITIMER_REAL, 0)
        gc.collect()
        with Session(engine_of()) as session: session.execute(text("SELECT 1"))
        print(raised > 20, caught > 20)
        os._exit(0)
    """, each_python)
    assert report.stdout == "True True\n"
