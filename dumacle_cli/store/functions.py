"""Which functions, relations and columns the database has: the schema of the previous release lacks some of these."""

from sqlalchemy import text
from sqlalchemy.orm import Session


def is_there(session: Session, signature: str) -> bool:
    """Return whether a function exists, as `app.name(bigint)`."""
    return bool(session.scalar(text("SELECT to_regprocedure(:signature) IS NOT NULL"), {"signature": signature}))


def has_relation(session: Session, name: str) -> bool:
    """Return whether a table or index exists, as `app.name`."""
    return bool(session.scalar(text("SELECT to_regclass(:name) IS NOT NULL"), {"name": name}))


def has_column(session: Session, table: str, column: str) -> bool:
    """Return whether a table, as `app.name`, has a column."""
    query = "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(:table) AND attname = :column)"
    return bool(session.scalar(text(query), {"table": table, "column": column}))
