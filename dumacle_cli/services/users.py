"""Users: who exists, in which role, and whether they may act."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy.orm import Session

from dumacle_cli.errors import AlreadyExists, InvalidValue, NotFound
from dumacle_cli.store import models, paging
from dumacle_cli.store import users as store

Role = Literal["superadmin", "admin", "enduser", "service"]
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)*")


@dataclass(frozen=True, slots=True)
class User:
    """A person or service known to Dumacle."""

    id: int
    email: str
    name: str
    role: str
    status: str
    created_at: datetime


def view(user: models.User) -> User:
    """Turn a row into what commands show."""
    return User(user.id, user.email, user.name, user.role, user.status, user.created_at)


def get(session: Session, reference: str) -> models.User:
    """Return the user of this id or e-mail; raises NotFound."""
    user = store.find(session, reference)
    if user is None:
        raise NotFound(noun="user", name=reference)
    return user


def normalised(email: str) -> str:
    """Return an e-mail address as it is stored, in lower case; raises InvalidValue."""
    email = email.strip().lower()
    if not _EMAIL.fullmatch(email) or len(email) > 254:
        raise InvalidValue(name="e-mail", value=repr(email), reason="it has no form of name@host")
    return email


def create(session: Session, email: str, *, name: str = "", role: str = "enduser") -> tuple[User, bool]:
    """Create a user; raises InvalidValue or AlreadyExists."""
    email = normalised(email)
    if store.create(session, email=email, name=name, role=role) is None:
        raise AlreadyExists(noun="user", name=email)
    return view(get(session, email)), True


def list_(
    session: Session, *, role: str | None, status: str | None, sort: str, after: str | None, limit: int
) -> paging.Page[User]:
    """Return a page of users."""
    found = store.page(session, role=role, status=status, sort=sort, after=after, limit=limit)
    return paging.Page([view(user) for user in found.items], found.after)
