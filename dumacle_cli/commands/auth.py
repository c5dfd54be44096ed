"""`dumacle auth`: log in and out, and manage sessions."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dumacle_cli import settings
from dumacle_cli.clients import passwords, sessions
from dumacle_cli.commands import sessions as open_sessions
from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.context import Context
from dumacle_cli.errors import Conflict, DatabaseRefused, DumacleError, Exit, LoginBarred, NoDatabase, UsageError
from dumacle_cli.output.result import Result
from dumacle_cli.services import logins

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

app = CommandGroup("auth")

app.add(open_sessions.app)

LONGEST_HOURS = 8760
"""More than any installation allows, so a session gets the maximum."""


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """The user of a new session, where its password is kept, and when PostgreSQL stops accepting it."""

    user: str
    role: str
    kept_in: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class LoggedOut:
    """The session that was removed here, and whether it was still open at the server."""

    login: str | None
    ended: bool


@dataclass(frozen=True, slots=True)
class WhoAmI:
    """The acting user, their login, and the server."""

    user: str | None
    role: str
    login: str
    kind: str
    expires_at: datetime | None
    server: str


@dataclass(frozen=True, slots=True)
class Status:
    """Where the password comes from, when it expires, and whether the server accepts it."""

    server: str
    login: str
    source: str
    expires_at: datetime | None
    accepted: bool
    finding: str
    fix: str


@dataclass(frozen=True, slots=True)
class PasswordChanged:
    """The login with the new password."""

    login: str


@app.acts_outside("login", example="dumacle auth login --store file", role="enduser")
def login(
    context: Context,
    password_file: Annotated[
        str,
        typer.Option("--password-file", metavar="FILE", help="Read the password from this file; - is standard input."),
    ] = "",
    store: Annotated[
        sessions.Store, typer.Option("--store", help="Where to keep the session (a file gets mode 0600).")
    ] = "keyring",
    hours: Annotated[
        float, typer.Option("--hours", metavar="N", min=0, help="Log in for fewer hours than allowed.")
    ] = LONGEST_HOURS,
) -> Result[LoggedIn]:
    """Log in with your own password; only a session, which expires, is kept."""
    url = _configured(context)
    secret, bare = secrets.token_hex(24), passwords.bare(url)
    before = sessions.find(context.environ, bare)
    with _with_own_login(context, url, _old(context, url, password_file)) as session:
        opened = logins.open_session(session, secret, hours)
        if before:
            logins.replace(session, before.login)
        if not context.options.dry_run:  # before COMMIT: a session without its password would stay open for a day
            sessions.keep(context.environ, sessions.Session(bare, opened.login, opened.expires_at, store), secret)
    note = "the URL holds a password, which is used before any session" if settings.password_of(url) else ""
    done = LoggedIn(opened.user, opened.role, store, opened.expires_at)
    return Result(done, True, note=note)


@app.acts_outside("logout", example="dumacle auth logout", role="enduser")
def logout(context: Context) -> Result[LoggedOut]:
    """End your session at the server and remove it here, even if it has expired."""
    url = passwords.bare(_configured(context))
    session = sessions.find(context.environ, url)
    if session is None:
        return Result(LoggedOut(None, False), False)
    good = session.valid_until > datetime.now(UTC)
    if context.options.dry_run:
        return Result(LoggedOut(session.login, good), True)
    ended = good and _end(context, url, session)
    sessions.forget(context.environ, session)
    return Result(LoggedOut(session.login, ended), True)


def _end(context: Context, url: str, session: sessions.Session) -> bool:
    """End a session at the server; returns whether it was still open there."""
    try:
        reach = passwords.with_login(url, session.login, sessions.password(session))
        with closing(context.database_at(reach)) as database, database.session() as opened:
            logins.end_current(opened)
    except (DatabaseRefused, LoginBarred):
        return False
    return True


@app.reads("whoami", example="dumacle auth whoami", role="enduser")
def whoami(context: Context) -> WhoAmI:
    """Show your user, role and login."""
    with context.session() as session:
        actor = logins.identity(session)
    return WhoAmI(
        actor.user, actor.role, actor.login, actor.kind, actor.expires_at, passwords.place(context.database_url)
    )


@app.reads("status", example="dumacle auth status", role="enduser")
def status(context: Context) -> Result[Status]:
    """Show where your password comes from and whether the server accepts it; exit 4 if it does not."""
    url = _configured(context)
    source, error = passwords.source(url, context.settings, context.environ), None
    try:
        reach = passwords.complete(url, source)
        with closing(context.database_at(reach)) as database, database.session(read_only=True) as session:
            logins.identity(session)
    except DumacleError as refused:
        error = refused
    finding = (str(error), error.remedy) if error else (f"the server accepts it{_in_clear(source)}", "")
    found = Status(passwords.place(url), source.login, source.name, source.valid_until, error is None, *finding)
    return Result(found, exit=error.exit if error else Exit.DONE)


def _in_clear(source: passwords.Source) -> str:
    """Return a remark if the keyring keeps the session in clear text."""
    if not source.in_keyring:
        return ""
    from dumacle_cli.clients import keychain

    found = keychain.backend()
    return f"; the keyring is {found}" if found.clear_text else ""


@app.acts_outside("passwd", example="dumacle auth passwd --password-file new-password --dry-run", role="enduser")
def passwd(
    context: Context,
    password_file: Annotated[
        str,
        typer.Option(
            "--password-file",
            metavar="FILE",
            help="Read the old and the new password, one per line; only the new one if the URL holds the old.",
        ),
    ] = "",
) -> Result[PasswordChanged]:
    """Change your own password; open sessions stay open."""
    url = _configured(context)
    given = _lines(context, password_file) if password_file else []
    new = given[-1] if given else ""
    old = given[0] if len(given) > 1 else _old(context, url, "")
    with _with_own_login(context, url, old) as session:
        actor = logins.change_password(session, new or _new(context))
    return Result(PasswordChanged(actor.login), True)


def _configured(context: Context) -> str:
    """Return the configured URL; raises NoDatabase, or Conflict where no login is needed."""
    context.resolved.require("database")
    if context.settings.database_url:
        return context.settings.database_url.get_secret_value()
    if context.settings.embedded:
        reason = "the embedded servers accept the owner of their folder without a login"
        raise Conflict(reason=reason, advice="see who you are: dumacle auth whoami")
    raise NoDatabase()


def _old(context: Context, url: str, password_file: str) -> str:
    """Return the personal password: from a file, else from the URL, else as typed."""
    if password_file:
        return _lines(context, password_file)[0]
    question = f"Password of {passwords.login_of(url) or 'your login'}"
    return settings.password_of(url) or context.console.ask_secret(question, "--password-file FILE")


def _new(context: Context) -> str:
    asked = [context.console.ask_secret(question, "--password-file FILE") for question in ("New password", "Once more")]
    if asked[0] != asked[1]:
        raise UsageError("the two new passwords differ", "dumacle auth passwd")
    return asked[0]


def _lines(context: Context, file: str) -> list[str]:
    return context.console.read_value("-", "password").splitlines() if file == "-" else passwords.lines(Path(file))


@contextmanager
def _with_own_login(context: Context, url: str, password: str) -> Iterator[Session]:
    """Open one transaction as the login in the URL, not as a session; a dry run rolls it back."""
    reach = passwords.with_login(url, passwords.login_of(url), password)
    with (
        closing(context.database_at(reach)) as database,
        database.rehearsal() if context.options.dry_run else database.session() as session,
    ):
        yield session
