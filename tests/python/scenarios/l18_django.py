# SPDX-License-Identifier: Apache-2.0
"""l18_django.py: Django's connections are each thread's own, and with CONN_MAX_AGE they outlive the request."""
import os
import threading

import django
from django.conf import settings
from django.db import connection

settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "CONN_MAX_AGE": 600,
                                          "NAME": os.environ["DATABASE_URL"].replace("sqlite:///", "")}})
django.setup()


def request():
    with connection.cursor() as cursor:  # leak: thread
        cursor.execute("SELECT 42")
        assert cursor.fetchone() == (42,)


for _ in range(9):
    thread = threading.Thread(target=request)
    thread.start()
    thread.join()
