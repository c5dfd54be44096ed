"""A second opinion on uploads: it knows only the source tree, the bucket and the rows, and nothing of the engine."""

import hashlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sqlalchemy import text

from dumacle_cli import paths
from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.store.database import Database


def tree(*roots: Path, prefix: bytes = b"") -> dict[bytes, str]:
    """Return the SHA-256 of every regular file below the roots, by its path below them."""
    found = {}
    for root in roots:
        for folder, _, names in os.walk(root):
            for place in (Path(folder, name) for name in names):
                if stat.S_ISREG(place.lstat().st_mode):
                    with place.open("rb") as handle:
                        digest = hashlib.file_digest(handle, "sha256").hexdigest()
                    found[prefix + os.fsencode(place.relative_to(root))] = digest
    return found


def check(database: Database, store: ObjectStore, expected: dict[bytes, str], below: str = "") -> None:
    """Compare files with rows, rows with objects `below` a prefix, and every counter with the sum of what it counts."""
    _rows(database, store, expected, below)
    books(database)


def _rows(database: Database, store: ObjectStore, expected: dict[bytes, str], below: str) -> None:
    with database.session() as session:
        rows = session.execute(
            text(
                "SELECT f.path, f.sha256, f.size, v.sha256, v.size, v.key, v.status, f.upload_status "
                "FROM app.files AS f JOIN app.versions AS v ON v.id = f.version_id AND v.file_id = f.id "
                "WHERE f.deleted_at IS NULL"
            )
        ).all()
        stored = set(session.scalars(text("SELECT key FROM app.versions WHERE status IN ('stored', 'superseded')")))
        given_up = set(session.scalars(text("SELECT key FROM app.versions WHERE status = 'failed'")))
    assert {paths.decode(row[0]): row[1].hex() for row in rows} == expected
    with ThreadPoolExecutor(8) as pool:
        for row, body in zip(rows, pool.map(lambda row: b"".join(store.get(row[5])), rows), strict=True):
            assert hashlib.sha256(body).digest() == row[1] == row[3]
            assert len(body) == row[2] == row[4]
            assert row[6:] == ("stored", "uploaded")
    keys = {entry.key for entry in store.list(below)}
    assert stored <= keys <= stored | given_up


def books(database: Database) -> None:
    """Compare capacity and quotas with what is stored; nothing is claimed or under way."""
    with database.session() as session:

        def rows(query: str) -> list[tuple[int, ...]]:
            return [tuple(row) for row in session.execute(text(query))]

        kept = (
            "FROM app.versions AS v JOIN app.files AS f ON f.id = v.file_id WHERE v.status IN ('stored', 'superseded')"
        )
        assert rows(f"SELECT f.pod_id, sum(v.size) {kept} AND v.size > 0 GROUP BY 1 ORDER BY 1") == rows(
            "SELECT id, used FROM app.pods WHERE used > 0 ORDER BY 1"
        )
        for metric in ("storage", "upload"):
            assert rows(f"SELECT f.owner_id, sum(v.size) {kept} AND v.size > 0 GROUP BY 1 ORDER BY 1") == rows(
                f"SELECT user_id, sum(used) FROM app.quota_counters WHERE metric = '{metric}' AND used > 0 "
                "GROUP BY 1 ORDER BY 1"
            )
        unfinished = "('planned', 'uploading', 'completing')"
        for left_open in (
            "app.pods WHERE reserved <> 0",
            "app.quota_counters WHERE reserved <> 0",
            "app.leases WHERE closed_at IS NULL",
            "app.runs WHERE status = 'running'",
            f"app.files WHERE upload_status IN {unfinished}",
            f"app.versions WHERE status IN {unfinished} AND upload_id IS NULL",
        ):
            assert rows(f"SELECT count(*) FROM {left_open}") == [(0,)], left_open
