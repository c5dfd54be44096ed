"""Films to transcode, stored and submitted, and what must be true when all workers have ended."""

import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.local import ffmpeg
from dumacle_cli.local.process import wait
from dumacle_cli.services import transcodes
from dumacle_cli.store.database import Database
from dumacle_cli.store.models import Pod, User
from tests.factories import make_file, make_plan, make_pod, make_subscription, make_user

SECONDS = 60
Films = Callable[..., bytes]
Submit = Callable[..., list[int]]


def clip(folder: Path, seconds: int, size: str = "320x180") -> bytes:
    """Make a film of moving pictures and a tone."""
    target = folder / f"{seconds}-{size}.mp4"
    if not target.exists():
        sources = (f"testsrc2=size={size}:rate=25:duration={seconds}", f"sine=duration={seconds}")
        inputs = [word for source in sources for word in ("-f", "lavfi", "-i", source)]
        command = [str(ffmpeg.locate()), "-v", "error", "-nostdin", *inputs, "-c:v", "libx264", "-preset", "ultrafast"]
        subprocess.run([*command, "-shortest", str(target)], check=True)
    return target.read_bytes()


def picture_subtitles(folder: Path) -> Path:
    """Make subtitles as a Blu-ray has them, which show nothing."""
    parts = ((0x16, b"\0\xa0\0\x78\x10\0\0\x80\0\0\0"), (0x80, b""))
    made = b"".join(b"PG" + struct.pack(">IIBH", 90_000, 0, kind, len(body)) + body for kind, body in parts)
    (folder / "text.sup").write_bytes(made)
    return folder / "text.sup"


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Films:
    """Films of these seconds and sizes, each made once."""
    folder = tmp_path_factory.mktemp("films")
    return lambda seconds, size="320x180": clip(folder, seconds, size)


@pytest.fixture
def submit(database: Database, object_store: ObjectStore) -> Submit:
    """Store films and submit them; returns the ids of the transcodes."""
    with database.session() as session:
        owner = make_user(session, "ada@example.com")
        pod = make_pod(session, "films", bucket=object_store.location.bucket)
        make_subscription(session, owner, make_plan(session, transcode_limit=36_000))
        pod_id, owner_id = pod.id, owner.id

    def call(*bodies: bytes, preset: str = "mp4") -> list[int]:
        with database.session() as session:
            pod, owner = session.get_one(Pod, pod_id), session.get_one(User, owner_id)
            files = [make_file(session, pod, owner, body=body, store=object_store) for body in bodies]
            made, _ = transcodes.submit(session, [str(file.id) for file in files], preset)  # type: ignore[arg-type]
        return [each.id for each in made]

    return call


def rows(database: Database, query: str) -> list[dict[str, Any]]:
    with database.session() as session:
        return [dict(row._mapping) for row in session.execute(text(query))]


def statuses(database: Database) -> list[str]:
    return [row["status"] for row in rows(database, "SELECT status FROM app.transcodes ORDER BY id")]


def await_status(database: Database, *wanted: str, seconds: float = SECONDS) -> None:
    wait(lambda: statuses(database) == list(wanted), seconds)
    assert statuses(database) == list(wanted), rows(database, "SELECT status, error FROM app.transcodes")


def check(database: Database, object_store: ObjectStore, published: int) -> None:
    """Every publication stands whole and once, the books agree with it, and no other object or reservation is left."""
    made = rows(database, "SELECT prefix, entry, size, frames FROM app.renditions")
    assert len(made) == published
    stored = {entry.key: entry.size for entry in object_store.list("renditions/")}
    assert sum(stored.values()) == sum(row["size"] for row in made)
    for row in made:
        assert row["prefix"] + row["entry"] in stored
    assert all(key.startswith(tuple(row["prefix"] for row in made)) for key in stored)
    books = rows(
        database,
        """
        SELECT (SELECT sum(used) FROM app.pods) AS pod, (SELECT sum(reserved) FROM app.pods) AS reserved,
            (SELECT sum(used) FROM app.quota_counters WHERE metric = 'storage') AS storage,
            (SELECT sum(reserved) FROM app.quota_counters) AS held,
            (SELECT sum(size) FROM (SELECT size FROM app.versions UNION ALL SELECT size FROM app.renditions)) AS all,
            (SELECT coalesce(sum(seconds), 0) FROM app.transcodes WHERE status = 'done') AS seconds,
            (SELECT coalesce(sum(used), 0) FROM app.quota_counters WHERE metric = 'transcode') AS charged
        """,
    )[0]
    assert (books["pod"], books["storage"]) == (books["all"], books["all"])
    assert (books["reserved"], books["held"]) == (0, 0)
    assert books["seconds"] == books["charged"]
