# SPDX-License-Identifier: Apache-2.0
"""l19_fork.py used|closed|untouched: a connection that was made before fork(), and what the child does with it."""
import os
import sys

import psycopg2

connection = psycopg2.connect("")  # place: connection


def child():
    if sys.argv[1] == "used":
        cursor = connection.cursor()
        cursor.execute("SELECT 42")  # leak: used
        cursor.fetchall()
        cursor.close()
    elif sys.argv[1] == "closed":
        connection.close()  # leak: closed


pid = os.fork()
if pid == 0:
    child()
    os._exit(0)
os.waitpid(pid, 0)
os._exit(0)
