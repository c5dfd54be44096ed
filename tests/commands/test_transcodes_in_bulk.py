"""Many transcodes at once: submitted, cancelled and retried by filters, by priority; and who works on them."""

import os
from collections.abc import Callable

import pytest
from sqlalchemy import text

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.store.database import Database
from tests import factories
from tests.conftest import Run
from tests.films import rows

pytestmark = pytest.mark.integration
JSON = ("-o", "json")
MP4, MP3 = b"\x00\x00\x00\x20ftypisom" + bytes(100), b"ID3" + bytes(100)


@pytest.fixture
def files(database: Database, object_store: ObjectStore) -> dict[str, int]:
    """Two films and a song of Ada's, and a film of Bob's, in one pod."""
    with database.session() as session:
        pod = factories.make_pod(session, "films", bucket=object_store.location.bucket)
        plan = factories.make_plan(session, transcode_limit=36_000)
        made = {}
        for owner, paths in {"ada": ["new/a.mp4", "new/b.mp4", "song.mp3"], "bob": ["c.mp4"]}.items():
            user = factories.make_user(session, f"{owner}@example.com")
            factories.make_subscription(session, user, plan)
            for path in paths:
                body, kind = (MP3, "audio/mpeg") if path.endswith("3") else (MP4, "video/mp4")
                file = factories.make_file(session, pod, user, path, body, store=object_store)
                file.content_type = kind
                made[path] = file.id
        return made


@pytest.fixture
def end(database: Database) -> Callable[..., None]:
    """Let transcodes have ended with a status."""

    def call(status: str, *ids: int) -> None:
        with database.session() as session:
            given = {"status": status, "ids": list(ids)}
            session.execute(text("UPDATE app.transcodes SET status = :status WHERE id = ANY (:ids)"), given)
            units = "UPDATE app.units SET status = 'failed' WHERE transcode_id = ANY (:ids)"
            session.execute(text(units), {"ids": list(ids)})

    return call


def paths(run: Run, *argv: str) -> list[str]:
    return sorted(each["path"] for each in run("transcode", *argv, *JSON).data)


def test_submits_what_was_never_transcoded_so(run: Run, files: dict[str, int]) -> None:
    run("transcode", "submit", files["new/a.mp4"], "--preset", "hls")
    assert paths(run, "submit", "--pod", "films", "--missing", "hls", "--dry-run") == ["c.mp4", "new/b.mp4"]
    assert paths(run, "submit", "--owner", "ada@example.com", "--missing", "hls") == ["new/b.mp4"]
    assert paths(run, "submit", "--pod", "films", "--missing", "hls") == ["c.mp4"]
    assert run("transcode", "submit", "--pod", "films", "--missing", "hls", *JSON).json["changed"] is False
    assert paths(run, "submit", "--prefix", "new/", "--missing", "audio") == ["new/a.mp4", "new/b.mp4"]
    assert paths(run, "submit", "--pod", "films", "--missing", "audio") == ["c.mp4", "song.mp3"]


def test_submits_no_more_than_allowed_and_nothing_unnamed(run: Run, files: dict[str, int]) -> None:
    told = run("transcode", "submit", "--pod", "films", "--missing", "hls", "--max", "2", expect=8).err
    assert "this would change 3 transcodes, and --max is 2" in told
    for wrong in (["--missing", "hls"], ["--preset", "hls"], [str(files["c.mp4"])], ["1", "--missing", "hls"]):
        run("transcode", "submit", *wrong, expect=2)


def test_cancels_and_retries_by_filters(run: Run, files: dict[str, int], end: Callable[..., None]) -> None:
    run("transcode", "submit", "--pod", "films", "--missing", "hls")
    assert "--max is 1" in run("transcode", "cancel", "--pod", "films", "--max", "1", expect=8).err
    assert paths(run, "cancel", "--owner", "bob@example.com") == ["c.mp4"]
    end("failed", 1, 2)
    assert paths(run, "retry", "--pod", "films", "--dry-run") == ["new/a.mp4", "new/b.mp4"]
    assert paths(run, "retry", "--status", "cancelled", "--pod", "films") == ["c.mp4"]
    assert paths(run, "retry", "--owner", "ada@example.com", "--max", "2") == ["new/a.mp4", "new/b.mp4"]
    assert paths(run, "retry", "--pod", "films") == []  # they are retried already
    run("transcode", "retry", expect=2)
    run("transcode", "cancel", "1", "--pod", "films", expect=2)


def test_cancels_and_retries_the_transcode_of_a_unit(run: Run, files: dict[str, int]) -> None:
    run("transcode", "submit", files["c.mp4"], "--preset", "hls")
    [second] = run("transcode", "submit", files["new/a.mp4"], "--preset", "hls", *JSON).data
    [unit] = run("transcode", "show", second["id"], *JSON).data["units"]
    assert paths(run, "cancel", "--unit", unit["id"]) == ["new/a.mp4"]
    assert paths(run, "retry", "--unit", unit["id"]) == ["new/a.mp4"]
    missing = run("transcode", "retry", "--unit", "99", expect=6).err
    assert "no unit 99\n  fix: look with: dumacle transcode list" in missing
    run("transcode", "retry", "--unit", unit["id"], "--pod", "films", expect=2)


def test_priority_is_kept_and_shown(run: Run, files: dict[str, int], end: Callable[..., None]) -> None:
    run("transcode", "submit", files["c.mp4"], "--preset", "hls")
    [urgent] = run("transcode", "submit", files["new/a.mp4"], "--preset", "hls", "--priority", "5", *JSON).data
    assert urgent["priority"] == 5
    end("failed", urgent["id"])
    assert run("transcode", "retry", urgent["id"], *JSON).data[0]["priority"] == 5
    run("transcode", "submit", files["c.mp4"], "--preset", "mp4", "--priority", "101", expect=2)


def test_workers_are_listed_while_they_are_alive(run: Run, files: dict[str, int], database: Database) -> None:
    with database.session() as session:
        session.execute(text("SELECT app.note_worker('here:1', 2, 'transcode', NULL)"))
        session.execute(text("SELECT app.note_worker('there:2', 1, 'copies', 'it cannot encode')"))
        session.execute(text("SELECT app.note_worker('gone:3', 1, 'transcode', NULL)"))
        session.execute(text("UPDATE app.workers SET seen_at = now() - interval '1 minute' WHERE name = 'gone:3'"))
    [transcode] = run("transcode", "submit", files["c.mp4"], "--preset", "hls", *JSON).data
    with database.session() as session:
        session.execute(text("SELECT app.claim_next(gen_random_uuid(), 'here:1', 60)"))
    found = {each["name"]: each for each in run("transcode", "workers", *JSON).data}
    assert {name: each["status"] for name, each in found.items()} == {
        "gone:3": "silent",
        "here:1": "busy",
        "there:2": "unable",
    }
    [running] = found["here:1"]["running"]
    assert (running["transcode"], running["path"], running["preset"]) == (transcode["id"], "c.mp4", "hls")
    assert found["there:2"]["problem"] == "it cannot encode"
    assert "here:1" in run("transcode", "workers").out


def test_a_worker_that_ended_is_not_listed(run: Run, database: Database) -> None:
    run("worker", "--once")
    assert rows(database, f"SELECT FROM app.workers WHERE name LIKE '%{os.getpid()}'") == []
