# SPDX-License-Identifier: Apache-2.0
"""l14_churn.py N: an engine for each question."""
import os
import sys

from sqlalchemy import create_engine, text


def asked():
    engine = create_engine(os.environ["DATABASE_URL"])  # leak: engine
    with engine.connect() as connection:
        return connection.execute(text("SELECT 42")).scalar()


for _ in range(int(sys.argv[1])):
    asked()
