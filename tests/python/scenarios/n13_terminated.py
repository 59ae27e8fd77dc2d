# SPDX-License-Identifier: Apache-2.0
"""A process is terminated while one of its threads works with a session; the parent goes on."""
import os
import sys

from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

engine = create_engine(os.environ["DATABASE_URL"])
ready, told = os.pipe()
child = os.fork()
if child == 0:
    with Session(engine) as session:
        session.execute(text("SELECT 42"))
        os.write(told, b".")
        while True:
            session.execute(text("SELECT 42"))
os.read(ready, 1)
os.kill(child, 15)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -15
sys.exit(0)
