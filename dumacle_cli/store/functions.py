"""Which functions the database has: the schema of the previous release lacks some of this one's."""

from sqlalchemy import text
from sqlalchemy.orm import Session


def is_there(session: Session, signature: str) -> bool:
    """Return whether a function exists, as `app.name(bigint)`."""
    return bool(session.scalar(text("SELECT to_regprocedure(:signature) IS NOT NULL"), {"signature": signature}))
