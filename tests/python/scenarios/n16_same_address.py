# SPDX-License-Identifier: Apache-2.0
"""Objects come and go at the same addresses: a thousand sessions, connections, statements."""
import os
import sqlite3

from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

engine = create_engine(os.environ["DATABASE_URL"])
addresses = set()
for _ in range(500):
    with Session(engine) as session:
        session.execute(text("SELECT 42"))
        addresses.add(id(session))
    del session
    connection = sqlite3.connect(":memory:")
    addresses.add(id(connection))
    connection.close()
    del connection
assert len(addresses) < 500
