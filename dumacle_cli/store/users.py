"""Queries about users."""

from typing import Any

from sqlalchemy import Select, func, or_, select, text
from sqlalchemy import update as sql_update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from dumacle_cli.ids import parse_id
from dumacle_cli.store import functions, paging
from dumacle_cli.store.models import User


def find(session: Session, reference: str, *, deleted: bool = False, lock: bool = False) -> User | None:
    """Return the user with this id or e-mail, or None; of deleted users the last who had the e-mail."""
    query = _named(reference).where(User.deleted_at.is_not(None) if deleted else User.deleted_at.is_(None))
    if lock:
        query = query.with_for_update(key_share=True).execution_options(populate_existing=True)
    return session.scalars(query.order_by(User.id.desc()).limit(1)).one_or_none()


def _named(reference: str) -> Select[User]:
    if (user_id := parse_id(reference)) is not None:
        return select(User).where(User.id == user_id)
    return select(User).where(User.email == reference.lower())


def create(session: Session, **values: Any) -> int | None:
    """Insert a user and return the id, or None if the e-mail is taken."""
    statement = insert(User).values(**values).on_conflict_do_nothing().returning(User.id)
    return session.scalars(statement).one_or_none()


def referred(session: Session, references: list[str]) -> dict[str, tuple[int, str]]:
    """Return id and e-mail of the users whom references name, ids or e-mails in lower case, keyed by these."""
    ids = [id_ for reference in references if (id_ := parse_id(reference)) is not None]
    query = select(User.id, User.email).where(or_(User.id.in_(ids), User.email.in_(references)))
    found = session.execute(query.where(User.deleted_at.is_(None))).all()
    return {key: (row.id, row.email) for row in found for key in (str(row.id), row.email)}


def of_customer(session: Session, customer: str) -> tuple[int, str] | None:
    """Return id and e-mail of the user of a customer at Stripe, or None."""
    query = text(
        "SELECT id, email FROM app.users WHERE id = (SELECT user_id FROM app.customers "
        "WHERE stripe_customer_id = :customer)"
    )
    row = session.execute(query, {"customer": customer}).one_or_none()
    return (row.id, row.email) if row else None


_CREATE_MANY = text("""
    INSERT INTO app.users (email, name, role)
    SELECT * FROM unnest(CAST(:emails AS text[]), CAST(:names AS text[]), CAST(:roles AS text[]))
    ON CONFLICT DO NOTHING
    RETURNING email, id
""")


def create_many(session: Session, emails: list[str], names: list[str], roles: list[str]) -> dict[str, int]:
    """Insert users in one statement and return the ids by e-mail, without those whose e-mail was taken."""
    created = session.execute(_CREATE_MANY, {"emails": emails, "names": names, "roles": roles})
    return {row.email: row.id for row in created}


def update(session: Session, user: User, **values: Any) -> bool:
    """Change a user, or return False if the e-mail is taken."""
    try:
        with session.begin_nested():
            session.execute(sql_update(User).where(User.id == user.id).values(**values))
    except IntegrityError:
        return False
    session.refresh(user)
    return True


def may_change(session: Session, user: User) -> bool:
    """Return whether the acting user administers users with the role of this one."""
    return bool(session.scalars(select(func.app.administers(user.role))).one())


def lock(session: Session, user: User) -> None:
    """Lock a user who is about to lose or get a right; a user who keeps their own row locked is disconnected."""
    if functions.is_there(session, "app.lock_user(bigint)"):
        session.execute(select(func.app.lock_user(user.id)))
    session.refresh(user, with_for_update={"key_share": True})


def set_role(session: Session, user: User, role: str) -> bool:
    """Set a user's role; returns whether it changed. PostgreSQL requires a superadmin, and keeps the last one."""
    changed = session.scalars(select(func.app.set_role(user.id, role))).one()
    session.refresh(user)
    return bool(changed)


def delete(session: Session, user: User) -> None:
    """Disable and hide a user."""
    update(session, user, status="disabled", deleted_at=func.now())


def other_superadmin(session: Session, user_id: int) -> int | None:
    """Return another active superadmin, or None; locks all superadmins, so that two cannot remove each other."""
    query = select(User.id, User.status).where(User.role == "superadmin", User.deleted_at.is_(None)).order_by(User.id)
    found = session.execute(query.with_for_update(key_share=True)).all()
    return next((row.id for row in found if row.id != user_id and row.status == "active"), None)


def page(
    session: Session,
    *,
    role: str | None,
    status: str | None,
    deleted: bool,
    sort: str,
    after: str | None,
    limit: int,
) -> paging.Page[User]:
    """Return a page of users, by id or by e-mail, either deleted or not deleted."""
    query = select(User).where(User.deleted_at.is_not(None) if deleted else User.deleted_at.is_(None))
    if role:
        query = query.where(User.role == role)
    if status:
        query = query.where(User.status == status)
    keys = [User.email, User.id] if sort == "email" else [User.id]
    found = session.scalars(paging.keyset(query, keys, after, limit)).all()
    return paging.page(found, limit, lambda user: [user.email, user.id] if sort == "email" else [user.id])


def count(session: Session) -> int:
    """Return the number of users."""
    return session.scalars(select(func.count()).select_from(User).where(User.deleted_at.is_(None))).one()
