"""Older versions: they can be had, and made the current one again, until they are purged."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.request import urlopen

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dumacle_cli import errors
from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.services import downloads, files, pods, purge, versions
from dumacle_cli.store import uploads
from dumacle_cli.store.database import Database
from dumacle_cli.store.files import Selection
from dumacle_cli.store.models import File, Lease, Version
from tests import factories

pytestmark = pytest.mark.integration

DAYS = [datetime(2026, 1, day, tzinfo=UTC) for day in range(1, 9)]


def replaced(session: Session, objects: ObjectStore | None = None, *, times: int = 2) -> tuple[File, list[int]]:
    """A file whose content was replaced, and the ids of its versions from the first to the current one."""
    ada, pod = factories.make_user(session), factories.make_pod(session)
    file = factories.make_file(session, pod, ada, "a.txt", b"1", store=objects)
    first = session.get_one(Version, file.version_id)
    first.stored_at, first.mtime_ns, first.content_type = DAYS[0], 1_000_000_000, "text/first"
    made = [first.id]
    for number in range(1, times):
        version = factories.make_version(session, file, b"1" * (number + 1), store=objects, stored_at=DAYS[number])
        uploads.record_stored(session, stored(version))
        session.get_one(Version, version.id, populate_existing=True).stored_at = DAYS[number]
        session.flush()
        made.append(version.id)
    return session.get_one(File, file.id, populate_existing=True), made


def stored(version: Version) -> dict[str, list[object]]:
    names = ("size", "mtime_ns", "sha256", "md5", "etag", "content_type")
    return {name: [getattr(version, name)] for name in names} | {
        "file_id": [version.file_id],
        "version_id": [version.id],
    }


def states(session: Session, file: File) -> dict[int, tuple[str, bool]]:
    return {each.id: (each.status, each.current) for each in versions.list_(session, file.id)}


def test_each_version_is_downloaded_and_linked(database: Database, object_store: ObjectStore, tmp_path: Path) -> None:
    with database.session() as session:
        file, made = replaced(session, object_store, times=3)
    for number, version in enumerate([*made, None]):
        with database.session() as session:
            content = versions.content(session, file.id, version)
        body = b"1" * min(number + 1, 3)
        target = tmp_path / str(number)
        downloads.to_file(lambda *_: object_store, content, target, force=False)
        assert target.read_bytes() == body
        with urlopen(downloads.link(lambda *_: object_store, content, 60).url) as answer:
            assert (answer.read(), answer.headers["Content-Type"]) == (body, content.content_type)
    assert (tmp_path / "0").stat().st_mtime == 1


def test_an_older_version_becomes_current_again(database: Database) -> None:
    with database.session() as session:
        file, (first, second) = replaced(session)
        before = pods.check(session)
        assert files.restore_version(session, file.id, first) == (files.Affected(1, 1), True)
        assert states(session, file) == {first: ("stored", True), second: ("superseded", False)}
        shown = files.show(session, file.id)
        assert (shown.size, shown.content_type, shown.status, shown.verified_at) == (1, "text/first", "uploaded", None)
        assert shown.uploaded_at == DAYS[0]
        again = session.get_one(File, file.id, populate_existing=True)
        version = session.get_one(Version, first, populate_existing=True)
        assert (again.sha256, again.mtime_ns) == (version.sha256, version.mtime_ns)
        assert pods.check(session) == before == ([], False)
        assert files.restore_version(session, file.id, first) == (files.Affected(0, 0), False)
        assert files.restore_version(session, file.id, second)[1]
        assert states(session, file) == {first: ("superseded", False), second: ("stored", True)}


@pytest.mark.parametrize("status", ["planned", "uploading", "completing", "failed", "purging"])
def test_what_is_not_stored_is_refused(database: Database, status: str) -> None:
    with database.session() as session:
        file, _ = replaced(session)
        gone = None if status != "purging" else DAYS[0]
        other = factories.make_version(session, file, b"else", status=status, stored_at=gone)
        said = "is being purged" if status == "purging" else "was never stored completely"
        with pytest.raises(errors.Conflict, match=said):
            files.restore_version(session, file.id, other.id)
        with pytest.raises(errors.Conflict, match=said):
            versions.content(session, file.id, other.id)


def test_versions_of_other_files_and_of_deleted_ones_are_refused(database: Database) -> None:
    with database.session() as session:
        file, (first, _) = replaced(session)
        other, _ = replaced(session)
        for wrong in (999_999, session.scalar(select(Version.id).where(Version.file_id == other.id).limit(1))):
            with pytest.raises(errors.NotFound):
                files.restore_version(session, file.id, wrong)
            with pytest.raises(errors.NotFound):
                versions.content(session, file.id, wrong)
        files.delete(session, Selection(ids=(file.id,)))
        with pytest.raises(errors.Conflict, match="is deleted"):
            files.restore_version(session, file.id, first)
        with pytest.raises(errors.Conflict, match="is deleted"):
            versions.content(session, file.id, first)


def test_a_file_that_is_being_uploaded_keeps_its_version(database: Database) -> None:
    with database.session() as session:
        file, (first, _) = replaced(session)
        lease = Lease(pod_id=file.pod_id, user_id=file.owner_id, granted=9, period_start=DAYS[0], until=func.now())
        session.add(lease)
        session.flush()
        factories.make_version(session, file, status="uploading", stored_at=None, lease_id=lease.id)
        with pytest.raises(errors.Conflict, match="being uploaded"):
            files.restore_version(session, file.id, first)


def purged(database: Database, objects: ObjectStore, before: datetime) -> int:
    return purge.run(database, lambda *_: objects, before=before).versions


def test_the_time_until_a_purge_begins_when_a_version_is_superseded(
    database: Database, object_store: ObjectStore
) -> None:
    """Also for versions that were current more than once, whatever the order of their ids."""
    with database.session() as session:
        file, made = replaced(session, object_store, times=3)
        files.restore_version(session, file.id, made[0])
    with database.session() as session:
        restored = session.get_one(Version, made[0]).stored_at
        assert restored
    assert purged(database, object_store, DAYS[1]) == 0  # the second was superseded just then
    assert purged(database, object_store, DAYS[3]) == 1
    assert purged(database, object_store, restored) == 0
    with database.session() as session:
        assert states(session, file) == {made[0]: ("stored", True), made[2]: ("superseded", False)}
        files.restore_version(session, file.id, made[2])
    assert purged(database, object_store, restored + timedelta(microseconds=1)) == 0
    assert purged(database, object_store, datetime.now(UTC)) == 1
    with database.session() as session:
        assert states(session, file) == {made[2]: ("stored", True)}


def test_a_version_that_is_purged_meanwhile_is_refused(database: Database, object_store: ObjectStore) -> None:
    """Whoever comes second waits, and heeds what the first did."""
    with database.session() as session:
        file, (first, _) = replaced(session, object_store)

    def restore() -> None:
        with database.session() as session:
            files.restore_version(session, file.id, first)

    with ThreadPoolExecutor(1) as pool:
        with database.session() as session:
            session.get_one(Version, first, with_for_update=True).status = "purging"
            session.flush()
            restoring = pool.submit(restore)
            with pytest.raises(TimeoutError):
                restoring.result(0.5)
        with pytest.raises(errors.Conflict, match="being purged"):
            restoring.result(10)
