"""What row-level security costs: pages of `files list`, and inserts against a plain COPY.

    python -m tests.bench.rights [ROWS]

The same pages are fetched as the owner of the schema, whom no policy binds, and under logins that it binds, in turn.
Goals: a page takes at most twice the time; 100,000 rows go in at 0.6 of the rate of a plain COPY or faster.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import psycopg
from sqlalchemy import text
from sqlalchemy.orm import Session

from dumacle_cli.local import servers
from dumacle_cli.services import files, seed
from dumacle_cli.store import bootstrap, logins, schema
from dumacle_cli.store.database import Database, Timeouts
from tests.bench.lists import LARGE, LIMIT, fill
from tests.servers import scratch_folder, start_servers, stop_servers

TIMES, ROUNDS = 41, 5
INSERTED, BATCH = 100_000, 5_000
PASSWORD = "of no value outside of this bench"

_INSERT = """
    INSERT INTO app.files (pod_id, owner_id, path, size)
    SELECT {pod}, {owner}, path, 1 FROM unnest(%s::text[]) AS path
"""
_COPY = "COPY app.files (pod_id, owner_id, path, size) FROM STDIN"


def main(rows: int) -> None:
    """Measure pages and inserts, and print their ratios."""
    folder = scratch_folder()
    try:
        up = start_servers(folder)
        bootstrap.bootstrap(up.admin_url, "bench", servers.OWNER, up.owner_password)
        url = servers.url(up, servers.OWNER, up.owner_password, "bench")
        schema.upgrade(url)
        with _opened(url) as owner:
            fill(owner, rows)
            people = _people(owner)
            with ExitStack() as stack:
                opened = {
                    name: stack.enter_context(_opened(servers.url(up, login, PASSWORD, "bench")))
                    for name, login in people.items()
                }
                _pages(owner, opened, rows)
            _inserts(url, servers.url(up, people["admin"], PASSWORD, "bench"))
    finally:
        stop_servers(folder)


@contextmanager
def _opened(url: str) -> Iterator[Database]:
    database = Database(url, Timeouts(statement=900))
    yield database
    database.close()


def _people(owner: Database) -> dict[str, str]:
    """Make logins for an admin, and for endusers with half of all files, with one, and with none."""
    with owner.session() as session:
        seed.superadmin(session, "root@example.com", PASSWORD)
        half = session.scalars(text("SELECT min(id) FROM app.users")).one()
        some = session.scalars(text("SELECT max(id) FROM app.users WHERE role = 'enduser'")).one()
        session.execute(
            text("INSERT INTO app.files (pod_id, owner_id, path, size) SELECT min(id), :one, 'one', 1 FROM app.pods"),
            {"one": some},
        )
        admin = session.scalars(text("SELECT max(id) FROM app.users WHERE role = 'admin'")).one()
        ids = {"admin": admin, "enduser of half": half, "enduser of 1": some, "enduser of 0": some - 1}
        session.execute(text("UPDATE app.users SET status = 'active' WHERE id = ANY (:ids)"), {"ids": [*ids.values()]})
        return {name: logins.grant_personal(session, user_id, PASSWORD) for name, user_id in ids.items()}


def _pages(owner: Database, people: dict[str, Database], rows: int) -> None:
    print(f"page of {LIMIT} of {rows:,} files: the owner of the schema, under row-level security, ratio")
    for name, bound in people.items():
        with bound.session(read_only=True) as session:
            mine = logins.enduser(session)
        for sort in ("created", "path", "size") if mine else ("created",):
            free, limited = _in_turn(_page(owner, mine, sort), _page(bound, None, sort))
            print(f"  {name + ' by ' + sort:<28}{free:>8.2f} ms{limited:>8.2f} ms{limited / free:>7.2f} x")


def _page(database: Database, mine: int | None, sort: files.Sort) -> Callable[[], float]:
    def fetch(session: Session) -> None:
        chosen = files.select(session, owner=str(mine) if mine else "")
        files.list_(session, chosen, sort=sort, descending=False, after=None, limit=LIMIT)

    def timed() -> float:
        with database.session(read_only=True) as session:
            started = time.perf_counter()
            fetch(session)
            return (time.perf_counter() - started) * 1000

    return timed


def _in_turn(*kinds: Callable[[], float]) -> list[float]:
    found: list[list[float]] = [[] for _ in kinds]
    for _ in range(TIMES):
        for kind, times in zip(kinds, found, strict=True):
            times.append(kind())
    return [statistics.median(times) for times in found]


def _inserts(owner_url: str, admin_url: str) -> None:
    with psycopg.connect(owner_url) as owner, psycopg.connect(admin_url) as admin:
        pod, user = owner.execute("SELECT (SELECT min(id) FROM app.pods), (SELECT min(id) FROM app.users)").fetchone()
        owner.rollback()
        statement = _INSERT.format(pod=pod, owner=user)

        def copied() -> float:
            started = time.perf_counter()
            with owner.cursor().copy(_COPY) as copy:
                for number in range(INSERTED):
                    copy.write_row((pod, user, f"new/{number}", 1))
            taken = time.perf_counter() - started
            owner.rollback()
            return taken

        def inserted() -> float:
            started = time.perf_counter()
            for first in range(0, INSERTED, BATCH):
                admin.execute(statement, [[f"new/{number}" for number in range(first, first + BATCH)]])
            taken = time.perf_counter() - started
            admin.rollback()
            return taken

        copied_in, inserted_in = (
            statistics.median(times) for times in zip(*((copied(), inserted()) for _ in range(ROUNDS)), strict=True)
        )
    print(
        f"{INSERTED:,} files: COPY by the owner {INSERTED / copied_in:,.0f} rows/s, "
        f"INSERT under policies and audit {INSERTED / inserted_in:,.0f} rows/s, {copied_in / inserted_in:.2f} x"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else LARGE)
