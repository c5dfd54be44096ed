"""`dumacle auth`: log in and out; who one is, and where one is logged in."""

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dumacle_cli.clients import passwords, sessions
from dumacle_cli.commands import sessions as open_sessions
from dumacle_cli.commands.contract import command, group
from dumacle_cli.context import Context
from dumacle_cli.errors import Conflict, DatabaseRefused, DumacleError, Exit, LoginBarred, NoDatabase, UsageError
from dumacle_cli.output.forms import Shown
from dumacle_cli.services import logins
from dumacle_cli.settings import password_of

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

app = group("auth", "Log in and out; who one is, and where one is logged in.")

app.add_typer(open_sessions.app)

LONGEST_HOURS = 8760
"""More than any installation allows, which is what a session gets then."""


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """Whose session it is, who keeps its password, and when PostgreSQL stops to take it."""

    user: str
    role: str
    kept_in: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class LoggedOut:
    """The session that was forgotten, and whether PostgreSQL ended it just now."""

    login: str | None
    ended: bool


@dataclass(frozen=True, slots=True)
class WhoAmI:
    """Who acts, with which login, and at which server."""

    user: str | None
    role: str
    login: str
    kind: str
    expires_at: datetime | None
    server: str


@dataclass(frozen=True, slots=True)
class Status:
    """Where the password comes from, until when it is good, and whether the server takes it."""

    server: str
    login: str
    source: str
    expires_at: datetime | None
    accepted: bool
    finding: str
    fix: str


@dataclass(frozen=True, slots=True)
class PasswordChanged:
    """The login that got another password."""

    login: str


@command(
    app,
    "login",
    returns=LoggedIn,
    example="dumacle auth login --store file",
    mutates=True,
    outside=True,
    role="enduser",
)
def login(
    context: Context,
    password_file: Annotated[
        str, typer.Option("--password-file", metavar="FILE", help="Where the password is; - is standard input.")
    ] = "",
    store: Annotated[
        sessions.Store, typer.Option("--store", help="Who keeps the session, a file having mode 0600.")
    ] = "keyring",
    hours: Annotated[
        float, typer.Option("--hours", metavar="N", min=0, help="Log in for fewer hours than the installation allows.")
    ] = LONGEST_HOURS,
) -> Shown:
    """Log in with your own password, which is not kept: a session is, and it expires."""
    url = _configured(context)
    secret, bare = secrets.token_urlsafe(24), passwords.bare(url)
    before = sessions.find(context.environ, bare)
    with _as_person(context, url, _old(context, url, password_file)) as session:
        opened = logins.open_session(session, secret, hours)
        if before:
            logins.replace(session, before.login)
        if not context.dry_run:  # before COMMIT: a session that nobody keeps would stay open for a day
            sessions.keep(context.environ, sessions.Session(bare, opened.login, opened.expires_at, store), secret)
    note = "the URL holds a password, which is used before any session" if password_of(url) else ""
    done = LoggedIn(opened.user, opened.role, store, opened.expires_at)
    return Shown(done, True, dry_run=context.dry_run, note=note)


@command(app, "logout", returns=LoggedOut, example="dumacle auth logout", mutates=True, outside=True, role="enduser")
def logout(context: Context) -> Shown:
    """End your session at the server and forget it here, also one that expired."""
    url = passwords.bare(_configured(context))
    session = sessions.find(context.environ, url)
    if session is None:
        return Shown(LoggedOut(None, False), False, dry_run=context.dry_run)
    good = session.valid_until > datetime.now(UTC)
    if context.dry_run:
        return Shown(LoggedOut(session.login, good), True, dry_run=True)
    ended = good and _end(context, url, session)
    sessions.forget(context.environ, session)
    return Shown(LoggedOut(session.login, ended), True)


def _end(context: Context, url: str, session: sessions.Session) -> bool:
    """End a session at the server; tells whether it was still open there."""
    try:
        reach = passwords.with_login(url, session.login, sessions.password(session))
        with closing(context.database_at(reach)) as database, database.session() as opened:
            logins.end_current(opened)
    except (DatabaseRefused, LoginBarred):
        return False
    return True


@command(app, "whoami", returns=WhoAmI, example="dumacle auth whoami", role="enduser")
def whoami(context: Context) -> WhoAmI:
    """Show who you are to the database."""
    with context.session() as session:
        who = logins.identity(session)
    return WhoAmI(who.user, who.role, who.login, who.kind, who.expires_at, passwords.place(context.database_url))


@command(app, "status", returns=Status, example="dumacle auth status", role="enduser")
def status(context: Context) -> Shown:
    """Show where your password comes from, and whether the server takes it; exit 4 where it does not."""
    url = _configured(context)
    source, error = passwords.source(url, context.settings, context.environ), None
    try:
        reach = passwords.complete(url, source)
        with closing(context.database_at(reach)) as database, database.session(read_only=True) as session:
            logins.identity(session)
    except DumacleError as refused:
        error = refused
    told = (str(error), error.remedy) if error else (f"the server takes it{_in_clear(source)}", "")
    found = Status(passwords.place(url), source.login, source.name, source.valid_until, error is None, *told)
    return Shown(found, exit=error.exit if error else Exit.DONE)


def _in_clear(source: passwords.Source) -> str:
    """Say of a session that its keyring keeps it in clear text; nothing of what is kept well, or elsewhere."""
    if not source.in_keyring:
        return ""
    from dumacle_cli.clients import keychain

    found = keychain.backend()
    return f"; the keyring is {found}" if found.clear_text else ""


@command(
    app,
    "passwd",
    returns=PasswordChanged,
    example="dumacle auth passwd --password-file new-password --dry-run",
    mutates=True,
    outside=True,
    role="enduser",
)
def passwd(
    context: Context,
    password_file: Annotated[
        str,
        typer.Option(
            "--password-file",
            metavar="FILE",
            help="The old password and the new one, a line each, or only the new one where the URL holds the old.",
        ),
    ] = "",
) -> Shown:
    """Change your own password; sessions that are open stay so."""
    url = _configured(context)
    given = _lines(context, password_file) if password_file else []
    new = given[-1] if given else ""
    old = given[0] if len(given) > 1 else _old(context, url, "")
    with _as_person(context, url, old) as session:
        who = logins.change_password(session, new or _new(context))
    return Shown(PasswordChanged(who.login), True, dry_run=context.dry_run)


def _configured(context: Context) -> str:
    """Return the URL as it is configured; raises NoDatabase, or Conflict where nobody need log in."""
    context.resolved.require("database")
    if context.settings.database_url:
        return context.settings.database_url.get_secret_value()
    if context.settings.embedded:
        reason = "the embedded servers know whoever owns their folder; nobody logs in there"
        raise Conflict(reason=reason, advice="see who you are: dumacle auth whoami")
    raise NoDatabase()


def _old(context: Context, url: str, password_file: str) -> str:
    """Return the personal password: from a file, else from the URL, else as typed."""
    if password_file:
        return _lines(context, password_file)[0]
    question = f"Password of {passwords.login_of(url) or 'your login'}"
    return password_of(url) or context.ask_secret(question, "--password-file FILE")


def _new(context: Context) -> str:
    asked = [context.ask_secret(question, "--password-file FILE") for question in ("New password", "Once more")]
    if asked[0] != asked[1]:
        raise UsageError("the two new passwords differ", "dumacle auth passwd")
    return asked[0]


def _lines(context: Context, file: str) -> list[str]:
    return context.typed("-", "password").splitlines() if file == "-" else passwords.lines(Path(file))


@contextmanager
def _as_person(context: Context, url: str, password: str) -> "Iterator[Session]":
    """Open one transaction with the login that the URL names, not with a session; a dry run rolls it back."""
    reach = passwords.with_login(url, passwords.login_of(url), password)
    with (
        closing(context.database_at(reach)) as database,
        database.rehearsal() if context.dry_run else database.session() as session,
    ):
        yield session
