"""Which functions the database has: on the schema of the release before, some of this one's are not there."""

from sqlalchemy import text
from sqlalchemy.orm import Session


def is_there(session: Session, signature: str) -> bool:
    """Tell whether a function is there, as `app.name(bigint)`."""
    return bool(session.scalar(text("SELECT to_regprocedure(:signature) IS NOT NULL"), {"signature": signature}))
