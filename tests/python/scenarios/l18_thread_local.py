# SPDX-License-Identifier: Apache-2.0
"""A connection for each thread, and a thread for each request; the threads go, their connections stay."""
import sqlite3
import threading

connections = {}


def connection_of_this_thread():
    key = threading.current_thread()
    if key not in connections:
        connections[key] = sqlite3.connect(":memory:", check_same_thread=False)  # leak: thread
    return connections[key]


def request():
    assert connection_of_this_thread().execute("SELECT 42").fetchone() == (42,)


for _ in range(9):
    thread = threading.Thread(target=request)
    thread.start()
    thread.join()
