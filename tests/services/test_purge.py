"""Purging: what goes, what stays, and that a kill at any point is finished by the next purge."""

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select

from dumacle_cli import errors
from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.objects import Location
from dumacle_cli.services import downloads, pods, purge, renditions, verification, versions
from dumacle_cli.store import purge as store
from dumacle_cli.store.database import Database
from dumacle_cli.store.files import Selection
from dumacle_cli.store.models import File, Lease, Pod, QuotaCounter, Rendition, Transcode, Unit, Version
from tests import factories

pytestmark = pytest.mark.integration

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


class Killed(BaseException):
    """The process died here."""


def seed(database: Database, object_store: ObjectStore) -> None:
    """A deleted file with two contents, a live one with an old and a failed content, and one that stays as it is.

    Something came out of the first content of each, and of the present one of the live file.
    """
    with database.session() as session:
        ada, pod = factories.make_user(session), factories.make_pod(session, prefix="films")
        gone = factories.make_file(session, pod, ada, "gone", b"12345", store=object_store, deleted_at=LONG_AGO)
        factories.make_rendition(session, factories.make_transcode(session, gone), {"a": b"1" * 10}, store=object_store)
        factories.make_version(session, gone, b"123", store=object_store, status="superseded")
        live = factories.make_file(session, pod, ada, "live", b"1234", store=object_store)
        factories.make_rendition(session, factories.make_transcode(session, live), {"a": b"1" * 20}, store=object_store)
        old = {"created_at": LONG_AGO - timedelta(days=9), "stored_at": LONG_AGO - timedelta(days=9)}
        factories.make_version(session, live, b"12", store=object_store, status="superseded", **old)
        live.version_id = factories.make_version(session, live, b"1234", store=object_store, stored_at=LONG_AGO).id
        factories.make_rendition(session, factories.make_transcode(session, live), {"a": b"1" * 40}, store=object_store)
        first = session.scalars(select(Version).where(Version.file_id == live.id).order_by(Version.id)).first()
        assert first
        first.status, first.stored_at = "superseded", LONG_AGO
        factories.make_version(
            session, live, b"1", store=object_store, status="failed", stored_at=None, created_at=LONG_AGO
        )
        factories.make_file(session, pod, ada, "lost", b"never", deleted_at=None, store=object_store)


def left(database: Database) -> tuple[list[str], int, int, set[str]]:
    """The paths, the bytes that pod and owner count, and the keys of all contents."""
    with database.session() as session:
        found = list(session.scalars(select(File.path).order_by(File.path)))
        counted = session.scalar(select(func.sum(QuotaCounter.used))) or 0
        return (
            found,
            session.scalar(select(func.sum(Pod.used))) or 0,
            int(counted),
            {*session.scalars(select(Version.key)), *session.scalars(select(Rendition.prefix + Rendition.entry))},
        )


def keys(object_store: ObjectStore) -> set[str]:
    return {entry.key for entry in object_store.list("")}


def test_takes_what_was_given_up_and_gives_its_storage_back(database: Database, object_store: ObjectStore) -> None:
    seed(database, object_store)
    with database.session(read_only=True) as session:
        planned = purge.plan(session, before=datetime.now(UTC))
    done = purge.run(database, lambda *_: object_store, before=datetime.now(UTC))
    assert done == planned == purge.Purged(files=1, versions=5, renditions=2, bytes=5 + 3 + 4 + 2 + 10 + 20)
    paths, in_pod, counted, remaining = left(database)
    assert paths == ["live", "lost"]
    assert in_pod == counted == 4 + 5 + 40
    assert remaining == keys(object_store)
    assert len(remaining) == 3
    assert purge.run(database, lambda *_: object_store, before=datetime.now(UTC)) == purge.NOTHING


@pytest.mark.parametrize("point", ["mark_files", "mark_old_versions", "marked", "remove_versions", "remove_files"])
@pytest.mark.parametrize("nth", [1, 2])
def test_a_kill_before_each_step_is_finished_by_the_next(
    database: Database, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch, point: str, nth: int
) -> None:
    seed(database, object_store)
    real, calls = getattr(store, point), []

    def dying(*args: Any) -> Any:
        calls.append(point)
        if len(calls) == nth:
            raise Killed
        return real(*args)

    monkeypatch.setattr(store, point, dying)
    with pytest.raises(Killed):
        purge.run(database, lambda *_: object_store, before=datetime.now(UTC))
    monkeypatch.undo()
    purge.run(database, lambda *_: object_store, before=datetime.now(UTC))
    assert_finished(database, object_store)


def assert_finished(database: Database, object_store: ObjectStore) -> None:
    """What a purge of the seed leaves is there, counted once, and has its objects; nothing else is."""
    paths, in_pod, counted, remaining = left(database)
    assert paths == ["live", "lost"]
    assert in_pod == counted == 4 + 5 + 40
    assert remaining == keys(object_store)
    assert len(remaining) == 3


class Dying(ObjectStore):
    """A store whose process dies before one of its deletions."""

    def __init__(self, location: Location, deletions: int) -> None:
        super().__init__(location)
        self.deletions = deletions

    def delete(self, keys: Iterable[str]) -> None:
        if not self.deletions:
            raise Killed
        self.deletions -= 1
        super().delete(keys)


@pytest.mark.parametrize("deletions", [0, 1, 2])
def test_a_kill_between_deletions_at_the_store_is_finished_by_the_next(
    database: Database, object_store: ObjectStore, deletions: int
) -> None:
    seed(database, object_store)
    with Dying(object_store.location, deletions) as dying, pytest.raises(Killed):
        purge.run(database, lambda *_: dying, before=datetime.now(UTC))
    purge.run(database, lambda *_: object_store, before=datetime.now(UTC))
    assert_finished(database, object_store)


def test_two_at_once_give_the_storage_back_once(database: Database, object_store: ObjectStore) -> None:
    seed(database, object_store)
    others: list[purge.Purged] = []

    def stores(*_: str) -> ObjectStore:
        """Let another purge do everything while this one is about to delete bytes."""
        if not others:
            others.append(purge.run(database, lambda *_: object_store, before=datetime.now(UTC)))
        return object_store

    mine = purge.run(database, stores, before=datetime.now(UTC))
    assert (mine.bytes, others[0].bytes) == (0, 5 + 3 + 4 + 2 + 10 + 20)
    assert_finished(database, object_store)


@pytest.mark.parametrize("table", [File, Version])
def test_what_another_transaction_has_locked_is_skipped_and_counted(
    database: Database, object_store: ObjectStore, table: type[File] | type[Version]
) -> None:
    seed(database, object_store)
    rows = {File: select(File.id).where(File.path == "gone"), Version: select(Version.id).where(Version.size == 2)}
    with database.session() as other:
        other.execute(rows[table].with_for_update())
        locked = purge.run(database, lambda *_: object_store, before=datetime.now(UTC))
    assert locked.skipped == 1
    unlocked = purge.run(database, lambda *_: object_store, before=datetime.now(UTC))
    assert (locked.files + unlocked.files, locked.versions + unlocked.versions, unlocked.skipped) == (1, 5, 0)
    assert_finished(database, object_store)


def test_what_killed_workers_left_goes_with_the_file_and_nothing_of_its_neighbours(
    database: Database, object_store: ObjectStore
) -> None:
    """Also where the name of one folder begins with that of another."""
    with database.session() as session:
        ada, pod = factories.make_user(session), factories.make_pod(session, prefix="films")
        gone = factories.make_file(session, pod, ada, "gone", store=object_store, deleted_at=LONG_AGO)
        transcode = factories.make_transcode(session, gone, status="failed")
        spared = {f"films/renditions/{gone.id}0/1/t/a.mp4", f"other/renditions/{gone.id}/1/t/a.mp4"}
        left_over = {f"films/renditions/{gone.id}/{transcode.id}/{token}/a.mp4" for token in "ab"}
    for key in spared | left_over:
        factories.put(object_store, key)
    assert purge.run(database, lambda *_: object_store) == purge.Purged(1, 1, 0, 7)
    assert keys(object_store) == spared


def test_an_old_content_takes_only_what_was_made_of_it(database: Database, object_store: ObjectStore) -> None:
    with database.session() as session:
        ada, pod = factories.make_user(session), factories.make_pod(session)
        file = factories.make_file(session, pod, ada, "a", store=object_store)
        old = factories.make_transcode(session, file)
        factories.make_rendition(session, old, store=object_store)
        session.get_one(Version, file.version_id).status = "superseded"
        file.version_id = factories.make_version(session, file, store=object_store).id
        new = factories.make_transcode(session, file)
        kept = factories.make_rendition(session, new, {"a": b"12"}, store=object_store)
    killed = [f"renditions/{file.id}/{transcode.id}/token/a.mp4" for transcode in (old, new)]
    for key in killed:
        factories.put(object_store, key)
    assert purge.run(database, lambda *_: object_store) == purge.Purged(0, 1, 1, 7 + 15)
    assert left(database)[:3] == (["a"], 7 + 2, 7 + 2)
    assert keys(object_store) == left(database)[3] | {killed[1]}
    with database.session() as session:
        assert session.scalars(select(Unit.transcode_id)).all() == [new.id]
        assert session.scalars(select(Rendition.id)).all() == [kept.id]


def test_more_objects_than_one_page_lists(database: Database, object_store: ObjectStore) -> None:
    with database.session() as session:
        ada, pod = factories.make_user(session), factories.make_pod(session)
        file = factories.make_file(session, pod, ada, store=object_store, deleted_at=LONG_AGO)
        transcode = factories.make_transcode(session, file)
        prefix = factories.make_rendition(session, transcode, store=object_store).prefix
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: factories.put(object_store, f"{prefix}{number}.m4s"), range(1001)))
    purge.run(database, lambda *_: object_store)
    assert keys(object_store) == set()


def test_a_file_that_nothing_was_made_of_costs_no_listing(
    database: Database, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.session() as session:
        ada, pod = factories.make_user(session), factories.make_pod(session)
        factories.make_file(session, pod, ada, store=object_store, deleted_at=LONG_AGO)
    monkeypatch.setattr(ObjectStore, "list", None)
    assert purge.run(database, lambda *_: object_store).files == 1


@pytest.mark.parametrize("status", ["queued", "running"])
def test_what_is_being_made_is_cancelled_before_its_objects_go(
    database: Database, object_store: ObjectStore, status: str
) -> None:
    with database.session() as session:
        ada, pod = factories.make_user(session), factories.make_pod(session)
        gone = factories.make_file(session, pod, ada, "gone", store=object_store, deleted_at=LONG_AGO)
        live = factories.make_file(session, pod, ada, "live", store=object_store)
        reserved = 100 if status == "running" else 0
        factories.make_transcode(session, gone, status=status, reserved=reserved)
        other = factories.make_transcode(session, live, status="running", reserved=50)
    seen: list[tuple[str, UUID | None]] = []

    def stores(*_: str) -> ObjectStore:
        with database.session(read_only=True) as session:
            units = select(Unit.status, Unit.lease_token).join(Transcode, Transcode.id == Unit.transcode_id)
            seen.extend(tuple(row) for row in session.execute(units.where(Transcode.file_id == gone.id)))
        return object_store

    assert purge.run(database, stores) == purge.Purged(1, 1, 0, 7)
    assert seen == [("cancelled", None)]
    with database.session() as session:
        assert session.get_one(Transcode, other.id).status == "running"
        assert session.scalars(select(Pod.reserved)).one() == 50
        assert pods.check(session) == ([], False)


def test_what_works_on_a_content_as_it_goes_gives_back_what_it_holds(database: Database) -> None:
    with database.session() as session:
        ada, pod = factories.make_user(session), factories.make_pod(session)
        gone = factories.make_file(session, pod, ada, deleted_at=LONG_AGO)
        factories.make_transcode(session, gone, status="running", reserved=100)
        assert gone.version_id
        assert store.remove_versions(session, [gone.version_id]) == store.Removed(0, 0, 0)
        going = gone.version_id
        assert store.mark_files(session, Selection(), 1)
        assert store.remove_versions(session, [going]) == store.Removed(1, 0, 7)
        session.expire_all()
        assert (session.get_one(Pod, pod.id).used, session.get_one(Pod, pod.id).reserved) == (0, 0)
        assert pods.check(session) == ([], False)


def test_finishes_what_another_scope_began(
    database: Database, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed(database, object_store)

    def dying(*_: Any) -> Any:
        raise Killed

    monkeypatch.setattr(store, "remove_versions", dying)
    with database.session() as session:
        gone = session.scalars(select(File.id).where(File.path == "gone")).one()
    with pytest.raises(Killed):
        purge.run(database, lambda *_: object_store, ids=(gone,))
    monkeypatch.undo()
    assert purge.run(database, lambda *_: object_store, ids=()) == purge.Purged(1, 2, 1, 8 + 10)
    assert left(database)[0] == ["live", "lost"]


def test_files_are_marked_so_many_at_a_time_the_earliest_first(database: Database) -> None:
    with database.session() as session:
        ada, pod = factories.make_user(session), factories.make_pod(session)
        for days in (2, 0, 1):
            deleted_at = LONG_AGO + timedelta(days=days)
            factories.make_file(session, pod, ada, f"day {days}", deleted_at=deleted_at)
        marked = select(File.path).where(File.purging_at.is_not(None)).order_by(File.path)
        for expected in (["day 0", "day 1"], ["day 0", "day 1", "day 2"]):
            assert store.mark_files(session, Selection(), 2)
            assert session.scalars(marked).all() == expected
        assert not store.mark_files(session, Selection(), 2)


def test_nothing_younger_goes_and_the_guard_refuses(database: Database, object_store: ObjectStore) -> None:
    seed(database, object_store)
    early = LONG_AGO - timedelta(days=30)
    assert purge.run(database, lambda *_: object_store, before=early) == purge.NOTHING
    with pytest.raises(errors.TooMany, match="4 files"):
        purge.run(database, lambda *_: object_store, maximum=3)
    assert left(database)[0] == ["gone", "live", "lost"]


def test_an_old_content_is_as_old_as_its_successor(database: Database, object_store: ObjectStore) -> None:
    with database.session() as session:
        ada, pod = factories.make_user(session), factories.make_pod(session)
        file = factories.make_file(session, pod, ada, "a", b"1", store=object_store)
        old = session.get_one(Version, file.version_id)
        old.status, old.stored_at = "superseded", LONG_AGO
        file.version_id = factories.make_version(session, file, b"22", store=object_store).id
    yesterday = datetime.now(UTC) - timedelta(days=1)
    assert purge.run(database, lambda *_: object_store, before=yesterday) == purge.NOTHING
    assert purge.run(database, lambda *_: object_store, before=datetime.now(UTC)) == purge.Purged(0, 1, 0, 1)


def test_only_the_owner_that_is_named(database: Database, object_store: ObjectStore) -> None:
    with database.session() as session:
        ada, bob, pod = factories.make_user(session), factories.make_user(session), factories.make_pod(session)
        for owner in (ada, bob):
            factories.make_file(session, pod, owner, "a", store=object_store, deleted_at=LONG_AGO)
        factories.make_file(session, pod, ada, "live", store=object_store)
    assert purge.run(database, lambda *_: object_store, owner_id=ada.id).files == 1
    with database.session() as session:
        assert set(session.execute(select(File.owner_id, File.path))) == {(ada.id, "live"), (bob.id, "a")}


@pytest.mark.parametrize("within", ["pod_id", "prefix"])
def test_only_the_pod_or_prefix_that_is_named(database: Database, object_store: ObjectStore, within: str) -> None:
    """Of deleted files and old contents alike."""
    with database.session() as session:
        ada, films, songs = factories.make_user(session), factories.make_pod(session), factories.make_pod(session)
        for pod, folder in ((films, "in/"), (songs, "out/")):
            factories.make_file(session, pod, ada, f"{folder}gone", b"123", store=object_store, deleted_at=LONG_AGO)
            live = factories.make_file(session, pod, ada, f"{folder}live", b"12", store=object_store)
            factories.make_version(session, live, b"1", store=object_store, status="superseded")
        chosen: dict[str, Any] = {within: {"pod_id": films.id, "prefix": "in/"}[within]}
    with database.session(read_only=True) as session:
        planned = purge.plan(session, **chosen)
    assert purge.run(database, lambda *_: object_store, **chosen) == planned == purge.Purged(1, 2, 0, 4)
    assert left(database)[0] == ["in/live", "out/gone", "out/live"]
    assert purge.run(database, lambda *_: object_store) == purge.Purged(1, 2, 0, 4)


def test_what_a_lease_still_counts_stays(database: Database, object_store: ObjectStore) -> None:
    with database.session() as session:
        ada, pod = factories.make_user(session), factories.make_pod(session)
        lease = Lease(pod_id=pod.id, user_id=ada.id, granted=9, period_start=func.now(), until=func.now())
        session.add(lease)
        file = factories.make_file(session, pod, ada, "a", store=object_store, deleted_at=LONG_AGO)
        factories.make_version(session, file, status="uploading", stored_at=None, lease_id=lease.id)
    assert purge.run(database, lambda *_: object_store) == purge.NOTHING
    with database.session() as session:
        session.get_one(Lease, lease.id).closed_at = LONG_AGO
    assert purge.run(database, lambda *_: object_store) == purge.Purged(1, 2, 0, 7)


def test_a_file_without_content_goes_too(database: Database, object_store: ObjectStore) -> None:
    with database.session() as session:
        ada, pod = factories.make_user(session), factories.make_pod(session)
        planned = File(pod_id=pod.id, owner_id=ada.id, path="a", size=9, deleted_at=LONG_AGO)
        session.add(planned)
    assert purge.run(database, lambda *_: object_store) == purge.Purged(1, 0, 0, 0)


def test_an_unfinished_multipart_upload_is_aborted(database: Database, object_store: ObjectStore) -> None:
    with database.session() as session:
        ada, pod = factories.make_user(session), factories.make_pod(session)
        file = factories.make_file(session, pod, ada, "a", store=object_store, deleted_at=LONG_AGO)
        version = factories.make_version(session, file, status="uploading", stored_at=None)
        version.upload_id = object_store.create_multipart(version.key, "text/plain")
        gone = factories.make_version(session, file, status="failed", stored_at=None)
        gone.upload_id = "forgotten"
        key, upload_id = version.key, version.upload_id
    purge.run(database, lambda *_: object_store)
    with pytest.raises((errors.UploadLost, errors.ObjectMissing)):
        object_store.put_part(key, upload_id, 1, b"x", hashlib.sha256(b"x").hexdigest())


def test_a_store_that_is_down_holds_up_only_its_own(database: Database, object_store: ObjectStore) -> None:
    with database.session() as session:
        ada, pod, far = (
            factories.make_user(session),
            factories.make_pod(session),
            factories.make_pod(session, bucket="far"),
        )
        for place, path in ((far, "far"), (pod, "near")):
            factories.make_file(session, place, ada, path, deleted_at=LONG_AGO)
    down = ObjectStore(Location("local", "http://127.0.0.1:9", "us-east-1", "far", "a" * 16, "s" * 32))
    with down, pytest.raises(errors.StoreUnavailable):
        purge.run(database, lambda place: down if place.bucket == "far" else object_store)
    assert left(database)[0] == ["far"]
    assert purge.run(database, lambda *_: object_store) == purge.Purged(1, 1, 0, 7)


# Objects that are not the pod's


PRECIOUS = ("other/precious.txt", "precious.txt", "films/precious.txt", "films-2/0a/0a0a", "renditions/1/1/x/a", "")


def planted(database: Database, object_store: ObjectStore, key: str) -> int:
    """A deleted file whose content names an object of somebody else, as the owner of the schema could write it."""
    if key:
        factories.put(object_store, key, b"precious")
    with database.session() as session:
        pod = session.scalars(select(Pod).where(Pod.prefix == "films")).one()
        owner = factories.make_user(session)
        file = factories.make_file(session, pod, owner, "theirs", b"x", deleted_at=LONG_AGO)
        version = session.get_one(Version, file.version_id)
        version.key = key or f"{version.key}/"
        return version.id


@pytest.mark.parametrize("key", PRECIOUS)
def test_leaves_what_is_not_the_pods_and_says_so(database: Database, object_store: ObjectStore, key: str) -> None:
    seed(database, object_store)
    version = planted(database, object_store, key)
    for _ in range(2):
        with pytest.raises(errors.ForeignObject, match=f"content {version} points to an object outside of its pod"):
            purge.run(database, lambda *_: object_store, before=datetime.now(UTC))
    assert not key or key in keys(object_store)
    paths, _, _, remaining = left(database)
    assert paths == ["live", "lost", "theirs"]
    assert {each for each in remaining if each in keys(object_store)} == keys(object_store)


def test_reads_nothing_that_is_not_the_pods(database: Database, object_store: ObjectStore) -> None:
    seed(database, object_store)
    version = planted(database, object_store, "other/precious.txt")
    with database.session() as session:
        file = session.get_one(Version, version).file_id
        session.get_one(File, file).deleted_at = None
    with database.session() as session:
        content = versions.content(session, file)
    with pytest.raises(errors.ForeignObject):
        downloads.link(lambda *_: object_store, content, 60)
    with pytest.raises(errors.ForeignObject):
        list(downloads.checked(lambda *_: object_store, content))
    (found,) = verification.run(database, lambda *_: object_store, Selection(ids=(file,)), 9, read=False, record=False)
    assert (found.result, found.error is not None and "outside of its pod" in found.error) == ("failed", True)


def test_links_no_rendition_that_is_not_the_files(database: Database, object_store: ObjectStore) -> None:
    seed(database, object_store)
    with database.session() as session:
        live = session.scalars(select(File).where(File.path == "live")).one()
        assert renditions.published(session, live.id, "hls")
        for made in session.scalars(select(Rendition).where(Rendition.file_id == live.id)):
            made.prefix = "other/"
        session.flush()
        with pytest.raises(errors.ForeignObject):
            renditions.published(session, live.id, "hls")
