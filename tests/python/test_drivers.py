# SPDX-License-Identifier: Apache-2.0
"""Every driver: SQLAlchemy's view of it (a session that nobody closes), and the native one where there is a C library.

The servers are real: PostgreSQL, MariaDB; SQLite is in memory or in a file.
"""
import pytest

from .conftest import assert_looked_at, expected, judged

SESSION, CHECKOUT = "sqlalchemy.session", "sqlalchemy.checkout"
SQLITE3, LIBPQ = "sqlite3.connection", "libpq.connection"

# name: (virtual environment, URL, more environment, the native kind that is seen, or None where there is no C library)
DRIVERS = {
    "psycopg2 from source": ("python20", "postgresql+psycopg2", {}, LIBPQ),
    "psycopg2 wheel": ("python14", "postgresql+psycopg2", {}, LIBPQ),
    "psycopg2 wheel, SQLAlchemy 2.1": ("python21", "postgresql+psycopg2", {}, LIBPQ),
    "psycopg 3 in Python": ("python20", "postgresql+psycopg", {"PSYCOPG_IMPL": "python"}, LIBPQ),
    "psycopg 3 binary": ("python20", "postgresql+psycopg", {"PSYCOPG_IMPL": "binary"}, LIBPQ),
    "psycopg 3, asynchronous": ("python20", "postgresql+psycopg_async", {}, LIBPQ),
    "psycopg 3, SQLAlchemy 2.1": ("python21", "postgresql+psycopg", {}, LIBPQ),
    "asyncpg": ("python20", "postgresql+asyncpg", {}, None),
    "asyncpg, SQLAlchemy 1.4": ("python14", "postgresql+asyncpg", {}, None),
    "sqlite3": ("python20", "sqlite", {}, SQLITE3),
    "sqlite3, SQLAlchemy 1.4": ("python14", "sqlite", {}, SQLITE3),
    "aiosqlite": ("python20", "sqlite+aiosqlite", {}, SQLITE3),
    "aiosqlite, SQLAlchemy 1.4": ("python14", "sqlite+aiosqlite", {}, SQLITE3),
    "PyMySQL": ("python20", "mysql+pymysql", {}, None),
    "PyMySQL, SQLAlchemy 1.4": ("python14", "mysql+pymysql", {}, None),
    "mysqlclient": ("python20", "mysql+mysqldb", {}, None),
    "aiomysql": ("python20", "mysql+aiomysql", {}, None),
}
ASYNCHRONOUS = ("asyncpg", "aiosqlite", "aiomysql", "psycopg_async")


def url_of(driver, request, tmp_path):
    if driver.startswith("postgresql"):
        return f"{driver}://postgres@/postgres?host={request.getfixturevalue('postgres').host}"
    if driver.startswith("mysql"):
        return f"{driver}://root@/orders?unix_socket={request.getfixturevalue('mariadb').socket}"
    return f"{driver}:///{tmp_path}/drivers.db"


@pytest.mark.parametrize("name", DRIVERS)
def test_driver(run_scenario, request, tmp_path, name):
    python, driver, environment, native = DRIVERS[name]
    program = "driver_async" if driver.endswith(ASYNCHRONOUS) else "driver_sync"
    report = run_scenario(program, python=request.getfixturevalue(python),
                          environment={**environment, "DATABASE_URL": url_of(driver, request, tmp_path)})
    assert judged(report) == expected(report.source, ("never-closed", SESSION, "forgotten", "session", 3))
    assert_looked_at(report, SESSION, CHECKOUT, *([native] if native else []))
    [adapter] = report.rows("SELECT DISTINCT name FROM adapter WHERE name = 'sqlalchemy' AND problem IS NULL")
    assert adapter == ("sqlalchemy",)


@pytest.mark.parametrize("name", [name for name, (_, _, _, native) in DRIVERS.items() if native])
def test_native_connections_belong_to_the_pool(run_scenario, request, tmp_path, name):
    """Idle in a pool they are nobody's leak; borrowed by a session they are part of what it holds."""
    python, driver, environment, native = DRIVERS[name]
    program = "driver_async" if driver.endswith(ASYNCHRONOUS) else "driver_sync"
    report = run_scenario(program, python=request.getfixturevalue(python),
                          environment={**environment, "DATABASE_URL": url_of(driver, request, tmp_path)})
    assert {kind for _, kind, *_ in judged(report)} == {SESSION}
    assert report.opened[native] >= 4


@pytest.mark.parametrize(("name", "implementation"), [("python20", "python"), ("python20", "binary"), ("python14", "c")])
def test_psycopg3_alone(run_scenario, postgres, request, name, implementation):
    """Without SQLAlchemy: whichever way it reaches libpq, three connections are dropped, three are closed."""
    report = run_scenario("driver_psycopg3", python=request.getfixturevalue(name),
                          environment={**postgres.environment, "PSYCOPG_IMPL": implementation})
    assert report.stdout == f"{implementation}\n"
    assert judged(report) == expected(report.source, ("never-closed", LIBPQ, "dropped", "psycopg 3", 3))
    assert report.opened[LIBPQ] == 6


def test_cancelling_is_no_use_of_a_closed_connection(run_scenario, postgres):
    report = run_scenario("driver_psycopg3_cancel", environment={**postgres.environment, "PSYCOPG_IMPL": "binary"})
    assert judged(report) == {}
    assert (report.opened[LIBPQ], report.opened["libpq.cancel"]) == (9, 8)


def test_two_libpqs_in_one_process(run_scenario, postgres):
    """libpq 17 and newer jump from PQcancelFinish to PQfinish: to their own one, not to that of the copy that was loaded first."""
    report = run_scenario("driver_two_libpqs", environment={**postgres.environment, "PSYCOPG_IMPL": "binary"})
    first, second = report.stdout.split()
    assert first != second, "both have the same libpq: this shows nothing"
    assert judged(report) == {}
    assert report.opened[LIBPQ] == 5


def test_asyncpg_alone_is_not_judged(run_scenario, postgres):
    """asyncpg has no C library, and here no SQLAlchemy stands before it: that nothing was seen is not called clean."""
    report = run_scenario("driver_asyncpg_alone", environment=postgres.environment)
    assert report.stdout == "42\n"
    assert report.json["verdict"] == "nothing"
