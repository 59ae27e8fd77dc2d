#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""drive.py PORT: a morning's customers of the orders service. Says how often it asked for what, and what it was told."""
import http.client
import json
import sys
from collections import Counter

NOBODY_SELLS_THIS = 4711


class Shop:
    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def asked(self, method, path, body=None):
        """The status of the answer."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        self.connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = self.connection.getresponse()
        answer.read()
        return answer.status

    def read_a_little_and_gone(self, path):
        """A client that has seen enough."""
        self.connection.close()
        self.connection.request("GET", path)
        answer = self.connection.getresponse()
        answer.read(1000)
        self.connection.close()
        return answer.status

    def times(self, count, what, ask):
        """ask(i) for i in 0 … count-1, and a line about it."""
        statuses = Counter(ask(i) for i in range(count))
        print(f"  {count:2} x {what:34} {', '.join(f'{many} x {status}' for status, many in sorted(statuses.items()))}", flush=True)


def main():
    shop = Shop(int(sys.argv[1]))
    get = lambda path: lambda i: shop.asked("GET", path.format(i=i, one=1 + i % 10))  # noqa: E731
    known_and_new = lambda i: [{"name": "A", "email": "customer1@example.org"}, {"name": "B", "email": f"b{i}@example.com"}]  # noqa: E731

    shop.times(5, "GET /orders", get("/orders"))
    shop.times(37, "POST /orders", lambda i: shop.asked(
        "POST", "/orders", {"customer_id": 1, "article_id": NOBODY_SELLS_THIS if i % 10 in (3, 6, 9) else 2}))
    shop.times(12, "GET /orders/{id}", get("/orders/{one}"))
    shop.times(3, "GET /orders/{id}, not there", get("/orders/99{i}99"))
    shop.times(4, "GET /orders/{id}/article", get("/orders/{one}/article"))
    shop.times(4, "GET /orders/{id}/customer", get("/orders/{one}/customer"))
    shop.times(3, "GET /orders/export, half of it", lambda i: shop.read_a_little_and_gone("/orders/export"))
    shop.times(3, "GET /orders/export/right", get("/orders/export/right"))
    shop.times(8, "GET /customers", get("/customers"))
    shop.times(2, "POST /customers/import", lambda i: shop.asked("POST", "/customers/import", known_and_new(i)))
    shop.times(2, "POST /customers/import/right", lambda i: shop.asked("POST", "/customers/import/right", known_and_new(i)))
    shop.times(6, "GET /articles/{id}", get("/articles/{one}"))
    shop.times(6, "GET /articles/{id}/stock", get("/articles/{one}/stock"))
    shop.times(12, "GET /health", get("/health"))
    shop.times(12, "GET /health/right", get("/health/right"))


if __name__ == "__main__":
    main()
