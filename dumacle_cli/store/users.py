"""Queries about users."""

from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from dumacle_cli.store import paging
from dumacle_cli.store.models import User


def find(session: Session, reference: str) -> User | None:
    """Return the user of this id or e-mail who is not deleted, or None."""
    return session.scalars(_named(reference).where(User.deleted_at.is_(None))).one_or_none()


def _named(reference: str) -> Select[tuple[User]]:
    if reference.isdigit():
        return select(User).where(User.id == int(reference))
    return select(User).where(User.email == reference.strip().lower())


def create(session: Session, **values: Any) -> int | None:
    """Insert a user and return the id, or None where the e-mail is taken."""
    statement = insert(User).values(**values).on_conflict_do_nothing().returning(User.id)
    return session.scalars(statement).one_or_none()


def page(
    session: Session, *, role: str | None, status: str | None, sort: str, after: str | None, limit: int
) -> paging.Page[User]:
    """Return a page of users who are not deleted, by id or by e-mail."""
    query = select(User).where(User.deleted_at.is_(None))
    if role:
        query = query.where(User.role == role)
    if status:
        query = query.where(User.status == status)
    keys = [User.email, User.id] if sort == "email" else [User.id]
    found = session.scalars(paging.keyset(query, keys, after, limit)).all()
    return paging.page(found, limit, lambda user: [user.email, user.id] if sort == "email" else [user.id])


def count(session: Session) -> int:
    """Return how many users there are."""
    return session.scalars(select(func.count()).select_from(User).where(User.deleted_at.is_(None))).one()
