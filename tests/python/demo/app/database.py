# SPDX-License-Identifier: Apache-2.0
"""The engine, and where sessions come from."""
import os
from collections.abc import Iterator

from sqlalchemy import create_engine
from sqlalchemy.orm import Session, sessionmaker

URL = os.environ.get("DATABASE_URL", "sqlite:///orders.db")

# It was 5 once. Somebody raised it when the pool ran empty, and again, and nobody asked why.
engine = create_engine(URL, pool_size=60)
SessionLocal = sessionmaker(engine)


def get_session() -> Iterator[Session]:
    """Right: whatever happens to the request, its session is closed."""
    session = SessionLocal()
    try:
        yield session
    finally:
        session.close()
