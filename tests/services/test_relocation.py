"""Relocation: the bytes are in the other pod, proven, before the old file goes; counters follow, repeats go on."""

import hashlib
import os
from dataclasses import replace

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from dumacle_cli import errors
from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.objects import Location
from dumacle_cli.services import downloads, files, pods, purge, reap, relocation, versions
from dumacle_cli.store.database import Database
from dumacle_cli.store.files import Selection
from dumacle_cli.store.models import File, Pod, PodGrant, QuotaCounter, User, Version
from dumacle_cli.store.places import Place
from tests import buckets, factories

pytestmark = pytest.mark.integration

FILM = os.urandom(3 * 1024**2)


class Two:
    """Ada with files in the pod `old`, and a pod `new` in the same bucket, or in one of its own."""

    def __init__(self, database: Database, objects: ObjectStore, elsewhere: ObjectStore) -> None:
        self.database, self.objects, self.elsewhere = database, objects, elsewhere
        same = objects is elsewhere
        with database.session() as session:
            ada = factories.make_user(session, "ada@x")
            old = factories.make_pod(session, "old", bucket=objects.location.bucket, prefix="old")
            new = factories.make_pod(session, "new", bucket=elsewhere.location.bucket, prefix="new" if same else "")
            for pod in (old, new):
                factories.make_grant(session, pod, ada)
            self.ids = [
                factories.make_file(session, old, ada, path, body, store=objects, mtime_ns=7).id
                for path, body in (("a/1", b"one"), ("a/2", FILM), ("b", b""))
            ]
            self.ada, self.new = ada.id, new.id

    def store(self, place: Place) -> ObjectStore:
        return self.elsewhere if place.bucket == self.elsewhere.location.bucket else self.objects

    def relocate(self, *, maximum: int | None = None, write: bool = True) -> list[relocation.Relocated]:
        with self.database.session() as session:
            to = relocation.target(session, "new")
            chosen = files.select(session, owner="ada@x", pod="old")
        return list(
            relocation.run(self.database, self.store, chosen, to, reading=self.store, maximum=maximum, write=write)
        )

    def paths(self, pod: str) -> list[str]:
        with self.database.session() as session:
            chosen = files.select(session, pod=pod)
            query = {"sort": "path", "descending": False, "after": None, "limit": 50}
            return [each.path for each in files.list_(session, chosen, **query).items if each.status == "uploaded"]  # type: ignore[arg-type]

    def state(self) -> tuple[int, int]:
        """The bytes that the new pod holds, and those that Ada uses; fails where a counter differs from the rows."""
        with self.database.session() as session:
            assert pods.check(session) == ([], False)
            query = select(QuotaCounter.used).where(QuotaCounter.user_id == self.ada, QuotaCounter.metric == "storage")
            used = session.scalar(select(Pod.used).where(Pod.id == self.new))
            return used or 0, session.scalar(query) or 0


@pytest.fixture(params=["the same bucket", "another bucket"])
def two(request: pytest.FixtureRequest, database: Database, object_store: ObjectStore, bucket: Location) -> Two:
    if request.param == "the same bucket":
        return Two(database, object_store, object_store)
    other = replace(bucket, bucket=f"{bucket.bucket}-2")
    buckets.create(other)
    return Two(database, object_store, ObjectStore(other))


SIZE = len(FILM) + 3


def test_files_are_in_the_other_pod_and_the_old_ones_are_deleted(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relocation, "BATCH", 2)
    monkeypatch.setattr(relocation, "PART", 1024**2)
    foreseen = two.relocate(write=False)
    assert (two.paths("new"), two.state()) == ([], (0, SIZE))
    done = two.relocate()
    assert [replace(each, new_id=None) for each in done] == foreseen
    assert [each.result for each in done] == ["relocated"] * 3
    assert (two.paths("old"), two.paths("new")) == ([], ["a/1", "a/2", "b"])
    assert two.state() == (SIZE, 2 * SIZE)
    with two.database.session() as session:
        content = versions.content(session, files.find(session, "a/2", owner="ada@x"))
    assert b"".join(downloads.checked(two.store, content)) == FILM
    assert content.mtime_ns == 7
    assert two.relocate() == []
    purge.run(two.database, two.store)
    assert two.state() == (SIZE, SIZE)
    assert {entry.key for entry in two.objects.list("old/")} == set()
    assert len(list(two.elsewhere.list("new/" if two.objects is two.elsewhere else ""))) == 3


def test_a_guard_on_the_number(two: Two) -> None:
    with pytest.raises(errors.TooMany):
        two.relocate(maximum=2)
    assert len(two.relocate(maximum=3)) == 3


@pytest.mark.parametrize("limit", [{"allowed_types": ["audio/*"]}, {"max_file_size": 3}])
def test_a_pod_takes_only_what_it_accepts(two: Two, limit: dict[str, object]) -> None:
    with two.database.session() as session:
        pods.update(session, "new", accepted=limit)
    assert [each.result for each in two.relocate(write=False)] == [each.result for each in two.relocate()]
    left = two.paths("old")
    assert left == (["a/2"] if "max_file_size" in limit else ["a/1", "a/2", "b"])
    assert all("pod new takes" in (each.error or "") for each in two.relocate())


def change(two: Two, what: str, session: Session) -> None:
    if what == "grant":
        session.delete(session.get_one(PodGrant, (two.new, two.ada)))
    elif what == "space":
        session.get_one(Pod, two.new).capacity = 2
    elif what == "path":
        factories.make_file(session, session.get_one(Pod, two.new), session.get_one(User, two.ada), "a/1", b"")
    elif what == "content":
        file = session.get_one(File, two.ids[0])
        version = factories.make_version(session, file, b"four")
        session.get_one(Version, file.version_id).status = "superseded"
        file.version_id, file.size = version.id, version.size
    elif what == "deleted":
        files.delete(session, Selection(ids=(two.ids[0],)))


@pytest.mark.parametrize("what", ["grant", "space", "path"])
def test_what_cannot_be_there_is_refused(two: Two, what: str) -> None:
    with two.database.session() as session:
        change(two, what, session)
    done = {each.path: each.result for each in two.relocate()}
    assert done["a/1"] == "refused"
    assert "a/1" in two.paths("old")
    two.state()


@pytest.mark.parametrize("what", ["grant", "space", "content", "deleted"])
def test_what_changes_meanwhile_stays(two: Two, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    copied = relocation._copied

    def change_after(*arguments: object) -> tuple[str, str | None]:
        done = copied(*arguments)  # type: ignore[arg-type]
        if arguments[-1].source_id == two.ids[0]:  # type: ignore[attr-defined]
            with two.database.session() as session:
                change(two, what, session)
        return done

    monkeypatch.setattr(relocation, "_copied", change_after)
    done = {each.path: each.result for each in two.relocate()}
    assert done["a/1"] == "failed"
    assert "a/1" not in two.paths("new")
    two.state()


def test_bytes_that_cannot_be_read_leave_the_file_where_it_is(two: Two) -> None:
    with two.database.session() as session:
        two.objects.delete([versions.content(session, two.ids[0]).key])
    done = {each.path: each.result for each in two.relocate()}
    assert done == {"a/1": "failed", "a/2": "relocated", "b": "relocated"}
    assert (two.paths("old"), two.paths("new")) == (["a/1"], ["a/2", "b"])
    assert two.state()[0] == len(FILM)


class Careless(ObjectStore):
    """A store that keeps other bytes than it was given, and does not say so."""

    def put(self, key: str, body: bytes, sha256: str, content_type: str) -> str:
        wrong = body[::-1]
        super().put(key, wrong, hashlib.sha256(wrong).hexdigest(), content_type)
        return hashlib.md5(body, usedforsecurity=False).hexdigest()

    def copy(self, source: str, key: str, content_type: str) -> str:
        return self.put(key, b"".join(self.get(source)), "", content_type)


def test_a_copy_that_differs_is_no_copy(two: Two) -> None:
    same, location = two.objects is two.elsewhere, two.elsewhere.location
    two.elsewhere = Careless(location)
    two.objects = two.elsewhere if same else two.objects
    done = {each.path: each.result for each in two.relocate()}
    assert done == {"a/1": "failed", "a/2": "failed", "b": "relocated"}
    assert two.paths("old") == ["a/1", "a/2"]
    two.state()


def kill(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relocate, and end when all bytes are copied and no row tells it."""

    class Killed(BaseException):
        pass

    def end(*_: object) -> list[object]:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(relocation, "_finished", end)
        with pytest.raises(Killed):
            two.relocate()


def test_what_a_killed_relocation_left_is_reaped(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    kill(two, monkeypatch)
    assert reap.run(two.database, two.store, 3600)[0].attempts == 0
    assert reap.run(two.database, two.store, 0)[0].attempts == 3
    assert list(two.elsewhere.list("new/" if two.objects is two.elsewhere else "")) == []
    with two.database.session() as session:
        assert [each.status for each in session.scalars(select(Version))] == ["stored"] * 3
    assert two.paths("old") == ["a/1", "a/2", "b"]


def test_a_full_pod_takes_an_empty_file(two: Two) -> None:
    with two.database.session() as session:
        session.get_one(Pod, two.new).capacity = 0
    assert [each.result for each in two.relocate()] == ["refused", "refused", "relocated"]


def test_what_a_killed_relocation_left_is_done_by_the_next_one(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    kill(two, monkeypatch)
    assert (two.paths("old"), two.paths("new")) == (["a/1", "a/2", "b"], [])
    assert two.state() == (0, SIZE)
    assert [each.result for each in two.relocate()] == ["relocated"] * 3
    purge.run(two.database, two.store)
    assert two.state() == (SIZE, SIZE)
    assert len(list(two.elsewhere.list("new/" if two.objects is two.elsewhere else ""))) == 3
