"""How the migrations run: on the connection that `dumacle_cli.store.schema` hands over, one transaction for each."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from alembic import context
from sqlalchemy import Connection, text

from dumacle_cli.errors import MigrationRunning
from dumacle_cli.store import models, schema
from dumacle_cli.store.models.base import SCHEMA

PATIENCE = 3.0


@contextmanager
def alone(connection: Connection) -> Iterator[None]:
    """Hold the one lock of migrations; raises MigrationRunning when another process keeps it."""
    deadline = time.monotonic() + PATIENCE
    while not connection.execute(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": schema.LOCK}).scalar_one():
        if time.monotonic() > deadline:
            raise MigrationRunning()
        time.sleep(0.1)
    connection.commit()
    try:
        yield
    finally:
        connection.rollback()
        connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": schema.LOCK})
        connection.commit()


def migrate(connection: Connection) -> None:
    """Run what the Alembic command asks for."""
    context.configure(
        connection=connection,
        target_metadata=models.complete().metadata,
        transaction_per_migration=True,
        **schema.alembic_options(),
    )
    connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
    connection.commit()
    with context.begin_transaction():
        context.run_migrations()


with alone(context.config.attributes["connection"]):
    migrate(context.config.attributes["connection"])
