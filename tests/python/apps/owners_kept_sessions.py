# SPDX-License-Identifier: Apache-2.0
"""Requests that leave their sessions behind, with what is in them."""
import os

from fastapi import FastAPI
from sqlalchemy import Column, Integer, create_engine, select
from sqlalchemy.orm import declarative_base, sessionmaker

engine = create_engine(os.environ.get("DATABASE_URL", "sqlite:///kept.db"))
Session = sessionmaker(engine)
Base = declarative_base()
app = FastAPI()
kept = []


class Order(Base):
    __tablename__ = "orders"
    id = Column(Integer, primary_key=True)


Base.metadata.create_all(engine)
with Session() as first:
    first.add(Order())
    first.commit()


@app.get("/orders/{number}")
def orders(number: int):
    session = Session()  # leak
    kept.append(session)
    session.add_all([Order(), Order()])
    with session.no_autoflush:
        kept.append(session.scalars(select(Order)).all())
