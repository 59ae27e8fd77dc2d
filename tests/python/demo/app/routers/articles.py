# SPDX-License-Identifier: Apache-2.0
import logging
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Depends, HTTPException
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ..database import SessionLocal, get_session
from ..models import Article, Visit
from ..schemas import ArticleRead

router = APIRouter(prefix="/articles")
log = logging.getLogger("orders")
# Closed when the function returns: a background task that needs a connection finds this one at home.
ClosedBefore = Annotated[Session, Depends(get_session, scope="function")]


def note_visit(what: str) -> None:
    """Runs after the response. The commit gives the connection back, the count borrows one anew."""
    session = SessionLocal()  # leak: background task
    session.add(Visit(what=what))
    session.commit()
    log.info("%d visits", session.scalar(select(func.count()).select_from(Visit)))


def note_visit_right(what: str) -> None:
    with SessionLocal.begin() as session:
        session.add(Visit(what=what))


@router.get("/{article_id}", response_model=ArticleRead)
def read_article(article_id: int, tasks: BackgroundTasks, session: ClosedBefore):
    article = session.get(Article, article_id)
    if article is None:
        raise HTTPException(404, "no such article")
    tasks.add_task(note_visit, f"article {article_id}")
    return article


@router.get("/{article_id}/stock")
def read_stock(article_id: int, tasks: BackgroundTasks, session: ClosedBefore):
    """The same, right."""
    tasks.add_task(note_visit_right, f"stock of article {article_id}")
    return session.scalar(select(Article.stock).where(Article.id == article_id))
