"""What only an administrator of the PostgreSQL cluster can make: the owner's role, the database, and its guard."""

from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from dumacle_cli.store import revisions
from dumacle_cli.store import sql as scripts

LOCK = 0x64756D61636C66
"""Of a bootstrap, in the database that the administrator connects to."""


@dataclass(frozen=True, slots=True)
class Bootstrapped:
    """What a bootstrap had to make; without superuser's rights the guard is left out."""

    made_role: bool
    made_database: bool
    made_guard: bool


def bootstrap(admin_url: str, database: str, owner: str, owner_password: str) -> Bootstrapped:
    """Make the owner's role and its database where they are missing, set the password, and shut the public out.

    Safe to repeat, and two at once take turns. `admin_url` is a libpq URL of a superuser, or of a role with CREATEROLE
    and CREATEDB. A superuser also puts up the guard (guard.sql), which refuses DDL to all but the schemas' owners.
    Raises DatabaseTooOldServer, and psycopg.Error as the server words it; the password reaches it as a verifier only.
    """
    with psycopg.connect(admin_url, autocommit=True) as admin:
        revisions.require_server(admin.info.server_version)
        admin.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        made_role = _make_role(admin, owner, owner_password)
        made_database = _make_database(admin, database, owner)
        with psycopg.connect(make_conninfo(admin_url, dbname=database)) as inside:
            inside.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
            made_guard = _is_superuser(inside) and not _is_guarded(inside)
            if _is_superuser(inside):
                inside.execute(scripts.read("guard").encode())
    return Bootstrapped(made_role, made_database, made_guard)


def _make_role(admin: psycopg.Connection, owner: str, password: str) -> bool:
    found = admin.execute("SELECT FROM pg_roles WHERE rolname = %s", [owner]).fetchone()
    if found is None:
        admin.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(owner)))
    verifier = admin.pgconn.encrypt_password(password.encode(), owner.encode(), b"scram-sha-256").decode()
    admin.execute(
        sql.SQL("ALTER ROLE {} LOGIN CREATEROLE PASSWORD {}").format(sql.Identifier(owner), sql.Literal(verifier))
    )
    return found is None


def _make_database(admin: psycopg.Connection, database: str, owner: str) -> bool:
    names = {"database": sql.Identifier(database), "owner": sql.Identifier(owner)}
    found = admin.execute("SELECT FROM pg_database WHERE datname = %s", [database]).fetchone()
    if not _is_superuser(admin):
        # A database can only be given to a role that one may act as.
        admin.execute(sql.SQL("GRANT {owner} TO CURRENT_USER WITH SET TRUE, INHERIT TRUE").format(**names))
    if found is None:
        admin.execute(
            sql.SQL("CREATE DATABASE {database} OWNER {owner} TEMPLATE template0 ENCODING 'UTF8'").format(**names)
        )
    admin.execute(sql.SQL("REVOKE CONNECT, CREATE, TEMPORARY ON DATABASE {database} FROM PUBLIC").format(**names))
    return found is None


def _is_superuser(admin: psycopg.Connection) -> bool:
    return admin.info.parameter_status("is_superuser") == "on"


def _is_guarded(inside: psycopg.Connection) -> bool:
    return inside.execute("SELECT FROM pg_event_trigger WHERE evtname = 'dumacle_guard'").fetchone() is not None


def missing(admin_url: str, database: str, owner: str) -> Bootstrapped:
    """Say what a bootstrap would make; writes nothing. Raises DatabaseTooOldServer, psycopg.Error."""
    with psycopg.connect(admin_url, autocommit=True) as admin:
        revisions.require_server(admin.info.server_version)
        role = admin.execute("SELECT FROM pg_roles WHERE rolname = %s", [owner]).fetchone()
        found = admin.execute("SELECT FROM pg_database WHERE datname = %s", [database]).fetchone()
        guarding = _is_superuser(admin)
    if found is not None and guarding:
        with psycopg.connect(make_conninfo(admin_url, dbname=database)) as inside:
            guarding = not _is_guarded(inside)
    return Bootstrapped(role is None, found is None, guarding)
