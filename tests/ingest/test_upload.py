"""Uploading through the program: what goes up, what does not, and that everything is accounted for."""

import errno
import gc
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from dumacle_cli import errors, paths
from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.ingest import engine, runs
from dumacle_cli.ingest.record import Recorder
from dumacle_cli.ingest.transfer import PART
from dumacle_cli.store.database import Database
from tests import buckets
from tests.conftest import Result, Run
from tests.factories import make_user
from tests.ingest import checker
from tests.ingest.conftest import Drive, Fill, Home, Meddler
from tests.processes import unmeasured

pytestmark = pytest.mark.integration
Upload = Callable[..., Result]
OWNER = "ada@example.com"
CLASSES = ("uploaded", "unchanged", "skipped", "changed", "refused", "cancelled", "failed")
MIB = 1024**2


def ended(result: Result) -> dict[str, int]:
    """The classes that something ended in; they add up to what was planned."""
    counts = {name: result.data[name] for name in CLASSES if result.data[name]}
    assert sum(counts.values()) == result.data["planned"]
    return counts


def lines(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def set_capacity(database: Database, size: int) -> None:
    with database.session() as session:
        session.execute(text("UPDATE app.pods SET capacity = :size"), {"size": size})


def tables(database: Database) -> dict[str, list[object]]:
    with database.session() as session:
        names = session.scalars(
            text("SELECT table_name FROM information_schema.tables WHERE table_schema = 'app'")
        ).all()
        return {name: sorted(map(repr, session.execute(text(f"SELECT * FROM app.{name}")))) for name in names}


def unplug(environment: Callable[..., None]) -> None:
    """Point the store to a port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment(DUMACLE_LOCAL_ENDPOINT=f"http://127.0.0.1:{port}")


# What goes up


def test_an_upload_maps_no_table(configured: None, home: Home, fill: Fill) -> None:
    code = """if True:
        import sys
        from dumacle_cli.__main__ import main
        assert main(sys.argv[1:]) == 0
        print(*[name for name in sys.modules if name.startswith("dumacle_cli.store.models.")])
    """
    command = ["files", "upload", fill(one=10, film=17 * MIB), "--pod", "films", "--owner", OWNER, "--quiet"]
    done = subprocess.run([sys.executable, "-c", code, *command], env=unmeasured(), capture_output=True, text=True)
    assert (done.returncode, done.stderr, done.stdout.split()) == (0, "", [])


def test_new_tree(upload: Upload, fill: Fill, database: Database, object_store: ObjectStore) -> None:
    folder = fill(one=10, two=70_000, empty=0)
    (folder / "sub").mkdir()
    (folder / "sub" / "deep.txt").write_text("deep")
    first = upload(folder)
    assert first.json["changed"] is True
    assert ended(first) == {"uploaded": 4}
    assert first.data["uploaded_size"] == first.data["planned_size"] == 70_014
    checker.check(database, object_store, checker.tree(folder))


def test_second_run_asks_the_store_for_nothing(
    upload: Upload, fill: Fill, database: Database, environment: Callable[..., None]
) -> None:
    folder = fill(one=10, two=70_000, large=17 * MIB)
    upload(folder)
    before = tables(database)
    unplug(environment)
    second = upload(folder)
    assert second.json["changed"] is False
    assert ended(second) == {"unchanged": 3}
    after = tables(database)
    assert {name for name in after if after[name] != before[name]} == {"runs"}


def test_only_what_differs_goes_up(
    upload: Upload, fill: Fill, database: Database, object_store: ObjectStore, tmp_path: Path
) -> None:
    folder = fill(stays=10, changes=20, goes=30)
    upload(folder)
    keys = {entry.key for entry in object_store.list("")}
    fill(changes=25, comes=40)
    (folder / "goes.jpg").unlink()
    second = upload(folder, "--results", tmp_path / "results.jsonl")
    assert ended(second) == {"uploaded": 2, "unchanged": 1}
    assert second.data["new_versions"] == 1
    added = {entry.key for entry in object_store.list("")} - keys
    assert added == {line["key"] for line in lines(tmp_path / "results.jsonl") if line["result"] == "uploaded"}
    assert len(added) == 2


def test_other_content_is_a_new_version(
    upload: Upload, fill: Fill, database: Database, object_store: ObjectStore
) -> None:
    folder = fill(one=100)
    upload(folder)
    fill(one=50)
    assert upload(folder).data["new_versions"] == 1
    checker.check(database, object_store, checker.tree(folder))
    with database.session() as session:
        versions = session.execute(text("SELECT status, size FROM app.versions ORDER BY id")).all()
        files, used = session.execute(text("SELECT count(*), (SELECT used FROM app.pods) FROM app.files")).one()
    assert versions == [("superseded", 100), ("stored", 50)]
    assert (files, used) == (1, 150)


def test_same_size_and_other_content(upload: Upload, fill: Fill, database: Database, object_store: ObjectStore) -> None:
    folder = fill(one=100)
    upload(folder)
    (folder / "one.jpg").write_bytes(os.urandom(100))
    os.utime(folder / "one.jpg", ns=(0, 7))
    assert ended(upload(folder)) == {"uploaded": 1}
    checker.check(database, object_store, checker.tree(folder))


def test_only_touched(upload: Upload, fill: Fill, database: Database, environment: Callable[..., None]) -> None:
    folder = fill(one=100, large=17 * MIB)
    upload(folder)
    unplug(environment)
    for name in ("one.jpg", "large.jpg"):
        os.utime(folder / name, ns=(0, 1_000_000_007))
    assert ended(upload(folder)) == {"unchanged": 2}
    with database.session() as session:
        assert session.scalars(text("SELECT DISTINCT mtime_ns FROM app.files")).all() == [1_000_000_007]


def edit(file: Path) -> None:
    """Give a file other content, and keep its size and times to the nanosecond, as metadata editors do."""
    status = file.stat()
    file.write_bytes(os.urandom(status.st_size))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("option", ["--checksum", "--force"])
@pytest.mark.parametrize("size", [1, 70_000, 17 * MIB])
def test_edit_that_keeps_size_and_time(
    option: str, size: int, upload: Upload, fill: Fill, database: Database, object_store: ObjectStore
) -> None:
    folder = fill(edited=size)
    upload(folder)
    edit(folder / "edited.jpg")
    assert ended(upload(folder)) == {"unchanged": 1}
    foreseen = upload(folder, option, "--dry-run")
    real = upload(folder, option)
    assert ended(foreseen) == ended(real) == {"uploaded": 1}
    assert foreseen.data["new_versions"] == real.data["new_versions"] == 1
    checker.check(database, object_store, checker.tree(folder))


def test_checksum_uploads_only_what_differs(
    upload: Upload, fill: Fill, database: Database, object_store: ObjectStore, environment: Callable[..., None]
) -> None:
    folder = fill(same=100, touched=100, edited=100, longer=100, empty=0)
    upload(folder)
    edit(folder / "edited.jpg")
    os.utime(folder / "touched.jpg", ns=(0, 7))
    fill(longer=101, new=5)
    assert ended(upload(folder, "--checksum")) == {"uploaded": 3, "unchanged": 3}
    checker.check(database, object_store, checker.tree(folder))
    unplug(environment)
    assert ended(upload(folder, "--checksum")) == {"unchanged": 6}


def test_checksum_reports_what_it_cannot_read(upload: Upload, fill: Fill, deny: Callable[..., None]) -> None:
    folder = fill(open=10, closed=10)
    upload(folder)
    deny(folder / "closed.jpg")
    assert ended(upload(folder)) == {"unchanged": 2}
    assert ended(upload(folder, "--checksum", expect=3)) == {"unchanged": 1, "failed": 1}


def test_force_uploads_everything_and_counts_every_version(
    upload: Upload, fill: Fill, database: Database, object_store: ObjectStore
) -> None:
    folder = fill(one=100, two=200)
    upload(folder / "one.jpg")
    done = upload(folder, "--force")
    assert ended(done) == {"uploaded": 2}
    assert done.data["new_versions"] == 1
    checker.check(database, object_store, checker.tree(folder))
    with database.session() as session:
        assert session.scalar(text("SELECT used FROM app.pods")) == 400
    set_capacity(database, 500)
    assert ended(upload(folder, "--force", expect=3)) == {"uploaded": 1, "refused": 1}
    assert upload(folder, "--force", "--checksum", expect=2).out == ""


def test_force_replaces_a_missing_object(upload: Upload, fill: Fill, run: Run, object_store: ObjectStore) -> None:
    folder = fill(one=100)
    upload(folder)
    object_store.delete([entry.key for entry in object_store.list("")])
    run("files", "verify", "--owner", OWNER, expect=12)
    assert ended(upload(folder, "--force")) == {"uploaded": 1}
    run("files", "verify", "--read", "--owner", OWNER)


def test_large_file_in_parts(upload: Upload, fill: Fill, database: Database, object_store: ObjectStore) -> None:
    folder = fill(film=40 * MIB, other=16 * MIB, small=16 * MIB - 1)
    assert ended(upload(folder)) == {"uploaded": 3}
    checker.check(database, object_store, checker.tree(folder))
    with database.session() as session:
        rows = session.execute(text("SELECT size, part_size, etag, md5 FROM app.versions ORDER BY size")).all()
    assert [row.part_size for row in rows] == [None, PART, PART]
    for row in rows:
        assert row.etag == row.md5.hex()
    body = (folder / "film.jpg").read_bytes()
    assert rows[2].md5 == hashlib.md5(body, usedforsecurity=False).digest()
    assert buckets.unfinished_uploads(object_store.location) == []


def test_any_setting_of_the_large_size(
    upload: Upload, fill: Fill, database: Database, object_store: ObjectStore
) -> None:
    folder = fill(empty=0, one=10, two=2 * MIB)
    assert ended(upload(folder, "--set", "large_file_size=0")) == {"uploaded": 3}
    checker.check(database, object_store, checker.tree(folder))
    many = fill("many", **{f"body{number}": 30 * MIB for number in range(5)})
    assert ended(upload(many, "--set", "large_file_size=1TiB")) == {"uploaded": 5}


def test_more_than_a_batch(upload: Upload, fill: Fill, database: Database, object_store: ObjectStore) -> None:
    folder = fill(**{f"n{number}": number % 7 for number in range(2300)})
    assert ended(upload(folder)) == {"uploaded": 2300}
    checker.books(database)
    assert len(list(object_store.list(""))) == 2300
    with database.session() as session:
        assert session.scalar(text("SELECT count(*) FROM app.files WHERE version_id IS NOT NULL")) == 2300


def test_names_of_any_bytes(upload: Upload, fill: Fill, database: Database, object_store: ObjectStore) -> None:
    folder = fill()
    for name in (b"caf\xe9.jpg", b"two\nlines.jpg", b"back\\slash.jpg", b"\xff" * 255, b" .jpg", "写真.jpg".encode()):
        (folder / os.fsdecode(name)).write_bytes(name)
    assert ended(upload(folder)) == {"uploaded": 6}
    checker.check(database, object_store, checker.tree(folder))
    assert ended(upload(folder)) == {"unchanged": 6}


def test_prefix(upload: Upload, fill: Fill, database: Database, object_store: ObjectStore) -> None:
    folder = fill(one=10)
    upload(folder, "--prefix", "/2026//holiday/")
    upload(folder)
    expected = checker.tree(folder, prefix=b"2026/holiday/") | checker.tree(folder)
    checker.check(database, object_store, expected)
    assert upload(folder, "--prefix", "../up", expect=2).out == ""


ODD = [
    b"tab\there",
    b"x\\x41y",
    b"\xff",
    b"\\xff",
    b"back\\slash",
    b"a\\\\b",
    b"\\",
    b"caf\xc3",
    b" -o",
    "é/\u202e".encode(),
]


@pytest.mark.parametrize("prefix", ODD)
def test_prefix_is_escaped_as_paths_are(
    prefix: bytes, run: Run, upload: Upload, fill: Fill, database: Database, object_store: ObjectStore, tmp_path: Path
) -> None:
    folder, typed = fill(one=10), os.fsdecode(prefix)
    assert ended(upload(folder, f"--prefix={typed}", "--dry-run")) == {"uploaded": 1}
    assert ended(upload(folder, f"--prefix={typed}")) == {"uploaded": 1}
    assert ended(upload(folder, f"--prefix={typed}/")) == {"unchanged": 1}
    checker.check(database, object_store, checker.tree(folder, prefix=prefix + b"/"))
    # The same file as from a folder of that name.
    (tmp_path / "above" / typed).mkdir(parents=True)
    (tmp_path / "above" / typed / "one.jpg").write_bytes((folder / "one.jpg").read_bytes())
    assert ended(upload(tmp_path / "above")) == {"unchanged": 1}
    named = run("files", "show", f"--owner={OWNER}", "-o", "json", "--", f"{typed}/one.jpg").data
    assert paths.decode(named["path"]) == prefix + b"/one.jpg"
    assert run("files", "show", f"--owner={OWNER}", "-o", "json", "--", named["path"]).data == named
    run("files", "download", f"--owner={OWNER}", "--to", tmp_path / "out", "-o", "json")
    assert checker.tree(tmp_path / "out") == checker.tree(folder, prefix=prefix + b"/")


def test_path_as_in_output_takes_precedence(run: Run, upload: Upload, fill: Fill) -> None:
    folder = fill(one=10)
    upload(folder, "--prefix", os.fsdecode(b"\xff"))
    upload(folder, "--prefix", "\\xff")
    assert run("files", "show", "\\xff/one.jpg", "--owner", OWNER, "-o", "json").data["path"] == "\\xff/one.jpg"
    # Between the quotes of JSON, this is how the other one is written.
    run("files", "show", "\\\\xff/one.jpg", "--owner", OWNER, expect=7)


def test_prefix_that_is_too_long(upload: Upload, fill: Fill) -> None:
    assert "longer than 2048 bytes" in upload(fill(one=10), "--prefix", "é" * 1024, expect=2).error["message"]


def test_several_sources(upload: Upload, fill: Fill, database: Database, object_store: ObjectStore) -> None:
    one, two = fill("one", a=10), fill("two", b=20)
    (two / "a.jpg").write_bytes(b"also a")
    single = fill("three", c=5) / "c.jpg"
    result = upload(one, two, single, expect=3)
    assert ended(result) == {"uploaded": 3, "refused": 1}
    (two / "a.jpg").unlink()
    checker.check(database, object_store, checker.tree(one, two, single.parent))


def test_content_types(upload: Upload, fill: Fill, database: Database) -> None:
    folder = fill()
    (folder / "photo.bin").write_bytes(b"\xff\xd8\xff\xe0" + bytes(20))
    (folder / "list.m3u8").write_bytes(b"#EXTM3U")
    (folder / "film.bin").write_bytes(b"\0\0\0\x20ftypisom" + bytes(17 * MIB))
    (folder / "what").write_bytes(b"\0")
    upload(folder)
    with database.session() as session:
        rows = session.execute(text("SELECT f.path, f.content_type FROM app.files AS f ORDER BY 1")).all()
        assert (
            session.scalar(
                text(
                    "SELECT count(*) FROM app.versions AS v JOIN app.files AS f ON f.version_id = v.id "
                    "AND f.content_type = v.content_type"
                )
            )
            == 4
        )
    assert rows == [
        ("film.bin", "video/mp4"),
        ("list.m3u8", "application/vnd.apple.mpegurl"),
        ("photo.bin", "image/jpeg"),
        ("what", "application/octet-stream"),
    ]


# What does not


def test_links_sockets_and_pipes_are_skipped(upload: Upload, fill: Fill, tmp_path: Path) -> None:
    folder = fill(one=10)
    (folder / "link").symlink_to("one.jpg")
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket"))
        result = upload(folder, "--results", tmp_path / "results.jsonl")
    assert ended(result) == {"uploaded": 1, "skipped": 3}
    assert {
        line["path"]: line["error"] for line in lines(tmp_path / "results.jsonl") if line["result"] == "skipped"
    } == {
        "link": "a symbolic link is not followed",
        "pipe": "a named pipe is not a file",
        "socket": "a socket is not a file",
    }


def test_what_was_named_is_uploaded_or_refused(
    upload: Upload, fill: Fill, tmp_path: Path, database: Database, object_store: ObjectStore
) -> None:
    folder = fill(one=10)
    (tmp_path / "disk").mkdir()
    (tmp_path / "latest.jpg").symlink_to(folder / "one.jpg")
    os.mkfifo(tmp_path / "pipe")
    for alone in (tmp_path / "pipe", Path(os.devnull), tmp_path / "disk"):
        assert ended(upload(alone, expect=3)) == {"refused": 1}
    named = (tmp_path / "latest.jpg", tmp_path / "pipe", tmp_path / "disk")
    assert ended(upload(*named, "--dry-run", expect=3)) == {"uploaded": 1, "refused": 2}
    assert ended(upload(*named, "--results", tmp_path / "results.jsonl", expect=3)) == {"uploaded": 1, "refused": 2}
    assert {line["path"] for line in lines(tmp_path / "results.jsonl")} == {
        "latest.jpg",
        "pipe",
        str(tmp_path / "disk"),
    }
    checker.check(database, object_store, {b"latest.jpg": checker.tree(folder)[b"one.jpg"]})
    assert ended(upload(tmp_path / "disk", "--allow-empty")) == {}
    assert ended(upload(tmp_path / "latest.jpg")) == {"unchanged": 1}


def test_results_are_not_part_of_what_they_are_about(upload: Upload, fill: Fill) -> None:
    folder = fill(one=10, two=20)
    for _ in range(2):
        assert ended(upload(folder, "--results", folder / "results.jsonl"))["skipped"] == 1
    assert {line["path"] for line in lines(folder / "results.jsonl")} == {"one.jpg", "two.jpg", "results.jsonl"}
    assert ended(upload(folder, "--results", folder / "results.jsonl", "--dry-run"))["skipped"] == 1
    for file in (folder / "two.jpg", folder, folder / "absent" / "results.jsonl"):
        refused = upload(folder / "one.jpg", folder / "two.jpg", "--results", file, expect=2)
        assert (refused.error["code"], (folder / "two.jpg").stat().st_size) == ("invalid-value", 20)


def test_a_file_whose_size_is_not_told_is_not_taken_as_empty(upload: Upload) -> None:
    failed = upload("/proc/self/status", expect=3)
    assert ended(failed) == {"failed": 1}
    assert "--stdin-name" in failed.error["message"]


@pytest.fixture
def deny(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Keep files from being opened and folders from being listed; permissions would not, where root runs the tests."""

    def call(*places: Path) -> None:
        denied = {os.fsencode(place) for place in places}

        def guarded(real: Callable[..., object]) -> Callable[..., object]:
            def call(place: bytes, *arguments: object) -> object:
                if place in denied:
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
                return real(place, *arguments)

            return call

        monkeypatch.setattr(os, "open", guarded(os.open))
        monkeypatch.setattr(os, "scandir", guarded(os.scandir))

    return call


@pytest.mark.parametrize("size", [70_000, 17 * MIB])
def test_what_may_not_be_read_fails_alone(
    size: int,
    upload: Upload,
    fill: Fill,
    deny: Callable[..., None],
    tmp_path: Path,
    database: Database,
    object_store: ObjectStore,
) -> None:
    folder = fill(open=10, closed=size)
    (folder / "sub").mkdir()
    (folder / "sub" / "deep.txt").write_text("deep")
    (folder / "private").mkdir()
    deny(folder / "closed.jpg", folder / "private")
    assert ended(upload(folder, "--dry-run", expect=3)) == {"uploaded": 2, "failed": 2}
    result = upload(folder, "--results", tmp_path / "results.jsonl", expect=3)
    assert ended(result) == {"uploaded": 2, "failed": 2}
    assert {
        line["path"]: line["error"] for line in lines(tmp_path / "results.jsonl") if line["result"] == "failed"
    } == {
        "closed.jpg": "permission denied",
        "private": "permission denied",
    }
    everything = checker.tree(folder)
    checker.check(database, object_store, {name: everything[name] for name in (b"open.jpg", b"sub/deep.txt")})


def test_results_add_up(upload: Upload, fill: Fill, tmp_path: Path, database: Database, home: Home) -> None:
    folder = fill(one=10, two=20, large=17 * MIB)
    (folder / "link").symlink_to("one.jpg")
    upload(folder / "one.jpg")
    result = upload(folder, "--results", tmp_path / "results.jsonl", "--set", "max_file_size=1MiB", expect=3)
    written = lines(tmp_path / "results.jsonl")
    assert (
        Counter(line["result"] for line in written)
        == ended(result)
        == {
            "uploaded": 1,
            "unchanged": 1,
            "skipped": 1,
            "refused": 1,
        }
    )
    assert sum(line["size"] for line in written) == result.data["planned_size"]
    (two,) = (line for line in written if line["result"] == "uploaded")
    assert two["sha256"] == hashlib.sha256((folder / "two.jpg").read_bytes()).hexdigest()
    with database.session() as session:
        key = session.scalar(text("SELECT v.key FROM app.versions AS v WHERE v.file_id = :file"), {"file": two["file"]})
        totals = session.scalar(text("SELECT totals FROM app.runs ORDER BY id DESC LIMIT 1"))
    assert two["key"] == key
    assert {name: count for name, count in totals.items() if count} == ended(result)


def test_too_large(upload: Upload, fill: Fill, database: Database, object_store: ObjectStore) -> None:
    folder = fill(fits=100, exceeds=101)
    result = upload(folder, "--set", "max_file_size=100", expect=3)
    assert ended(result) == {"uploaded": 1, "refused": 1}
    (folder / "fits.jpg").unlink()
    assert ended(upload(folder, "--set", "max_file_size=100", expect=8)) == {"refused": 1}


@pytest.mark.parametrize("size", [70_000, 17 * MIB])
def test_file_that_changes_after_the_scan(
    size: int, drive: Drive, upload: Upload, fill: Fill, database: Database, object_store: ObjectStore
) -> None:
    folder = fill(steady=10, restless=size)
    done = drive(folder, Meddler(when_planned=lambda: os.utime(folder / "restless.jpg", ns=(0, 7))))
    assert (done.uploaded, done.changed, done.planned) == (1, 1, 2)
    checker.check(database, object_store, {b"steady.jpg": checker.tree(folder)[b"steady.jpg"]})
    assert ended(upload(folder)) == {"uploaded": 1, "unchanged": 1}
    checker.check(database, object_store, checker.tree(folder))


def test_file_that_changes_while_it_is_read(
    drive: Drive, fill: Fill, database: Database, object_store: ObjectStore
) -> None:
    folder = fill(film=100 * MIB)
    done = drive(folder, Meddler(when_moved=lambda: os.utime(folder / "film.jpg", ns=(0, 7))))
    assert (done.uploaded, done.changed) == (0, 1)
    checker.check(database, object_store, {})
    assert buckets.unfinished_uploads(object_store.location) == []


def test_many_large_files_that_shrink(drive: Drive, fill: Fill, database: Database, object_store: ObjectStore) -> None:
    folder = fill(**{f"film{number}": 17 * MIB for number in range(6)}, last=10)

    def shrink() -> None:
        for film in folder.glob("film*"):
            status = film.stat()
            os.truncate(film, MIB)
            os.utime(film, ns=(0, status.st_mtime_ns))

    done = drive(folder, Meddler(when_planned=shrink))
    assert (done.uploaded, done.changed) == (1, 6)
    checker.books(database)


def test_file_that_gets_shorter_while_it_is_read(
    drive: Drive, fill: Fill, database: Database, object_store: ObjectStore
) -> None:
    folder = fill(**{f"film{number}": 100 * MIB for number in range(5)})

    def shrink() -> None:
        for film in folder.iterdir():
            os.truncate(film, 20 * MIB)

    done = drive(folder, Meddler(when_moved=shrink))
    assert done.changed == 5
    checker.books(database)


@pytest.mark.parametrize("size", [70_000, 17 * MIB])
def test_file_that_vanishes(size: int, drive: Drive, fill: Fill, database: Database, object_store: ObjectStore) -> None:
    folder = fill(steady=10, fleeting=size)
    done = drive(folder, Meddler(when_planned=lambda: (folder / "fleeting.jpg").unlink()))
    assert (done.uploaded, done.failed) == (1, 1)
    checker.check(database, object_store, checker.tree(folder))
    with database.session() as session:
        failed = session.execute(text("SELECT upload_status, error FROM app.files WHERE version_id IS NULL")).all()
    assert failed == [("failed", "it vanished")]


def test_new_version_that_fails_keeps_the_old(
    drive: Drive, upload: Upload, fill: Fill, database: Database, object_store: ObjectStore
) -> None:
    folder = fill(one=10)
    upload(folder)
    before = checker.tree(folder)
    fill(one=11)
    assert drive(folder, Meddler(when_planned=lambda: (folder / "one.jpg").unlink())).failed == 1
    checker.check(database, object_store, before)


def test_stops_after_failures(drive: Drive, fill: Fill, database: Database, object_store: ObjectStore) -> None:
    folder = fill(**{f"n{number}": 10 for number in range(3000)})

    def remove() -> None:
        for file in folder.iterdir():
            file.unlink()

    with pytest.raises(errors.StoppedAfter):
        drive(folder, Meddler(when_planned=remove), stop_after=5)
    checker.check(database, object_store, {})


# Who may not


def test_who_may_not_upload(run: Run, upload: Upload, fill: Fill, database: Database) -> None:
    folder = fill(one=10)
    with database.session() as session:
        make_user(session, "bob@example.com")
        make_user(session, "eve@example.com", status="disabled")
    for owner, pod, status in (
        ("bob@example.com", "films", 5),
        ("eve@example.com", "films", 5),
        ("nobody@example.com", "films", 6),
        ("ada@example.com", "absent", 6),
    ):
        run("files", "upload", folder, "--pod", pod, "--owner", owner, expect=status)
    upload(folder / "absent", expect=6)
    upload("", expect=2)
    with database.session() as session:
        assert session.scalar(text("SELECT count(*) FROM app.files")) == 0
    checker.books(database)


def test_default_pod(run: Run, fill: Fill, home: Home, database: Database) -> None:
    run("files", "upload", fill(one=10), "--owner", "ada@example.com", expect=7)
    with database.session() as session:
        session.execute(text("UPDATE app.pod_grants SET is_default = true"))
    run("files", "upload", fill(one=10), "--owner", "ada@example.com")


# Limits


def test_full_pod(upload: Upload, fill: Fill, database: Database, object_store: ObjectStore) -> None:
    folder = fill(one=100)
    set_capacity(database, 99)
    result = upload(folder, expect=8)
    assert ended(result) == {"refused": 1}
    with database.session() as session:
        assert session.scalar(text("SELECT count(*) FROM app.files")) == 0
    set_capacity(database, 100)
    assert ended(upload(folder)) == {"uploaded": 1}
    checker.check(database, object_store, checker.tree(folder))


def test_last_bytes_are_usable(upload: Upload, fill: Fill, database: Database, object_store: ObjectStore) -> None:
    folder = fill(**{f"n{number}": 1000 + number for number in range(50)})
    size = sum(1000 + number for number in range(50))
    set_capacity(database, size)
    assert ended(upload(folder)) == {"uploaded": 50}
    checker.check(database, object_store, checker.tree(folder))
    fill(empty=0, more=1)
    assert ended(upload(folder, expect=3)) == {"uploaded": 1, "unchanged": 50, "refused": 1}
    checker.books(database)


def test_what_fits_goes_up_where_something_does_not(upload: Upload, fill: Fill, database: Database) -> None:
    folder = fill(one=100, two=200, three=900)
    set_capacity(database, 300)
    assert ended(upload(folder, expect=3)) == {"uploaded": 2, "refused": 1}
    assert ended(upload(folder, expect=8)) == {"unchanged": 2, "refused": 1}


@pytest.mark.parametrize("limit", ["storage_limit", "upload_limit"])
def test_quota(limit: str, upload: Upload, fill: Fill, database: Database, home: Home, tmp_path: Path) -> None:
    with database.session() as session:
        session.execute(text(f"UPDATE app.plans SET {limit} = 150"))
    folder = fill(one=100, two=100)
    result = upload(folder, "--results", tmp_path / "results.jsonl", expect=3)
    assert ended(result) == {"uploaded": 1, "refused": 1}
    (refused,) = (line for line in lines(tmp_path / "results.jsonl") if line["result"] == "refused")
    assert str(refused["error"]).startswith(
        f"the {limit.split('_')[0]} quota of ada@example.com is too small: 50 B free"
    )
    assert ended(upload(folder, expect=8)) == {"unchanged": 1, "refused": 1}
    checker.books(database)


# The plan


def test_dry_run_predicts_and_writes_nothing(
    upload: Upload, fill: Fill, database: Database, object_store: ObjectStore, tmp_path: Path
) -> None:
    folder = fill(held=50, changes=60)
    upload(folder)
    fill(changes=61, new=70, huge=5000, empty=0, large=900)
    (folder / "link").symlink_to("new.jpg")
    os.utime(folder / "held.jpg", ns=(0, 5))
    set_capacity(database, 1000)
    before, keys = tables(database), list(object_store.list(""))
    foreseen = upload(folder, "--dry-run", "--results", tmp_path / "results.jsonl", expect=3)
    assert (tables(database), list(object_store.list(""))) == (before, keys)
    assert not (tmp_path / "results.jsonl").exists()
    real = upload(folder, expect=3)
    unlike = {"run", *(name for name in real.data if name.endswith("seconds"))}
    assert {name: count for name, count in foreseen.data.items() if name not in unlike} == {
        name: count for name, count in real.data.items() if name not in unlike
    }
    assert foreseen.json["changed"] == real.json["changed"]
    assert real.data["refused"] >= 1


def test_dry_run_that_breaks_off_says_that_nothing_was_changed(upload: Upload, fill: Fill, database: Database) -> None:
    folder = fill(a=5)
    with database.session() as session:
        session.execute(text("LOCK TABLE app.files IN ACCESS EXCLUSIVE MODE"))
        failed = upload(folder, "--dry-run", "--set", "lock_timeout=0.1", expect=10)
    assert failed.error["fix"].startswith("nothing was changed; ")


# Repeating


def test_deleted_file_goes_up_again(
    upload: Upload, fill: Fill, run: Run, database: Database, object_store: ObjectStore
) -> None:
    folder = fill(one=10)
    upload(folder)
    with database.session() as session:
        session.execute(text("UPDATE app.files SET deleted_at = now()"))
    assert ended(upload(folder)) == {"uploaded": 1}
    checker.check(database, object_store, checker.tree(folder))


# What is printed


def test_quiet_prints_nothing(run: Run, home: Home, fill: Fill) -> None:
    folder = fill(one=10)
    done = run("files", "upload", folder, "--pod", "films", "--owner", "ada@example.com", "--quiet")
    assert (done.out, done.err) == ("", "")


def test_quiet_still_tells_of_trouble(run: Run, home: Home, fill: Fill, database: Database) -> None:
    set_capacity(database, 5)
    done = run("files", "upload", fill(one=10), "--pod", "films", "--owner", "ada@example.com", "--quiet", expect=8)
    assert "one.jpg: refused: pod films has too little space: 5 B free, 10 B needed" in done.err


def test_one_document(upload: Upload, fill: Fill) -> None:
    result = upload(fill(one=10))
    assert result.out.count("\n") == 1
    assert result.err == ""
    assert result.json["schema"] == "dumacle.files.upload.v1"


def test_a_heartbeat_at_the_end_leaves_no_connection(
    upload: Upload, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What returned its connection after the others were closed left it open."""
    beating, finish = threading.Event(), Recorder.finish

    def beat(database: Database, *_: object) -> None:
        with database.session():
            beating.set()
            time.sleep(1.5)

    def finish_meanwhile(recorder: Recorder) -> None:
        assert beating.wait(10)
        finish(recorder)

    monkeypatch.setattr(runs, "keep_alive", beat)
    monkeypatch.setattr(engine, "HEARTBEAT", 1)
    monkeypatch.setattr(Recorder, "finish", finish_meanwhile)
    upload(fill(one=10))
    for thread in threading.enumerate():
        if thread.name == "heartbeat":
            thread.join()
    # Here Python would warn of a connection that nobody closed.
    gc.collect()
