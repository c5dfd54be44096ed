"""The deaths of workers over a unit, on a machine that lives on, count as crashes of it."""

from pathlib import Path

from alembic import op

from dumacle_cli.store import identity, sql

revision = "0035"
down_revision = "0032"

MIGRATIONS = Path(__file__).parents[1]
READ, BEFORE = sql.frozen(MIGRATIONS, revision), sql.frozen(MIGRATIONS, down_revision)

MACHINES = """
    ALTER TABLE app.units ADD COLUMN machine text,
        DROP CONSTRAINT ck_units_texts,
        ADD CONSTRAINT ck_units_texts CHECK (octet_length(worker) <= 255 AND octet_length(machine) <= 255
            AND octet_length(error) <= 8192);
    ALTER TABLE app.workers ADD COLUMN machine text,
        DROP CONSTRAINT ck_workers_texts,
        ADD CONSTRAINT ck_workers_texts CHECK (octet_length(name) <= 255 AND octet_length(queues) <= 255
            AND octet_length(problem) <= 8192 AND octet_length(machine) <= 255);
    DROP FUNCTION app.note_worker(text, integer, text, text);
"""
NO_MACHINES = """
    DROP FUNCTION app.note_worker(text, integer, text, text, text);
    DROP FUNCTION app.reap_units(integer);
    DROP FUNCTION app.take_back_unit(bigint, boolean, integer);
    ALTER TABLE app.workers DROP CONSTRAINT ck_workers_texts, DROP COLUMN machine,
        ADD CONSTRAINT ck_workers_texts CHECK (octet_length(name) <= 255 AND octet_length(queues) <= 255
            AND octet_length(problem) <= 8192);
    ALTER TABLE app.units DROP CONSTRAINT ck_units_texts, DROP COLUMN machine,
        ADD CONSTRAINT ck_units_texts CHECK (octet_length(worker) <= 255 AND octet_length(error) <= 8192);
"""


def upgrade() -> None:
    connection = op.get_bind()
    sql.run(connection, MACHINES)
    sql.run(connection, READ("units"))
    identity.install(connection, READ)


def downgrade() -> None:
    connection = op.get_bind()
    sql.run(connection, NO_MACHINES)
    sql.run(connection, BEFORE("units"))
    identity.install(connection, BEFORE)
