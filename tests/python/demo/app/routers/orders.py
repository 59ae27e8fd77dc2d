# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException
from fastapi.responses import StreamingResponse
from sqlalchemy import select
from sqlalchemy.orm import Session

from ..database import SessionLocal, engine, get_session
from ..models import Article, Customer, Order
from ..schemas import ArticleRead, NewOrder, OrderRead

router = APIRouter(prefix="/orders")


@router.get("", response_model=list[OrderRead])
def list_orders():
    """Never closed."""
    session = SessionLocal()  # leak: no close
    return session.scalars(select(Order).limit(10)).all()


@router.post("", response_model=OrderRead, status_code=201)
def place_order(new: NewOrder):
    """Closed, unless something is wrong with the order."""
    session = SessionLocal()  # leak: happy path
    article = session.get(Article, new.article_id)
    if article is None:
        raise HTTPException(404, "no such article")
    article.stock -= 1
    order = Order(customer_id=new.customer_id, article_id=new.article_id)
    session.add(order)
    session.commit()
    placed = OrderRead.model_validate(order)
    session.close()
    return placed


@router.get("/export")
def export_orders():
    """Closed after the last row; but nobody says that the client stays so long."""

    def rows() -> Iterator[str]:
        session = SessionLocal()  # leak: stream
        for order in session.scalars(select(Order).execution_options(yield_per=10)):
            yield f"{order.id};{order.customer_id};{order.article_id};".ljust(16000, ".") + "\n"
        session.close()

    return StreamingResponse(rows(), media_type="text/csv")


@router.get("/export/right")
def export_orders_right():
    """The same, right: the session goes when the generator goes."""

    def rows() -> Iterator[str]:
        with Session(engine) as session:
            for order in session.scalars(select(Order).execution_options(yield_per=10)):
                yield f"{order.id};{order.customer_id};{order.article_id}\n"

    return StreamingResponse(rows(), media_type="text/csv")


@router.get("/{order_id}", response_model=OrderRead)
def read_order(order_id: int, session: Annotated[Session, Depends(get_session)]):
    """Right: the dependency closes the session, also when the order is not there."""
    order = session.get(Order, order_id)
    if order is None:
        raise HTTPException(404, "no such order")
    return order


@router.get("/{order_id}/article", response_model=ArticleRead)
def read_article_of_order(order_id: int):
    """Closed too early: the session begins anew behind the back of the `with`, and stays open."""
    with SessionLocal() as session:
        order = session.get(Order, order_id)
    return session.get(Article, order.article_id)  # leak: used after close


@router.get("/{order_id}/customer")
def read_customer_of_order(order_id: int):
    """The same, right."""
    with SessionLocal() as session:
        order = session.get(Order, order_id)
        customer = session.get(Customer, order.customer_id)
        return {"id": customer.id, "name": customer.name}
