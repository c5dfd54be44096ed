"""Reaping: what nobody repeated is ended, what is alive or can be continued stays, and every byte is accounted for."""

from collections.abc import Callable
from hashlib import sha256
from uuid import uuid4

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.services import reap
from dumacle_cli.services.reap import Reaped
from dumacle_cli.store.database import Database
from dumacle_cli.store.models import File, Lease, Pod, User, Version
from tests import buckets
from tests.conftest import Run
from tests.factories import make_interrupted, make_pod, make_user, make_version, put
from tests.ingest import checker

pytestmark = pytest.mark.integration

WEEK = 7 * 86_400.0
NOTHING_ELSE = {"uploads": 0, "outputs": 0, "stores": 0}
Interrupt = Callable[..., int]


@pytest.fixture
def interrupt(database: Database, object_store: ObjectStore) -> Interrupt:
    """Leave an upload that was killed hours ago, with its object, or with one part of it; returns its version."""

    def leave(path: str, *, hours: int = 1, in_parts: bool = False) -> int:
        with database.session() as session:
            version = make_interrupted(session, _file(session, object_store, path), hours=hours)
            if in_parts:
                version.upload_id, version.part_size = _begin(object_store, version.key), 5 * 1024**2
            else:
                put(object_store, version.key, b"content")
            return version.id

    return leave


def _file(session: Session, store: ObjectStore, path: str) -> File:
    pod = session.scalars(select(Pod)).first() or make_pod(session, "films", bucket=store.location.bucket)
    ada = session.scalars(select(User).where(User.email == "ada@example.com")).first()
    file = File(pod_id=pod.id, owner_id=(ada or make_user(session, "ada@example.com")).id, path=path, size=7)
    session.add(file)
    session.flush()
    return file


def _begin(store: ObjectStore, key: str) -> str:
    """Begin a multipart upload and store its first part."""
    upload_id = store.create_multipart(key, "video/mp4")
    store.put_part(key, upload_id, 1, b"part", sha256(b"part").hexdigest())
    return upload_id


def reaped(database: Database, store: ObjectStore, keep: float = WEEK) -> Reaped:
    done, failed = reap.run(database, lambda _: store, keep)
    assert failed == []
    return done


def statuses(database: Database) -> list[str]:
    with database.session() as session:
        return list(session.scalars(text("SELECT upload_status FROM app.files ORDER BY id")))


def test_whole_objects_go_at_once(interrupt: Interrupt, database: Database, object_store: ObjectStore) -> None:
    for number in range(3):
        interrupt(f"{number}.jpg")
    assert reaped(database, object_store) == Reaped(
        leases=3, runs=3, attempts=3, objects=3, uploads=0, outputs=0, stores=0
    )
    assert list(object_store.list("")) == []
    assert statuses(database) == ["cancelled"] * 3
    checker.books(database)
    assert reaped(database, object_store) == Reaped(0, 0, 0, 0, 0, 0, 0)


def test_parts_are_kept_as_long_as_asked(interrupt: Interrupt, database: Database, object_store: ObjectStore) -> None:
    interrupt("old.mov", hours=8 * 24, in_parts=True)
    kept = interrupt("new.mov", in_parts=True)
    # A lease is closed when it is first reaped, so a week counts from then.
    assert reaped(database, object_store).attempts == 0
    with database.session() as session:
        for lease in session.scalars(select(Lease)):
            lease.closed_at = lease.until
    assert reaped(database, object_store) == Reaped(
        leases=0, runs=0, attempts=1, objects=1, uploads=0, outputs=0, stores=0
    )
    with database.session() as session:
        upload_id = session.get_one(Version, kept).upload_id
    assert buckets.unfinished_uploads(object_store.location) == [upload_id]
    assert reaped(database, object_store, keep=0).attempts == 1
    assert buckets.unfinished_uploads(object_store.location) == []
    checker.books(database)


def test_a_live_upload_stays(interrupt: Interrupt, database: Database, object_store: ObjectStore) -> None:
    interrupt("live.jpg")
    interrupt("live.mov", in_parts=True)
    with database.session() as session:
        session.execute(text("UPDATE app.leases SET until = now() + interval '20 seconds'"))
        session.execute(text("UPDATE app.runs SET heartbeat_at = now()"))
    assert reaped(database, object_store, keep=0) == Reaped(0, 0, 0, 0, 0, 0, 0)
    assert statuses(database) == ["uploading", "uploading"]
    assert len(list(object_store.list(""))) == len(buckets.unfinished_uploads(object_store.location)) == 1


def test_an_earlier_content_stays(interrupt: Interrupt, database: Database, object_store: ObjectStore) -> None:
    with database.session() as session:
        file = _file(session, object_store, "a.jpg")

        file.version_id = make_version(session, file, b"before", store=object_store).id
        version = make_interrupted(session, file)
        put(object_store, version.key, b"content")
    assert reaped(database, object_store).objects == 1
    assert statuses(database) == ["uploaded"]
    assert [entry.size for entry in object_store.list("")] == [6]


def test_multipart_uploads_without_a_row(
    interrupt: Interrupt, database: Database, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = interrupt("film.mov", in_parts=True)
    token = uuid4().hex
    _begin(object_store, f"{token[:2]}/{token}.mov")
    foreign = _begin(object_store, "backup/of-another-program.tar")
    assert reaped(database, object_store, keep=0).uploads == 0, "it is too young: its row may be about to be written"
    kept = interrupt("film2.mov", in_parts=True)
    monkeypatch.setattr(reap, "STRAY_SECONDS", -5)
    assert reaped(database, object_store, keep=-5).uploads == 1
    assert buckets.unfinished_uploads(object_store.location) == [foreign]
    assert kept


def test_a_store_that_is_away_does_not_stop_the_rest(
    run: Run, interrupt: Interrupt, database: Database, object_store: ObjectStore
) -> None:
    interrupt("a.jpg")
    with database.session() as session:
        far = make_pod(session, "far", primary_provider="s3", bucket="nowhere")
        file = File(pod_id=far.id, owner_id=1, path="far.jpg", size=7)
        session.add(file)
        session.flush()
        make_interrupted(session, file)
    away = ("--set", "s3_endpoint=http://127.0.0.1:9")
    result = run("files", "reap", "-o", "json", *away, expect=3)
    assert (result.data["attempts"], result.data["objects"], result.data["stores"]) == (2, 1, 1)
    assert list(object_store.list("")) == []
    checker.books(database)


def test_a_dry_run_ends_nothing(run: Run, interrupt: Interrupt, database: Database, object_store: ObjectStore) -> None:
    interrupt("a.jpg")
    planned = run("files", "reap", "--dry-run", "-o", "json").data
    assert (planned["leases"], planned["runs"], planned["attempts"], planned["objects"]) == (1, 1, 1, 1)
    assert statuses(database) == ["uploading"]
    assert len(list(object_store.list(""))) == 1
