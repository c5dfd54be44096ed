"""Update the list of PostgreSQL's minor releases, which `dumacle doctor rls` compares a server with.

It reads the list that PostgreSQL publishes: curl https://www.postgresql.org/versions.json | python docs/releases.py
"""

import json
import sys
from datetime import date
from pathlib import Path
from typing import Any

from dumacle_cli.store import lints, revisions

FILE = Path(lints.__file__).with_name(lints.RELEASES)
HEAD = "# PostgreSQL's newest minor releases; python docs/releases.py writes it (CONTRIBUTING.md).\n"


def renewed(published: list[dict[str, Any]]) -> str:
    """Return the file for the published list; raises SystemExit if that list is older than the present file."""
    oldest = revisions.OLDEST_SERVER // 10_000
    rows = [row for row in published if "." not in str(row["major"]) and int(row["major"]) >= oldest]
    newest = {int(row["major"]): int(row["latestMinor"]) for row in rows}
    for major, number in lints.FIXED.items():
        if newest.get(major, -1) < number % 10_000:
            raise SystemExit(f"the list is older than the present one: it lacks {major}.{number % 10_000}")
    as_of = max(date.fromisoformat(row["relDate"]) for row in rows)
    lines = [f"{major} = {minor}" for major, minor in sorted(newest.items())]
    return f"{HEAD}as_of = {as_of}\n\n[newest]\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    FILE.write_text(renewed(json.load(sys.stdin)), "utf-8")
