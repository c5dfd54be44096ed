"""The schema of the database: upgrade, downgrade, show its revision, and compare it with the models."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from sqlalchemy import URL, Connection, NullPool, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError

from dumacle_cli.errors import DatabaseBusy, MigrationRunning, NotConfigured, NotOwner
from dumacle_cli.store import identity, locks, revisions

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

SCHEMA = revisions.TABLE.split(".")[0]
# "dumacle" in ASCII: an advisory lock is only a number, and must not collide with another program's.
LOCK = 0x64756D61636C65
PATIENCE = 3.0
"""Seconds to wait for another migration."""
LOCK_SECONDS = 5
STATEMENT_SECONDS = 3600
"""A migration that waits for a lock blocks every reader behind it; one that runs may take its time."""


def upgrade(target: Connection | URL | str, to: str = "head", *, statement_seconds: float = STATEMENT_SECONDS) -> None:
    """Upgrade the schema to a revision; raises MigrationRunning during another migration, DatabaseBusy on a lock.

    The session must be the caller's alone: a pooler in transaction mode cannot hold the migrations' lock.
    """
    from alembic import command

    with _migrating(target, statement_seconds) as config:
        command.upgrade(config, to)


def downgrade(target: Connection | URL | str, to: str, *, statement_seconds: float = STATEMENT_SECONDS) -> None:
    """Downgrade the schema to a revision, or to `base`; raises MigrationRunning and DatabaseBusy like upgrade."""
    from alembic import command

    with _migrating(target, statement_seconds) as config:
        command.downgrade(config, to)


def repair(connection: Connection) -> None:
    """Install the roles and rights of the present schema again, which a restore lacks; raises like upgrade."""
    with _limited(connection, STATEMENT_SECONDS), alone(connection):
        identity.install(connection)
        connection.commit()


@contextmanager
def alone(connection: Connection) -> Iterator[None]:
    """Hold the lock of migrations; raises MigrationRunning if another session holds it."""
    driver: Any = connection.connection.driver_connection
    holder = locks.take(driver, LOCK, PATIENCE)
    driver.commit()
    if holder:
        raise MigrationRunning(holder=holder)
    try:
        yield
    finally:
        connection.rollback()
        connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": LOCK})
        connection.commit()


def require_owner(connection: Connection) -> None:
    """Require the owner of an existing schema: the caller would own what a migration creates.

    Raises NotOwner.
    """
    owned = text("SELECT pg_get_userbyid(nspowner), current_user FROM pg_namespace WHERE nspname = :name")
    found = connection.execute(owned, {"name": SCHEMA}).first()
    if found and found[0] != found[1]:
        raise NotOwner(owner=found[0])


def current(connection: Connection) -> str | None:
    """Return the revision of the database; None if it has no schema of ours."""
    if connection.scalar(text("SELECT to_regclass(:name)"), {"name": revisions.TABLE}) is None:
        return None
    found: str | None = connection.scalar(text(f"SELECT max(version_num) FROM {revisions.TABLE}"))  # noqa: S608
    return found


def pending(connection: Connection) -> list[str]:
    """Return the revisions that an upgrade would run, in order, each with its purpose: `0009 The queue: …`."""
    steps = _scripts().iterate_revisions("head", current(connection) or "base")
    return [f"{step.revision} {step.doc}" for step in steps][::-1]


def check(connection: Connection) -> list[str]:
    """Return the differences between the database and the models, in words; empty if they agree."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from dumacle_cli.store import models

    found = compare_metadata(MigrationContext.configure(connection, opts=alembic_options()), models.complete().metadata)
    return [_in_words(difference) for difference in found]


def alembic_options() -> dict[str, Any]:
    """Return the options of Alembic: the table of the revision, and to compare our schema only, not procrastinate's."""
    return {
        "version_table": revisions.TABLE.split(".")[1],
        "version_table_schema": SCHEMA,
        "include_schemas": True,
        "include_name": lambda name, kind, _: kind != "schema" or name == SCHEMA,
    }


def revision(message: str) -> Path:
    """Write the next, empty migration for a developer; raises NotConfigured outside of a checkout."""
    from alembic import command

    if folder().name == "_migrations":
        raise NotConfigured(what="a checkout", setting="the working directory")
    head = _scripts().get_current_head() or "0000"
    made = command.revision(_config(), message, rev_id=f"{int(head) + 1:04d}")
    [script] = made if isinstance(made, list) else [made]
    return folder() / "versions" / Path(str(script and script.path)).name


def folder() -> Path:
    """Return the folder of the migrations: in an installed wheel, or at the top of a checkout."""
    package = Path(str(resources.files("dumacle_cli")))
    installed = package / "_migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def _config() -> "Config":
    from alembic.config import Config

    config = Config()
    # Alembic reads its options with %-interpolation, and a folder may have a percent sign in its name.
    config.set_main_option("script_location", str(folder()).replace("%", "%%"))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    return config


def _scripts() -> "ScriptDirectory":
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(_config())


@contextmanager
def _migrating(target: Connection | URL | str, statement_seconds: float) -> Iterator["Config"]:
    with _connected(target) as connection, _limited(connection, statement_seconds):
        driver: Any = connection.connection.driver_connection
        revisions.require_server(driver.info.server_version)
        config = _config()
        config.attributes["connection"] = connection
        yield config


@contextmanager
def _connected(target: Connection | URL | str) -> Iterator[Connection]:
    if isinstance(target, Connection):
        yield target
        return
    url = make_url(target).set(drivername="postgresql+psycopg")
    engine = create_engine(url, poolclass=NullPool, hide_parameters=True)
    with engine.connect() as connection:
        yield connection


@contextmanager
def _limited(connection: Connection, statement_seconds: float) -> Iterator[None]:
    """Limit how long migrations wait for a lock; raises DatabaseBusy if one is not released in time."""
    limits = {"lock_timeout": LOCK_SECONDS, "statement_timeout": statement_seconds}
    for name, seconds in limits.items():
        connection.execute(text("SELECT set_config(:name, :value, false)"), {"name": name, "value": f"{seconds}s"})
    connection.commit()
    try:
        yield
    except (DBAPIError, psycopg.errors.LockNotAvailable) as fault:
        origin = getattr(fault, "orig", fault)
        if isinstance(origin, psycopg.errors.LockNotAvailable):
            connection.rollback()
            driver: Any = connection.connection.driver_connection
            holder = locks.blocker(driver, origin, readers=True)
            driver.rollback()
            reason = f"a table that the migration changes is in use{holder and ': '}{holder}"
            raise DatabaseBusy(reason=reason) from None
        raise
    finally:
        if not connection.invalidated:
            connection.rollback()
            for name in limits:
                connection.execute(text(f"RESET {name}"))
            connection.commit()


def _in_words(difference: Any) -> str:
    if isinstance(difference, list):
        return "; ".join(_in_words(part) for part in difference)
    kind, *facts = difference
    return f"{kind.replace('_', ' ')}: {', '.join(str(fact) for fact in facts if fact is not None)}"
