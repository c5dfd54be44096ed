"""A page of `users list` and `files list` at 10 thousand and at 1 million rows, first page and deep page.

    python -m tests.bench.lists [ROWS]

The rules are called as the commands call them, on the embedded PostgreSQL. Goal: the same time a page.
"""

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from dumacle_cli.local import servers
from dumacle_cli.services import files, users
from dumacle_cli.store import bootstrap, schema
from dumacle_cli.store.database import Database, Timeouts
from dumacle_cli.store.files import Selection
from dumacle_cli.store.paging import Page
from tests.servers import scratch_folder, start_servers, stop_servers

SMALL, LARGE = 10_000, 1_000_000
LIMIT = 50
TIMES = 15
RARE = 777
"""An owner of one file in two thousand, spread evenly over the table."""
DEPTH = 40
"""The deep page begins behind this share of all rows, in hundredths of the pages walked to find it."""

_FILL = """
INSERT INTO app.users (email, role, status)
SELECT 'user' || n || '@example.com', CASE WHEN n % 1000 = 0 THEN 'admin' ELSE 'enduser' END,
    CASE WHEN n % 500 = 0 THEN 'disabled' ELSE 'active' END
FROM generate_series(1, :rows) AS n;
INSERT INTO app.pods (name, capacity, primary_provider, bucket) SELECT 'pod' || n, 2 ^ 50, 'local', 'media'
FROM generate_series(1, 20) AS n;
INSERT INTO app.files (pod_id, owner_id, path, size, upload_status, upload_progress, deleted_at)
SELECT (SELECT min(id) FROM app.pods) + n % 20,
    (SELECT min(id) FROM app.users) + CASE WHEN n % 2 = 0 THEN 0 ELSE n % 1000 END,
    'folder' || n % 100 || '/' || md5(n::text) || '.jpg', (n::bigint * 7919) % 1000000007,
    CASE WHEN n % 1000 = 0 THEN 'failed' ELSE 'uploaded' END, 100, CASE WHEN n % 50 = 7 THEN now() END
FROM generate_series(1, :rows) AS n;
"""

Fetch = Callable[[Any, str | None], Page[Any]]


def views(session: Session) -> dict[str, Fetch]:
    """Return every list with each of its filters and sorts, over what `fill` has planted."""
    owner, pod = session.execute(text("SELECT (SELECT min(id) FROM app.users), (SELECT min(id) FROM app.pods)")).one()

    def of_files(sort: Any = None, descending: bool = False, **chosen: Any) -> Fetch:
        selection = Selection(**chosen)
        return lambda session, after: files.list_(
            session, selection, sort=sort, descending=descending, after=after, limit=LIMIT
        )

    def of_users(sort: str = "id", role: str | None = None, status: str | None = None) -> Fetch:
        return lambda session, after: users.list_(
            session, role=role, status=status, sort=sort, after=after, limit=LIMIT, deleted=False
        )

    found = {"users": of_users(), "users by email": of_users("email")}
    found |= {"users --role admin": of_users(role="admin"), "users --status disabled": of_users(status="disabled")}
    found |= {"files": of_files(), "files --desc": of_files("created", True)}
    found |= {"files --status failed": of_files(status="failed"), "files --deleted": of_files(deleted=True)}
    places = {
        "--owner": {"owner_id": owner},
        "--owner RARE": {"owner_id": owner + RARE},
        "--pod": {"pod_id": pod},
        "--owner --pod": {"owner_id": owner, "pod_id": pod},
    }
    for name, place in places.items():
        for sort in ("created", "path", "size"):
            found[f"files {name} by {sort}"] = of_files(sort, **place)
            found[f"files {name} by {sort} --desc"] = of_files(sort, True, **place)
        found[f"files {name} --deleted"] = of_files(deleted=True, **place)
        found[f"files {name} --status failed"] = of_files(status="failed", **place)
        found[f"files {name} --prefix"] = of_files(prefix="folder4", **place)
    return found


def _timed(database: Database, fetch: Fetch, after: str | None) -> float:
    found = []
    for _ in range(TIMES):
        with database.session(read_only=True) as session:
            started = time.perf_counter()
            fetch(session, after)
            found.append(time.perf_counter() - started)
    return statistics.median(found) * 1000


def _deep(database: Database, fetch: Fetch) -> str | None:
    """Walk pages until there are no more or DEPTH thousand rows are behind."""
    after = None
    for _ in range(DEPTH * 1000 // LIMIT):
        with database.session(read_only=True) as session:
            found = fetch(session, after)
        if found.after is None:
            return after
        after = found.after
    return after


def fill(database: Database, rows: int) -> None:
    """Plant so many users and files: half the files are the first user's, the rest is spread over a thousand others."""
    with database.session() as session:
        session.execute(text("TRUNCATE app.users, app.pods, app.files CASCADE"))
        for statement in _FILL.split(";\n"):
            if statement.strip():
                session.execute(text(statement), {"rows": rows})
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def _measured(url: str, rows: int) -> dict[str, tuple[float, float]]:
    database = Database(url, Timeouts(statement=900))
    fill(database, rows)
    with database.session(read_only=True) as session:
        wanted = views(session)
    found = {}
    for name, fetch in wanted.items():
        found[name] = (_timed(database, fetch, None), _timed(database, fetch, _deep(database, fetch)))
    database.close()
    return found


def main(large: int) -> None:
    """Measure both sizes and print each page's milliseconds and ratios."""
    folder = scratch_folder()
    try:
        up = start_servers(folder)
        bootstrap.bootstrap(up.admin_url, "bench", servers.OWNER, up.owner_password)
        url = servers.url(up, servers.OWNER, up.owner_password, "bench")
        schema.upgrade(url)
        few, many = _measured(url, SMALL), _measured(url, large)
        print(f"{'page of 50':<36}{'first':>10}{'deep':>10}  at {SMALL:,}, then at {large:,}, then the ratios")
        for name, (first, deep) in few.items():
            first_many, deep_many = many[name]
            print(
                f"{name:<36}{first:>7.2f} ms{deep:>7.2f} ms{first_many:>10.2f} ms{deep_many:>7.2f} ms"
                f"{first_many / first:>8.2f} x{deep_many / deep:>6.2f} x"
            )
    finally:
        stop_servers(folder)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else LARGE)
