"""What only an administrator of the PostgreSQL cluster can create: the owner's role, the database, and its guard."""

from contextlib import suppress
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from dumacle_cli.errors import BootstrapRunning
from dumacle_cli.store import locks, revisions
from dumacle_cli.store import sql as scripts

LOCK = 0x64756D61636C66
"""The advisory lock of a bootstrap, in the database that the administrator connects to."""
LOCK_SECONDS = 15
"""Seconds to wait for another bootstrap, which takes one or two."""
_LIMITS = (
    # The temporary files of one statement may not fill the disk; a migration may build a larger index.
    "ALTER DATABASE {database} SET temp_file_limit = '1GB'",
    "ALTER ROLE {owner} IN DATABASE {database} SET temp_file_limit = -1",
    # Superadmins can connect when all other connections are taken; the owner grants it to them.
    "GRANT pg_use_reserved_connections TO {owner} WITH ADMIN TRUE, INHERIT TRUE",
)


@dataclass(frozen=True, slots=True)
class Bootstrapped:
    """What a bootstrap created; without superuser rights there is no guard."""

    made_role: bool
    made_database: bool
    made_guard: bool


def bootstrap(admin_url: str, database: str, owner: str, owner_password: str) -> Bootstrapped:
    """Create the owner's role and its database if missing, set the password, and revoke the rights of PUBLIC.

    Safe to repeat; two at once take turns. `admin_url` is a libpq URL of a superuser, or of a role with CREATEROLE
    and CREATEDB. A superuser also installs the guard (guard.sql), which refuses DDL to all but the schemas' owners.
    Raises BootstrapRunning, DatabaseTooOldServer, and psycopg.Error as the server words it; the password reaches it as
    a verifier only.
    """
    with psycopg.connect(admin_url, autocommit=True) as admin:
        revisions.require_server(admin.info.server_version)
        _limit_waits(admin)
        if holder := locks.take(admin, LOCK, LOCK_SECONDS):
            raise BootstrapRunning(holder=holder)
        made_role = _make_role(admin, owner, owner_password)
        made_database = _make_database(admin, database, owner)
        _set_limits(admin, database, owner)
        with psycopg.connect(make_conninfo(admin_url, dbname=database)) as inside:
            _limit_waits(inside)
            inside.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
            made_guard = _is_superuser(inside) and not _is_guarded(inside)
            if _is_superuser(inside):
                inside.execute(scripts.read("guard").encode())
                _let_superadmins_in(inside)
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
        # Only a member of a role can create a database for it.
        admin.execute(sql.SQL("GRANT {owner} TO CURRENT_USER WITH SET TRUE, INHERIT TRUE").format(**names))
    if found is None:
        admin.execute(
            sql.SQL("CREATE DATABASE {database} OWNER {owner} TEMPLATE template0 ENCODING 'UTF8'").format(**names)
        )
    admin.execute(sql.SQL("REVOKE CONNECT, CREATE, TEMPORARY ON DATABASE {database} FROM PUBLIC").format(**names))
    return found is None


def close_others(admin_url: str) -> None:
    """Let only superusers connect to the databases of a new cluster; for a cluster that only Dumacle uses."""
    with psycopg.connect(admin_url, autocommit=True) as admin:
        _limit_waits(admin)
        admin.execute("REVOKE CONNECT, TEMPORARY ON DATABASE postgres, template1 FROM PUBLIC")


def _limit_waits(connection: psycopg.Connection) -> None:
    """Limit how long a statement waits for a lock."""
    connection.execute("SELECT set_config('lock_timeout', %s, false)", [f"{LOCK_SECONDS}s"])


def _set_limits(admin: psycopg.Connection, database: str, owner: str) -> None:
    """Apply the settings of superusers; another administrator may lack some of these rights, which doctor reports."""
    names = {"database": sql.Identifier(database), "owner": sql.Identifier(owner)}
    for statement in _LIMITS:
        with suppress(psycopg.errors.InsufficientPrivilege):
            admin.execute(sql.SQL(statement).format(**names))


def _let_superadmins_in(inside: psycopg.Connection) -> None:
    """Grant superadmins the reserved connections also if an earlier release created their group."""
    if inside.execute("SELECT to_regclass('app.installation')").fetchone() == (None,):
        return
    found = inside.execute(
        "SELECT rolname FROM app.installation JOIN pg_roles ON rolname = prefix || '_superadmins'"
    ).fetchone()
    if found:
        inside.execute(sql.SQL("GRANT pg_use_reserved_connections TO {}").format(sql.Identifier(found[0])))


def _is_superuser(admin: psycopg.Connection) -> bool:
    return admin.info.parameter_status("is_superuser") == "on"


def _is_guarded(inside: psycopg.Connection) -> bool:
    return inside.execute("SELECT FROM pg_event_trigger WHERE evtname = 'dumacle_guard'").fetchone() is not None


def missing(admin_url: str, database: str, owner: str) -> Bootstrapped:
    """Preview a bootstrap; writes nothing. Raises DatabaseTooOldServer, psycopg.Error."""
    with psycopg.connect(admin_url, autocommit=True) as admin:
        revisions.require_server(admin.info.server_version)
        role = admin.execute("SELECT FROM pg_roles WHERE rolname = %s", [owner]).fetchone()
        found = admin.execute("SELECT FROM pg_database WHERE datname = %s", [database]).fetchone()
        guarding = _is_superuser(admin)
    if found is not None and guarding:
        with psycopg.connect(make_conninfo(admin_url, dbname=database)) as inside:
            guarding = not _is_guarded(inside)
    return Bootstrapped(role is None, found is None, guarding)
