# SPDX-License-Identifier: Apache-2.0
from fastapi import APIRouter
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from ..database import SessionLocal, engine
from ..models import Customer
from ..schemas import CustomerRead, NewCustomer

router = APIRouter(prefix="/customers")


@router.get("", response_model=list[CustomerRead])
def list_customers():
    """Right: the session is closed at the end of the block."""
    with Session(engine) as session:
        return session.scalars(select(Customer).limit(10)).all()


@router.post("/import")
def import_customers(customers: list[NewCustomer]):
    """Who is known already is skipped; but so is everybody behind them: the failed transaction was not rolled back."""
    imported = 0
    session = SessionLocal()
    try:
        for customer in customers:
            try:
                session.add(Customer(**customer.model_dump()))
                session.flush()  # leak: no rollback
                imported += 1
            except SQLAlchemyError:
                continue
    finally:
        session.close()
    return {"imported": imported}


@router.post("/import/right")
def import_customers_right(customers: list[NewCustomer]):
    """The same, right: each has a savepoint, which is rolled back if it fails."""
    imported = 0
    with SessionLocal.begin() as session:
        for customer in customers:
            try:
                with session.begin_nested():
                    session.add(Customer(**customer.model_dump()))
                imported += 1
            except SQLAlchemyError:
                continue
    return {"imported": imported}
