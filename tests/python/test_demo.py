# SPDX-License-Identifier: Apache-2.0
"""The demo: each planted mistake is found at its line, as often as it was made; what is right is silent."""
import subprocess
import sys

import pytest

from .conftest import HERE, WATCHDOG, assert_looked_at, expected, judged, serving

DEMO = HERE / "demo"
SESSION, ENGINE = "sqlalchemy.session", "sqlalchemy.engine"

MISTAKES = expected(
    (DEMO / "app").rglob("*.py"),
    ("never-closed", SESSION, "list_orders", "no close", 5),
    ("never-closed", SESSION, "place_order", "happy path", 11),
    ("never-closed", SESSION, "export_orders.<locals>.rows", "stream", 3),
    ("never-closed", SESSION, "note_visit", "background task", 6),
    ("used-after-close", SESSION, "read_article_of_order", "used after close", 4),
    ("never-closed", SESSION, "read_article_of_order", "used after close", 4),
    ("no-rollback-after-error", SESSION, "import_customers", "no rollback", 2),
    ("connection-churn", ENGINE, "health", "engine per request", 12),
)


@pytest.fixture(scope="module")
def driven(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("demo"), "app.main:app", DEMO) as client:
        subprocess.run([sys.executable, DEMO / "drive.py", str(client.port)], check=True, timeout=WATCHDOG, stdout=subprocess.DEVNULL)
    return client.report


def test_each_mistake_is_found_and_nothing_else(driven):
    assert judged(driven) == MISTAKES
    assert_looked_at(driven, SESSION, ENGINE, "sqlalchemy.checkout", "sqlite3.connection")


def test_outcome(driven):
    assert (driven.status, driven.json["verdict"]) == (23, "error")
    assert {process["ended"] for process in driven.json["processes"]} == {"signal 15"}


def test_requests_are_named(driven):
    requests = {finding["where"]["function"]: finding["requests"] for finding in driven.findings if finding["requests"]}
    assert requests["list_orders"] == ["GET /orders"]
    assert requests["place_order"] == ["POST /orders"]
    assert requests["read_article_of_order"] == ["GET /orders/{order_id}/article"]


def test_used_after_close_tells_both_places(driven):
    finding = driven.finding("used-after-close")
    for stack in "used_stack", "closed_stack":
        assert "read_article_of_order" in [frame["function"] for frame in finding[stack]]
