"""A pod with two providers: what is stored gets to both, whatever fails on the way."""

import os
import shlex
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.request import urlopen
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError
from sqlalchemy import text

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.objects import Location
from dumacle_cli.ingest import engine
from dumacle_cli.ingest import upload as upload_module
from dumacle_cli.services import copies, pods, reconcile, relocation, users
from dumacle_cli.services.failover import Failover
from dumacle_cli.store import copies as store
from dumacle_cli.store.database import Database
from dumacle_cli.store.places import Place
from tests import buckets, factories
from tests.clients.conftest import moto
from tests.conftest import Result, Run

__all__ = ["moto"]
pytestmark = pytest.mark.integration

JSON = ("-o", "json")
ADA = "ada@example.com"
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(params=["rclone", "moto"])
def second(request: pytest.FixtureRequest, bucket: Location) -> Location:
    """A bucket at another provider: the same server under another name, and moto's."""
    found = replace(bucket, provider="s3", bucket=f"{bucket.bucket}-second")
    if request.param == "moto":
        found = replace(request.getfixturevalue("moto"), bucket=f"second-{uuid4().hex[:8]}")
    buckets.create(found)
    return found


@pytest.fixture
def pod(run: Run, database: Database, second: Location, bucket: Location, environment: Callable[..., None]) -> str:
    """A pod of ada's without a secondary provider; the settings have the keys to one."""
    with database.session() as session:
        films, ada = factories.make_pod(session, "films", bucket=bucket.bucket), factories.make_user(session, ADA)
        factories.make_grant(session, films, ada)
        factories.make_subscription(session, ada, factories.make_plan(session))
    reach(environment, second)
    return "films"


def reach(environment: Callable[..., None], second: Location, endpoint: str = "") -> None:
    environment(
        DUMACLE_S3_ENDPOINT=endpoint or second.endpoint or "",
        DUMACLE_S3_BUCKET=second.bucket,
        DUMACLE_S3_ACCESS_KEY=second.access_key,
        DUMACLE_S3_SECRET_KEY=second.secret_key,
    )


def upload(run: Run, folder: Path, **bodies: bytes) -> Result:
    folder.mkdir(exist_ok=True)
    for name, body in bodies.items():
        (folder / f"{name}.bin").write_bytes(body)
    return run("files", "upload", folder, "--pod", "films", "--owner", ADA, *JSON)


def contents(location: Location) -> dict[str, bytes]:
    with ObjectStore(location) as objects:
        return {entry.key: b"".join(objects.get(entry.key)) for entry in objects.list("")}


def unfinished(location: Location) -> list[str]:
    with suppress(ClientError):  # rclone's answer where there is none
        return buckets.unfinished_uploads(location)
    return []


def rows(database: Database, query: str) -> list[Any]:
    with database.session() as session:
        return list(session.execute(text(query)))


def due(database: Database) -> None:
    """Let the pauses between attempts be over."""
    with database.session() as session:
        session.execute(text("UPDATE app.copies SET due_at = now()"))
        session.execute(text("UPDATE app.outages SET seen_at = now() - interval '1 hour'"))


def test_what_is_uploaded_is_copied_by_the_worker(
    run: Run, pod: str, second: Location, bucket: Location, database: Database, tmp_path: Path
) -> None:
    made = run("pods", "update", pod, "--secondary", "s3", *JSON).data
    assert (made["secondary"], made["secondary_bucket"]) == ("s3", second.bucket)
    upload(run, tmp_path / "in", small=b"x" * 100, empty=b"", large=os.urandom(2 * copies.PART + 17))
    shown = run("pods", "show", pod, *JSON).data
    assert (shown["copies_waiting"], shown["copies_failed"]) == (3, 0)
    assert shown["copies_waiting_since"]
    assert "copies done" in run("worker", "--once").err
    assert rows(database, "SELECT error FROM app.copies WHERE error IS NOT NULL") == []
    assert contents(second) == contents(bucket)
    assert len(contents(second)) == 3
    assert [row.status for row in rows(database, "SELECT status FROM app.copies")] == ["stored"] * 3
    assert run("pods", "show", pod, *JSON).data["copies_waiting"] == 0
    assert run("worker", "--once").err == ""


def test_what_was_there_before_is_copied_by_replicate(
    run: Run, pod: str, second: Location, bucket: Location, database: Database, tmp_path: Path
) -> None:
    upload(run, tmp_path / "in", a=b"first", b=b"other")
    upload(run, tmp_path / "in", a=b"second content")
    with database.session() as session, ObjectStore(bucket) as objects:
        films, ada = pods.get(session, pod), users.get(session, ADA)
        film = factories.make_file(session, films, ada, "film.mp4", b"film", store=objects)
        bodies = {"master.m3u8": b"#EXTM3U\n", "v0/0.m4s": os.urandom(copies.PART + 5)}
        factories.make_rendition(session, factories.make_transcode(session, film), bodies, store=objects)
    run("pods", "update", pod, "--secondary", "s3")
    assert run("pods", "replicate", pod, "--dry-run", *JSON).data["waiting"] == 5
    assert contents(second) == {}
    done = run("pods", "replicate", pod, "--concurrency", "2", *JSON).data
    assert (done["copied"], done["waiting"], done["failed"]) == (5, 0, 0)
    assert contents(second) == contents(bucket)
    assert len(contents(second)) == 6
    assert run("pods", "replicate", pod, *JSON).json["changed"] is False


def test_a_secondary_that_is_away_is_refused_at_first_and_waited_for_later(
    run: Run,
    pod: str,
    second: Location,
    bucket: Location,
    database: Database,
    tmp_path: Path,
    environment: Callable[..., None],
) -> None:
    reach(environment, second, NOWHERE)
    for verb in (("create", "safe", "--capacity", "1GiB"), ("update", pod)):
        assert NOWHERE in run("pods", *verb, "--secondary", "s3", expect=10).err
    assert [each["name"] for each in run("pods", "list", *JSON).data] == ["films"]
    reach(environment, second)
    run("pods", "update", pod, "--secondary", "s3")
    reach(environment, second, NOWHERE)
    upload(run, tmp_path / "in", a=b"a", b=b"b")
    run("worker", "--once", expect=10)
    shown = run("pods", "show", pod, *JSON).data
    assert (shown["copies_waiting"], shown["copies_failed"]) == (2, 2)
    assert NOWHERE in shown["copies_error"]
    assert "s3 since" in shown["outages"][0]
    found = run("doctor", *JSON, expect=1).data
    assert [(each["status"], each["fix"]) for each in found if each["check"] == "copies"] == [
        ("warning", "dumacle pods replicate films")
    ]
    assert NOWHERE in run("pods", "replicate", pod, expect=10).err
    reach(environment, second)
    assert run("worker", "--once").err == ""  # not before it is due
    due(database)
    run("worker", "--once")
    assert contents(second) == contents(bucket)
    assert run("pods", "show", pod, *JSON).data["outages"] == []


def test_a_damaged_source_is_not_copied(
    run: Run, pod: str, second: Location, bucket: Location, database: Database, tmp_path: Path
) -> None:
    run("pods", "update", pod, "--secondary", "s3")
    upload(run, tmp_path / "in", a=b"12345", b=b"12345", c=os.urandom(copies.PART + 1), d=b"fine")
    query = "SELECT f.path, v.key FROM app.files AS f JOIN app.versions AS v ON v.id = f.version_id"
    keys = {row.path.rpartition("/")[2][0]: row.key for row in rows(database, query)}
    damage = {"a": b"1234", "b": b"12346", "c": b"y" * (copies.PART + 1)}
    with ObjectStore(bucket) as objects:
        for name, body in damage.items():
            factories.put(objects, keys[name], body)
        done = run("pods", "replicate", pod, *JSON, expect=3).data
        assert (done["copied"], done["failed"], done["waiting"]) == (1, 3, 3)
        assert contents(second) == {keys["d"]: b"fine"}
        assert unfinished(second) == []
        for name in damage:
            factories.put(objects, keys[name], (tmp_path / "in" / f"{name}.bin").read_bytes())
    assert run("pods", "replicate", pod, *JSON).data["copied"] == 3


def test_a_killed_copy_is_taken_over(
    run: Run, pod: str, second: Location, bucket: Location, database: Database, tmp_path: Path
) -> None:
    run("pods", "update", pod, "--secondary", "s3")
    upload(run, tmp_path / "in", a=b"x" * (copies.PART + 1))
    [key] = contents(bucket)
    with ObjectStore(second) as objects:
        objects.create_multipart(key, "text/plain")
    with database.session() as session:
        assert len(store.claim(session, 1, 10, 5)) == 1
    with database.session() as session:
        assert store.claim(session, 1, 10, 5) == []
    assert run("worker", "--once").err == ""
    run("pods", "replicate", pod)  # waits until the claim has lapsed
    assert contents(second) == contents(bucket)
    assert unfinished(second) == []


def test_a_claim_that_lapses_while_it_is_looked_at_is_taken_over(
    run: Run, pod: str, second: Location, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("pods", "update", pod, "--secondary", "s3")
    upload(run, tmp_path / "in", a=b"a")
    with database.session() as session:
        assert len(store.claim(session, 1, 10, 1)) == 1
    claim = store.claim

    def slowly(*given: Any) -> list[store.Claimed]:
        claimed = claim(*given)
        if not claimed:
            time.sleep(1.1)
        return claimed

    monkeypatch.setattr(store, "claim", slowly)
    assert run("pods", "replicate", pod, *JSON).data["copied"] == 1
    assert len(contents(second)) == 1


def test_purge_removes_both(
    run: Run, pod: str, second: Location, bucket: Location, tmp_path: Path, environment: Callable[..., None]
) -> None:
    run("pods", "update", pod, "--secondary", "s3")
    upload(run, tmp_path / "in", a=b"a")
    run("worker", "--once")
    run("files", "delete", "--owner", ADA, "--yes", "--max", "10")
    reach(environment, second, NOWHERE)
    run("files", "purge", "--older-than", "0s", "--yes", "--max", "10", expect=10)
    assert contents(bucket) == {}
    assert len(contents(second)) == 1
    reach(environment, second)
    run("files", "purge", "--older-than", "0s", "--yes", "--max", "10")
    assert contents(second) == {}
    run("pods", "check")


def test_reads_fail_over_and_operators_see_it(
    run: Run,
    pod: str,
    second: Location,
    bucket: Location,
    database: Database,
    tmp_path: Path,
    environment: Callable[..., None],
) -> None:
    run("pods", "update", pod, "--secondary", "s3")
    bodies = {"small": b"x" * 100, "large": os.urandom(2 * copies.PART)}
    upload(run, tmp_path / "in", **bodies)
    run("worker", "--once")
    upload(run, tmp_path / "in", late=b"not copied yet")
    environment(DUMACLE_LOCAL_ENDPOINT=NOWHERE, DUMACLE_PATIENCE="0s")
    for name, body in bodies.items():
        got = run("files", "download", f"{name}.bin", "--owner", ADA, "--to", "-")
        assert got.raw == body
    link = run("files", "url", "small.bin", "--owner", ADA, *JSON).data["url"]
    with urlopen(link) as answer:
        assert answer.read() == bodies["small"]
    assert run("files", "download", "late.bin", "--owner", ADA, "--to", "-", expect=10).raw == b""
    assert "local since" in run("pods", "show", pod, *JSON).data["outages"][0]
    assert NOWHERE in run("files", "verify", *JSON, expect=3).data[0]["error"]  # it speaks of the primary only
    environment(DUMACLE_LOCAL_ENDPOINT=bucket.endpoint)
    due(database)
    assert run("files", "download", "late.bin", "--owner", ADA, "--to", "-").raw == b"not copied yet"
    run("worker", "--once")
    assert run("pods", "show", pod, *JSON).data["outages"] == []


def test_a_lost_object_is_read_at_the_secondary(
    run: Run, pod: str, second: Location, bucket: Location, database: Database, tmp_path: Path
) -> None:
    run("pods", "update", pod, "--secondary", "s3")
    upload(run, tmp_path / "in", a=b"precious")
    run("worker", "--once")
    with ObjectStore(bucket) as objects:
        objects.delete(contents(bucket))
    assert run("files", "download", "a.bin", "--owner", ADA, "--to", "-").raw == b"precious"
    link = run("files", "url", "a.bin", "--owner", ADA, *JSON).data["url"]
    assert second.bucket in link
    with ObjectStore(bucket) as lost, ObjectStore(second) as copy:
        reading = Failover(lost, database, lambda _: copy, Place("local", bucket.bucket))
        assert b"".join(reading.get(*contents(second), 3)) == b"cious"  # as a download that continues asks


def bucket_deleted(bucket: Location, environment: Callable[..., None]) -> None:
    with ObjectStore(bucket) as objects:
        objects.delete(contents(bucket))
        objects.request("delete_bucket")


def keys_withdrawn(bucket: Location, environment: Callable[..., None]) -> None:
    environment(DUMACLE_LOCAL_SECRET_KEY="withdrawn")


def emptied(bucket: Location, environment: Callable[..., None]) -> None:
    with ObjectStore(bucket) as objects:
        objects.delete(contents(bucket))


@pytest.mark.parametrize("harm", [bucket_deleted, keys_withdrawn, emptied])
def test_what_a_primary_refuses_or_lost_is_read_at_the_secondary(
    run: Run,
    pod: str,
    second: Location,
    bucket: Location,
    database: Database,
    tmp_path: Path,
    environment: Callable[..., None],
    harm: Callable[..., None],
) -> None:
    run("pods", "update", pod, "--secondary", "s3")
    with database.session() as session, ObjectStore(bucket) as objects:
        film = factories.make_file(session, pods.get(session, pod), users.get(session, ADA), "film", store=objects)
        bodies = {"master.m3u8": b"#EXTM3U\n0.ts\n", "0.ts": b"pictures"}
        transcode = factories.make_transcode(session, film)
        factories.make_rendition(session, transcode, bodies, store=objects, name="hls", kind="hls")
    run("pods", "replicate", pod)
    harm(bucket, environment)
    assert run("files", "download", "film", "--owner", ADA, "--to", "-").raw == b"content"
    with urlopen(run("files", "url", "film", "--owner", ADA, "--rendition", "hls", *JSON).data["url"]) as answer:
        segment = answer.read().decode().split()[-1]
    with urlopen(segment) as answer:
        assert answer.read() == b"pictures"
    assert run("pods", "show", pod, *JSON).data["outages"] == []


def test_no_link_is_made_to_a_rendition_that_both_lost(
    run: Run, pod: str, bucket: Location, database: Database
) -> None:
    with database.session() as session:
        film = factories.make_file(session, pods.get(session, pod), users.get(session, ADA), "film")
        factories.make_rendition(session, factories.make_transcode(session, film), name="hls", kind="hls")
    lost = run("files", "url", "film", "--owner", ADA, "--rendition", "hls", *JSON, expect=12).error
    assert lost["code"] == "object-missing"


def test_an_outage_is_over_when_the_provider_answers_though_nothing_waits(
    run: Run,
    pod: str,
    second: Location,
    bucket: Location,
    database: Database,
    tmp_path: Path,
    environment: Callable[..., None],
) -> None:
    run("pods", "update", pod, "--secondary", "s3")
    upload(run, tmp_path / "in", a=b"precious")
    run("pods", "replicate", pod)
    environment(DUMACLE_LOCAL_ENDPOINT=NOWHERE, DUMACLE_PATIENCE="0s")
    run("files", "download", "a.bin", "--owner", ADA, "--to", "-")
    due(database)
    run("worker", "--once")
    assert "local since" in run("pods", "show", pod, *JSON).data["outages"][0]
    (row,) = rows(database, "SELECT seen_at > now() - interval '1 minute' AS fresh FROM app.outages")
    assert row.fresh
    environment(DUMACLE_LOCAL_ENDPOINT=bucket.endpoint)
    due(database)
    run("worker", "--once")
    assert run("pods", "show", pod, *JSON).data["outages"] == []


def test_what_waits_for_the_primary_is_verified_at_the_secondary(
    run: Run, pod: str, second: Location, bucket: Location, tmp_path: Path, monkeypatch: Any, environment: Any
) -> None:
    monkeypatch.setattr(engine, "FAILOVER_SECONDS", 0.1)
    run("pods", "update", pod, "--secondary", "s3")
    environment(DUMACLE_LOCAL_ENDPOINT=NOWHERE)
    assert upload(run, tmp_path / "in", a=b"precious").data["at_secondary"] == 1
    environment(DUMACLE_LOCAL_ENDPOINT=bucket.endpoint)
    for options in ((), ("--read",)):
        assert [each["result"] for each in run("files", "verify", *options, *JSON).data] == ["verified"]
    assert upload(run, tmp_path / "in", a=b"precious").data["unchanged"] == 1
    run("pods", "replicate", pod)
    emptied(bucket, environment)
    lost = run("files", "verify", *JSON, expect=12).data[0]
    assert (lost["result"], lost["fix"]) == ("missing", "copy it from s3: dumacle pods reconcile films --apply")
    assert lost["fix"] in run("files", "verify", expect=12).err


def commands(heading: str) -> list[list[str]]:
    """The commands of the first block below a heading of docs/operate.md."""
    guide = (Path(__file__).parents[2] / "docs" / "operate.md").read_text()
    block = guide.partition(f"### {heading}\n")[2].partition("\n    ")[2].partition("\n\n")[0]
    return [shlex.split(line)[1:] for line in block.splitlines()]


def test_a_pod_moves_as_the_guide_says(
    run: Run, pod: str, second: Location, bucket: Location, database: Database, tmp_path: Path
) -> None:
    upload(run, tmp_path / "in", a=b"first", b=b"b")
    upload(run, tmp_path / "in", a=b"second content")
    add, replicate, promote, remove = commands("A pod moves to another provider")
    run(*add)
    upload(run, tmp_path / "in", c=b"c")
    refused = run(*promote, *JSON, expect=7).error
    assert "4 objects" in refused["message"]
    assert refused["fix"] == "first: dumacle pods replicate films"
    run(*replicate)
    assert run(*promote, *JSON).data["provider"] == "s3"
    upload(run, tmp_path / "in", d=b"d")  # goes to the new primary, and is copied to the old one
    assert len(contents(second)) == 5
    run("worker", "--once")
    assert contents(bucket) == contents(second)
    run(*remove)
    with ObjectStore(bucket) as objects:
        objects.delete(contents(bucket))
    assert {each["result"] for each in run("files", "verify", *JSON).data} == {"verified"}
    assert run("files", "download", "a.bin", "--owner", ADA, "--to", "-").raw == b"second content"
    assert rows(database, "SELECT FROM app.copies") == []
    shown = run("pods", "show", pod, *JSON).data
    assert (shown["provider"], shown["bucket"], shown["secondary"]) == ("s3", second.bucket, None)


def test_promote_waits_for_work_in_progress(run: Run, pod: str, second: Location, database: Database) -> None:
    run("pods", "promote", pod, expect=7)
    run("pods", "update", pod, "--secondary", "s3")
    busy = {
        "SELECT app.take_lease(p.id, u.id, NULL, 1, 1, 60, now()) FROM app.pods AS p, app.users AS u"
        " WHERE u.email = 'ada@example.com'": "SELECT app.close_lease(id) FROM app.leases",
        "INSERT INTO app.runs (name, pod_id, owner_id, selection_hash, host, pid) SELECT 'r', p.id, u.id, 'h', 'h', 1"
        " FROM app.pods AS p, app.users AS u LIMIT 1": "UPDATE app.runs SET heartbeat_at = now() - interval '1 hour'",
        "INSERT INTO app.runs (name, pod_id, owner_id, selection_hash, host, pid, status, joined_id)"
        " SELECT 'r', pod_id, owner_id, 'h', 'h', 2, 'joined', id FROM app.runs": "UPDATE app.runs SET left_at = now()",
        "WITH f AS (INSERT INTO app.files (pod_id, owner_id, path, size) SELECT p.id, u.id, 'a', 1 FROM app.pods AS p,"
        " app.users AS u LIMIT 1 RETURNING id) INSERT INTO app.versions (file_id, size, key, status, upload_id)"
        " SELECT id, 1, 'k', 'failed', 'u' FROM f": "DELETE FROM app.versions",
    }
    for begin, end in busy.items():
        with database.session() as session:
            session.execute(text(begin))
        assert "in progress" in run("pods", "promote", pod, *JSON, expect=7).error["message"]
        with database.session() as session:
            session.execute(text(end))
    swapped = run("pods", "promote", pod, *JSON).data
    assert (swapped["provider"], swapped["secondary"]) == ("s3", "local")
    assert run("pods", "promote", pod, *JSON).data["provider"] == "local"


def test_promote_does_not_overtake_who_takes_over_a_run(
    run: Run, pod: str, second: Location, database: Database
) -> None:
    run("pods", "update", pod, "--secondary", "s3")
    with database.session() as session:
        session.execute(
            text(
                "INSERT INTO app.runs (name, pod_id, owner_id, selection_hash, host, pid, heartbeat_at)"
                " SELECT 'r', p.id, u.id, 'h', 'h', 1, now() - interval '1 hour'"
                " FROM app.pods AS p, app.users AS u LIMIT 1"
            )
        )
    with database.session() as session:
        session.execute(text("UPDATE app.runs SET heartbeat_at = now()"))
        assert "in progress" in run("pods", "promote", pod, *JSON, expect=7).error["message"]
        session.rollback()
    assert run("pods", "promote", pod, *JSON).data["provider"] == "s3"


def test_relocated_files_are_read_at_either_place_and_get_to_both(
    run: Run, pod: str, second: Location, bucket: Location, database: Database, tmp_path: Path
) -> None:
    run("pods", "update", pod, "--secondary", "s3")
    upload(run, tmp_path / "in", a=b"precious")
    run("worker", "--once")
    other = replace(bucket, bucket=f"{bucket.bucket}-other")
    buckets.create(other)
    with database.session() as session:
        made, ada = factories.make_pod(session, "other", bucket=other.bucket), users.get(session, ADA)
        factories.make_grant(session, made, ada)
    with ObjectStore(bucket) as objects:
        objects.delete(contents(bucket))
    asked = ("files", "relocate", "--owner", ADA)
    assert run(*asked, "--pod", pod, "--to-pod", "other", *JSON).data[0]["result"] == "relocated"
    assert [*contents(other).values()] == [b"precious"]
    assert run("pods", "reconcile", "other", *JSON).data == []
    run("files", "purge", "--older-than", "0s", "--yes")
    assert run(*asked, "--pod", "other", "--to-pod", pod, *JSON).data[0]["result"] == "relocated"
    assert run("pods", "show", pod, *JSON).data["copies_waiting"] == 1
    run("worker", "--once")
    assert contents(second) == contents(bucket)
    assert [*contents(second).values()] == [b"precious"]


def test_a_relocated_film_agrees_with_its_row(
    run: Run, pod: str, second: Location, database: Database, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(relocation, "PART", 5 * 1024**2)
    upload(run, tmp_path / "in", film=os.urandom(6 * 1024**2))
    run("pods", "create", "far", "--capacity", "1GiB", "--provider", "s3")
    run("pods", "grant", "far", ADA)
    run("files", "relocate", "film.bin", "--owner", ADA, "--to-pod", "far")
    with database.session() as session:
        session.execute(text("UPDATE app.versions SET md5 = NULL"))
    assert run("pods", "reconcile", "far", *JSON).data == []
    assert [each["result"] for each in run("files", "verify", *JSON).data] == ["verified"]


def test_no_file_is_relocated_to_the_place_that_the_pod_had(
    run: Run, pod: str, second: Location, bucket: Location, database: Database, tmp_path: Path, monkeypatch: Any
) -> None:
    upload(run, tmp_path / "in", a=b"precious")
    with database.session() as session:
        made, ada = factories.make_pod(session, "other", bucket=bucket.bucket), users.get(session, ADA)
        factories.make_grant(session, made, ada)
    run("pods", "update", "other", "--secondary", "s3")
    began = relocation.store.begin

    def promoted(*given: Any) -> Any:
        with database.session() as session:
            pods.promote(session, "other")
        return began(*given)

    asked = ("files", "relocate", "--owner", ADA, "--pod", pod, "--to-pod", "other", *JSON)
    with monkeypatch.context() as patched:
        patched.setattr(relocation.store, "begin", promoted)
        assert "moved" in run(*asked, expect=3).data[0]["error"]
    assert run(*asked).data[0]["result"] == "relocated"
    assert [*contents(second).values()] == [b"precious"]


def test_an_upload_does_not_begin_at_the_place_that_the_pod_had(
    run: Run, pod: str, second: Location, bucket: Location, database: Database, tmp_path: Path, monkeypatch: Any
) -> None:
    run("pods", "update", pod, "--secondary", "s3")
    (tmp_path / "a.bin").write_bytes(b"a")
    began = upload_module.opened

    def promoted(*given: Any) -> Any:
        with database.session() as session:
            pods.promote(session, pod)
        return began(*given)

    monkeypatch.setattr(upload_module, "opened", promoted)
    asked = ("files", "upload", tmp_path / "a.bin", "--pod", pod, "--owner", ADA)
    assert "providers of pod films were changed" in run(*asked, expect=7).err
    monkeypatch.undo()
    assert contents(bucket) == {}


def test_a_missing_primary_object_keeps_the_secondary(
    run: Run, pod: str, second: Location, bucket: Location, database: Database, tmp_path: Path
) -> None:
    run("pods", "update", pod, "--secondary", "s3")
    upload(run, tmp_path / "in", a=b"precious")
    run("worker", "--once")
    with ObjectStore(bucket) as objects:
        objects.delete(contents(bucket))
    with database.session() as session:
        session.execute(
            text(
                "INSERT INTO app.copies (version_id, provider, status) SELECT id, 'local', 'missing' FROM app.versions"
            )
        )
    refused = run("pods", "update", pod, "--no-secondary", *JSON, expect=7).error
    assert refused["message"] == "1 objects of pod films are stored only at s3"
    run("pods", "replicate", pod)
    assert contents(bucket) == contents(second)
    run("pods", "update", pod, "--no-secondary")


def test_reconcile_compares_both_ways_at_both_places(
    run: Run, pod: str, second: Location, bucket: Location, database: Database, tmp_path: Path, monkeypatch: Any
) -> None:
    upload(run, tmp_path / "in", lone=b"only here")
    with ObjectStore(bucket) as objects:
        objects.delete(contents(bucket))
    lost = run("pods", "reconcile", pod, "--apply", *JSON, expect=12).data
    assert [(each["problem"], each["repaired"]) for each in lost] == [("missing", False)]
    assert "dumacle files upload --force" in lost[0]["repair"]
    run("files", "upload", tmp_path / "in", "--pod", "films", "--owner", ADA, "--force")
    run("files", "purge", "--older-than", "0s", "--yes", "--max", "10")
    run("pods", "update", pod, "--secondary", "s3")
    upload(run, tmp_path / "in", **{name: name.encode() * 9 for name in "abcd"})
    with database.session() as session, ObjectStore(bucket) as objects:
        film = factories.make_file(session, pods.get(session, pod), users.get(session, ADA), "film", store=objects)
        factories.make_rendition(session, factories.make_transcode(session, film), store=objects)
    run("pods", "replicate", pod)
    assert run("pods", "reconcile", pod, *JSON).data == []
    good = contents(bucket)
    lone, a, b, c, *_ = sorted(key for key in good if "renditions" not in key)
    segment = next(key for key in good if key.endswith("0.m4s"))
    orphan, foreign = "0a/" + "0" * 32 + ".bin", "notes/of-somebody.txt"
    with ObjectStore(bucket) as first, ObjectStore(second) as other:
        first.delete([lone, segment])
        factories.put(first, a, b"damaged")
        other.delete([b])
        factories.put(other, c, b"x" * len(good[c]))
        for objects in (first, other):
            factories.put(objects, orphan)
            factories.put(objects, foreign)
    expected = {
        ("local", "missing", lone),
        ("local", "differs", a),
        ("local", "differs", segment.removesuffix("v0/0.m4s")),
        ("s3", "missing", b),
        ("s3", "differs", c),
    }
    found = run("pods", "reconcile", pod, *JSON, expect=12).data
    assert {(each["provider"], each["problem"], each["key"]) for each in found} == expected
    monkeypatch.setattr(reconcile, "SETTLED", -timedelta(days=1))
    found = run("pods", "reconcile", pod, "--apply", "--dry-run", *JSON, expect=12).data
    orphans = {("local", "orphan", orphan), ("s3", "orphan", orphan)}
    assert {(each["provider"], each["problem"], each["key"]) for each in found} == expected | orphans
    assert not any(each["repaired"] for each in found)
    assert all(each["repaired"] for each in run("pods", "reconcile", pod, "--apply", *JSON).data)
    assert contents(bucket) == contents(second) == good | {foreign: b"content"}
    assert run("pods", "reconcile", pod, *JSON).data == []
    run("pods", "update", pod, "--no-secondary")


def test_places_do_not_overlap(run: Run, pod: str, second: Location) -> None:
    refused = run("pods", "update", pod, "--secondary", "local", *JSON, expect=7)
    assert "is the primary provider" in refused.error["message"]
    run("pods", "create", "other", "--capacity", "1GiB", "--provider", "s3", "--prefix", "")
    refused = run("pods", "update", pod, "--secondary", "s3", *JSON, expect=7)
    assert "another pod has the prefix" in refused.error["message"]
    run("pods", "update", pod, "--secondary", "s3", "--secondary-bucket", "nothing-there", expect=6)
