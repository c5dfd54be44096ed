"""Logins: the PostgreSQL roles of users and services, and the sessions that users open with theirs."""

import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy.orm import Session

from dumacle_cli.errors import Conflict, InvalidValue, NoSuchLogin, NotFound
from dumacle_cli.services import users
from dumacle_cli.store import logins, models, paging
from dumacle_cli.units import Secret

Duty = Literal["worker", "listener", "cron", "ingest"]
MIN_PASSWORD_LENGTH = 12
"""The minimum length of a password, in characters."""
MAX_SESSION_HOURS = 8760
"""The longest session that any installation allows, in hours: a year."""


@dataclass(frozen=True, slots=True)
class NewLogin:
    """A login that was created or got another password; the password is shown if it was generated."""

    user: str
    role: str
    login: str
    duty: str | None
    password: Secret | None


@dataclass(frozen=True, slots=True)
class Revoked:
    """Logins that ended, and how many connections ended with them."""

    logins: tuple[str, ...]
    connections: int


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session: its user, its login, and when PostgreSQL stops accepting it."""

    user: str
    role: str
    login: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class SessionLimit:
    """The longest duration of a session, in hours."""

    hours: int


@dataclass(frozen=True, slots=True)
class Identity:
    """The acting user, their role, and the login; the role of a service is its duty."""

    user: str | None
    role: str
    login: str
    kind: str
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session login that has not expired."""

    login: str
    user: str
    created_at: datetime
    expires_at: datetime


def check_password(password: str) -> str:
    """Check that a password is long enough; raises InvalidValue."""
    if len(password) < MIN_PASSWORD_LENGTH:
        raise InvalidValue(name="the password", reason=f"it has fewer than {MIN_PASSWORD_LENGTH} characters")
    return password


def grant(session: Session, reference: str, password: str | None) -> tuple[NewLogin, bool]:
    """Create a user's personal login, or give it another password, generated if none is given.

    Raises NotFound, InvalidValue, Conflict.
    """
    user = users.get(session, reference)
    if user.role == "service":
        raise Conflict(reason=f"{user.email} is a service", advice="dumacle users grant-login --service DUTY")
    chosen = check_password(password) if password is not None else secrets.token_hex(24)
    login = logins.grant_personal(session, user.id, chosen)
    return NewLogin(user.email, user.role, login, None, None if password else chosen), True


def grant_service(session: Session, duty: Duty, password: str | None) -> tuple[NewLogin, bool]:
    """Create the login of a duty, or give it another password, generated if none is given; raises InvalidValue."""
    chosen = check_password(password) if password is not None else secrets.token_hex(24)
    login = logins.grant_service(session, duty, chosen)
    return NewLogin(service(duty), "service", login, duty, None if password else chosen), True


def service(duty: str) -> str:
    """Return the e-mail address of the user of a duty."""
    return f"{duty}@service.invalid"


def preview_revocation(session: Session, reference: str) -> Revoked:
    """Preview which logins of a user would end, with how many connections; raises NotFound or NoSuchLogin."""
    user = users.get_any(session, reference)
    found = tuple(login.role for login in logins.of_user(session, user.id))
    if not found:
        raise NoSuchLogin(name=user.email)
    return Revoked(found, logins.connections(session, found))


def revoke(session: Session, reference: str) -> tuple[Revoked, bool]:
    """End all logins of a user and their connections at once; raises NotFound, NoSuchLogin or Conflict."""
    planned = preview_revocation(session, reference)
    if logins.name(session) in planned.logins:
        advice = "ask another superadmin, or end your sessions: dumacle auth sessions revoke --all"
        raise Conflict(reason="that would end the login that you act with", advice=advice)
    logins.revoke_user(session, users.get_any(session, reference).id)
    return planned, True


def identity(session: Session) -> Identity:
    """Return the acting user; raises LoginBarred for a login that may not act."""
    actor, role = logins.actor(session), logins.acting_role(session)
    if actor is None:
        return Identity(None, role, logins.name(session), role, None)
    return Identity(actor.email, role, actor.role, actor.kind, actor.valid_until)


def open_session(session: Session, password: str, hours: float) -> NewSession:
    """Open a session for the user of this personal login, and drop expired ones; raises Conflict."""
    who = _person(session)
    login, until = logins.open_session(session, password, hours)
    return NewSession(who.user or "", who.role, login, until)


def list_(session: Session, *, after: str | None, limit: int) -> paging.Page[OpenSession]:
    """Return a page of the sessions that the actor may see: their own, or all for a superadmin."""
    found = logins.page(session, after, limit)
    return paging.Page([_view(*row) for row in found.items], found.after)


def set_session_limit(session: Session, hours: int) -> tuple[SessionLimit, bool]:
    """Limit the duration of sessions from now on (hours)."""
    return SessionLimit(hours), logins.set_session_hours(session, hours)


def preview_end(session: Session, login: str | None) -> Revoked:
    """Preview what would end: this session, or all own sessions except the current one; raises NotFound."""
    if login is not None and logins.find_session(session, login) is None:
        raise NotFound("session", login)
    actor = logins.actor(session)
    mine = logins.sessions_of(session, actor.user_id) if actor else ()
    found = (login,) if login is not None else tuple(mine)
    return Revoked(found, logins.connections(session, found))


def end(session: Session, login: str | None) -> tuple[Revoked, bool]:
    """End a session, or all own sessions except the current one; raises NotFound or Conflict."""
    if login == logins.name(session):
        raise Conflict(reason="that is the session that you act with", advice="dumacle auth logout")
    found = preview_end(session, login).logins
    return Revoked(found, sum(logins.revoke(session, each) for each in found)), bool(found)


def replace(session: Session, login: str) -> None:
    """End a session that another one replaces; it may have ended already."""
    with suppress(NotFound):
        end(session, login)


def end_current(session: Session) -> None:
    """End the current session."""
    logins.revoke(session, logins.name(session))


def change_password(session: Session, password: str) -> Identity:
    """Change the password of the current personal login; raises InvalidValue or Conflict."""
    who = _person(session)
    logins.change_password(session, check_password(password))
    return who


def _person(session: Session) -> Identity:
    who = identity(session)
    if who.kind != "personal":
        advice = "name your personal login in DUMACLE_DATABASE_URL"
        raise Conflict(reason=f"{who.login} is no personal login", advice=advice)
    return who


def _view(login: models.Login, user: str) -> OpenSession:
    assert login.valid_until  # noqa: S101  a constraint requires it for sessions
    return OpenSession(login.role, user, login.created_at, login.valid_until)
