"""Sources are deleted only if their content is proven to be stored and they did not change."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.store.database import Database
from tests.conftest import Result, Run
from tests.ingest import checker
from tests.ingest.conftest import Drive, Fill, Meddler
from tests.terminal import ask

pytestmark = pytest.mark.integration
Upload = Callable[..., Result]
OWNER = ("--owner", "ada@example.com")
DELETE = ("--delete-source", "--yes")
MIB = 1024**2


def names(folder: Path) -> list[str]:
    return sorted(str(place.relative_to(folder)) for place in folder.rglob("*"))


def test_what_was_uploaded_goes_and_folders_stay(
    upload: Upload, fill: Fill, database: Database, object_store: ObjectStore
) -> None:
    folder = fill(one=10, large=17 * MIB, empty=0)
    (folder / "sub").mkdir()
    (folder / "sub" / "deep.jpg").write_bytes(b"deep")
    (folder / "link").symlink_to("one.jpg")
    before = checker.tree(folder)
    assert upload(folder, *DELETE, "--dry-run").data["sources_deleted"] == 0
    assert checker.tree(folder) == before
    done = upload(folder, *DELETE).data
    assert (done["uploaded"], done["sources_deleted"], done["sources_kept"]) == (4, 4, 0)
    assert names(folder) == ["link", "sub"]
    checker.check(database, object_store, before)


def test_what_failed_stays(upload: Upload, fill: Fill) -> None:
    folder = fill(fits=100, exceeds=101)
    done = upload(folder, *DELETE, "--set", "max_file_size=100", expect=3)
    assert (done.data["sources_deleted"], done.data["sources_kept"]) == (1, 0)
    assert names(folder) == ["exceeds.jpg"]


def test_what_was_uploaded_earlier_goes_once_it_is_verified(upload: Upload, fill: Fill, run: Run) -> None:
    folder = fill(one=10, two=20)
    upload(folder)
    kept = upload(folder, *DELETE, expect=3)
    assert (kept.data["unchanged"], kept.data["sources_deleted"], kept.data["sources_kept"]) == (2, 0, 2)
    assert "2 sources were not deleted" in kept.err
    assert names(folder) == ["one.jpg", "two.jpg"]
    run("files", "verify", *OWNER)
    gone = upload(folder, *DELETE).data
    assert (gone["unchanged"], gone["sources_deleted"], gone["sources_kept"]) == (2, 2, 0)
    assert names(folder) == []


def test_an_edit_that_keeps_size_and_time_is_uploaded_before_it_goes(
    upload: Upload, fill: Fill, run: Run, database: Database, object_store: ObjectStore
) -> None:
    folder = fill(one=100)
    upload(folder)
    run("files", "verify", *OWNER)
    status = (folder / "one.jpg").stat()
    (folder / "one.jpg").write_bytes(os.urandom(100))
    os.utime(folder / "one.jpg", ns=(status.st_atime_ns, status.st_mtime_ns))
    before = checker.tree(folder)
    done = upload(folder, *DELETE).data
    assert (done["uploaded"], done["new_versions"], done["sources_deleted"]) == (1, 1, 1)
    checker.check(database, object_store, before)


def test_what_is_lost_in_the_store_stays_until_it_is_uploaded_again(
    upload: Upload, fill: Fill, run: Run, object_store: ObjectStore, tmp_path: Path
) -> None:
    folder = fill(one=100)
    upload(folder)
    run("files", "verify", *OWNER)
    object_store.delete([entry.key for entry in object_store.list("")])
    run("files", "verify", *OWNER, expect=12)
    done = upload(folder, *DELETE).data
    assert (done["uploaded"], done["sources_deleted"]) == (1, 1)
    run("files", "verify", "--read", *OWNER)


def replace(file: Path) -> None:
    other = file.with_name("other")
    status = file.stat()
    other.write_bytes(file.read_bytes())
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.rename(file)


def link(file: Path) -> None:
    file.rename(file.with_name("real"))
    file.symlink_to("real")


@pytest.mark.parametrize("change", [replace, link, lambda file: file.write_bytes(b"other"), os.utime])
def test_what_changed_after_it_was_read_stays(
    change: Callable[[Path], object], drive: Drive, fill: Fill, tmp_path: Path
) -> None:
    folder = fill(one=100)
    summary = drive(folder, Meddler(when_moved=lambda: change(folder / "one.jpg")), delete_source=True)
    assert (summary.uploaded, summary.sources_deleted, summary.sources_kept) == (1, 0, 1)
    assert (folder / "one.jpg").exists()


def test_links_that_were_named_stay(upload: Upload, fill: Fill) -> None:
    folder = fill(one=100)
    (folder / "latest.jpg").symlink_to("one.jpg")
    kept = upload(folder / "latest.jpg", *DELETE, expect=3)
    assert (kept.data["uploaded"], kept.data["sources_kept"]) == (1, 1)
    assert names(folder) == ["latest.jpg", "one.jpg"]


def test_a_source_that_cannot_be_deleted_is_told(upload: Upload, fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fill(one=100)

    def refuse(path: bytes) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("dumacle_cli.ingest.delete_source.os.unlink", refuse)
    kept = upload(folder, *DELETE, expect=3)
    assert "one.jpg: permission denied" in kept.err
    assert (kept.data["uploaded"], kept.data["sources_kept"]) == (1, 1)


def test_it_asks_first(upload: Upload, fill: Fill) -> None:
    folder = fill(one=100)
    arguments = ("files", "upload", str(folder), "--pod", "films", *OWNER, "--delete-source")
    assert upload(folder, "--delete-source", expect=2).error["code"] == "no-terminal"
    declined = ask("n", *arguments)
    assert declined.code != 0
    assert names(folder) == ["one.jpg"]
    accepted = ask("y", *arguments)
    assert accepted.code == 0
    assert str(folder) in accepted.err
    assert names(folder) == []
