"""`dumacle auth` and who may log in: real logins at a real server, seen from outside with plain connections."""

import json
import re
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from dumacle_cli import sources
from dumacle_cli.clients import keychain, keys, passwords
from dumacle_cli.errors import Exit, ToolFailed
from dumacle_cli.local.servers import Servers
from dumacle_cli.store.database import Database
from dumacle_cli.store.operations import Request
from tests.conftest import Result, Run
from tests.terminal import ask

pytestmark = pytest.mark.integration

ADA = "ada@example.com"
NEW = "a-new-password-of-hers"
TIMEOUTS = {"statement_timeout": "1min", "lock_timeout": "5s", "idle_in_transaction_session_timeout": "2min"}
KEYRING = """
import json
import pathlib
import time

from keyring.backend import KeyringBackend

FILE = pathlib.Path(__file__).with_name("kept.json")


class Keyring(KeyringBackend):
    priority = 1

    def _all(self):
        return json.loads(FILE.read_text()) if FILE.exists() else {}

    def get_password(self, service, username):
        return self._all().get(f"{service} {username}")

    def set_password(self, service, username, password):
        FILE.write_text(json.dumps({**self._all(), f"{service} {username}": password}))

    def delete_password(self, service, username):
        kept = self._all()
        kept.pop(f"{service} {username}", None)
        FILE.write_text(json.dumps(kept))


class Silent(Keyring):
    def get_password(self, service, username):
        time.sleep(60)


class PlaintextKeyring(Keyring):
    pass


class Chain(Keyring):
    backends = [PlaintextKeyring()]


class Forgetful(Keyring):
    def set_password(self, service, username, password):
        pass
"""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a personal login, and a way to run the program as he does at his desk."""

    login: str
    password: str
    url: str
    run: Run

    def log_in(self, *more: str, stdin: str = "") -> Result:
        return self.run(
            *("auth", "login", "--store", "file", "--password-file", "-", *more, "-o", "json"),
            stdin=stdin or self.password,
        )

    def who(self) -> Any:
        return self.run("auth", "whoami", "-o", "json").data

    def session_url(self, config_file: Path) -> str:
        home = {"XDG_CONFIG_HOME": str(config_file.parent.parent)}
        none = sources.resolve([], None, home).settings
        return passwords.complete(self.url, passwords.source(self.url, none, home))

    def connect(self, login: str = "", password: str = "") -> psycopg.Connection:
        return psycopg.connect(passwords.with_login(self.url, login or self.login, password or self.password))


@pytest.fixture
def ada(run: Run, environment: Callable[..., None], database_url: str, config_file: Path) -> Person:
    """Ada, who may log in and has not; the environment names her login and no password."""
    run("users", "create", ADA)
    made = run("users", "grant-login", ADA, "-o", "json").data
    url = passwords.bare(passwords.with_login(database_url, made["login"], ""))
    environment(DUMACLE_DATABASE_URL=url)
    return Person(made["login"], made["password"], url, run)


@pytest.fixture
def root(run: Run, ada: Person, environment: Callable[..., None], database_url: str) -> Run:
    """Run the program as whoever made Ada."""

    def call(*argv: str, **more: Any) -> Result:
        environment(DUMACLE_DATABASE_URL=database_url)
        try:
            return run(*argv, **more)
        finally:
            environment(DUMACLE_DATABASE_URL=ada.url)

    return call


def kept(config_file: Path) -> list[Path]:
    return list((config_file.parent / "sessions").glob("*"))


# Log in, out, and expire


def test_a_login_from_the_grant_to_the_logout(ada: Person, config_file: Path) -> None:
    refused = ada.run("users", "list", expect=Exit.LOGIN)
    assert refused.err.splitlines() == [
        "dumacle: you are not logged in: there is no password for this login",
        "  fix: dumacle auth login",
    ]
    opened = ada.log_in().data
    assert (opened["user"], opened["role"], opened["kept_in"]) == (ADA, "enduser", "file")
    who = ada.who()
    assert (who["user"], who["role"], who["kind"], who["expires_at"]) == (
        ADA,
        "enduser",
        "session",
        opened["expires_at"],
    )
    assert who["login"].startswith(f"{ada.login}_")
    (note,) = kept(config_file)
    assert (note.stat().st_mode & 0o777, note.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert ada.password not in note.read_text()
    ended = ada.run("auth", "logout", "-o", "json")
    assert (ended.json["changed"], ended.data) == (True, {"login": who["login"], "ended": True})
    assert kept(config_file) == []
    ada.run("auth", "whoami", expect=Exit.LOGIN)
    assert ada.run("auth", "logout", "-o", "json").json["changed"] is False


def test_a_wrong_password_is_one_sentence(ada: Person, config_file: Path) -> None:
    refused = ada.run("auth", "login", "--password-file", "-", stdin="a wrong password", expect=Exit.LOGIN)
    assert refused.out == ""
    assert refused.err.startswith("dumacle: the database refused the login: password authentication failed")
    assert "a wrong password" not in refused.err
    assert kept(config_file) == []


def test_logging_in_again_ends_the_session_before(ada: Person) -> None:
    ada.log_in()
    first = ada.who()["login"]
    ada.log_in()
    listed = ada.run("auth", "sessions", "list", "-o", "json").data
    assert [session["login"] for session in listed] == [ada.who()["login"]] != [first]


def test_a_dry_run_checks_the_password_and_opens_nothing(ada: Person, config_file: Path) -> None:
    foreseen = ada.log_in("--dry-run")
    assert (foreseen.json["dry_run"], foreseen.data["user"]) == (True, ADA)
    assert kept(config_file) == []
    with ada.connect() as connection:
        assert connection.execute("SELECT count(*) FROM app.logins WHERE kind = 'session'").fetchone() == (0,)


def test_postgres_itself_refuses_a_session_that_expired(ada: Person, config_file: Path) -> None:
    ada.log_in("--hours", "0.0003")
    url = ada.session_url(config_file)
    with psycopg.connect(url) as open_before:
        until = _instant(open_before, "SELECT valid_until FROM app.actor_login()")
        open_before.commit()
        with ada.connect() as other:
            other.execute("SELECT pg_sleep(extract(epoch FROM %s - clock_timestamp()) + 0.05)", [until])
        with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification, match="this login expired"):
            open_before.execute("SELECT app.actor()")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(url)
    refused = ada.run("auth", "whoami", "-o", "json", expect=Exit.LOGIN)
    assert (refused.error["code"], refused.error["fix"]) == ("login-expired", "dumacle auth login")
    assert ada.run("auth", "status", "-o", "json", expect=Exit.LOGIN).data["accepted"] is False
    assert ada.run("auth", "logout", "-o", "json").data["ended"] is False
    assert kept(config_file) == []


@pytest.mark.parametrize("kind", ["personal", "session"])
def test_postgres_itself_limits_a_login(kind: str, ada: Person, config_file: Path) -> None:
    ada.log_in()
    url = {"personal": passwords.with_login(ada.url, ada.login, ada.password), "session": ada.session_url(config_file)}
    with ExitStack() as opened:
        first, *_ = [opened.enter_context(psycopg.connect(url[kind])) for _ in range(3)]
        assert first.execute("SELECT kind FROM app.actor_login()").fetchone() == (kind,)
        for timeout, limit in TIMEOUTS.items():
            assert first.execute(f"SHOW {timeout}").fetchone() == (limit,)
        with pytest.raises(psycopg.OperationalError, match=f'too many connections for role "{first.info.user}"'):
            psycopg.connect(url[kind])


def _instant(connection: psycopg.Connection, query: str) -> datetime:
    row = connection.execute(query).fetchone()
    assert row
    return row[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("whose", [(ADA,), ("--service", "cron")], ids=["a person's", "a service's"])
def test_a_generated_password_is_shown_as_it_is_typed(run: Run, whose: tuple[str, ...]) -> None:
    run("users", "create", ADA)
    shown = run("users", "grant-login", *whose).out
    # A leading dash, as one of 64 would have, would be shown as an escape.
    assert re.search(r"^password +[0-9a-f]{48}$", shown, re.MULTILINE)


def test_only_a_personal_login_opens_sessions(root: Run, ada: Person, environment: Callable[..., None]) -> None:
    made = root("users", "grant-login", "--service", "cron", "-o", "json").data
    url = passwords.with_login(ada.url, made["login"], made["password"])
    environment(DUMACLE_DATABASE_URL=url)
    assert ada.who()["role"] == "cron"
    refused = ada.run("auth", "login", "--store", "file", expect=Exit.CONFLICT)
    assert "is no personal login" in refused.err


def test_the_password_is_typed_at_a_terminal_and_not_shown(ada: Person, config_file: Path) -> None:
    done = ask(ada.password, "auth", "login", "--store", "file")
    assert done.code == 0, done.err
    assert done.err.startswith(f"Password of {ada.login}: \n")
    assert ada.password not in done.out + done.err
    assert len(kept(config_file)) == 1
    refused = ada.run("auth", "login", "--store", "file", expect=Exit.USAGE)
    assert "repeat the command with --password-file FILE" in refused.err


# Sessions


def test_revoking_a_session_ends_what_runs_in_it(ada: Person, root: Run, config_file: Path, embedded: Servers) -> None:
    ada.log_in()
    login = ada.who()["login"]
    url = ada.session_url(config_file)
    ended: list[BaseException] = []
    with psycopg.connect(url, autocommit=True) as busy:
        runs = threading.Thread(target=_sleep, args=(busy, ended))
        runs.start()
        with psycopg.connect(embedded.admin_url, autocommit=True) as watching:
            sleeps = "SELECT pid FROM pg_stat_activity WHERE pid = %s AND wait_event = 'PgSleep'"
            while runs.is_alive() and not watching.execute(sleeps, [busy.info.backend_pid]).fetchone():
                pass
        planned = root("auth", "sessions", "revoke", login, "--dry-run", "-o", "json")
        assert planned.data == {"logins": [login], "connections": 1}
        assert not ended
        assert root("auth", "sessions", "revoke", login, "-o", "json").data == planned.data
        runs.join(20)
    assert [type(fault) for fault in ended] == [psycopg.errors.AdminShutdown]
    refused = ada.run("auth", "whoami", expect=Exit.LOGIN)
    assert "dumacle auth login" in refused.err
    root("auth", "sessions", "revoke", login, expect=Exit.NOT_FOUND)


def test_what_one_acts_with_is_not_revoked_under_one(ada: Person, root: Run) -> None:
    ada.log_in()
    mine = ada.run("auth", "sessions", "revoke", ada.who()["login"], "-o", "json", expect=Exit.CONFLICT)
    assert mine.error["fix"] == "dumacle auth logout"
    root("users", "revoke-login", "tests@example.com", expect=Exit.CONFLICT)
    assert ada.who()["kind"] == "session"


def _sleep(connection: psycopg.Connection, ended: list[BaseException]) -> None:
    try:
        connection.execute("SELECT pg_sleep(60)")
    except psycopg.Error as fault:
        ended.append(fault)


def test_an_enduser_ends_his_own_sessions_and_sees_no_others(
    ada: Person, root: Run, environment: Callable[..., None]
) -> None:
    root("users", "create", "bob@example.com")
    bob = root("users", "grant-login", "bob@example.com", "-o", "json").data
    environment(DUMACLE_DATABASE_URL=passwords.with_login(ada.url, bob["login"], bob["password"]))
    ada.run("auth", "login", "--store", "file")
    (of_bob,) = ada.run("auth", "sessions", "list", "-o", "json").data
    environment(DUMACLE_DATABASE_URL=passwords.with_login(ada.url, ada.login, ada.password))
    ada.run("auth", "login", "--store", "file")
    (of_ada,) = ada.run("auth", "sessions", "list", "-o", "json").data
    ada.run("auth", "sessions", "revoke", of_bob["login"], expect=Exit.NOT_FOUND)
    assert {row["user"] for row in root("auth", "sessions", "list", "-o", "json").data} == {ADA, "bob@example.com"}
    environment(DUMACLE_DATABASE_URL=ada.url)
    assert ada.run("auth", "sessions", "revoke", "--all", "-o", "json").json["changed"] is False
    assert ada.who()["login"] == of_ada["login"]
    environment(DUMACLE_DATABASE_URL=passwords.with_login(ada.url, ada.login, ada.password))
    gone = ada.run("auth", "sessions", "revoke", "--all", "-o", "json").data
    assert gone["logins"] == [of_ada["login"]]


# People and services


def test_a_disabled_user_loses_his_connections_and_is_refused(ada: Person, root: Run, config_file: Path) -> None:
    ada.log_in()
    with psycopg.connect(ada.session_url(config_file)) as reading, ada.connect() as idle:
        reading.execute("DECLARE rows CURSOR FOR SELECT * FROM app.users, generate_series(1, 1000)")
        assert len(reading.execute("FETCH 10 FROM rows").fetchall()) == 10
        idle.execute("SELECT app.actor()")
        root("users", "disable", ADA, "--dry-run")
        assert len(reading.execute("FETCH 10 FROM rows").fetchall()) == 10
        root("users", "disable", ADA)
        for connection in (reading, idle):
            with pytest.raises(psycopg.errors.AdminShutdown):
                connection.execute("FETCH 10 FROM rows")
    with ada.connect() as again, pytest.raises(psycopg.errors.InvalidAuthorizationSpecification, match="disabled"):
        again.execute("SELECT app.actor()")
    refused = ada.run("auth", "whoami", "-o", "json", expect=Exit.LOGIN).error
    assert (refused["code"], refused["message"]) == ("login-barred", "the user of this login is disabled")
    assert refused["fix"] == "ask an admin for: dumacle users enable EMAIL"
    assert ada.run("auth", "status", "-o", "json", expect=Exit.LOGIN).data["finding"] == refused["message"]


def test_the_nightly_job_drops_sessions_that_expired(ada: Person, root: Run) -> None:
    ada.log_in("--hours", "0.00001")
    with ada.connect() as connection:
        open_for = "extract(epoch FROM max(valid_until) - clock_timestamp()) + 0.01"
        connection.execute(f"SELECT pg_sleep(greatest({open_for}, 0)) FROM app.logins")
        session = connection.execute("SELECT role FROM app.logins WHERE kind = 'session'").fetchone()
    told = [root("quotas", "reset", *more, "-o", "json").data["sessions"] for more in (("--dry-run",), (), ())]
    assert told == [1, 1, 0]
    with ada.connect() as connection:
        left = connection.execute("SELECT rolname FROM pg_roles WHERE rolname IN (%s, %s)", [ada.login, *session])
        assert left.fetchall() == [(ada.login,)]


def test_an_operation_that_another_wrote_down_answers_for_nobody(ada: Person, root: Run) -> None:
    """Ada, who guesses what the nightly job will be called, neither makes it believe that it was done nor stops it."""
    asked = ("users", "disable", "bob@example.com", "--op-id", "nightly", "-o", "json")
    root("users", "create", "bob@example.com")
    forged = Request("nightly", "users.disable", {"user": "bob@example.com"})
    with ada.connect() as connection:
        connection.execute(
            "INSERT INTO app.operations (id, command, fingerprint, result) VALUES (%s, %s, %s, '{}')",
            [forged.id, forged.command, forged.fingerprint],
        )
    assert root(*asked).data["status"] == "disabled"
    assert root(*asked).data["status"] == "disabled"
    with ada.connect() as connection:
        assert connection.execute("SELECT id, result FROM app.operations").fetchall() == [("nightly", {})]


def test_a_repeat_from_a_later_session_takes_effect_once(ada: Person, root: Run) -> None:
    def limit(hours: int, expect: int = 0) -> Result:
        return ada.run("auth", "sessions", "limit", str(hours), "--op-id", "once", "-o", "json", expect=expect)

    root("users", "set-role", ADA, "superadmin", "--yes")
    root("users", "grant-login", ADA, "--password-file", "-", stdin=ada.password)
    ada.log_in()
    limit(12)
    root("auth", "sessions", "limit", "24")
    ada.run("auth", "logout")
    ada.log_in()
    assert limit(12).data["hours"] == 12
    assert limit(13, expect=Exit.CONFLICT).error["code"] == "operation-reused"
    assert json.loads(root("auth", "sessions", "limit", "24", "-o", "json").out)["changed"] is False


def test_an_enduser_has_three_sessions_at_most(ada: Person) -> None:
    with ada.connect() as connection:
        verifier = connection.pgconn.encrypt_password(NEW.encode(), ada.login.encode(), b"scram-sha-256").decode()
        for _ in range(3):
            connection.execute("SELECT login.open_session(%s, 1)", [verifier])
    typed = ("auth", "login", "--store", "file", "--password-file", "-", "-o", "json")
    refused = ada.run(*typed, stdin=ada.password, expect=Exit.LIMIT)
    assert "auth sessions revoke" in refused.error["fix"]
    with ada.connect() as connection:
        connection.execute("SELECT login.revoke(min(role)) FROM app.logins WHERE kind = 'session'")
    ada.log_in()


def test_the_last_superadmin_who_can_log_in_stays(root: Run, database_url: str) -> None:
    root("users", "create", "rosa@example.com", "--role", "superadmin")
    with psycopg.connect(database_url) as connection:
        with pytest.raises(psycopg.errors.CheckViolation, match="the last superadmin who can log in must stay"):
            connection.execute("SELECT login.revoke(session_user::text)")
        connection.rollback()
    root("users", "grant-login", "rosa@example.com")
    assert len(root("users", "revoke-login", "rosa@example.com", "-o", "json").data["logins"]) == 1


def test_a_revoked_login_is_gone_with_its_sessions(ada: Person, root: Run) -> None:
    ada.log_in()
    planned = root("users", "revoke-login", ADA, "--dry-run", "-o", "json").data
    gone = root("users", "revoke-login", ADA, "-o", "json").data
    assert gone["logins"] == planned["logins"]
    assert len(gone["logins"]) == 2
    ada.run("auth", "whoami", expect=Exit.LOGIN)
    with pytest.raises(psycopg.OperationalError):
        ada.connect()
    root("users", "revoke-login", ADA, expect=Exit.NOT_FOUND)
    assert root("users", "grant-login", ADA, "-o", "json").data["login"] == ada.login


def test_a_second_grant_is_another_password(ada: Person, root: Run, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{NEW}\n")
    file.chmod(0o600)
    again = root("users", "grant-login", ADA, "--password-file", str(file), "-o", "json").data
    assert (again["login"], again["password"]) == (ada.login, None)
    with pytest.raises(psycopg.OperationalError):
        ada.connect()
    ada.log_in(stdin=NEW)
    file.write_text("short")
    refused = root("users", "grant-login", ADA, "--password-file", str(file), expect=Exit.USAGE)
    assert "fewer than 12 characters" in refused.err
    assert "short" not in refused.err.replace("shorter", "")
    file.chmod(0o640)
    refused = root("users", "grant-login", ADA, "--password-file", str(file), expect=Exit.USAGE)
    assert refused.err.splitlines()[1] == f"  fix: chmod 600 {file}"


def test_who_gives_an_enduser_a_login_is_told_what_that_opens(ada: Person, root: Run) -> None:
    assert "it can infer what they hold" in root("users", "grant-login", ADA).err
    root("users", "create", "olga@example.com", "--role", "admin")
    assert root("users", "grant-login", "olga@example.com").err == ""


def test_with_a_higher_role_the_password_is_void(ada: Person, root: Run) -> None:
    """Whoever gave her the password may still know it."""
    ada.log_in()
    asked = ("users", "set-role", ADA, "admin", "-o", "json")
    planned = root(*asked, "--dry-run").data
    assert ada.who()["role"] == "enduser"
    done = root(*asked)
    assert done.data == planned
    assert done.data["password_void"]
    assert [login.startswith(ada.login) for login in done.data["logins_ended"]] == [True, True]
    ada.run("auth", "whoami", expect=Exit.LOGIN)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        ada.connect()
    made = root("users", "grant-login", ADA, "--password-file", "-", "-o", "json", stdin=NEW).data
    assert made["login"] == ada.login
    ada.log_in(stdin=NEW)
    assert ada.who()["role"] == "admin"
    refused = ada.run("users", "set-role", ADA, "superadmin", "--yes", "-o", "json", expect=Exit.FORBIDDEN)
    assert "superadmin" in refused.error["message"] + refused.error["fix"]
    root("users", "set-role", ADA, "superadmin", expect=Exit.USAGE)


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv"])
def test_with_a_lower_role_sessions_end_and_the_password_stays(form: str, ada: Person, root: Run) -> None:
    root("users", "set-role", ADA, "superadmin", "--yes")
    root("users", "grant-login", ADA, "--password-file", "-", stdin=ada.password)
    ada.log_in()
    with ada.connect() as connection:
        done = root("users", "update", ADA, "--role", "enduser", "-o", form)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert (f"the sessions of {ADA} ended" in done.err) == (form == "table")
    assert f"{ada.login}_" in done.out
    ada.run("auth", "whoami", expect=Exit.LOGIN)
    ada.log_in()
    assert ada.who()["role"] == "enduser"


def test_a_person_is_told_what_to_do_about_the_password(ada: Person, root: Run) -> None:
    done = root("users", "set-role", ADA, "superadmin", "--yes")
    assert "has no password any more" in done.err
    assert f"dumacle users grant-login {ADA}" in done.err


def test_the_same_role_ends_nothing(ada: Person, root: Run) -> None:
    ada.log_in()
    done = root("users", "set-role", ADA, "enduser", "-o", "json").data
    assert (done["logins_ended"], done["password_void"]) == ([], False)
    assert ada.who()["role"] == "enduser"


def test_give_a_user_or_a_service(root: Run) -> None:
    for name in ("grant-login", "revoke-login"):
        root("users", name, expect=Exit.USAGE)
        root("users", name, ADA, "--service", "cron", expect=Exit.USAGE)
    made = root("users", "grant-login", "--service", "worker", "-o", "json").data
    assert (made["user"], made["duty"]) == ("worker@service.invalid", "worker")
    root("users", "grant-login", made["user"], expect=Exit.CONFLICT)
    assert root("users", "revoke-login", "--service", "worker", "-o", "json").data["logins"] == [made["login"]]


# Passwords


def test_a_new_password(ada: Person) -> None:
    ada.run("auth", "passwd", "--password-file", "-", stdin=f"{ada.password}\nshort", expect=Exit.USAGE)
    ada.run("auth", "passwd", "--password-file", "-", stdin=f"a wrong password\n{NEW}", expect=Exit.LOGIN)
    ada.run("auth", "passwd", "--password-file", "-", "--dry-run", stdin=f"{ada.password}\n{NEW}")
    changed = ada.run("auth", "passwd", "--password-file", "-", "-o", "json", stdin=f"{ada.password}\n{NEW}")
    assert changed.data == {"login": ada.login}
    with pytest.raises(psycopg.OperationalError):
        ada.connect()
    ada.log_in(stdin=NEW)


def test_a_session_cannot_change_the_password(ada: Person, environment: Callable[..., None], config_file: Path) -> None:
    ada.log_in()
    url = ada.session_url(config_file)
    environment(DUMACLE_DATABASE_URL=url)
    ada.run("auth", "passwd", "--password-file", "-", stdin=NEW, expect=Exit.CONFLICT)


def source(ada: Person, expect: int = 0) -> Any:
    return ada.run("auth", "status", "-o", "json", expect=expect).data["source"]


def test_where_the_password_comes_from(
    ada: Person, environment: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert source(ada, Exit.LOGIN).startswith("libpq")
    passfile = tmp_path / "pgpass"
    passfile.write_text(f"*:*:*:{ada.login}:{ada.password}\n")
    passfile.chmod(0o600)
    environment(PGPASSFILE=str(passfile))
    assert source(ada).startswith("libpq")
    ada.log_in()
    assert source(ada) == "session, stored in the file"
    file = tmp_path / "dumacle-password"
    file.write_text(f"{ada.password}\n")
    file.chmod(0o600)
    environment(DUMACLE_PASSWORD_COMMAND=f"cat {file}")
    assert source(ada) == "password_command"
    environment(CREDENTIALS_DIRECTORY=str(tmp_path))
    assert source(ada) == "systemd credential dumacle-password"
    environment(DUMACLE_PASSWORD_FILE=str(file))
    assert source(ada) == f"password_file {file}"
    environment(DUMACLE_DATABASE_URL=passwords.with_login(ada.url, ada.login, ada.password))
    assert source(ada) == "the URL"
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("false", "exit 1"),
        ("true", "printed nothing"),
        ("no-such-program", "No such file"),
        ("sleep 60", "no response"),
        ("cat 'open", "No closing quotation"),
    ],
)
def test_a_password_command_that_fails(
    command: str, reason: str, ada: Person, environment: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "TIMEOUT", 0.5)
    environment(DUMACLE_PASSWORD_COMMAND=command)
    refused = ada.run("auth", "whoami", expect=Exit.FAILED)
    assert refused.err.startswith("dumacle: password_command failed: ")
    assert reason in refused.err


def test_a_file_that_others_can_read_is_refused(ada: Person, environment: Callable[..., None], tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(ada.password)
    file.chmod(0o644)
    environment(DUMACLE_PASSWORD_FILE=str(file))
    refused = ada.run("auth", "whoami", expect=Exit.USAGE)
    assert refused.err.splitlines() == [
        f"dumacle: the password file {file} can be read by others",
        f"  fix: chmod 600 {file}",
    ]
    file.chmod(0o600)
    assert ada.who()["kind"] == "personal"
    file.write_text("")
    ada.run("auth", "whoami", expect=Exit.USAGE)
    file.unlink()
    assert "cannot be read" in ada.run("auth", "whoami", expect=Exit.USAGE).err


# The keyring


@pytest.fixture
def keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A way to choose among keyrings that lie in a file."""
    (tmp_path / "keyrings_of_tests.py").write_text(KEYRING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(keychain, "TIMEOUT", 60)

    def choose(name: str) -> None:
        monkeypatch.setenv("PYTHON_KEYRING_BACKEND", f"keyrings_of_tests.{name}" if "." not in name else name)

    return choose


def test_a_session_in_the_keyring(ada: Person, keyring: Callable[[str], None], config_file: Path) -> None:
    keyring("Keyring")
    ada.run("auth", "login", "--password-file", "-", stdin=ada.password)
    (note,) = kept(config_file)
    assert "password" not in note.read_text()
    assert source(ada) == "session, stored in the keyring"
    assert ada.who()["kind"] == "session"
    (config_file.parent.parent.parent / "kept.json").write_text("{}")
    lost = ada.run("auth", "whoami", expect=Exit.LOGIN)
    assert "the keyring no longer has the password of this session" in lost.err
    assert ada.run("auth", "logout", "-o", "json").data["ended"] is False


@pytest.mark.parametrize("name", ["Silent", "Forgetful", "keyring.backends.null.Keyring"])
def test_a_keyring_that_keeps_nothing_opens_no_session(
    name: str, ada: Person, keyring: Callable[[str], None], config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyring(name)
    if name == "Silent":
        monkeypatch.setattr(keychain, "TIMEOUT", 0.5)
    refused = ada.run("auth", "login", "--password-file", "-", stdin=ada.password, expect=Exit.FAILED)
    assert refused.err.startswith("dumacle: the session cannot be saved: the keyring failed: ")
    assert "dumacle auth login --store file" in refused.err
    assert kept(config_file) == []
    with ada.connect() as connection:
        assert connection.execute("SELECT count(*) FROM app.logins WHERE kind = 'session'").fetchone() == (0,)


@pytest.mark.parametrize("name", ["PlaintextKeyring", "Chain"])
def test_a_keyring_in_clear_text_is_named_and_takes_no_session(
    name: str, ada: Person, keyring: Callable[[str], None], config_file: Path
) -> None:
    keyring(name)
    refused = ada.run("auth", "login", "--password-file", "-", stdin=ada.password, expect=Exit.FAILED)
    assert "keyrings_of_tests.PlaintextKeyring, which stores secrets in clear text" in refused.err
    assert "dumacle auth login --store file" in refused.err
    assert kept(config_file) == []
    keyring("Keyring")
    ada.run("auth", "login", "--password-file", "-", stdin=ada.password)
    keyring(name)
    assert "stores secrets in clear text" in ada.run("auth", "status", "-o", "json").data["finding"]
    with pytest.raises(ToolFailed, match="clear text"):
        keys.create("keyring:production")
    found = {row["check"]: row for row in ada.run("doctor", "-o", "json").data}["keyring"]
    assert (found["status"], "clear text" in found["finding"]) == ("warning", True)


def test_the_secret_is_in_no_argument(
    ada: Person, keyring: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keyring("Keyring")
    spy = tmp_path / "python"
    spy.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/seen\nenv >> {tmp_path}/seen\nexec {sys.executable} "$@"\n')
    spy.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(spy))
    keychain.store("a name", "a secret")
    assert keychain.read("a name") == "a secret"
    keychain.forget("a name")
    keychain.forget("a name")
    assert keychain.read("a name") is None
    assert "import keyring" in (tmp_path / "seen").read_text()
    assert "a secret" not in (tmp_path / "seen").read_text()


def test_a_superadmin_limits_how_long_sessions_last(run: Run, database: Database) -> None:
    assert run("auth", "sessions", "limit", "12", "-o", "json").json["changed"]
    assert not run("auth", "sessions", "limit", "12", "-o", "json").json["changed"]
    run("auth", "sessions", "limit", "0", expect=2)
    with database.session() as session:
        assert session.scalar(text("SELECT session_hours FROM app.installation")) == 12
