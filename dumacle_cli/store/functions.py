"""Which functions and relations the database has: the schema of the previous release lacks some of this one's."""

from sqlalchemy import text
from sqlalchemy.orm import Session


def is_there(session: Session, signature: str) -> bool:
    """Return whether a function exists, as `app.name(bigint)`."""
    return bool(session.scalar(text("SELECT to_regprocedure(:signature) IS NOT NULL"), {"signature": signature}))


def has_relation(session: Session, name: str) -> bool:
    """Return whether a table or index exists, as `app.name`."""
    return bool(session.scalar(text("SELECT to_regclass(:name) IS NOT NULL"), {"name": name}))
