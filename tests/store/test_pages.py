"""A page costs what a page holds: rows touched by each list, filter and sort, by PostgreSQL's own count.

tests/bench/lists.py times the same pages on a million rows.
"""

from typing import Any

import pytest
from sqlalchemy import event

from dumacle_cli.store.database import Database
from tests.bench.lists import LIMIT, fill, views

pytestmark = pytest.mark.integration

ROWS = 100_000


def touched(plan: dict[str, Any]) -> int:
    """Return how many rows the scans of a plan read, those that a filter threw away included.

    Sub-plans look a name up for each row that is shown, and are not counted.
    """
    if plan.get("Parent Relationship") in ("SubPlan", "InitPlan"):
        return 0
    own = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0) if "Scan" in plan["Node Type"] else 0
    return int(own * plan["Actual Loops"]) + sum(map(touched, plan.get("Plans", ())))


def test_no_page_reads_much_more_than_it_shows(database: Database) -> None:
    fill(database, ROWS)
    asked: list[tuple[str, Any]] = []
    event.listen(database.engine, "before_cursor_execute", lambda *of: asked.append((of[2], of[3])))
    found: dict[str, int] = {}
    with database.session(read_only=True) as session:
        for name, fetch in views(session).items():
            after = None
            for depth in range(3):
                asked.clear()
                after = fetch(session, after).after
                statement, values = asked[-1]
                with session.connection().connection.cursor() as cursor:
                    cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", values)
                    found[f"{name}, page {depth + 1}"] = touched(cursor.fetchone()[0][0]["Plan"])
                if after is None:
                    break
    # One pod of twenty may be picked from twenty pages of all; nothing may be picked from all that was deleted.
    assert {name: rows for name, rows in found.items() if rows > 25 * LIMIT} == {}
