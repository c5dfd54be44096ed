"""Queries that purge a user."""

from sqlalchemy import func, select, text
from sqlalchemy import update as sql_update
from sqlalchemy.orm import Session

from dumacle_cli.store import storage
from dumacle_cli.store.models import File, User


def stored(session: Session, user_id: int) -> tuple[int, int]:
    """Return how many files a user has, deleted ones too, and the bytes of all their contents and renditions."""
    counted = storage.counted()
    files = select(func.count()).select_from(File).where(File.owner_id == user_id)
    size = select(func.coalesce(func.sum(counted.c.used), 0)).join(File, File.id == counted.c.file_id)
    found = session.execute(
        select(files.scalar_subquery(), size.where(File.owner_id == user_id).scalar_subquery())
    ).one()
    return found[0], int(found[1])


def delete_files(session: Session, user_id: int, limit: int) -> bool:
    """Delete the next files of a deleted user; returns whether there were any."""
    gone = select(User.id).where(User.id == user_id, User.deleted_at.is_not(None))
    ids = select(File.id).where(File.owner_id.in_(gone), File.deleted_at.is_(None)).order_by(File.id).limit(limit)
    statement = sql_update(File).where(File.id.in_(ids.with_for_update())).values(deleted_at=func.now())
    return session.execute(statement.returning(File.id)).first() is not None


def erase(session: Session, user_id: int) -> bool:
    """Delete a user without files, their logins, and all rows that refer to them; returns whether they existed.

    Names and paths are removed from the audit log, which reads all operations: it has no statement timeout.
    """
    session.execute(text("SET LOCAL statement_timeout = 0"))
    return bool(session.scalar(select(func.app.erase_user(user_id))))
