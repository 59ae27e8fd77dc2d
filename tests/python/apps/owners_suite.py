# SPDX-License-Identifier: Apache-2.0
"""Tests, one of which leaves a session open."""
import gc
import os

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session


@pytest.fixture(scope="session")
def engine():
    engine = create_engine(os.environ["DATABASE_URL"])
    yield engine
    engine.dispose()


@pytest.mark.parametrize("number", range(6))
def test_right(engine, number):
    with Session(engine) as session:
        assert session.execute(text("select 1")).scalar() == 1


def test_wrong(engine):
    session = Session(engine)  # leak: test
    assert session.execute(text("select 1")).scalar() == 1
    del session
    gc.collect()
