"""Same content of one owner in one pod is stored once, and stays as long as a file has it."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.objects import Location
from dumacle_cli.errors import Conflict
from dumacle_cli.local.process import wait
from dumacle_cli.services import purge
from dumacle_cli.store import models, schema
from dumacle_cli.store.database import Database
from tests import buckets, factories
from tests.conftest import Result, Run
from tests.ingest import checker
from tests.ingest.conftest import Drive, Fill, Meddler
from tests.ingest.test_join import SECONDS, begin, end
from tests.processes import Begin, program

__all__ = ["begin", "program"]
pytestmark = pytest.mark.integration
Upload = Callable[..., Result]
MIB = 1024**2
ADA = ("--owner", "ada@example.com")
OLD = ("--older-than", "0s", "--yes")


@pytest.fixture
def dedupe(upload: Upload) -> Upload:
    """Upload into the pod, and send no content twice."""
    return lambda *arguments, **values: upload(*arguments, "--dedupe", **values)


def counts(result: Result) -> tuple[int, int]:
    """How many files were uploaded, and how many of them were not sent."""
    return result.data["uploaded"], result.data["deduplicated"]


def twins(folder: Path, *names: str, size: int = 5000) -> bytes:
    """Write one content to several files."""
    body = os.urandom(size)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)
    return body


def keys(object_store: ObjectStore) -> set[str]:
    return {entry.key for entry in object_store.list("")}


def key_of(run: Run, path: str, owner: str = "ada@example.com") -> str:
    return str(run("files", "show", path, "--owner", owner, "-o", "json").data["key"])


def rows(database: Database, query: str) -> list[Any]:
    with database.session() as session:
        return list(session.execute(text(query)))


# What is stored once


@pytest.mark.parametrize("size", [9, 5000, 17 * MIB])
def test_twins_in_one_run(
    size: int, dedupe: Upload, fill: Fill, tmp_path: Path, database: Database, object_store: ObjectStore, run: Run
) -> None:
    folder = fill(other=size, more=size + 1)
    twins(folder, "a.jpg", "b/c.txt", "d.jpg", size=size)
    results = tmp_path / "results.jsonl"
    done = dedupe(folder, "--results", results)
    assert counts(done) == (5, 2)
    assert done.data["uploaded_size"] == 5 * size + 1
    assert len(keys(object_store)) == 3
    checker.check(database, object_store, checker.tree(folder))
    checker.once(database)
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    shared = [line for line in lines if line["path"] in ("a.jpg", "b/c.txt", "d.jpg")]
    assert sorted(line["deduplicated"] for line in shared) == [False, True, True]
    assert len({(line["key"], line["sha256"]) for line in shared}) == 1
    assert run("files", "show", "b/c.txt", *ADA, "-o", "json").data["content_type"] == "text/plain"
    run("files", "verify", "--read", *ADA)
    run("pods", "check")
    assert dedupe(folder).data["unchanged"] == 5


def test_without_the_option_everything_is_sent(upload: Upload, fill: Fill, object_store: ObjectStore) -> None:
    folder = fill()
    twins(folder, "a", "b")
    assert counts(upload(folder)) == (2, 0)
    assert len(keys(object_store)) == 2


def test_twins_in_several_batches(dedupe: Upload, fill: Fill, database: Database, object_store: ObjectStore) -> None:
    """The first is in a batch of its own size, and is not hashed before it is sent."""
    folder = fill(**{f"n{number:04}": 10 + number for number in range(300)})
    twins(folder, *(f"{place}/{number}" for place in ("a", "n", "z") for number in range(70)))
    done = dedupe(folder, "--concurrency", "4")
    assert counts(done) == (510, 209)
    assert len(keys(object_store)) == 301
    checker.check(database, object_store, checker.tree(folder))


def test_twin_of_an_earlier_run(dedupe: Upload, fill: Fill, database: Database, object_store: ObjectStore) -> None:
    first = fill("first", other=70)
    body = twins(first, "a.jpg", size=17 * MIB)
    assert counts(dedupe(first)) == (2, 0)
    second = fill("second")
    (second / "copy.jpg").write_bytes(body)
    assert counts(dedupe(second)) == (1, 1)
    assert len(keys(object_store)) == 2
    checker.check(database, object_store, checker.tree(first, second))


def test_a_changed_file_becomes_what_another_is(
    dedupe: Upload, fill: Fill, database: Database, object_store: ObjectStore, run: Run
) -> None:
    folder = fill(a=400, b=300)
    dedupe(folder)
    shutil.copy(folder / "a.jpg", folder / "b.jpg")
    done = dedupe(folder)
    assert (counts(done), done.data["new_versions"]) == ((1, 1), 1)
    checker.check(database, object_store, checker.tree(folder))
    twins(folder, "a.jpg", size=500)
    assert counts(dedupe(folder)) == (1, 0)
    run("files", "purge", *OLD)
    assert b"".join(object_store.get(key_of(run, "b.jpg"))) == (folder / "b.jpg").read_bytes()
    assert len(keys(object_store)) == 2
    run("pods", "check")


def test_empty_files_are_sent(dedupe: Upload, fill: Fill, object_store: ObjectStore) -> None:
    assert counts(dedupe(fill(a=0, b=0))) == (2, 0)
    assert len(keys(object_store)) == 2


def test_every_file_counts(upload: Upload, fill: Fill, database: Database) -> None:
    folder = fill()
    twins(folder, "a", "b", "c", size=100)
    with database.session() as session:
        session.execute(text("UPDATE app.pods SET capacity = 250"))
    done = upload(folder, "--dedupe", expect=3)
    assert (counts(done), done.data["refused"]) == ((2, 1), 1)
    checker.books(database)


def test_what_the_pod_does_not_take_is_refused(drive: Drive, fill: Fill, database: Database) -> None:
    folder = fill()
    twins(folder, "a", "b")
    with database.session() as session:
        session.execute(text("UPDATE app.pods SET allowed_types = ARRAY['image/*']"))
    assert drive(folder, Meddler(), dedupe=True).refused == 2


def test_dry_run_reads_nothing(dedupe: Upload, fill: Fill, database: Database) -> None:
    folder = fill()
    twins(folder, "a", "b")
    assert counts(dedupe(folder, "--dry-run")) == (2, 0)
    assert rows(database, "SELECT id FROM app.files") == []


def test_force_sends_everything(upload: Upload, fill: Fill) -> None:
    assert upload(fill(a=1), "--dedupe", "--force", expect=2).error["code"] == "usage-error"


def test_sources_are_deleted_only_where_they_were_sent(dedupe: Upload, fill: Fill, run: Run) -> None:
    folder = fill()
    twins(folder, "a", "b")
    done = dedupe(folder, "--delete-source", "--yes", expect=3)
    assert (done.data["sources_deleted"], done.data["sources_kept"]) == (1, 1)
    assert len(list(folder.iterdir())) == 1
    run("files", "verify", *ADA)
    dedupe(folder, "--delete-source", "--yes")
    assert list(folder.iterdir()) == []


def test_contents_are_transcoded_once_for_each_file(dedupe: Upload, fill: Fill, database: Database) -> None:
    folder = fill()
    twins(folder, "a.mp4", "b.mp4")
    assert counts(dedupe(folder, "--transcode", "hls")) == (2, 1)
    assert rows(database, "SELECT count(DISTINCT version_id) FROM app.transcodes") == [(2,)]


# Whose it is


def test_nothing_is_shared_with_other_owners_or_pods(
    dedupe: Upload, run: Run, fill: Fill, database: Database, bucket: Location, object_store: ObjectStore
) -> None:
    with database.session() as session:
        bob, other = factories.make_user(session, "bob@example.com"), factories.make_pod(session, "other", prefix="o")
        session.execute(text("UPDATE app.pods SET bucket = :bucket, prefix = name"), {"bucket": bucket.bucket})
        films = session.get_one(type(other), rows(database, "SELECT id FROM app.pods WHERE name = 'films'")[0][0])
        factories.make_subscription(session, bob, factories.make_plan(session))
        factories.make_grant(session, films, bob)
        ada = rows(database, "SELECT id FROM app.users WHERE email = 'ada@example.com'")[0][0]
        factories.make_grant(session, other, session.get_one(type(bob), ada))
    folder = fill()
    twins(folder, "a", "b")
    assert counts(dedupe(folder)) == (2, 1)
    for owner, pod in (("bob@example.com", "films"), ("ada@example.com", "other")):
        done = run("files", "upload", folder, "--owner", owner, "--pod", pod, "--dedupe", "-o", "json")
        assert counts(done) == (2, 1)
    assert len(keys(object_store)) == 3


def test_a_file_that_was_given_away_keeps_its_object(
    dedupe: Upload, run: Run, fill: Fill, database: Database, object_store: ObjectStore
) -> None:
    with database.session() as session:
        bob = factories.make_user(session, "bob@example.com")
        factories.make_subscription(session, bob, factories.make_plan(session))
        session.execute(
            text("INSERT INTO app.pod_grants (pod_id, user_id) SELECT id, :bob FROM app.pods"), {"bob": bob.id}
        )
    folder = fill()
    body = twins(folder, "a", "b")
    dedupe(folder)
    run("files", "move", "b", *ADA, "--to-owner", "bob@example.com")
    run("users", "purge", "ada@example.com", "--yes")
    assert b"".join(object_store.get(key_of(run, "b", "bob@example.com"))) == body
    assert len(keys(object_store)) == 1


NOT_SHARED = {
    "another owner's": "UPDATE app.files SET owner_id = (SELECT max(id) FROM app.users) WHERE path = 'source'",
    "in another pod": "UPDATE app.files SET pod_id = (SELECT max(id) FROM app.pods) WHERE path = 'source'",
    "of another size": "UPDATE app.versions SET size = 8",
    "found lost": "UPDATE app.files SET lost_version_id = version_id",
    "deleted": "UPDATE app.files SET deleted_at = now() WHERE path = 'source'",
    "replaced": "UPDATE app.files SET version_id = NULL",
    "marked for purging": "UPDATE app.versions SET status = 'purging' WHERE stored_at IS NOT NULL",
    "missing at the primary": "INSERT INTO app.copies (version_id, provider, status)"
    " SELECT id, 'local', 'missing' FROM app.versions WHERE stored_at IS NOT NULL",
    "given up meanwhile": "UPDATE app.versions SET status = 'failed' WHERE stored_at IS NULL",
}


@pytest.mark.parametrize("case", ["the owner's", *NOT_SHARED])
def test_what_the_database_lets_share(case: str, database: Database) -> None:
    with database.session() as session:
        ada, films = factories.make_user(session), factories.make_pod(session)
        source = factories.make_file(session, films, ada, "source", b"content")
        factories.make_user(session), factories.make_pod(session)
        file = factories.make_interrupted(session, factories.make_file(session, films, ada, "new", b""), b"content")
        key = session.scalar(text("SELECT key FROM app.versions WHERE id = :id"), {"id": source.version_id})
        session.execute(text("DELETE FROM app.copies"))
        session.execute(text(NOT_SHARED.get(case, "SELECT 1")))
        share = text("SELECT app.share_objects(ARRAY[CAST(:id AS bigint)], ARRAY[sha256('content')])")
        shared = list(session.scalars(share, {"id": file.id}))
        found = session.execute(
            text("SELECT key = :key, status FROM app.versions WHERE id = :id"), {"id": file.id, "key": key}
        )
        assert (shared, found.one()[0]) == (([], False) if case in NOT_SHARED else ([file.id], True))


# How it goes


def test_the_object_goes_with_the_last_file(
    dedupe: Upload, run: Run, fill: Fill, database: Database, object_store: ObjectStore
) -> None:
    folder = fill()
    body = twins(folder, "a", "b", "c")
    dedupe(folder)
    run("files", "delete", "a", *ADA, "--yes")
    planned = run("files", "purge", *OLD, "--dry-run", "-o", "json").data
    assert run("files", "purge", *OLD, "-o", "json").data == planned | {"skipped": 0}
    run("files", "verify", "--read", *ADA)
    assert b"".join(object_store.get(key_of(run, "b"))) == body
    run("pods", "check")
    run("files", "delete", *ADA, "--yes")
    assert len(keys(object_store)) == 1
    run("files", "purge", *OLD)
    assert keys(object_store) == set()
    run("pods", "check")


def test_an_older_version_keeps_its_object(
    dedupe: Upload, run: Run, fill: Fill, object_store: ObjectStore, database: Database
) -> None:
    folder = fill(b=200)
    body = twins(folder, "a.jpg", size=200)
    shutil.copy(folder / "a.jpg", folder / "c.jpg")
    dedupe(folder)
    twins(folder, "a.jpg", size=300)
    dedupe(folder)
    run("files", "delete", "c.jpg", *ADA, "--yes")
    run("files", "purge", "--older-than", "0s", "--prefix", "c.jpg", *ADA, "--yes")
    first = min(each["id"] for each in run("files", "versions", "a.jpg", *ADA, "-o", "json").data)
    run("files", "restore", "a.jpg", *ADA, "--version", str(first))
    assert b"".join(object_store.get(key_of(run, "a.jpg"))) == body
    run("files", "verify", "--read", *ADA)


@pytest.mark.parametrize("read", [[], ["--read"]])
def test_what_was_lost_is_lost_for_all_and_never_shared(
    read: list[str], dedupe: Upload, run: Run, fill: Fill, database: Database, object_store: ObjectStore
) -> None:
    folder = fill()
    body = twins(folder, "a", "b")
    dedupe(folder)
    lost = key_of(run, "a")
    object_store.delete([lost])
    run("files", "verify", "b", *read, *ADA, expect=12)
    for name in ("c", "d"):
        (folder / name).write_bytes(body)
    done = dedupe(folder)
    assert (counts(done), done.data["new_versions"]) == ((4, 3), 2)
    assert len({key_of(run, name) for name in "abcd"} | {lost}) == 2
    run("files", "verify", "--read", *ADA)
    run("files", "purge", *OLD)
    run("files", "verify", "--read", *ADA)
    assert len(keys(object_store)) == 1


def test_reconcile_finds_every_file_of_a_missing_object(
    dedupe: Upload, run: Run, fill: Fill, object_store: ObjectStore
) -> None:
    folder = fill(other=100)
    twins(folder, "a", "b", "c")
    dedupe(folder)
    assert run("pods", "reconcile", "films", "-o", "json").data == []
    object_store.delete([key_of(run, "a")])
    found = run("pods", "reconcile", "films", "-o", "json", expect=12).data
    assert sorted((each["path"], each["problem"]) for each in found) == [(name, "missing") for name in "abc"]


def test_relocated_files_have_their_bytes(
    dedupe: Upload, run: Run, fill: Fill, database: Database, bucket: Location, object_store: ObjectStore
) -> None:
    folder = fill()
    body = twins(folder, "a", "b", "c")
    dedupe(folder)
    with database.session() as session:
        factories.make_pod(session, "attic", bucket=bucket.bucket, prefix="attic")
        session.execute(
            text("""
                INSERT INTO app.pod_grants (pod_id, user_id) SELECT p.id, u.id FROM app.pods AS p, app.users AS u
                WHERE p.name = 'attic' AND u.email = 'ada@example.com'
            """)
        )
    run("files", "relocate", "--to-pod", "attic", *ADA, "--prefix", "a")
    run("files", "purge", *OLD)
    for name in "abc":
        assert b"".join(object_store.get(key_of(run, name))) == body


# At both providers of a pod


def test_copies_are_shared_as_well(
    dedupe: Upload,
    run: Run,
    fill: Fill,
    bucket: Location,
    object_store: ObjectStore,
    environment: Callable[..., None],
    database: Database,
) -> None:
    second = replace(bucket, provider="s3", bucket=f"{bucket.bucket}-second")
    buckets.create(second)
    environment(
        DUMACLE_S3_ENDPOINT=second.endpoint or "",
        DUMACLE_S3_BUCKET=second.bucket,
        DUMACLE_S3_ACCESS_KEY=second.access_key,
        DUMACLE_S3_SECRET_KEY=second.secret_key,
    )
    run("pods", "update", "films", "--secondary", "s3")
    folder = fill()
    body = twins(folder, "a", "b", size=17 * MIB)
    assert counts(dedupe(folder)) == (2, 1)
    assert run("pods", "replicate", "films", "-o", "json").data["copied"] == 1
    assert rows(database, "SELECT status FROM app.copies") == [("stored",), ("stored",)]
    (folder / "c").write_bytes(body)
    assert counts(dedupe(folder)) == (1, 1)
    assert rows(database, "SELECT count(*) FROM app.copies WHERE status = 'stored'") == [(3,)]
    with ObjectStore(second) as copies:
        assert keys(copies) == keys(object_store)
        assert len(keys(copies)) == 1
        run("pods", "promote", "films")
        run("files", "verify", "--read", *ADA)
        object_store.delete(keys(object_store))
        found = run("pods", "reconcile", "films", "--apply", "-o", "json").data
        assert sorted((each["path"], each["repaired"]) for each in found) == [(name, True) for name in "abc"]
        run("files", "delete", "a", *ADA, "--yes")
        run("files", "purge", *OLD)
        assert keys(copies) == keys(object_store) != set()
        run("files", "delete", *ADA, "--yes")
        run("files", "purge", *OLD)
        assert keys(copies) == keys(object_store) == set()


# At the same time


class Watched(ObjectStore):
    """A store that does something before it deletes objects."""

    before: Callable[[], object] = bool

    def delete(self, keys: Any) -> None:
        """Delete objects."""
        self.before()
        super().delete(keys)


def test_what_is_being_purged_is_not_shared(
    dedupe: Upload, run: Run, fill: Fill, database: Database, bucket: Location, object_store: ObjectStore
) -> None:
    first, second = fill("first"), fill("second")
    body = twins(first, "a")
    (second / "b").write_bytes(body)
    dedupe(first)
    run("files", "delete", "a", *ADA, "--yes")
    done: list[Result] = []
    with Watched(bucket) as watched:
        watched.before = lambda: done.append(dedupe(second))
        purge.run(database, lambda _: watched)
    assert [counts(each) for each in done] == [(1, 0)]
    assert b"".join(object_store.get(key_of(run, "b"))) == body


def test_what_is_being_shared_is_not_purged(
    dedupe: Upload, run: Run, fill: Fill, database: Database, object_store: ObjectStore
) -> None:
    body = twins(fill(), "a", size=10)
    dedupe(fill())
    with database.session() as session:
        pod, owner = session.execute(text("SELECT pod_id, owner_id FROM app.files")).one()
        other = factories.make_file(
            session, session.get_one(models.Pod, pod), session.get_one(models.User, owner), "b", bytes(10)
        )
        unfinished = text("UPDATE app.versions SET status = 'uploading', stored_at = NULL WHERE id = :id")
        session.execute(unfinished, {"id": other.version_id})
        number, sha256 = other.version_id, hashlib.sha256(body).digest()
    with ThreadPoolExecutor(1) as pool, Session(database.engine) as sharing:
        share = text("SELECT app.share_objects(ARRAY[CAST(:id AS bigint)], ARRAY[CAST(:sha256 AS bytea)])")
        assert sharing.scalars(share, {"id": number, "sha256": sha256}).all() == [number]
        run("files", "delete", "a", *ADA, "--yes")
        purging = pool.submit(purge.run, database, lambda _: object_store)
        wait(lambda: waits(database), SECONDS)
        sharing.commit()
        assert purging.result().files == 1
    assert b"".join(object_store.get(key_of(run, "b"))) == body


def waits(database: Database) -> bool:
    return rows(database, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)") == [(True,)]


def test_purges_and_uploads_at_once(
    drive: Drive, run: Run, fill: Fill, database: Database, object_store: ObjectStore
) -> None:
    """Files with few contents come and go: none of those that stay loses its object, and no object is left over."""
    bodies = [os.urandom(900) for _ in range(5)]
    folders = []
    for number in range(8):
        folder = fill(f"set{number}")
        for file in range(40):
            (folder / f"{number}-{file}").write_bytes(bodies[(number + file) % 5])
        folders.append(folder)

    def purged() -> None:
        for number in range(8):
            with database.session() as session:
                session.execute(
                    text("UPDATE app.files SET deleted_at = now() WHERE path LIKE :some AND version_id IS NOT NULL"),
                    {"some": f"{number}-%"},
                )
            purge.run(database, lambda _: object_store)

    def uploaded(mine: list[Path]) -> int:
        return sum(drive(folder, Meddler(), dedupe=True).deduplicated for folder in mine)

    with ThreadPoolExecutor(3) as pool:
        uploads = [pool.submit(uploaded, folders[first::2]) for first in (0, 1)]
        removing = pool.submit(purged)
        shared = sum(each.result() for each in uploads)
        removing.result()
    assert shared > 200
    run("files", "verify", "--read", *ADA)
    purge.run(database, lambda _: object_store)
    stored = {key for (key,) in rows(database, "SELECT key FROM app.versions WHERE status IN ('stored', 'superseded')")}
    assert keys(object_store) == stored
    run("pods", "check")


def test_two_processes_store_each_content_once(
    begin: Begin, fill: Fill, database: Database, object_store: ObjectStore
) -> None:
    folder = fill(**{f"n{number}": 20_000 for number in range(200)})
    for number in range(400):
        shutil.copy(folder / f"n{number % 200}.jpg", folder / f"twin{number}.jpg")
    slow = ("--set", "upload_concurrency=4", "--bandwidth", "700KiB", "--dedupe", "--join")
    for process in [begin(folder, *slow) for _ in range(2)]:
        end(process)
    checker.check(database, object_store, checker.tree(folder))
    assert len(keys(object_store)) == 200
    assert rows(database, "SELECT count(*) FROM app.versions WHERE status <> 'stored'") == [(0,)]


# The schema


def test_the_schema_before_has_no_shared_objects(upload: Upload, run: Run, fill: Fill, owner_url: str) -> None:
    folder = fill()
    twins(folder, "a", "b")
    upload(folder, "--dedupe")
    with pytest.raises(Conflict, match="share objects"):
        schema.downgrade(owner_url, "0025")
    twins(folder, "a")
    twins(folder, "b")
    upload(folder)
    run("files", "purge", *OLD)
    schema.downgrade(owner_url, "0025")
    assert upload(folder, "--dedupe", expect=2).error["code"] == "schema-too-old"
    twins(folder, "a")
    assert counts(upload(folder)) == (1, 0)
    run("files", "purge", *OLD)
    run("files", "verify", *ADA)
    schema.upgrade(owner_url)
    assert counts(upload(fill(c=5000), "--dedupe")) == (1, 0)
