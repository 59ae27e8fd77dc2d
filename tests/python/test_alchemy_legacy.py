# SPDX-License-Identifier: Apache-2.0
"""The SQLAlchemy adapter and what only 1.4 has: connections that are branched off another one share its transaction."""
from .conftest import judged
from .test_alchemy import run_python  # noqa: F401

CHECKOUT = "sqlalchemy.checkout"


def test_branched_connection_shares_the_transaction(run_python, python14):  # noqa: F811
    report = run_python("""
    engine = engine_of()
    connection = engine.connect()
    with connection.begin():
        branch = connection.connect()
        branch.execute(text("INSERT INTO drinks (item) VALUES ('mate')"))
        branch.close()
    connection.close()
    engine.dispose()
    """, python14)
    assert judged(report) == {}
    assert report.opened[CHECKOUT] == 3


def test_what_a_branched_connection_wrote_is_its_roots(run_python, python14):  # noqa: F811
    report = run_python("""
    engine = engine_of()
    connection = engine.connect()
    begun = connection.begin()
    connection.connect().execute(text("INSERT INTO drinks (item) VALUES ('mate')"))
    connection.close()
    engine.dispose()
    """, python14)
    assert {(rule, kind) for rule, kind, *_ in judged(report)} == {("closed-in-transaction", CHECKOUT)}
