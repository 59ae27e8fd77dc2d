# SPDX-License-Identifier: Apache-2.0
from fastapi import APIRouter
from sqlalchemy import create_engine, text

from ..database import URL, engine

router = APIRouter()


@router.get("/health")
def health():
    """A pool for one question: every call makes an engine, and a connection that nobody will ever use again."""
    mine = create_engine(URL)  # leak: engine per request
    with mine.connect() as connection:
        return {"database": connection.scalar(text("SELECT 'alive'"))}


@router.get("/health/right")
def health_right():
    """The same, right: one engine for the whole program."""
    with engine.connect() as connection:
        return {"database": connection.scalar(text("SELECT 'alive'"))}
