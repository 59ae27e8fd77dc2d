# SPDX-License-Identifier: Apache-2.0
"""What comes in and goes out."""
from pydantic import BaseModel, ConfigDict


class NewOrder(BaseModel):
    customer_id: int
    article_id: int


class OrderRead(NewOrder):
    model_config = ConfigDict(from_attributes=True)
    id: int


class NewCustomer(BaseModel):
    name: str
    email: str


class CustomerRead(NewCustomer):
    model_config = ConfigDict(from_attributes=True)
    id: int


class ArticleRead(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    id: int
    name: str
    stock: int
