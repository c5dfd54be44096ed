"""Runs of uploads as people see them: listed, shown, reported, resumed and cancelled."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.commands.recorded import recorded, typed
from dumacle_cli.local.process import wait
from dumacle_cli.store.database import Database
from tests.conftest import Result, Run
from tests.ingest import checker
from tests.ingest.conftest import Fill, Home, fill, home, upload
from tests.processes import Begin, program

__all__ = ["fill", "home", "program", "upload"]
pytestmark = pytest.mark.integration

Upload = Callable[..., Result]
TO = ("--pod", "films", "--owner", "ada@example.com")


@pytest.fixture
def begin(configured: None, home: Home, program: Begin) -> Begin:
    """Start uploads as processes of their own."""
    return lambda *arguments: program("files", "upload", *arguments, *TO)


def count(database: Database, query: str) -> int:
    with database.session() as session:
        return int(session.scalar(text(query)) or 0)


def many(fill: Fill) -> Path:
    return fill(**{f"n{number}": 20_000 for number in range(1000)})


def kill(process: object, database: Database, number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal once something is uploaded, and wait for the end."""
    wait(lambda: count(database, "SELECT count(*) FROM app.files WHERE version_id IS NOT NULL") > 0, 60)
    process.send_signal(number)  # type: ignore[attr-defined]
    process.communicate(timeout=60)  # type: ignore[attr-defined]


def test_listed_and_shown(run: Run, upload: Upload, fill: Fill, tmp_path: Path) -> None:
    first = upload(fill(a=1, b=2)).data["run"]
    (tmp_path / "photos" / "c.jpg").symlink_to("a.jpg")
    upload(tmp_path / "photos" / "a.jpg", "--prefix", "again")
    listed = run("files", "runs", "list", "--owner", "ada@example.com", "--status", "done", "-o", "json").data
    assert [(each["prefix"], each["uploaded"], each["missing"]) for each in listed] == [("", 2, 0), ("again/", 1, 0)]
    assert run("files", "runs", "list", "--status", "failed", "-o", "json").data == []
    shown = run("files", "runs", "show", str(first), "-o", "json").data
    assert (shown["status"], shown["uploaded"], shown["size"], shown["processes"]) == ("done", 2, 3, 0)
    assert shown["sources"] == [str(tmp_path / "photos")]
    assert [part["status"] for part in shown["parts"]] == ["done"]


@pytest.mark.parametrize("typed", ["7", "x", "0x1", "99999999999999999999"])
def test_no_such_run(typed: str, run: Run, home: Home) -> None:
    for verb in ("show", "report", "resume", "cancel"):
        assert run("files", "runs", verb, typed, "-o", "json", expect=6).error["code"] == "not-found"


def test_report_lists_what_was_not_uploaded(
    run: Run, upload: Upload, fill: Fill, tmp_path: Path, database: Database
) -> None:
    done = upload(fill(a=1, b=2, c=3)).data["run"]
    assert run("files", "runs", "report", str(done), "-o", "json").data == []
    with database.session() as session:
        session.execute(text("UPDATE app.files SET upload_status = 'failed', error = 'lost' WHERE path = 'b.jpg'"))
        session.execute(text("UPDATE app.files SET upload_status = 'cancelled' WHERE path = 'c.jpg'"))
    failed = run("files", "runs", "report", str(done), "--status", "failed", "-o", "json").data
    assert [(each["path"], each["status"], each["error"]) for each in failed] == [("b.jpg", "failed", "lost")]
    assert len(run("files", "runs", "report", str(done), "-o", "json").data) == 2


def test_resume_repeats_with_the_same_options(
    run: Run, upload: Upload, fill: Fill, database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = fill(a=1)
    monkeypatch.chdir(tmp_path)
    done = upload("photos", "--prefix", "2026", "--checksum").data["run"]
    fill(b=2)
    monkeypatch.chdir("/")
    again = run("files", "runs", "resume", str(done), "-o", "json").data
    assert (again["uploaded"], again["unchanged"]) == (1, 1)
    with database.session() as session:
        assert list(session.scalars(text("SELECT path FROM app.files ORDER BY path"))) == ["2026/a.jpg", "2026/b.jpg"]
        documents = set(session.scalars(text("SELECT parameters::text FROM app.runs")))
    assert len(documents) == 1, "the run that resumed it can be resumed, too"
    (folder / "b.jpg").unlink()
    (folder / "a.jpg").unlink()
    folder.rmdir()
    assert run("files", "runs", "resume", str(done), "-o", "json", expect=6).error["code"] == "no-such-source"
    with database.session() as session:
        session.execute(text("UPDATE app.runs SET host = 'elsewhere'"))
    error = run("files", "runs", "resume", str(done), "-o", "json", expect=7).error
    assert (error["code"], "elsewhere" in error["message"]) == ("run-elsewhere", True)


def test_resume_reads_the_list_of_a_run_again(
    run: Run, upload: Upload, fill: Fill, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fill(a=1)
    monkeypatch.chdir(tmp_path)
    Path("list").write_text("photos/a.jpg\n")
    done = upload("--files-from", "list").data["run"]
    assert run("files", "runs", "show", str(done), "-o", "json").data["sources"] == [str(tmp_path)]
    piped = run(
        "files", "upload", "photos", "--files-from", "-", "--prefix", "p", *TO, "-o", "json", stdin="a.jpg\n"
    ).data["run"]
    fill(b=2)
    Path("list").write_text("photos/a.jpg\nphotos/b.jpg\n")
    monkeypatch.chdir("/")
    again = run("files", "runs", "resume", str(done), "-o", "json").data
    assert (again["uploaded"], again["unchanged"]) == (1, 1)
    film = run("files", "upload", "--stdin-name", "film.mp4", *TO, "-o", "json", stdin="film").data["run"]
    for each in (piped, film):
        error = run("files", "runs", "resume", str(each), "-o", "json", stdin="", expect=7).error
        assert error["message"] == f"run {each} read standard input"


def test_cancel_a_run_that_was_killed(
    run: Run, begin: Begin, fill: Fill, database: Database, object_store: ObjectStore
) -> None:
    process = begin(many(fill), "--bandwidth", "4MiB")
    kill(process, database)
    with database.session() as session:
        session.execute(text("UPDATE app.runs SET heartbeat_at = now() - interval '31 seconds'"))
    cancelled = run("files", "runs", "cancel", "1", "-o", "json")
    assert ([each["status"] for each in cancelled.data], cancelled.json["changed"]) == (["cancelled"], True)
    checker.books(database)
    assert run("files", "runs", "cancel", "1", "-o", "json").json["changed"] is False
    run("files", "reap")
    assert len(list(object_store.list(""))) == count(database, "SELECT count(version_id) FROM app.files")


def test_cancel_a_run_that_is_at_work(run: Run, begin: Begin, upload: Upload, fill: Fill, database: Database) -> None:
    folder = fill(**{f"film{number}": 100 * 1024**2 for number in range(4)})
    process = begin(folder, "--bandwidth", "20MiB")
    wait(lambda: count(database, "SELECT count(*) FROM app.versions WHERE upload_id IS NOT NULL") > 0, 60)
    assert [each["status"] for each in run("files", "runs", "cancel", "1", "-o", "json").data] == ["running"]
    assert "run 1 was cancelled" in process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert run("files", "runs", "show", "1", "-o", "json").data["status"] == "cancelled"
    assert count(database, "SELECT count(*) FROM app.versions WHERE status IN ('uploading', 'completing')") == 0
    checker.books(database)


@pytest.mark.unit
@pytest.mark.parametrize("value", ["caf\udce9", ["a", "\udcff"], Path("/caf\udce9"), "a\\b", True, None, 3])
def test_what_was_typed_is_typed_again(value: object) -> None:
    kept = recorded({"value": value, "join": True}, without=("join",))
    assert typed(json.loads(json.dumps(kept).encode().decode())) == {"value": value}


@pytest.mark.unit
def test_too_many_sources_are_not_kept() -> None:
    assert recorded({"sources": [Path(f"/a/{number}" * 20) for number in range(5000)]}, without=()) == {}
