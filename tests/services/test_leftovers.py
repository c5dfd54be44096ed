"""What transcodes left at the stores is removed by `files reap`, and never what is published or being written."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.services import placement
from dumacle_cli.store.database import Database
from dumacle_cli.store.models import File, Transcode, Unit
from tests import buckets
from tests.conftest import Run
from tests.factories import make_file, make_pod, make_rendition, make_transcode, make_user, put

pytestmark = pytest.mark.integration
JSON = ("-o", "json")
Ended = Callable[..., tuple[int, str]]


@pytest.fixture
def film(database: Database, object_store: ObjectStore) -> int:
    """A film that is stored."""
    with database.session() as session:
        pod = make_pod(session, "films", bucket=object_store.location.bucket, prefix="media")
        return make_file(session, pod, make_user(session, "ada@example.com"), "film.mp4", store=object_store).id


def leave(
    session: Session, objects: ObjectStore, film: int, status: str, preset: str = "hls", days: int = 1, **unit: Any
) -> tuple[int, str]:
    """Insert a transcode, and put an object of an attempt that published nothing; returns its id and the key."""
    before = datetime.now(UTC) - timedelta(days=days)
    times = {"started_at": before} | ({} if status in ("queued", "running") else {"ended_at": before})
    made = make_transcode(session, session.get_one(File, film), preset, status, **times)
    session.execute(update(Unit).where(Unit.transcode_id == made.id).values(**unit or {"crashes": 1}))
    key = placement.renditions("media", film, made.id, uuid4()) + "720p/00000.m4s"
    put(objects, key)
    return made.id, key


@pytest.mark.parametrize("status", ["failed", "cancelled", "quarantined", "queued", "done"])
def test_what_an_attempt_left_is_removed(
    status: str, run: Run, film: int, database: Database, object_store: ObjectStore
) -> None:
    with database.session() as session:
        made, _ = leave(session, object_store, film, status)
        if status == "done":
            make_rendition(session, session.get_one(Transcode, made), store=object_store)
    before = {entry.key for entry in object_store.list("")}
    assert run("files", "reap", "--dry-run", *JSON).data["outputs"] == 0
    assert {entry.key for entry in object_store.list("")} == before
    done = run("files", "reap", *JSON)
    assert (done.data["outputs"], done.json["changed"]) == (1, True)
    left = {entry.key for entry in object_store.list("media/renditions/")}
    assert not any(key.endswith("720p/00000.m4s") for key in left)
    assert bool(left) == (status == "done")
    assert run("files", "reap", *JSON).json["changed"] is False


def test_what_is_being_written_stays(run: Run, film: int, database: Database, object_store: ObjectStore) -> None:
    with database.session() as session:
        made, lost = leave(session, object_store, film, "running", setbacks=1)
        token = session.scalars(select(Unit.lease_token).where(Unit.transcode_id == made)).one()
    written = placement.renditions("media", film, made, token) + "720p/00000.m4s"
    put(object_store, written)
    assert run("files", "reap", *JSON).data["outputs"] == 1
    assert [entry.key for entry in object_store.list("media/renditions/")] == [written]
    assert lost != written


def test_superseded_renditions_and_parts_are_removed(
    run: Run, film: int, database: Database, object_store: ObjectStore
) -> None:
    with database.session() as session:
        leave(session, object_store, film, "done", days=90, attempt=1)
        leave(session, object_store, film, "failed", preset="mp4", days=90)
        _, part = leave(session, object_store, film, "cancelled", preset="audio")
    upload = object_store.create_multipart(part.replace("00000.m4s", "film.mp4"), "video/mp4")
    object_store.put_part(part.replace("00000.m4s", "film.mp4"), upload, 1, b"x", "")
    assert run("files", "reap", *JSON).data["outputs"] == 1
    assert buckets.unfinished_uploads(object_store.location) == []
    assert len(list(object_store.list("media/renditions/"))) == 2, "what is older than a week is left to reconcile"
    with database.session() as session:
        newer = make_transcode(session, session.get_one(File, film), started_at=datetime.now(UTC))
        newer.ended_at = datetime.now(UTC)
        whole = make_rendition(session, newer, store=object_store).prefix
    assert run("files", "reap", *JSON).data["outputs"] == 1
    [failed, *published] = sorted(entry.key for entry in object_store.list("media/renditions/"))
    assert "/2/" in failed
    assert all(key.startswith(whole) for key in published)


def test_a_store_that_is_away_is_counted(
    run: Run, film: int, database: Database, object_store: ObjectStore, environment: Callable[..., None]
) -> None:
    with database.session() as session:
        leave(session, object_store, film, "failed")
    environment(DUMACLE_LOCAL_ENDPOINT="http://127.0.0.1:9")
    assert run("files", "reap", *JSON, expect=3).data["stores"] == 1
