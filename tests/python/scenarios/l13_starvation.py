# SPDX-License-Identifier: Apache-2.0
"""Few worker threads, all of them waiting for a connection; and what would give one back needs a worker thread."""
import os
from contextlib import asynccontextmanager

import anyio.to_thread
from fastapi import Depends, FastAPI
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

engine = create_engine(os.environ["DATABASE_URL"], pool_size=2, max_overflow=0, pool_timeout=1)


@asynccontextmanager
async def lifespan(_):
    anyio.to_thread.current_default_thread_limiter().total_tokens = 4
    yield


app = FastAPI(lifespan=lifespan)


def get_session():
    session = Session(engine)  # place: session
    try:
        session.execute(text("SELECT 'who are you?'"))
        yield session
    finally:
        session.close()


@app.get("/items")
def items(session: Session = Depends(get_session)):
    return session.execute(text("SELECT 42")).scalar()
