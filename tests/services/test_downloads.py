"""Downloads: whole or not at all, and never outside of the folder."""

import hashlib
import io
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from sqlalchemy import text

from dumacle_cli import errors
from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.objects import Location
from dumacle_cli.services import downloads, verification, versions
from dumacle_cli.store import files as store
from dumacle_cli.store.database import Database
from dumacle_cli.store.files import Content, Selection
from dumacle_cli.store.models import File, Version
from tests import factories

pytestmark = pytest.mark.integration


def one(
    database: Database, objects: ObjectStore, path: str = "a/b.txt", body: bytes = b"body", **values: Any
) -> Content:
    """A file of a new owner in a new pod."""
    with database.session() as session:
        ada, pod = factories.make_user(session), factories.make_pod(session)
        file = factories.make_file(session, pod, ada, path, body, store=objects, **values)
        return versions.content(session, file.id)


def spoil(objects: ObjectStore, content: Content, body: bytes) -> None:
    objects.put(content.key, body, hashlib.sha256(body).hexdigest(), "text/plain")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def many(database: Database, objects: ObjectStore, folder: Path, *, force: bool = False) -> dict[str, downloads.Result]:
    found = downloads.to_folder(database, lambda *_: objects, Selection(), folder, force=force)
    return {each.path: each.result for each in found}


def test_a_link_gives_the_bytes_under_the_file_name(database: Database, object_store: ObjectStore) -> None:
    content = one(database, object_store, "f/\\xff ü\\\\.txt")
    link = downloads.link(lambda *_: object_store, content, 60)
    with urlopen(link.url) as answer:
        assert answer.read() == b"body"
    assert "%C3%BC%5C.txt" in link.url or "%25C3%25BC" in link.url
    for seconds in (0, 604_801):
        with pytest.raises(errors.InvalidValue):
            downloads.link(lambda *_: object_store, content, seconds)


def test_deleted_and_unfinished_files_have_no_content(database: Database, object_store: ObjectStore) -> None:
    with pytest.raises(errors.Conflict):
        one(database, object_store, deleted_at=datetime.now(UTC))
    with database.session() as session:
        ada, pod = factories.make_user(session), factories.make_pod(session)
        planned = File(pod_id=pod.id, owner_id=ada.id, path="a", size=9)
        session.add(planned)
        session.flush()
        with pytest.raises(errors.Conflict):
            versions.content(session, planned.id)


def test_to_a_file_a_folder_and_a_stream(database: Database, object_store: ObjectStore, tmp_path: Path) -> None:
    content = one(database, object_store)
    for target, place in ((tmp_path / "x", tmp_path / "x"), (tmp_path, tmp_path / "b.txt")):
        done = downloads.to_file(lambda *_: object_store, content, target, force=False)
        assert (done.result, Path(done.target)) == ("downloaded", place)
        assert place.read_bytes() == b"body"
    stream = io.BytesIO()
    downloads.to_stream(lambda *_: object_store, content, stream)
    assert stream.getvalue() == b"body"


def test_what_exists_is_kept_unless_forced(database: Database, object_store: ObjectStore, tmp_path: Path) -> None:
    content, target = one(database, object_store), tmp_path / "x"
    target.write_bytes(b"mine")
    with pytest.raises(errors.Conflict):
        downloads.to_file(lambda *_: object_store, content, target, force=False)
    assert target.read_bytes() == b"mine"
    assert downloads.to_file(lambda *_: object_store, content, target, force=True).result == "downloaded"
    assert downloads.to_file(lambda *_: object_store, content, target, force=False).result == "unchanged"
    assert names(tmp_path) == ["x"]


IRREGULAR: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "link": lambda place: place.symlink_to("mine"),
    "dangling link": lambda place: place.symlink_to("nowhere"),
    "socket": lambda place: os.mknod(place, stat.S_IFSOCK | 0o600),
}


@pytest.mark.parametrize("kind", IRREGULAR)
@pytest.mark.parametrize("force", [False, True])
def test_only_regular_files_are_replaced(
    database: Database, object_store: ObjectStore, tmp_path: Path, kind: str, force: bool
) -> None:
    content, target = one(database, object_store, "x"), tmp_path / "x"
    (tmp_path / "mine").write_bytes(b"mine")
    IRREGULAR[kind](target)
    before = target.lstat()
    with pytest.raises(errors.Conflict, match="only regular files are replaced"):
        downloads.to_file(lambda *_: object_store, content, tmp_path, force=force)
    assert many(database, object_store, tmp_path, force=force) == {"x": "refused"}
    assert (target.lstat().st_ino, target.lstat().st_mode) == (before.st_ino, before.st_mode)
    assert (tmp_path / "mine").read_bytes() == b"mine"
    assert names(tmp_path) == ["mine", "x"]


@pytest.mark.parametrize("kind", [kind for kind in IRREGULAR if kind != "link"])
def test_what_comes_in_the_way_meanwhile_is_kept(
    database: Database, object_store: ObjectStore, tmp_path: Path, kind: str
) -> None:
    content, target = one(database, object_store), tmp_path / "x"

    def store_after(place: object) -> ObjectStore:
        IRREGULAR[kind](target)
        return object_store

    with pytest.raises(errors.Conflict):
        downloads.to_file(store_after, content, target, force=True)
    assert not target.is_file()
    assert names(tmp_path) == ["x"]


def test_a_file_that_comes_in_the_way_meanwhile_is_kept(
    database: Database, object_store: ObjectStore, tmp_path: Path
) -> None:
    content, target = one(database, object_store), tmp_path / "x"

    def store_after(place: object) -> ObjectStore:
        target.write_bytes(b"mine")
        return object_store

    with pytest.raises(errors.Conflict):
        downloads.to_file(store_after, content, target, force=False)
    assert target.read_bytes() == b"mine"


def test_a_named_link_is_followed(database: Database, object_store: ObjectStore, tmp_path: Path) -> None:
    content = one(database, object_store)
    (tmp_path / "sub").mkdir()
    real, link, dangling = tmp_path / "sub" / "real", tmp_path / "link", tmp_path / "dangling"
    real.write_bytes(b"mine")
    link.symlink_to("sub/real")
    dangling.symlink_to("sub/nowhere")
    with pytest.raises(errors.Conflict, match="other content"):
        downloads.to_file(lambda *_: object_store, content, link, force=False)
    downloads.to_file(lambda *_: object_store, content, link, force=True)
    assert (link.is_symlink(), real.is_symlink(), real.read_bytes()) == (True, False, b"body")
    with pytest.raises(errors.Conflict, match="is a symbolic link"):
        downloads.to_file(lambda *_: object_store, content, dangling, force=True)
    assert names(tmp_path / "sub") == ["real"]


@pytest.mark.parametrize("through_link", [False, True])
@pytest.mark.parametrize("size", [0, 10, 3 * 1024**2])
def test_a_pipe_is_written_to(
    database: Database, object_store: ObjectStore, tmp_path: Path, size: int, through_link: bool
) -> None:
    content, pipe = one(database, object_store, body=os.urandom(size)), tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "link").symlink_to("pipe")
    target = tmp_path / ("link" if through_link else "pipe")
    with ThreadPoolExecutor() as pool:
        read = pool.submit(pipe.read_bytes)
        done = downloads.to_file(lambda *_: object_store, content, target, force=False)
        assert hashlib.sha256(read.result(10)).digest() == content.sha256
    assert (done.result, done.target) == ("downloaded", str(target))
    assert pipe.is_fifo()
    assert names(tmp_path) == ["link", "pipe"]


@pytest.mark.parametrize("size", [10, 3 * 1024**2])
def test_a_reader_that_leaves_a_pipe_is_reported(
    database: Database, object_store: ObjectStore, tmp_path: Path, size: int
) -> None:
    content, pipe = one(database, object_store, body=bytes(size)), tmp_path / "pipe"
    os.mkfifo(pipe)

    with ThreadPoolExecutor() as pool:
        read = pool.submit(lambda: pipe.open("rb").close())

        def store_after(place: object) -> ObjectStore:
            read.result(10)
            return object_store

        with pytest.raises(errors.OutputFailed, match="reader"):
            downloads.to_file(store_after, content, pipe, force=False)
    assert pipe.is_fifo()


def test_a_device_is_written_to(database: Database, object_store: ObjectStore) -> None:
    content, null = one(database, object_store), Path(os.devnull)
    before = null.stat().st_ino
    assert downloads.to_file(lambda *_: object_store, content, null, force=True).result == "downloaded"
    assert (null.stat().st_ino, null.is_char_device()) == (before, True)
    with pytest.raises(OSError, match="No space left"):
        downloads.to_file(lambda *_: object_store, content, Path("/dev/full"), force=True)


@pytest.mark.parametrize("mtime_ns", [0, 1, 981_173_106_123_456_789, -630_720_000_000_000_001, 2**63 - 1, -(2**63)])
def test_times_come_back(database: Database, object_store: ObjectStore, tmp_path: Path, mtime_ns: int) -> None:
    content = one(database, object_store, "x", mtime_ns=mtime_ns)
    (tmp_path / "model").write_bytes(b"")
    os.utime(tmp_path / "model", ns=(0, mtime_ns))
    kept = (tmp_path / "model").stat().st_mtime_ns  # as far as this file system can keep it
    downloads.to_file(lambda *_: object_store, content, tmp_path / "one", force=False)
    many(database, object_store, tmp_path / "in")
    assert (tmp_path / "one").stat().st_mtime_ns == (tmp_path / "in" / "x").stat().st_mtime_ns == kept


def test_a_time_that_is_not_known_is_now(database: Database, object_store: ObjectStore, tmp_path: Path) -> None:
    downloads.to_file(lambda *_: object_store, one(database, object_store), tmp_path / "x", force=False)
    assert abs((tmp_path / "x").stat().st_mtime - datetime.now(UTC).timestamp()) < 60


def test_force_brings_back_the_time_of_the_same_content(
    database: Database, object_store: ObjectStore, tmp_path: Path
) -> None:
    content, target = one(database, object_store, mtime_ns=7), tmp_path / "x"
    target.write_bytes(b"body")
    os.utime(target, ns=(5, 5))
    for force, time in ((False, 5), (True, 7)):
        assert downloads.to_file(lambda *_: object_store, content, target, force=force).result == "unchanged"
        assert target.stat().st_mtime_ns == time


@pytest.mark.parametrize("stored", [b"bodY", b"bod", b"body and more", b""])
@pytest.mark.parametrize("before", [None, b"mine"])
def test_other_bytes_leave_nothing_behind(
    database: Database, object_store: ObjectStore, tmp_path: Path, stored: bytes, before: bytes | None
) -> None:
    content, target = one(database, object_store), tmp_path / "x"
    spoil(object_store, content, stored)
    if before:
        target.write_bytes(before)
    with pytest.raises(errors.ContentDiffers):
        downloads.to_file(lambda *_: object_store, content, target, force=True)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == ([before] if before else [])


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/x", "a//x", "..", "a/.", "a\\x00b", "\\x2e./x", "a/"])
def test_paths_that_lead_out_are_refused(
    database: Database, object_store: ObjectStore, tmp_path: Path, path: str
) -> None:
    one(database, object_store, path)
    assert many(database, object_store, tmp_path / "in") == {path: "refused"}
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_links_that_lead_out_are_not_followed(database: Database, object_store: ObjectStore, tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (outside / "there").write_bytes(b"mine")
    (inside / "folder").symlink_to(outside)
    (inside / "link").symlink_to(outside / "there")
    one(database, object_store, "folder/x")
    one(database, object_store, "link")
    assert many(database, object_store, inside) == {"folder/x": "refused", "link": "refused"}
    assert many(database, object_store, inside, force=True) == {"folder/x": "refused", "link": "refused"}
    assert (outside / "there").read_bytes() == b"mine"
    assert names(outside) == ["there"]
    assert (inside / "link").is_symlink()


def test_many_are_accounted_for_each(database: Database, object_store: ObjectStore, tmp_path: Path) -> None:
    spoil(object_store, one(database, object_store, "differs"), b"else")
    missing = one(database, object_store, "missing")
    object_store.delete([missing.key])
    one(database, object_store, "a/\\xff\\\\", b"odd")
    one(database, object_store, "a/same")
    one(database, object_store, "a/other")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "same").write_bytes(b"body")
    (tmp_path / "a" / "other").write_bytes(b"mine")
    expected = {"a/same": "unchanged", "a/other": "refused", "differs": "differs", "missing": "differs"}
    assert many(database, object_store, tmp_path) == {**expected, "a/\\xff\\\\": "downloaded"}
    assert Path(os.fsdecode(os.fsencode(tmp_path) + b"/a/\xff\\")).read_bytes() == b"odd"
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 3


# Verifying


def verify(
    database: Database,
    objects: ObjectStore,
    limit: int | None = 9,
    chosen: Selection = Selection(),  # noqa: B008 - it cannot be changed
    **how: Any,
) -> dict[str, verification.Result]:
    options = {"read": False, "record": True} | how
    found = verification.run(database, lambda *_: objects, chosen, limit, **options)
    return {each.path: each.result for each in found}


def test_verifying_tells_what_is_missing_or_differs(database: Database, object_store: ObjectStore) -> None:
    one(database, object_store, "ok")
    object_store.delete([one(database, object_store, "missing").key])
    spoil(object_store, one(database, object_store, "longer"), b"longer")
    spoil(object_store, one(database, object_store, "etag"), b"bodY")
    expected = {"ok": "verified", "missing": "missing", "longer": "differs", "etag": "differs"}
    assert verify(database, object_store, record=False) == expected
    with database.session() as session:
        assert {file.upload_status for file in session.query(File)} == {"uploaded"}
    assert verify(database, object_store) == verify(database, object_store, read=True) == expected
    with database.session() as session:
        found = {
            file.path: (file.upload_status, bool(file.verified_at), bool(file.error)) for file in session.query(File)
        }
    bad = ("uploaded", False, True)
    assert found == {"ok": ("verified", True, False), "missing": bad, "longer": bad, "etag": bad}
    with database.session() as session:
        lost = session.scalars(text("SELECT path FROM app.files WHERE lost_version_id = version_id")).all()
    assert set(lost) == {"missing", "longer", "etag"}


def test_reading_finds_what_the_etag_does_not_show(database: Database, object_store: ObjectStore) -> None:
    content = one(database, object_store)
    spoil(object_store, content, b"bodY")
    with database.session() as session:
        version = session.get_one(Version, content.version_id)
        version.md5 = version.etag = None
    assert verify(database, object_store) == {"a/b.txt": "verified"}
    assert verify(database, object_store, read=True) == {"a/b.txt": "differs"}


def test_the_longest_unverified_come_first(database: Database, object_store: ObjectStore) -> None:
    for path, day in (("new", 3), ("old", 1), ("middle", 2)):
        one(database, object_store, path, verified_at=datetime(2026, 1, day, tzinfo=UTC), upload_status="verified")
    one(database, object_store, "never")
    assert set(verify(database, object_store, 2)) == {"never", "old"}
    assert [*verify(database, object_store, 1)] == ["middle"]


def test_a_content_that_was_replaced_meanwhile_is_not_recorded(database: Database, object_store: ObjectStore) -> None:
    content = one(database, object_store)
    with database.session() as session:
        file = session.get_one(File, content.file_id)
        file.version_id = factories.make_version(session, file, b"new", store=object_store).id
    with database.session() as session:
        assert store.record_verified(session, [(content, "missing")]) == set()


def test_a_store_that_is_down_records_nothing(database: Database, object_store: ObjectStore) -> None:
    one(database, object_store)
    with ObjectStore(Location("local", "http://127.0.0.1:9", "us-east-1", "b", "a" * 16, "s" * 32)) as down:
        assert verify(database, down) == {"a/b.txt": "failed"}
    assert verify(database, object_store) == {"a/b.txt": "verified"}


def test_slices_are_all_files_and_no_file_twice(
    database: Database, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "BATCH", 2)
    made = {one(database, object_store, f"f{number}").path for number in range(9)}
    slices = [verify(database, object_store, None, Selection(part=(part, 4))) for part in range(1, 5)]
    assert sorted(path for found in slices for path in found) == sorted(made)
    assert max(map(len, slices)) <= 3
    assert set(verify(database, object_store, None)) == made
    sample = verify(database, object_store, None, sample=4)
    assert len(sample) == 4
    assert made >= set(sample)
    assert any(verify(database, object_store, None, sample=4) != sample for _ in range(9))


@pytest.mark.parametrize("text", ["0/7", "8/7", "1", "1/", "/7", "a/7", "1/0", "-1/7", "1/7/7", "1.0/7"])
def test_what_is_no_slice_is_refused(text: str) -> None:
    with pytest.raises(errors.InvalidValue):
        verification.parse_part(text)


def test_findings_have_a_date_and_a_repair(database: Database, object_store: ObjectStore) -> None:
    one(database, object_store, "right")
    wrong = one(database, object_store, "wrong")

    def found() -> dict[str, verification.Verified]:
        results = verification.run(database, lambda *_: object_store, Selection(), read=False, record=True)
        return {each.path: each for each in results}

    before = found()
    assert {each.fix for each in before.values()} == {None}
    object_store.delete([wrong.key])
    after = found()
    known, told = before["wrong"].verified_at, after["wrong"].verified_at
    assert known
    assert told
    assert abs(told - known).total_seconds() < 5
    assert "upload" in str(after["wrong"].fix)
    assert (found()["wrong"].verified_at, after["right"].fix) == (None, None)
