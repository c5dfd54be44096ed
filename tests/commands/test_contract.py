"""The contract with scripts, kept by every leaf command: what DESIGN promises, walked kind by kind."""

import csv
import io
import json
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from sqlalchemy import text

from dumacle_cli import commands
from dumacle_cli.__main__ import main
from dumacle_cli.clients.object_store import Location, ObjectStore
from dumacle_cli.commands.contract import Kind
from dumacle_cli.local.servers import Servers
from dumacle_cli.store.database import Database
from tests import seed
from tests.conftest import Run

pytestmark = pytest.mark.integration

PROMISES = {path: leaf.promise for path, leaf in commands.walk() if leaf.promise}
ENDING = [path for path, promise in PROMISES.items() if promise.kind is not Kind.SERVICE]
# The demo takes half a minute and servers of its own: its own test runs it, and this walk only once.
DOCUMENTS = [path for path in ENDING if PROMISES[path].view and path != "demo"]
MUTATIONS = [path for path in DOCUMENTS if PROMISES[path].mutates]
OPERATIONS = [path for path in MUTATIONS if not PROMISES[path].outside]
READING = [path for path in DOCUMENTS if not PROMISES[path].mutates]
# They start nothing, and say what is missing themselves.
NEEDS_NOTHING = ("demo", "local", "config", "completion", "schema")
CONFIGURED = [path for path in PROMISES if path.split()[0] not in NEEDS_NOTHING]
# It tells what is wrong with the database among all else that it finds.
DATABASE = [path for path in CONFIGURED if not PROMISES[path].offline and path != "doctor"]
NO_DATABASE = "no database is configured: run `dumacle demo`, `dumacle local start`, or set DUMACLE_DATABASE_URL"
TOP = Path(__file__).parents[2]


def example(path: str) -> list[str]:
    return shlex.split(PROMISES[path].example)[1:]


@pytest.fixture
def here(tmp_path: Path, embedded: Servers, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory that the examples speak of."""
    place = seed.folder(tmp_path / "here", embedded.owner_password)
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def seeded(
    run: Run,
    here: Path,
    config_file: Path,
    database: Database,
    bucket: Location,
    object_store: ObjectStore,
    embedded: Servers,
    environment: Callable[..., None],
    data_folder: Path,
) -> Run:
    """The program on the installation that the examples speak of."""
    with database.session() as session:
        seed.fill(session, bucket.bucket, object_store)
    environment(DUMACLE_ADMIN_DATABASE_URL=embedded.admin_url, DUMACLE_DATA_DIR=str(data_folder))
    return run


def remembered(database: Database, bucket: ObjectStore, *folders: Path) -> dict[str, Any]:
    """Everything that a command could change: rows, objects and files."""
    with database.session(check_schema=False) as session:
        tables = session.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname IN ('app', 'queue')")).all()
        sums = "SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM app.{} AS t"
        rows = {name: session.scalar(text(sums.format(name))) for name in tables if name not in QUEUE}
    objects = {found.key for found in bucket.objects()}
    files = {file: file.read_bytes() for folder in folders for file in folder.rglob("*") if file.is_file()}
    return {"rows": rows, "objects": objects, "files": files}


QUEUE: set[str] = set()


def validate(run: Run, name: str, document: Any) -> None:
    jsonschema.validate(document, json.loads(run("schema", name).out))


# 1, 2: examples, help and forms


@pytest.mark.parametrize("path", PROMISES)
def test_help_shows_the_example(path: str, invoke: Run) -> None:
    said = invoke(*path.split(), "--help").out
    assert f"Example: {PROMISES[path].example}" in " ".join(said.split())


@pytest.mark.parametrize("path", [path for path in ENDING if path != "demo"])
def test_example_runs(path: str, seeded: Run) -> None:
    said = seeded(*example(path)).out
    assert said
    assert [line for line in said.splitlines() if line != line.rstrip()] == []


@pytest.mark.parametrize("path", READING)
def test_reading_prints_what_its_schema_accepts(path: str, seeded: Run) -> None:
    said = seeded(*example(path), "-o", "json")
    validate(seeded, PROMISES[path].name, said.json)
    lines = [json.loads(line) for line in seeded(*example(path), "-o", "jsonl").out.splitlines()]
    table = list(csv.DictReader(io.StringIO(seeded(*example(path), "-o", "csv").out)))
    items = said.data if isinstance(said.data, list) else [said.data]
    assert len(lines) == len(table) == len(items)
    assert [set(line) for line in table] == [set(line) for line in lines]


@pytest.mark.parametrize("path", [path for path in DATABASE if path.endswith(" list")])
def test_empty_list_is_a_document_too(path: str, run: Run) -> None:
    said = run(*example(path)[:2], "-o", "json")
    assert said.data == []
    validate(run, PROMISES[path].name, said.json)
    assert run(*example(path)[:2]).out == ""


@pytest.mark.parametrize("path", ENDING)
def test_error_is_json_where_json_was_asked_for(path: str, invoke: Run) -> None:
    failed = invoke(*path.split(), "--no-such-option", "-o", "json", expect=2)
    assert failed.out == ""
    validate(invoke, "error", failed.error)
    assert failed.error["code"] == "usage-error"


# 3, 4: nothing configured, nothing there


@pytest.mark.parametrize("path", CONFIGURED)
def test_without_configuration(path: str, invoke: Run, here: Path, config_file: Path) -> None:
    failed = invoke(*example(path), expect=2)
    assert failed.out == ""
    assert failed.err.startswith(f"dumacle: {NO_DATABASE}\n")


@pytest.fixture
def nobody() -> Iterator[str]:
    """A port where nothing listens, and nothing else can."""
    with closing(socket.socket()) as held:
        held.bind(("127.0.0.1", 0))
        yield f"postgresql://someone:secret@127.0.0.1:{held.getsockname()[1]}/dumacle"


@pytest.fixture
def silence() -> Iterator[str]:
    """A port that takes connections and never answers."""
    with closing(socket.socket()) as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        yield f"postgresql://someone:secret@127.0.0.1:{held.getsockname()[1]}/dumacle"


@pytest.mark.parametrize("path", DATABASE)
def test_database_is_down(path: str, invoke: Run, environment: Callable[..., None], here: Path, nobody: str) -> None:
    environment(DUMACLE_DATABASE_URL=nobody, DUMACLE_ADMIN_DATABASE_URL=nobody)
    failed = invoke(*example(path), "-o", "json", expect=10)
    assert failed.out == ""
    assert failed.error["code"] == "database-unavailable"
    assert "secret" not in failed.err


@pytest.mark.parametrize("path", ["users list", "users create", "files upload", "files purge", "db upgrade"])
def test_database_never_answers(
    path: str, invoke: Run, environment: Callable[..., None], here: Path, silence: str
) -> None:
    environment(DUMACLE_DATABASE_URL=silence)
    began = time.monotonic()
    failed = invoke(*example(path), "--set", "connect_timeout=2", expect=10)
    assert time.monotonic() - began < 6
    assert failed.out == ""
    assert failed.err.startswith("dumacle: the database cannot be reached: ")
    assert len(failed.err.splitlines()) == 2


# 5: standard output that takes nothing


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Standard output is a pipe whose reader has left."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        yield
        monkeypatch.undo()


def status(path: str) -> int:
    """What is right for a lost output: nothing was lost where nothing was done."""
    return 1 if PROMISES[path].mutates else 0


@pytest.mark.parametrize("path", ENDING)
def test_closed_pipe(path: str, seeded: Run, unread: None, capfd: pytest.CaptureFixture[str]) -> None:
    if path == "demo":
        pytest.skip("has a test of its own")
    said = main(example(path))
    assert said == status(path)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("stdout", ["closed", "full", "unread"])
@pytest.mark.parametrize("path", ["users list", "users show", "users create", "schema", "completion show"])
def test_lost_output_of_a_process(path: str, stdout: str, process: Callable[..., Any]) -> None:
    ended = process(*example(path), stdout=stdout)
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr
    assert ended.returncode == (status(path) if stdout == "unread" else 1)
    assert (ended.stderr == "") == (ended.returncode == 0)


@pytest.fixture
def process(seeded: Run, embedded: Servers, config_file: Path, database: Database) -> Callable[..., Any]:
    """The program as a process of its own, in an empty environment: all it knows is its configuration file."""
    settings = {name.removeprefix("DUMACLE_").lower(): value for name, value in os.environ.items() if "DUMACLE_" in name}
    settings["database_url"] = settings["database_url"].replace("/proc/self", f"/proc/{os.getpid()}")
    config_file.parent.mkdir(parents=True, exist_ok=True)
    config_file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items() if name != "config"))
    config_file.chmod(0o600)

    def call(*argv: str, stdout: str = "", **variables: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(TOP)!r}); from dumacle_cli.__main__ import run; run()", *argv]
        env = {"DUMACLE_CONFIG": str(config_file), **variables}
        if stdout == "closed":
            command = ["/bin/sh", "-c", 'exec "$@" >&-', "sh", *command]
        with opened(stdout) as out:
            return subprocess.run(command, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE, text=True, check=False)

    return call
