# SPDX-License-Identifier: Apache-2.0
"""Connections that a pool closes by itself: recycled, over the pool's size, pinged; and SQLAlchemy 1.4's NullPool for files."""
import os
import time

from sqlalchemy import create_engine, text
from sqlalchemy.pool import QueuePool

pooled = create_engine(os.environ["DATABASE_URL"], poolclass=QueuePool, pool_size=1, max_overflow=2, pool_recycle=0.01, pool_pre_ping=True)
default = create_engine(os.environ["DATABASE_URL"])

for _ in range(12):
    for engine in (pooled, default):
        with engine.connect() as one, engine.connect() as other:  # place: two
            one.execute(text("SELECT 42"))
            other.execute(text("SELECT 42"))
    time.sleep(0.02)
