"""Secrets stay where they belong: every command runs at full verbosity, well and into faults, and what it left is read.

Each secret is random, so wherever it is found it leaked. A new command joins by the example in its help, a new setting
by being a secret.
"""

import base64
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import dumacle_cli
from dumacle_cli.clients import passwords
from dumacle_cli.errors import Exit
from dumacle_cli.local.servers import Servers
from dumacle_cli.settings import Settings, is_secret
from dumacle_cli.store import database as databases
from tests.conftest import Run
from tests.faults.leaks import SIGNATURE, Log, Searcher, children, command_lines, rows, spellings
from tests.faults.planting import (
    Ear,
    bug,
    deliver,
    fail_at_the_store,
    fail_late,
    leaks_of_processes,
    learn_files,
    plant,
    process,
    settled,
)
from tests.promises import PROMISES, WALKED, example
from tests.stripe_double.double import StripeDouble

pytestmark = pytest.mark.integration

ROOT = Path(dumacle_cli.__file__).parents[1]
EVERY = [*WALKED, "worker"]
# The listener ends by a signal, and the demo has servers of its own, so they are run as processes.
PROCESSES = ["webhooks serve", "demo"]
JSON = ("-o", "json")


@pytest.fixture
def stripe_double(stripe_server: Callable[[], StripeDouble]) -> StripeDouble:
    """An account at Stripe's double whose secrets nobody else has."""
    account = stripe_server()
    account.key = account.api.key = f"sk_test_{secrets.token_urlsafe(24)}"
    account.secret = f"whsec_{secrets.token_urlsafe(24)}"
    return account


# The searcher


@pytest.mark.parametrize("secret", ["correct-horse/battery&staple", os.urandom(32)], ids=["text", "bytes"])
def test_a_secret_is_found_in_every_spelling(secret: str | bytes) -> None:
    raw = secret.encode() if isinstance(secret, str) else secret
    searcher = Searcher({"planted": secret})
    written = [raw.hex(), raw.hex().upper(), quote(raw, safe=""), quote(raw, safe="").lower(), str(secret)]
    for before in range(4):
        for after in range(4):
            inside = b"x" * before + raw + b"y" * after
            written += [base64.b64encode(inside).decode(), base64.urlsafe_b64encode(inside).decode(), inside.hex()]
            written += [base64.b64encode(inside).hex()]
    assert [text for text in written if not searcher.found(f"said {text} here")] == []
    other = secret[:-1] + "!" if isinstance(secret, str) else secret[:-1] + bytes([secret[-1] ^ 0xFF])
    assert [text for text in spellings(other) if searcher.found(text)] == []


def test_a_secret_is_found_in_rows_logs_and_processes(
    embedded: Servers, copied: str, owner_url: str, searcher: Searcher, logged: None
) -> None:
    import psycopg

    log, text = Log(embedded.folder / "postgres.log"), plant(searcher, "planted")
    with psycopg.connect(owner_url) as connection:
        connection.execute("CREATE TABLE app.leaky (a text, b bytea, c jsonb)")
        for row in ((text, None, None), (None, text.encode(), None), (None, None, json.dumps({"deep": [text]}))):
            connection.execute("TRUNCATE app.leaky")
            connection.execute("INSERT INTO app.leaky VALUES (%s, %s, %s)", row)
            connection.commit()
            assert searcher.found(rows(embedded.admin_url, copied)), row
    assert searcher.found(log.read())
    with children() as started, command_lines() as seen:
        subprocess.run([sys.executable, "-c", "import time; time.sleep(0.5)", text], env={"TOLD": text}, check=True)
    assert searcher.found(" ".join(started[0][0]))
    assert searcher.found(started[0][1]["TOLD"])
    assert searcher.found("\n".join(seen))


def test_a_bug_that_tells_a_secret_is_found(
    searcher: Searcher, embedded: Servers, planted: Callable[[], None], environment: Callable[..., None]
) -> None:
    environment(DUMACLE_DATABASE_URL=embedded.admin_url)

    def greet(*_: Any) -> None:
        raise RuntimeError(embedded.s3_secret_key)

    for fault, leaks in ((bug(searcher), 0), (greet, 1)):
        ear = Ear(searcher)
        with settled() as patch:
            patch.setattr(databases.Database, "_begin", fault)
            assert ear.run("users list") == 1
        assert "Traceback" in ear.last
        assert [leak.split(":")[0] for leak in ear.leaks()] == ["users list, stderr"] * leaks


# Every command


def test_every_command_is_run() -> None:
    assert sorted([*EVERY, *PROCESSES]) == sorted(PROMISES)


@pytest.mark.parametrize("path", EVERY)
def test_no_command_tells_a_secret_where_the_database_fails(
    path: str, searcher: Searcher, embedded: Servers, planted: Callable[[], None], environment: Callable[..., None]
) -> None:
    wrong, secret = plant(searcher, "wrong password"), embedded.owner_password
    refusing = passwords.with_login(embedded.admin_url, "postgres", wrong)
    away = passwords.with_login("postgresql://127.0.0.1:1/dumacle", "postgres", secret)
    planted()
    ear, said = Ear(searcher), []
    with settled(DUMACLE_DATABASE_URL=away, DUMACLE_ADMIN_DATABASE_URL=away):
        said.append(ear.run(path, *example(path), *JSON))
    with settled(DUMACLE_DATABASE_URL=refusing, DUMACLE_ADMIN_DATABASE_URL=refusing) as patch:
        said.append(ear.run(path))
        patch.setattr(databases, "_error", bug(searcher))
        ear.run(path)
        patch.setattr(databases.Database, "_begin", bug(searcher))
        ear.run(path)
    assert ear.leaks() == []


@pytest.mark.parametrize("path", EVERY)
def test_no_command_leaves_a_secret(
    path: str,
    seeded: Run,
    searcher: Searcher,
    planted: Callable[[], None],
    embedded: Servers,
    copied: str,
    database_url: str,
    owner_url: str,
    here: Path,
    environment: Callable[..., None],
    logged: None,
) -> None:
    planted()
    ear, logs = Ear(searcher), [Log(embedded.folder / name) for name in ("postgres.log", "s3.log")]
    url = owner_url if PROMISES[path].role == "owner" else database_url
    environment(DUMACLE_DATABASE_URL=url)
    by_file = {"DUMACLE_DATABASE_URL": passwords.bare(url), "DUMACLE_PASSWORD_FILE": f"{here}/owner-password"}
    with children() as started:
        with settled(**by_file, DUMACLE_LOCAL_SECRET_KEY=plant(searcher, "wrong secret key")):
            refused = ear.run(path)
        if refused:
            fail_at_the_store(ear, path)
        done = ear.run(path, *example(path), *JSON)
        fail_late(ear, path)
        with Path("/dev/full").open("w") as full:
            ear.run(path, out=full)
    # The seeded film is no media, which a worker tells if the pause after the refusal is over by then.
    assert {0, Exit.PARTIAL if path == "worker" else 0} & {refused, done}, ear.last
    learn_files(searcher, here, Path(os.environ["DUMACLE_DATA_DIR"]))
    assert ear.leaks() == []
    assert leaks_of_processes(searcher, started) == []
    for text in (rows(embedded.admin_url, copied), *(log.read() for log in logs)):
        assert searcher.found(text) == []
        assert SIGNATURE.findall(text) == []


# Secrets that are typed, and those that nobody can use

SPOILED_URLS = {
    "port": "postgresql://root:{}@127.0.0.1:port/dumacle",
    "bracket": "postgresql://root:{}@[::1/dumacle",
    "hash": "postgresql://root:#{}@127.0.0.1:1/dumacle",
    "slash": "postgresql://root:a/{}@127.0.0.1:1/dumacle",
    "at": "postgresql://root:a@{}@127.0.0.1:1/dumacle",
    "scheme": "mysql://root:{}@127.0.0.1:1/dumacle",
    "no scheme": "root:{}@127.0.0.1:1/dumacle",
    "words": "host=127.0.0.1 port=1 password={}",
    "query": "postgresql://root@127.0.0.1:1/dumacle?password={}",
    "option": "postgresql://root:{}@127.0.0.1:1/dumacle?no_such_option=1",
    "question": "postgresql://root:a?{}@127.0.0.1:1/dumacle",
    "line": "postgresql://root:{}\n@127.0.0.1:1/dumacle",
}
READ_A_URL = [path for path in EVERY if path.startswith(("auth", "db", "users list", "config list", "doctor"))]


@pytest.mark.parametrize("spoiled", SPOILED_URLS)
def test_a_url_that_is_wrong_is_not_told(
    spoiled: str, searcher: Searcher, planted: Callable[[], None], environment: Callable[..., None]
) -> None:
    url = SPOILED_URLS[spoiled].format(secrets.token_urlsafe(24))
    environment(DUMACLE_DATABASE_URL=url, DUMACLE_ADMIN_DATABASE_URL=url)
    ear = Ear(searcher)
    for path in READ_A_URL:
        ear.run(path, *example(path), *JSON)
    assert ear.leaks() == []


def test_a_password_that_is_given_is_not_kept(
    seeded: Run,
    invoke: Run,
    searcher: Searcher,
    planted: Callable[[], None],
    embedded: Servers,
    copied: str,
    database_url: str,
    here: Path,
    logged: None,
) -> None:
    planted()
    ear, log = Ear(searcher), Log(embedded.folder / "postgres.log")
    ada = ("users", "grant-login", "ada@example.com", "--password-file", "new-password")
    assert ear.run("users grant-login --password-file", *ada) == 0
    assert ear.run("users grant-login --password-file", *ada, *JSON) == 0
    worker = ("users", "grant-login", "--service", "worker", "--password-file", "new-password")
    assert ear.run("users grant-login --service", *worker) == 0
    granted = [text for path, channel, text in ear.heard if channel == "stdout"][1]
    login = json.loads(granted)["data"]["login"]
    own = passwords.with_login(database_url, login, passwords.read(here / "new-password"))
    (here / "both").write_text(f"{passwords.read(here / 'new-password')}\n{plant(searcher, 'newer password')}\n")
    (here / "both").chmod(0o600)
    with settled(DUMACLE_DATABASE_URL=own):
        assert ear.run("auth passwd", "auth", "passwd", "--password-file", "both") == 0
        assert ear.run("auth passwd", "auth", "passwd", "--password-file", "both", *JSON) != 0
    assert ear.leaks() == []
    assert searcher.found(rows(embedded.admin_url, copied)) == []
    assert searcher.found(log.read()) == []


def test_a_session_is_not_told(
    seeded: Run,
    searcher: Searcher,
    planted: Callable[[], None],
    embedded: Servers,
    copied: str,
    database_url: str,
    config_file: Path,
    logged: None,
) -> None:
    planted()
    ear, log = Ear(searcher), Log(embedded.folder / "postgres.log")
    log_in = ("auth", "login", "--store", "file", "--password-file", "owner-password")
    with settled(DUMACLE_DATABASE_URL=passwords.bare(database_url)):
        assert ear.run("auth login", *log_in) == 0
        for path in ("auth whoami", "auth status", "auth sessions list", "users list", "doctor", "config list"):
            ear.run(path)
            ear.run(path, *example(path), *JSON)
        [note] = (config_file.parent / "sessions").iterdir()
        assert Ear(searcher, [("note", "file", note.read_text())]).leaks(), "it is kept in the note, and only there"
        for damaged in (note.read_text().replace('"login"', '"log"'), note.read_text()[:-1]):
            note.write_text(damaged)
            assert ear.run("auth whoami") == ear.run("auth status", *example("auth status"), *JSON) == 4
    assert ear.leaks() == []
    assert searcher.found(rows(embedded.admin_url, copied)) == []
    assert searcher.found(log.read()) == []


def test_keys_that_cannot_be_used_are_not_told(
    seeded: Run, searcher: Searcher, planted: Callable[[], None], here: Path
) -> None:
    planted()
    ear, secret = Ear(searcher), plant(searcher, "keys in a file")
    for text in (secret, f'{{"access_key": "{secret}"', json.dumps({"access_key": secret, "secret_key": [secret]})):
        (here / "keys.json").write_text(text)
        assert ear.run("pods credentials set") == 2
    (here / "dumacle.key").chmod(0o600)
    (here / "dumacle.key").write_text(secret)
    for path in ("key check", "pods credentials show", "pods credentials test", "files upload"):
        ear.run(path)
    for name in filter(is_secret, Settings.model_fields):
        ear.run("config set", "config", "set", name, secret)
    assert ear.leaks() == []


# Processes, as everybody on the machine sees them


def test_no_process_shows_a_secret(
    seeded: Run,
    searcher: Searcher,
    planted: Callable[[], None],
    embedded: Servers,
    stripe_double: StripeDouble,
    copied: str,
    environment: Callable[..., None],
    logged: None,
) -> None:
    planted()
    url = os.environ["DUMACLE_DATABASE_URL"].replace(
        quote(embedded.host, safe=""), quote(embedded.shared_host or "", safe="")
    )
    environment(DUMACLE_DATABASE_URL=url, PYTHONPATH=str(ROOT))
    ear, logs = Ear(searcher), [Log(embedded.folder / name) for name in ("postgres.log", "s3.log")]
    with command_lines() as seen:
        for path in ("users grant-login", "files upload", "files url", "worker", "doctor"):
            with process(*example(path)) as running:
                told = running.communicate(timeout=100)
            ear.heard += [(path, "stdout", told[0]), (path, "stderr", told[1])]
        with process("webhooks", "serve", "--set", "listen_port=0") as running:
            ear.heard += [("webhooks serve", "stderr", deliver(running, stripe_double))]
    assert ear.leaks() == []
    assert [line for line in seen if "dumacle_cli" in line], "the processes were looked at while they ran"
    for text in ("\n".join(seen), rows(embedded.admin_url, copied), *(log.read() for log in logs)):
        assert searcher.found(text) == []


def test_the_demo_shows_no_secret(
    searcher: Searcher, planted: Callable[[], None], environment: Callable[..., None], data_folder: Path
) -> None:
    planted()
    environment(DUMACLE_DATABASE_URL=None, DUMACLE_ADMIN_DATABASE_URL=None, PYTHONPATH=str(ROOT))
    with command_lines() as seen, process("demo") as running:
        out, err = running.communicate(timeout=240)
    assert running.returncode == 0, err
    learn_files(searcher, Path(), data_folder)
    assert Ear(searcher, [("demo", "stdout", out), ("demo", "stderr", err)]).leaks() == []
    for text in ("\n".join(seen), *((data_folder / name).read_text() for name in ("postgres.log", "s3.log"))):
        assert searcher.found(text) == []
        assert SIGNATURE.findall(text) == []
