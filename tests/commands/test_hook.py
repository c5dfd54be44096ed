"""The hook: a command or a URL is told of every transcode that ended, again until it takes it."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import text

from dumacle_cli.clients import signatures
from dumacle_cli.store.database import Database
from tests.conftest import Run
from tests.films import Films, Submit, films, rows, submit

__all__ = ["films", "submit"]
pytestmark = pytest.mark.integration
SECRET = "whsec_hook"
TAKES = "import os, sys, pathlib; folder = pathlib.Path(sys.argv[1])"
NOTE = "; folder.joinpath(os.environ['DUMACLE_CALL']).write_text(sys.stdin.read() + '\\n' + repr(dict(os.environ)))"


@pytest.fixture
def told(tmp_path: Path) -> Path:
    folder = tmp_path / "told"
    folder.mkdir()
    return folder


@pytest.fixture
def command(tmp_path: Path, told: Path, environment: Callable[..., None]) -> Path:
    """Set a command as the hook: a program that notes what it is told."""
    program = tmp_path / "hook.py"
    program.write_text(f"{TAKES}{NOTE}")
    environment(DUMACLE_TRANSCODE_HOOK=f"{sys.executable} {program} {told}")
    return program


def test_a_command_is_told_how_each_transcode_ended(
    run: Run,
    command: Path,
    told: Path,
    submit: Submit,
    films: Films,
    database: Database,
    environment: Callable[..., None],
) -> None:
    environment(DUMACLE_STRIPE_SECRET_KEY="sk_test_secret")
    [done, failed, cancelled] = submit(films(2), b"no film" * 100, films(2), preset="poster")
    run("transcode", "cancel", cancelled)
    run("worker", "--once", "--queues", "transcode,hooks", expect=3)
    notes = {each.name: each.read_text() for each in told.iterdir()}
    assert set(notes) == {f"transcode-{each}" for each in (done, failed, cancelled)}
    shown = {number: json.loads(notes[f"transcode-{number}"].splitlines()[0]) for number in (done, failed, cancelled)}
    assert [each["data"]["status"] for each in shown.values()] == ["done", "failed", "cancelled"]
    assert shown[done]["schema"] == "dumacle.transcode.ended.v1"
    assert "not media that FFmpeg knows" in shown[failed]["data"]["error"]
    assert "secret" not in notes[f"transcode-{done}"].casefold()
    assert rows(database, "SELECT FROM app.hook_calls") == []
    for note in told.iterdir():
        note.unlink()
    run("worker", "--once", "--queues", "hooks")
    assert list(told.iterdir()) == []


def test_a_command_that_fails_is_told_again_later(
    run: Run, command: Path, told: Path, submit: Submit, films: Films, database: Database
) -> None:
    program = command.read_text()
    command.write_text("raise SystemExit(3)")
    submit(films(2), preset="poster")
    said = run("worker", "--once", "--queues", "transcode,hooks", expect=10).err
    assert "the hook was not told of 1 that ended: transcode_hook failed: exit 3" in said
    [call] = rows(database, "SELECT attempts, error, due_at > now() AS later FROM app.hook_calls")
    assert call == {"attempts": 1, "error": "transcode_hook failed: exit 3", "later": True}
    run("worker", "--once", "--queues", "hooks")
    command.write_text(program)
    with database.session() as session:
        session.connection().exec_driver_sql("UPDATE app.hook_calls SET due_at = now()")
    run("worker", "--once", "--queues", "hooks")
    assert [each.name for each in told.iterdir()] == ["transcode-1"]


def test_what_nobody_is_told_of_is_forgotten_after_days(
    run: Run, submit: Submit, films: Films, database: Database
) -> None:
    [old, new] = submit(films(2), films(2), preset="poster")
    run("transcode", "cancel", old, new)
    with database.session() as session:
        given = {"id": old}
        session.execute(
            text("UPDATE app.hook_calls SET created_at = now() - interval '4 days' WHERE transcode_id = :id"), given
        )
    run("worker", "--once", "--queues", "copies")
    assert rows(database, "SELECT transcode_id FROM app.hook_calls") == [{"transcode_id": new}]


@contextmanager
def receiver(*answers: int) -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """Receive calls and answer them with these statuses; yields the URL, and what came."""
    came: list[tuple[dict[str, str], bytes]] = []
    left = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(left.pop(0) if left else 200)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/ended", came
        server.shutdown()
        thread.join()


def test_a_url_is_told_with_a_signature(
    run: Run, submit: Submit, films: Films, database: Database, environment: Callable[..., None]
) -> None:
    submit(films(2), preset="poster")
    with receiver(500, 302, 204) as (url, came):
        environment(DUMACLE_TRANSCODE_HOOK=url, DUMACLE_TRANSCODE_HOOK_SECRET=SECRET)
        for code, answer in ((10, "500"), (10, "302"), (0, None)):
            run("worker", "--once", "--queues", "transcode,hooks", expect=code)
            assert [row["error"] for row in rows(database, "SELECT error FROM app.hook_calls")] == (
                [f"transcode_hook failed: it answered {answer}"] if answer else []
            )
            with database.session() as session:
                session.connection().exec_driver_sql("UPDATE app.hook_calls SET due_at = now()")
    assert len(came) == 3, "redirections are not followed"
    for headers, body in came:
        stamp = headers["Dumacle-Signature"].split(",")[0].removeprefix("t=")
        signatures.verify(body, headers["Dumacle-Signature"].encode(), signatures.parse(SECRET), float(stamp))
        assert headers["Dumacle-Call"] == "transcode-1"
        assert json.loads(body)["data"]["status"] == "done"


def test_a_url_needs_a_secret_and_the_queue_a_hook(run: Run, environment: Callable[..., None]) -> None:
    run("worker", "--once", "--queues", "hooks", expect=2)
    environment(DUMACLE_TRANSCODE_HOOK="https://hook.example.com")
    assert "transcode_hook_secret" in run("worker", "--once", expect=2).err


def test_calls_that_nobody_takes_are_forgotten(run: Run, submit: Submit, films: Films, database: Database) -> None:
    submit(films(2), preset="poster")
    run("worker", "--once")
    assert len(rows(database, "SELECT FROM app.hook_calls")) == 1
    with database.session() as session:
        session.connection().exec_driver_sql("UPDATE app.hook_calls SET created_at = now() - interval '4 days'")
    run("worker", "--once")
    assert rows(database, "SELECT FROM app.hook_calls") == []
