# SPDX-License-Identifier: Apache-2.0
from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "customer"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    email: Mapped[str] = mapped_column(unique=True)
    orders: Mapped[list["Order"]] = relationship(back_populates="customer")


class Article(Base):
    __tablename__ = "article"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    stock: Mapped[int]


class Order(Base):
    __tablename__ = "order"

    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customer.id"))
    article_id: Mapped[int] = mapped_column(ForeignKey("article.id"))
    customer: Mapped[Customer] = relationship(back_populates="orders")
    article: Mapped[Article] = relationship()


class Visit(Base):
    """Who looked at what."""

    __tablename__ = "visit"

    id: Mapped[int] = mapped_column(primary_key=True)
    what: Mapped[str]
