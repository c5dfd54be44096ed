"""`dumacle transcode`, and what `files` knows of it, through the only door."""

import io
import json
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from sqlalchemy import text

import dumacle_cli
from dumacle_cli.__main__ import main
from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.objects import Location
from dumacle_cli.commands import watching
from dumacle_cli.store import work_units
from dumacle_cli.store.database import Database
from tests import factories
from tests.conftest import Run

pytestmark = pytest.mark.integration

ADA = "ada@example.com"
JSON = ("-o", "json")
ROOT = Path(dumacle_cli.__file__).parents[1]
MP4 = b"\x00\x00\x00\x20ftypisom" + bytes(100)
JPEG = b"\xff\xd8\xff\xe0" + bytes(100)
MP3 = b"ID3" + bytes(100)


@pytest.fixture
def films(database: Database, object_store: ObjectStore, bucket: Location) -> list[int]:
    """Ada's two films in pod `films`, and what she may use."""
    with database.session() as session:
        ada = factories.make_user(session, ADA)
        pod = factories.make_pod(session, "films", bucket=bucket.bucket)
        factories.make_grant(session, pod, ada)
        factories.make_subscription(session, ada, factories.make_plan(session))
        paths = ("a.mp4", "b.mp4")
        return [factories.make_file(session, pod, ada, path, MP4, store=object_store).id for path in paths]


Submit = Callable[..., list[int]]


@pytest.fixture
def submit(run: Run, films: list[int]) -> Submit:
    """Submit both films, and return the transcodes."""

    def call(preset: str = "hls") -> list[int]:
        return [made["id"] for made in run("transcode", "submit", *films, "--preset", preset, *JSON).data]

    return call


def counted(database: Database) -> tuple[int, int, int]:
    """Return how many transcodes, units and jobs there are."""
    tables = ("app.transcodes", "app.units", "queue.procrastinate_jobs")
    with database.session() as session:
        one, two, three = (session.scalars(text(f"SELECT count(*) FROM {table}")).one() for table in tables)
    return one, two, three


# Submitting


def test_damage_is_repaired_unless_refused_also_in_a_retry(run: Run, films: list[int], database: Database) -> None:
    [repairing] = run("transcode", "submit", films[0], "--preset", "hls", *JSON).data
    [refusing] = run("transcode", "submit", films[0], "--preset", "mp4", "--damage", "refuse", *JSON).data
    assert (repairing["damage"], refusing["damage"]) == ("repair", "refuse")
    with database.session() as session:
        unit = session.scalars(text("SELECT id FROM app.units WHERE transcode_id = :id"), {"id": refusing["id"]}).one()
        claimed = work_units.claim(session, unit, "worker", 60)
    assert claimed is not None
    assert claimed.damage == "refuse"
    run("transcode", "cancel", refusing["id"])
    [again] = run("transcode", "retry", refusing["id"], *JSON).data
    assert (again["preset"], again["damage"]) == ("mp4", "refuse")


def test_submit_is_once_however_often_it_is_said(run: Run, films: list[int], database: Database) -> None:
    said = ("transcode", "submit", "a.mp4", "b.mp4", "--owner", ADA, "--pod", "films", "--preset", "hls", *JSON)
    assert run(*said, "--dry-run").json["changed"] is True
    assert counted(database) == (0, 0, 0)
    first, again = run(*said), run(*said)
    assert (first.json["changed"], again.json["changed"]) == (True, False)
    assert [(row["path"], row["status"]) for row in first.data] == [("a.mp4", "queued"), ("b.mp4", "queued")]
    assert again.data == first.data
    assert counted(database) == (2, 2, 2)


def test_submit_takes_all_files_or_none(run: Run, films: list[int], database: Database) -> None:
    run("transcode", "submit", films[0], "999", "--preset", "hls", expect=6)
    assert counted(database) == (0, 0, 0)


@pytest.mark.parametrize("verb", [("transcode", "submit", "1"), ("files", "upload", ".", "--owner", ADA)])
def test_preset_that_there_is_not_is_not_found(run: Run, films: list[int], verb: tuple[str, ...]) -> None:
    option = "--transcode" if verb[0] == "files" else "--preset"
    failed = run(*verb, option, "vhs", *JSON, expect=6)
    assert failed.error["fix"] == "look with: dumacle transcode presets list"
    assert len(run("files", "list", *JSON).data) == len(films)


def test_used_up_quota_refuses(run: Run, films: list[int], database: Database) -> None:
    run("quotas", "set", ADA, "--transcode-minutes", "0")
    failed = run("transcode", "submit", *films, "--preset", "hls", *JSON, expect=8)
    assert failed.error["code"] == "quota-exceeded"
    assert "the transcode quota of ada@example.com is used up" in failed.error["message"]
    assert counted(database) == (0, 0, 0)
    run("quotas", "grant", ADA, "--transcode-minutes", "1")
    run("transcode", "submit", *films, "--preset", "hls")


# Looking


def test_list_filters_pages_and_streams(run: Run, films: list[int], submit: Submit) -> None:
    made = submit("hls") + submit("mp4")

    def ids(*more: str) -> list[int]:
        return [row["id"] for row in run("transcode", "list", *more, *JSON).data]

    assert ids() == made
    assert ids("--desc") == made[::-1]
    assert ids("--preset", "mp4", "--status", "queued") == made[2:]
    assert ids("--status", "done") == []
    assert ids("--owner", ADA, "--pod", "films", "--file", "b.mp4") == [made[1], made[3]]
    assert ids("--file", str(films[0])) == [made[0], made[2]]
    first = run("transcode", "list", "--limit", "3", *JSON).json
    assert ids("--limit", "3", "--after", first["next"]) == made[3:]
    assert ids("--limit", "1", "--all") == made
    run("transcode", "list", "--status", "lost", expect=2)
    run("transcode", "list", "--file", "b.mp4", expect=2)


def test_show_and_unknown_ones(run: Run, submit: Submit) -> None:
    [first, _] = submit()
    shown = run("transcode", "show", first, *JSON).data
    assert [unit["status"] for unit in shown["units"]] == ["queued"]
    assert shown["renditions"] == shown["rungs"] == []
    for verb in ("show", "watch", "cancel", "retry"):
        failed = run("transcode", verb, "999", *JSON, expect=6)
        assert failed.error["fix"] == "look with: dumacle transcode list"
        run("transcode", verb, "0", expect=6)


# Watching


Step = Callable[[], None]


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let these steps happen, one each time when a watcher would wait."""

    def plan(*steps: Step) -> None:
        following = iter(steps)
        monkeypatch.setattr(watching.time, "sleep", lambda _seconds: next(following)())

    return plan


@pytest.fixture
def move(database: Database) -> Callable[..., Step]:
    """`move(id, status, progress)`: a step in which a transcode comes to be so."""

    def make(number: int, status: str, progress: int = 0) -> Step:
        def step() -> None:
            with database.session() as session:
                change = "UPDATE app.transcodes SET status = :status, progress = :progress WHERE id = :id"
                session.execute(text(change), {"id": number, "status": status, "progress": progress})

        return step

    return make


def test_watch_streams_each_change(
    run: Run, submit: Submit, meanwhile: Callable[..., None], move: Callable[..., Step]
) -> None:
    one, two = submit()
    meanwhile(move(one, "running", 40), lambda: None, move(one, "done", 100), move(two, "done", 100))
    lines = [json.loads(line) for line in run("transcode", "watch", one, two, "-o", "jsonl").out.splitlines()]
    assert [(line["id"], line["status"], line["progress"]) for line in lines] == [
        (one, "queued", 0),
        (two, "queued", 0),
        (one, "running", 40),
        (one, "done", 100),
        (two, "done", 100),
    ]


def test_watch_tells_each_change_and_shows_the_end(
    run: Run, submit: Submit, meanwhile: Callable[..., None], move: Callable[..., Step]
) -> None:
    one, two = submit()
    meanwhile(move(one, "running", 40), move(one, "done", 100), move(two, "failed"))
    said = run("transcode", "watch", two, one, one, *JSON, expect=1)
    assert [(row["id"], row["status"]) for row in said.data] == [(two, "failed"), (one, "done")]
    assert said.err.splitlines() == [
        f"{two} b.mp4 hls: queued 0 %",
        f"{one} a.mp4 hls: queued 0 %",
        f"{one} a.mp4 hls: running 40 %",
        f"{one} a.mp4 hls: done 100 %",
        f"{two} b.mp4 hls: failed 0 %",
    ]


def test_watch_by_default_shows_all_that_have_not_ended(
    run: Run, submit: Submit, meanwhile: Callable[..., None], move: Callable[..., Step]
) -> None:
    one, two = submit()
    move(one, "failed")()
    meanwhile(move(two, "running", 40), move(two, "done", 100))
    assert [(row["id"], row["status"]) for row in run("transcode", "watch", *JSON).data] == [(two, "done")]
    assert run("transcode", "watch", *JSON).data == []
    assert run("transcode", "watch", "-o", "jsonl").out == ""


@pytest.mark.parametrize(("status", "code"), [("done", 0), ("failed", 1), ("cancelled", 1), ("quarantined", 1)])
@pytest.mark.parametrize("form", ["table", "jsonl"])
def test_watch_ends_at_once_where_all_is_over(
    run: Run, submit: Submit, move: Callable[..., Step], status: str, code: int, form: str
) -> None:
    [one, _] = submit()
    move(one, status)()
    said = run("transcode", "watch", one, "-o", form, expect=code)
    assert status in said.out
    assert said.err == ""


def test_watch_waits_quietly(
    run: Run, submit: Submit, meanwhile: Callable[..., None], move: Callable[..., Step]
) -> None:
    [one, _] = submit()
    meanwhile(move(one, "running", 40), move(one, "done", 100))
    for form in ("table", "jsonl"):
        said = run("transcode", "watch", one, "--quiet", "-o", form)
        assert (said.out, said.err) == ("", "")


def test_watch_gives_up_when_its_time_is_over(run: Run, submit: Submit) -> None:
    began = time.monotonic()
    failed = run("transcode", "watch", *submit(), "--timeout", "0.3", *JSON, expect=10)
    assert time.monotonic() - began < 5
    assert failed.error["code"] == "timed-out"


def test_watch_hands_a_change_on_at_once(submit: Submit, move: Callable[..., Step]) -> None:
    [one, _] = submit()
    command = [sys.executable, "-m", "dumacle_cli", "transcode", "watch", str(one), "-o", "jsonl"]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE) as watching:
        assert watching.stdout
        assert json.loads(watching.stdout.readline())["status"] == "queued"
        assert watching.poll() is None
        move(one, "done", 100)()
        assert json.loads(watching.stdout.readline())["status"] == "done"
    assert watching.returncode == 0


@pytest.fixture
def terminal() -> Iterator[tuple[io.TextIOWrapper, Callable[[], str]]]:
    """A terminal, and what it was given less its colours when that is over."""
    ours, theirs = pty.openpty()
    with ThreadPoolExecutor(1) as reading, os.fdopen(theirs, "w") as line:

        def read() -> bytes:
            seen = b""
            while b"\x04" not in seen:
                seen += os.read(ours, 65536)
            return seen

        reader = reading.submit(read)

        def seen() -> str:
            line.write("\x04")
            line.flush()
            return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", reader.result().decode())

        yield line, seen
    os.close(ours)


def test_watch_draws_a_board_on_a_terminal(
    run: Run,
    submit: Submit,
    meanwhile: Callable[..., None],
    move: Callable[..., Step],
    terminal: tuple[io.TextIOWrapper, Callable[[], str]],
) -> None:
    one, two = submit()
    err, seen = terminal
    meanwhile(move(one, "running", 40), move(one, "done", 100), move(two, "done", 100))
    out = io.StringIO()
    with redirect_stderr(err), redirect_stdout(out):
        assert main(["transcode", "watch", str(one), str(two), *JSON]) == 0
    assert [row["progress"] for row in json.loads(out.getvalue())["data"]] == [100, 100]
    drawn = seen()
    assert re.search(r"1 +a.mp4 +hls +running +\S*━+\S* +40", drawn)
    assert "1 running, 1 queued" in drawn
    assert "2 done" in drawn
    assert "hls: running" not in drawn


def test_the_board_counts_the_workers_of_a_film_in_chunks(
    submit: Submit,
    database: Database,
    meanwhile: Callable[..., None],
    move: Callable[..., Step],
    terminal: tuple[io.TextIOWrapper, Callable[[], str]],
) -> None:
    one, two = submit()
    with database.session() as session:
        session.execute(text(f"INSERT INTO app.units (transcode_id, number, kind) VALUES ({one}, 2, 'chunk')"))
        units = session.scalars(text(f"SELECT id FROM app.units WHERE transcode_id = {one}")).all()
        for unit, worker in zip(units, ("w1", "w2"), strict=True):
            assert work_units.claim(session, unit, worker, 60)
    err, seen = terminal
    meanwhile(move(one, "done", 100), move(two, "done", 100))
    with redirect_stderr(err), redirect_stdout(io.StringIO()):
        assert main(["transcode", "watch", *JSON]) == 0
    drawn = seen()
    assert "1 running, 1 queued; 2 workers" in drawn
    assert "w1, w2" in drawn


# Ending and trying again


def test_cancel_and_retry(run: Run, submit: Submit, database: Database) -> None:
    one, two = submit()
    with database.session() as session:
        [unit, _] = session.scalars(text("SELECT id FROM app.units ORDER BY id")).all()
        assert work_units.claim(session, unit, "a worker", 60)
    asked = ("transcode", "cancel", str(one), str(two), *JSON)
    assert {row["status"] for row in run(*asked, "--dry-run").data} == {"cancelled"}
    assert {row["status"] for row in run("transcode", "list", *JSON).data} == {"running", "queued"}
    assert [row["status"] for row in run(*asked).data] == ["cancelled", "cancelled"]
    assert run(*asked).json["changed"] is False
    [again] = run("transcode", "retry", one, *JSON).data
    assert (again["id"] not in (one, two), again["status"], again["path"]) == (True, "queued", "a.mp4")
    assert run("transcode", "retry", one, *JSON).json["changed"] is False


def test_reap_is_quiet_where_nothing_is_lost(run: Run, submit: Submit, database: Database) -> None:
    submit()
    assert run("transcode", "reap", *JSON).json["changed"] is False
    with database.session() as session:
        session.execute(text("DELETE FROM queue.procrastinate_jobs"))
    assert run("transcode", "reap", "--dry-run", *JSON).data == {"returned": 0, "woken": 2}
    assert run("transcode", "reap", *JSON).data == {"returned": 0, "woken": 2}
    assert run("transcode", "reap", *JSON).data == {"returned": 0, "woken": 0}


# Renditions of files


def test_files_show_and_url_know_renditions(
    run: Run, films: list[int], database: Database, object_store: ObjectStore
) -> None:
    from dumacle_cli.store.models import File

    with database.session() as session:
        made = factories.make_transcode(session, session.get_one(File, films[0]), "hls", progress=100)
        factories.make_rendition(session, made, store=object_store, width=1920, height=1080)
    [rendition] = run("files", "show", films[0], *JSON).data["renditions"]
    assert (rendition["name"], rendition["transcode"], rendition["height"]) == ("hls", made.id, 1080)
    before = {entry.key for entry in object_store.list("")}
    asked = ("files", "url", "a.mp4", "--owner", ADA, "--rendition", "hls", "--expires", "5min", *JSON)
    assert run(*asked, "--dry-run").json["changed"] is True
    assert {entry.key for entry in object_store.list("")} == before
    assert "/links/" in run(*asked).data["url"]
    assert len({entry.key for entry in object_store.list("")}) == len(before) + 1
    failed = run("files", "url", films[0], "--rendition", "mp4", *JSON, expect=6)
    assert "has no rendition mp4; it has hls" in failed.error["message"]


# Submitting on arrival


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A film, a picture and a song."""
    place = tmp_path / "media"
    place.mkdir()
    for name, body in {"film.mp4": MP4, "picture.jpg": JPEG, "song.mp3": MP3}.items():
        (place / name).write_bytes(body)
    return place


def submitted(run: Run) -> list[tuple[str, str]]:
    return [(row["path"], row["preset"]) for row in run("transcode", "list", *JSON).data]


@pytest.mark.parametrize(("preset", "expected"), [("hls", ["film.mp4"]), ("audio", ["film.mp4", "song.mp3"])])
def test_upload_submits_what_arrives_and_can_be_transcoded(
    run: Run, films: list[int], folder: Path, database: Database, preset: str, expected: list[str]
) -> None:
    asked = ("files", "upload", folder, "--owner", ADA, "--pod", "films", "--transcode", preset)
    assert run(*asked, *JSON, "--dry-run").data["transcodes"] == len(expected)
    assert counted(database) == (0, 0, 0)
    said = run(*asked)
    assert f"{len(expected)} queued for transcoding, {3 - len(expected)} of another type" in said.err
    assert sorted(submitted(run)) == [(path, preset) for path in expected]
    assert counted(database) == (len(expected),) * 3
    assert run(*asked, *JSON).data["transcodes"] == 0
    (folder / "film.mp4").write_bytes(MP4 + b"another cut")
    assert run(*asked, *JSON).data["transcodes"] == 1
    assert counted(database) == (len(expected) + 1,) * 3


def test_upload_without_the_option_submits_nothing(run: Run, films: list[int], folder: Path) -> None:
    assert run("files", "upload", folder, "--owner", ADA, "--pod", "films", *JSON).data["transcodes"] == 0
    assert submitted(run) == []


def test_upload_that_could_not_be_transcoded_is_refused_before_it_begins(
    run: Run, films: list[int], folder: Path
) -> None:
    run("quotas", "set", ADA, "--transcode-minutes", "0")
    asked = ("files", "upload", folder, "--owner", ADA, "--pod", "films", *JSON)
    assert run(*asked, "--transcode", "hls", expect=8).error["code"] == "quota-exceeded"
    assert len(run("files", "list", *JSON).data) == len(films)
    assert run(*asked).data["uploaded"] == 3
