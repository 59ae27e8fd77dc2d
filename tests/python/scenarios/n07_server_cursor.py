# SPDX-License-Identifier: Apache-2.0
"""A stream that takes its time, and really fetches rows all the while."""
import os
import time

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

engine = create_engine(os.environ["DATABASE_URL"])
app = FastAPI()


@app.get("/rows")
def rows_streamed():
    def rows():
        with Session(engine) as session:
            for (number,) in session.execute(text("SELECT generate_series(1, 60)"), execution_options={"yield_per": 2}):
                yield f"{number}\n"
                time.sleep(0.02)

    return StreamingResponse(rows())
