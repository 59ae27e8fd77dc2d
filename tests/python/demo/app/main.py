# SPDX-License-Identifier: Apache-2.0
from contextlib import asynccontextmanager

from fastapi import FastAPI
from sqlalchemy.orm import Session

from .database import engine
from .models import Article, Base, Customer, Order
from .routers import articles, customers, orders, service


def filled() -> None:
    """Tables, and what a young shop has in them."""
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")  # who reads does not keep others from writing
    Base.metadata.drop_all(engine)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all(Customer(id=i, name=f"Customer {i}", email=f"customer{i}@example.org") for i in range(1, 21))
        session.add_all(Article(id=i, name=f"Article {i}", stock=1000) for i in range(1, 11))
        session.flush()
        session.add_all(Order(customer_id=1 + i % 20, article_id=1 + i % 10) for i in range(400))
        session.commit()


@asynccontextmanager
async def lifespan(_: FastAPI):
    filled()
    yield


app = FastAPI(title="Orders", lifespan=lifespan)
for router in (articles, customers, orders, service):
    app.include_router(router.router)
