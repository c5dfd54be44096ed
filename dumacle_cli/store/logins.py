"""The PostgreSQL roles that people act with; named after the database, because roles belong to the whole cluster."""

from psycopg import Connection, sql
from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from dumacle_cli.store.models import SCHEMA, Login

_GRANTS = """
GRANT USAGE ON SCHEMA {schema} TO {group};
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {group};
ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {group};
GRANT CONNECT ON DATABASE {database} TO {group};
"""


def personal(session: Session, user_id: int) -> str | None:
    """Return the personal login of a user, or None."""
    return session.scalars(select(Login.role).where(Login.user_id == user_id, Login.kind == "personal")).first()


def create_personal(session: Session, user_id: int, password: str) -> str:
    """Make a user's personal login and return its name; the server is sent a SCRAM verifier, never the password."""
    driver = _driver(session)
    database: str = session.scalars(select(func.current_database())).one()
    group, role = _operators(driver, database), f"{database}_{user_id}"
    verifier = driver.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    statement = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE {}")
    driver.execute(statement.format(sql.Identifier(role), sql.Literal(verifier), sql.Identifier(group)))
    session.execute(insert(Login).values(role=role, user_id=user_id, kind="personal"))
    return role


def _operators(driver: Connection, database: str) -> str:
    """Make the group that may read and write Dumacle's rows, where it is missing, and return its name."""
    group = f"{database}_operators"
    if driver.execute("SELECT FROM pg_roles WHERE rolname = %s", [group]).fetchone() is None:
        driver.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(group)))
    names = {"group": group, "schema": SCHEMA, "database": database}
    driver.execute(sql.SQL(_GRANTS).format(**{name: sql.Identifier(value) for name, value in names.items()}))
    return group


def _driver(session: Session) -> Connection:
    driver = session.connection().connection.driver_connection
    assert isinstance(driver, Connection)  # noqa: S101  a checked-out connection always has one
    return driver
