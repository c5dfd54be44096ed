"""The first rows of a database: a superadmin who can log in, and example plans."""

import secrets
from dataclasses import dataclass

from sqlalchemy.orm import Session

from dumacle_cli.errors import Conflict
from dumacle_cli.services import users
from dumacle_cli.store import logins, plans
from dumacle_cli.store import users as store
from dumacle_cli.store.models import User
from dumacle_cli.units import Secret

EMAIL = "root@example.com"
GIB = 1024**3
HOUR = 3600
# Prices in cents; limits in bytes, bytes a month and seconds a month.
PLANS: dict[str, dict[str, int]] = {
    "free": {"price": 0, "storage_limit": 5 * GIB, "upload_limit": 5 * GIB, "transcode_limit": HOUR},
    "starter": {"price": 999, "storage_limit": 200 * GIB, "upload_limit": 100 * GIB, "transcode_limit": 10 * HOUR},
    "pro": {"price": 2999, "storage_limit": 2048 * GIB, "upload_limit": 1024 * GIB, "transcode_limit": 100 * HOUR},
}


@dataclass(frozen=True, slots=True)
class Seeded:
    """The superadmin and their PostgreSQL login, its password if it is new, and the plans that were added."""

    email: str
    login: str
    password: Secret | None
    plans: tuple[str, ...]


def seed(session: Session, email: str) -> tuple[Seeded, bool]:
    """Create what is missing; raises InvalidValue, Conflict, or DatabaseForbidden."""
    user = _superadmin(session, email)
    added = tuple(name for name, facts in PLANS.items() if _add_plan(session, name, facts))
    login, password = _login(session, user.id)
    return Seeded(user.email, login, password, added), bool(added) or password is not None


def superadmin(session: Session, email: str, password: str) -> str:
    """Create a superadmin unless they exist, set their password, and return their login; raises what seed raises."""
    return logins.grant_personal(session, _superadmin(session, email).id, password)


def _superadmin(session: Session, email: str) -> User:
    email = users.normalised(email)
    store.create(session, email=email, role="superadmin")
    user = users.get(session, email)
    if user.role != "superadmin":
        raise Conflict(reason=f"{email} is an {user.role}", advice="give another e-mail address for the superadmin")
    return user


def _add_plan(session: Session, name: str, facts: dict[str, int]) -> bool:
    return plans.create(session, name=name, currency="eur", interval="month", **facts) is not None


def _login(session: Session, user_id: int) -> tuple[str, str | None]:
    if found := logins.personal(session, user_id):
        return found, None
    password = secrets.token_hex(24)
    return logins.grant_personal(session, user_id, password), password
