"""Work for workers: waking them in the transaction of the rows it is about, and units held under a lease."""

from pathlib import Path

from alembic import op

from dumacle_cli.store import sql

revision = "0011"
down_revision = "0010"

READ = sql.frozen(Path(__file__).parents[1], revision)

FILES = ("jobs", "units")


def upgrade() -> None:
    for name in FILES:
        sql.run(op.get_bind(), READ(name))


def downgrade() -> None:
    for function in (function for name in FILES for function in sql.functions(READ(name))):
        op.execute(f"DROP FUNCTION IF EXISTS app.{function}")
