# SPDX-License-Identifier: Apache-2.0
"""A database in memory, kept open: to close it would be to lose it."""
from sqlalchemy import create_engine, text
from sqlalchemy.pool import StaticPool

engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
with engine.begin() as connection:
    connection.execute(text("CREATE TABLE item (id)"))
for number in range(10):
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO item VALUES (:number)"), {"number": number})
