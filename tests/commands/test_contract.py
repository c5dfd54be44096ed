"""The contract with scripts, kept by every leaf command: what is promised of it, walked kind by kind."""

import csv
import io
import json
import os
import pwd
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TextIO

import jsonschema
import pytest
from sqlalchemy import text

from dumacle_cli.__main__ import main
from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.settings import Settings, environment_names
from dumacle_cli.store.database import Database, Timeouts
from tests.conftest import Run
from tests.promises import (
    CONFIGURED,
    CONFIRMING,
    DATABASE,
    ENDING,
    MUTATIONS,
    OPERATIONS,
    PRINTING,
    PROMISES,
    READING,
    REHEARSED,
    WALKED,
    example,
)

pytestmark = pytest.mark.integration

NO_DATABASE = "no database is configured"
NO_SERVER = "no superuser's connection to PostgreSQL is configured"
JSON = ("-o", "json")


@pytest.fixture(autouse=True)
def apart(environment: Callable[..., None], config_file: Path, data_folder: Path) -> None:
    """Whatever a command starts or writes stays apart from this machine's own."""
    environment(DUMACLE_DATA_DIR=str(data_folder))


@pytest.fixture
def run(run: Run, request: pytest.FixtureRequest, environment: Callable[..., None], owner_url: str) -> Run:
    """Run the program as a superadmin, and what only the owner of the schema may do as the owner."""
    path = request.node.callspec.params.get("path") if hasattr(request.node, "callspec") else None
    if path in PROMISES and PROMISES[path].role == "owner":
        environment(DUMACLE_DATABASE_URL=owner_url)
    return run


VALIDATORS: dict[str, Any] = {}
"""The validator of each schema that was printed and checked."""


def validate(run: Run, name: str, document: Any) -> None:
    if name not in VALIDATORS:
        schema = json.loads(run("schema", name).out)
        validator = jsonschema.validators.validator_for(schema)
        validator.check_schema(schema)
        VALIDATORS[name] = validator(schema)
    VALIDATORS[name].validate(document)


# Examples, help and forms


@pytest.mark.parametrize("path", PROMISES)
def test_help_shows_the_example(path: str, invoke: Run) -> None:
    said = invoke(*path.split(), "--help").out
    assert f"Example: {PROMISES[path].example}" in " ".join(said.split())


@pytest.fixture
def bare(seeded: Run, config_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the program where the environment says only where its configuration is, as after `env -i`."""
    names = {variable: name for name in Settings.model_fields for variable in environment_names(name)}
    known = {names[variable]: value for variable, value in os.environ.items() if variable in names}
    config_file.parent.mkdir()
    config_file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in known.items()))
    config_file.chmod(0o600)
    monkeypatch.setenv("DUMACLE_CONFIG", str(config_file))
    # Without HOME the account's own entry says where it lives, and what is there is no test's to write to.
    entry_of, account = pwd.getpwuid, pwd.getpwuid(os.getuid())
    home = pwd.struct_passwd((*account[:5], str(tmp_path / "home"), account.pw_shell))
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: home if uid == account.pw_uid else entry_of(uid))
    for variable in os.environ.keys() - {"DUMACLE_CONFIG"}:
        monkeypatch.delenv(variable)
    return seeded


@pytest.mark.parametrize("path", WALKED)
def test_example_runs_in_an_empty_environment(path: str, bare: Run) -> None:
    said = bare(*example(path))
    assert bool(said.out) == (path in PRINTING)
    assert [line for line in said.out.splitlines() if line != line.rstrip()] == []


@pytest.mark.parametrize("path", READING)
def test_reading_prints_what_its_schema_accepts(path: str, seeded: Run) -> None:
    said = seeded(*example(path), *JSON)
    validate(seeded, PROMISES[path].name, said.json)
    lines = [json.loads(line) for line in seeded(*example(path), "-o", "jsonl").out.splitlines()]
    table = list(csv.DictReader(io.StringIO(seeded(*example(path), "-o", "csv").out)))
    items = said.data if isinstance(said.data, list) else [said.data]
    assert len(lines) == len(table) == len(items)
    assert [set(line) for line in table] == [set(line) for line in lines]
    # Shared options stand before and after the command.
    assert seeded(*JSON, *example(path)).json["schema"] == said.json["schema"]
    says_nothing_but_the_record(path, seeded)


def says_nothing_but_the_record(path: str, seeded: Run) -> None:
    said = seeded(*example(path), "--quiet", "--log-format", "json")
    assert said.out == ""
    (line,) = said.err.splitlines()
    record = json.loads(line)
    assert (record["command"], record["exit"]) == (PROMISES[path].name, 0)


# Whoever asks is a user himself, and that he was made is on record; every installation begins with presets.
@pytest.mark.parametrize(
    "path",
    sorted(
        {path for path in DATABASE if path.endswith(" list")} - {"users list", "audit list", "transcode presets list"}
    ),
)
def test_empty_list_is_a_document_too(path: str, run: Run) -> None:
    said = run(*path.split(), *JSON)
    assert said.data == []
    validate(run, PROMISES[path].name, said.json)
    assert run(*path.split()).out == ""


@pytest.mark.parametrize("path", ENDING)
def test_error_is_json_where_json_was_asked_for(path: str, invoke: Run) -> None:
    failed = invoke(*path.split(), "--no-such-option", *JSON, expect=2)
    assert failed.out == ""
    validate(invoke, "error", failed.error)
    assert failed.error["code"] == "usage-error"


# Nothing configured, nothing there


@pytest.mark.parametrize("path", CONFIGURED)
def test_without_configuration(path: str, invoke: Run, here: Path) -> None:
    failed = invoke(*example(path), expect=2)
    assert failed.out == ""
    assert failed.err.startswith(f"dumacle: {NO_SERVER if path == 'db bootstrap' else NO_DATABASE}\n")


@pytest.fixture
def port() -> Iterator[socket.socket]:
    """A port that belongs to this test."""
    with closing(socket.socket()) as held:
        held.bind(("127.0.0.1", 0))
        yield held


@pytest.fixture
def elsewhere(port: socket.socket, environment: Callable[..., None]) -> None:
    """The configured database is at that port."""
    url = f"postgresql://someone:hidden@127.0.0.1:{port.getsockname()[1]}/dumacle"
    environment(DUMACLE_DATABASE_URL=url, DUMACLE_ADMIN_DATABASE_URL=url)


@pytest.mark.parametrize("path", DATABASE)
def test_database_is_down(path: str, invoke: Run, here: Path, elsewhere: None) -> None:
    began = time.monotonic()
    failed = invoke(*example(path), *JSON, expect=10)
    assert time.monotonic() - began < Timeouts().connect
    assert failed.out == ""
    assert failed.error["code"] == "database-unavailable"
    assert failed.error["message"].startswith("the database cannot be reached: ")
    assert "\n" not in failed.error["message"]
    assert "hidden" not in failed.err


# The least that libpq waits is 2 s, so only one command is walked for each way of reaching the database.
@pytest.mark.parametrize(
    "path",
    [
        *("users list", "users create", "files upload", "files purge", "db upgrade"),
        *("db bootstrap", "db check", "auth login", "worker", "webhooks serve"),
    ],
)
def test_database_never_answers(path: str, invoke: Run, here: Path, elsewhere: None, port: socket.socket) -> None:
    port.listen()
    began = time.monotonic()
    failed = invoke(*example(path), "--set", "connect_timeout=2", expect=10)
    assert time.monotonic() - began < 2 * 2
    assert failed.out == ""
    assert failed.err.startswith("dumacle: the database cannot be reached: ")
    assert len(failed.err.splitlines()) == 2


@pytest.mark.parametrize("path", DATABASE)
def test_timeout_ends_what_never_answers(
    path: str, invoke: Run, here: Path, elsewhere: None, port: socket.socket
) -> None:
    port.listen()
    began = time.monotonic()
    failed = invoke(*example(path), "--timeout", "0.2", *JSON, expect=10)
    assert time.monotonic() - began < 2
    assert failed.out == ""
    assert failed.error["code"] == "timed-out"


@pytest.mark.parametrize("path", ["users list", "users show", "users create", "users disable", "files upload"])
def test_timeout_ends_what_a_lock_holds_up(path: str, seeded: Run, database: Database) -> None:
    with database.session() as other:
        other.execute(text("LOCK TABLE app.users IN ACCESS EXCLUSIVE MODE"))
        began = time.monotonic()
        failed = seeded(*example(path), "--timeout", "0.2", *JSON, expect=10)
        assert time.monotonic() - began < 3
    assert failed.error["code"] == "timed-out"


# Mutations


# What they show is how the servers are now, and their files grow by themselves.
SERVERS = ("local start", "local stop", "local reset", "pods probe")
TABLES = "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname IN ('app', 'queue')"
VOLATILE = ("id", "_at", "_id", "key", "password", "operation", "seconds", "run", "url", "secret")


def lasting(data: Any) -> Any:
    """Return what two runs of the same command must agree on."""
    if isinstance(data, dict):
        return {name: lasting(value) for name, value in data.items() if not name.endswith(VOLATILE)}
    return [lasting(item) for item in data] if isinstance(data, list) else data


def remembered(database: Database, store: ObjectStore, *folders: Path) -> dict[str, Any]:
    """Return all that a command could change: rows, objects and files."""
    with database.session(check_schema=False) as session:
        names = session.scalars(text(TABLES)).all()
        digest = "SELECT '{0}', md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {0} AS t"
        rows = dict(session.execute(text(" UNION ALL ".join(map(digest.format, names)))).all())
    objects = {entry.key for entry in store.list("")}
    files = {file: file.read_bytes() for folder in folders for file in folder.rglob("*") if file.is_file()}
    return {"rows": rows, "objects": objects, "files": files}


def asks_first(path: str, seeded: Run) -> None:
    refused = seeded(*[typed for typed in example(path) if typed != "--yes"], *JSON, expect=2)
    assert refused.error["code"] == "no-terminal"
    assert refused.error["fix"] == "repeat the command with --yes"


def test_what_destroys_is_rehearsed() -> None:
    assert set(CONFIRMING) <= set(REHEARSED)


@pytest.mark.parametrize("path", REHEARSED)
def test_neither_a_dry_run_nor_a_question_changes_anything_and_the_dry_run_predicts(
    path: str, seeded: Run, database: Database, object_store: ObjectStore, tmp_path: Path
) -> None:
    before = remembered(database, object_store, tmp_path)
    if path in CONFIRMING:
        asks_first(path, seeded)
    foreseen = seeded(*example(path), *JSON, "--dry-run").json
    seeded(*example(path), "-o", "csv", "--dry-run")
    assert remembered(database, object_store, tmp_path) == before
    done = seeded(*example(path), *JSON).json
    validate(seeded, PROMISES[path].name, foreseen)
    validate(seeded, PROMISES[path].name, done)
    assert (foreseen["dry_run"], done["dry_run"]) == (True, False)
    assert foreseen["changed"] == done["changed"]
    if path not in SERVERS:
        assert lasting(foreseen["data"]) == lasting(done["data"])


@pytest.mark.parametrize("path", OPERATIONS)
def test_operation_takes_effect_once_and_its_id_is_no_other_commands(
    path: str, seeded: Run, database: Database, object_store: ObjectStore, tmp_path: Path
) -> None:
    first = seeded(*example(path), *JSON, "--op-id", "monday").json
    between = remembered(database, object_store)
    again = seeded(*example(path), *JSON, "--op-id", "monday").json
    assert remembered(database, object_store) == between
    assert first["operation"] == again["operation"] == "monday"
    assert again["changed"] is False
    assert lasting(again["data"]) == lasting(first["data"])
    if path not in ("users import", "users create"):
        refused = seeded("users", "create", "zoe@example.com", "--op-id", "monday", *JSON, expect=7)
        assert refused.error["code"] == "operation-reused"


# What is said, and where it goes


# What only reads is asked to be quiet where it is read.
@pytest.mark.parametrize("path", MUTATIONS)
def test_quiet_success_says_nothing_but_the_record_asked_for(path: str, seeded: Run) -> None:
    says_nothing_but_the_record(path, seeded)


def ended(path: str, out: TextIO | None) -> tuple[int, str]:
    """Run an example with this standard output, and return its exit status and what it told."""
    told = io.StringIO()
    with redirect_stdout(out), redirect_stderr(told):
        return main(example(path)), told.getvalue()


# Each command that prints has one of these faults: what writes is the same for all.


@pytest.mark.parametrize("path", PRINTING[::2])
def test_reader_leaves(path: str, seeded: Run) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as out:
        status, told = ended(path, out)
    if PROMISES[path].changes:
        assert status == 1
        assert "dumacle: the output could not be written (the reader closed the pipe)" in told
    else:
        assert (status, told) == (0, "")


@pytest.mark.parametrize("path", PRINTING[1::2])
def test_standard_output_is_full(path: str, seeded: Run) -> None:
    with Path("/dev/full").open("w") as out:
        status, told = ended(path, out)
    assert status == 1
    assert "dumacle: the output could not be written (No space left on device)" in told


def test_standard_output_is_closed(seeded: Run, database: Database, object_store: ObjectStore) -> None:
    before = remembered(database, object_store)
    for path in WALKED:
        status, told = ended(path, None)
        assert (path, status) == (path, 2)
        assert told.startswith("dumacle: standard output is closed\n")
    assert remembered(database, object_store) == before
