"""The PostgreSQL roles of users and services, created and dropped by the functions of the schema `login`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import Connection, sql
from sqlalchemy import Connection as Bare
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from dumacle_cli.store import paging
from dumacle_cli.store.models import Installation, Login, User


@dataclass(frozen=True, slots=True)
class Actor:
    """The login of a session, and its user; `barred` is why it may not act."""

    role: str
    user_id: int
    kind: str
    duty: str | None
    valid_until: datetime | None
    user_role: str
    email: str
    barred: str | None


def actor(session: Session) -> Actor | None:
    """Return the acting user, even one who may not act; None for the owner of the schema and for superusers."""
    found = session.execute(text("SELECT * FROM app.actor_login()")).mappings().first()
    return Actor(**found) if found else None


def acting_role(session: Session) -> str:
    """Return the role of the session: `owner`, a role, or a duty; PostgreSQL raises 28000 for a barred login."""
    return str(session.scalars(select(func.app.actor_role())).one())


def role_of(connection: Bare) -> str:
    """Return the same for a connection without an ORM session."""
    return str(connection.scalar(select(func.app.actor_role())))


def enduser(session: Session) -> int | None:
    """Return the acting user if they are an enduser, who sees only their own rows; else None."""
    found: int | None = session.scalar(text("SELECT app.actor() WHERE NOT app.sees_all()"))
    return found


def name(session: Session) -> str:
    """Return the PostgreSQL role of the session's login."""
    return session.scalars(select(func.session_user())).one()


def personal(session: Session, user_id: int) -> str | None:
    """Return the personal login of a user, or None."""
    return session.scalars(select(Login.role).where(Login.user_id == user_id, Login.kind == "personal")).first()


def grant_personal(session: Session, user_id: int, password: str) -> str:
    """Create a user's personal login, or give it this password, and return its name."""
    return str(session.scalars(select(func.login.grant_personal(user_id, _verifier(session, password)))).one())


def grant_service(session: Session, duty: str, password: str) -> str:
    """Create the login of a duty, or give it this password, and return its name."""
    return str(session.scalars(select(func.login.grant_service(duty, _verifier(session, password)))).one())


def open_session(session: Session, password: str, hours: float) -> tuple[str, datetime]:
    """Create a session for the current personal login; returns its name and its end, which the maximum limits."""
    made = text("SELECT role, valid_until FROM login.open_session(:verifier, :hours)")
    found = session.execute(made, {"verifier": _verifier(session, password), "hours": hours}).one()
    return found.role, found.valid_until


def change_password(session: Session, password: str) -> None:
    """Change the password of the current login."""
    statement = sql.SQL("ALTER ROLE CURRENT_USER PASSWORD {}").format(sql.Literal(_verifier(session, password)))
    _driver(session).execute(statement)


def revoke(session: Session, role: str) -> int:
    """End a login and its connections at once; returns how many connections it had."""
    return int(session.scalars(select(func.login.revoke(role))).one())


def revoke_user(session: Session, user_id: int) -> int:
    """End all logins of a user with their connections; returns how many logins they had."""
    return int(session.scalars(select(func.login.revoke_user(user_id))).one())


def sweep(session: Session) -> int:
    """Drop expired session logins; returns how many."""
    return int(session.scalars(select(func.login.sweep())).one())


def count_expired(session: Session) -> int:
    """Return how many expired session logins are not dropped yet."""
    query = select(func.count()).where(Login.valid_until <= func.statement_timestamp())
    return int(session.scalars(query.select_from(Login)).one())


def of_user(session: Session, user_id: int) -> Sequence[Login]:
    """Return all logins of a user."""
    return session.scalars(select(Login).where(Login.user_id == user_id).order_by(Login.role)).all()


def find_session(session: Session, role: str) -> Login | None:
    """Return a session login that the actor may see, or None."""
    return session.scalars(select(Login).where(Login.role == role, Login.kind == "session")).one_or_none()


def sessions_of(session: Session, user_id: int) -> Sequence[str]:
    """Return the session logins of a user that have not expired, except the current one."""
    query = select(Login.role).where(Login.user_id == user_id, Login.kind == "session", Login.valid_until > func.now())
    return session.scalars(query.where(Login.role != func.session_user()).order_by(Login.role)).all()


def page(session: Session, after: str | None, limit: int) -> paging.Page[tuple[Login, str]]:
    """Return a page of unexpired session logins that the actor may see, with their users' e-mails."""
    query = select(Login, User.email).join(User, User.id == Login.user_id)
    query = query.where(Login.kind == "session", Login.valid_until > func.now())
    found = [(row[0], row[1]) for row in session.execute(paging.keyset(query, [Login.role], after, limit))]
    return paging.page(found, limit, lambda row: [row[0].role])


def set_session_hours(session: Session, hours: int) -> bool:
    """Set the longest duration of a session (hours); returns whether it changed."""
    statement = update(Installation).where(Installation.session_hours != hours).values(session_hours=hours)
    return session.scalar(statement.returning(Installation.id)) is not None


def connections(session: Session, roles: Sequence[str]) -> int:
    """Return how many connections these logins have open now."""
    query = text("SELECT count(*) FROM pg_stat_activity WHERE usename = ANY(:roles) AND pid <> pg_backend_pid()")
    return int(session.scalars(query, {"roles": list(roles)}).one())


def _verifier(session: Session, password: str) -> str:
    """Compute the verifier that the server gets instead of a password; it does not depend on the role's name."""
    return _driver(session).pgconn.encrypt_password(password.encode(), b"", b"scram-sha-256").decode()


def _driver(session: Session) -> Connection:
    driver = session.connection().connection.driver_connection
    assert isinstance(driver, Connection)  # noqa: S101  a checked-out connection always has one
    return driver
