# SPDX-License-Identifier: Apache-2.0
"""No pool: a connection to the server for each request."""
import psycopg2
from fastapi import FastAPI

app = FastAPI()


@app.get("/")
def asked():
    connection = psycopg2.connect("")  # leak: psycopg2
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT 42")
        return cursor.fetchone()
    finally:
        connection.close()
