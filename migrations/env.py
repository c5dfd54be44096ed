"""Run the migrations on the connection from `dumacle_cli.store.schema`, each in a transaction of its own."""

from alembic import context
from sqlalchemy import Connection, text

from dumacle_cli.store import models, schema
from dumacle_cli.store.models.base import SCHEMA


def migrate(connection: Connection) -> None:
    """Run the migrations of the Alembic command."""
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


with schema.alone(context.config.attributes["connection"]):
    migrate(context.config.attributes["connection"])
