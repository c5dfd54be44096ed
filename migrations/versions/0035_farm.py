"""Deaths of workers over a unit count as crashes of it; inventories of renditions; calls of the hook."""

from pathlib import Path

from alembic import op

from dumacle_cli.store import identity, sql

revision = "0035"
down_revision = "0034"

MIGRATIONS = Path(__file__).parents[1]
READ, BEFORE = sql.frozen(MIGRATIONS, revision), sql.frozen(MIGRATIONS, down_revision)

TABLES = """
    ALTER TABLE app.units ADD COLUMN machine text, ADD COLUMN fps double precision,
        ADD CONSTRAINT ck_units_fps CHECK (fps >= 0),
        DROP CONSTRAINT ck_units_texts,
        ADD CONSTRAINT ck_units_texts CHECK (octet_length(worker) <= 255 AND octet_length(machine) <= 255
            AND octet_length(error) <= 8192);
    ALTER TABLE app.workers ADD COLUMN machine text,
        DROP CONSTRAINT ck_workers_texts,
        ADD CONSTRAINT ck_workers_texts CHECK (octet_length(name) <= 255 AND octet_length(queues) <= 255
            AND octet_length(problem) <= 8192 AND octet_length(machine) <= 255);
    DROP FUNCTION app.note_worker(text, integer, text, text);
    DROP FUNCTION app.renew_unit(bigint, uuid, double precision, integer);
    ALTER TABLE app.renditions ADD COLUMN inventory bytea,
        ADD CONSTRAINT ck_renditions_inventory CHECK (octet_length(inventory) = 32);
    CREATE TABLE app.hook_calls (
        transcode_id bigint NOT NULL
            CONSTRAINT fk_hook_calls_transcode_id REFERENCES app.transcodes (id) ON DELETE CASCADE,
        created_at timestamptz NOT NULL DEFAULT now(),
        due_at timestamptz NOT NULL DEFAULT now(),
        attempts bigint NOT NULL DEFAULT 0,
        error text,
        CONSTRAINT pk_hook_calls PRIMARY KEY (transcode_id),
        CONSTRAINT ck_hook_calls_times CHECK (created_at BETWEEN '1970-01-01 00:00:00+00' AND '2999-12-31 23:59:59+00'
            AND due_at BETWEEN '1970-01-01 00:00:00+00' AND '2999-12-31 23:59:59+00'),
        CONSTRAINT ck_hook_calls_texts CHECK (octet_length(error) <= 8192)
    );
    CREATE INDEX ix_hook_calls_due_at ON app.hook_calls (due_at);
    CREATE INDEX ix_hook_calls_created_at ON app.hook_calls (created_at);
"""
NO_TABLES = """
    DROP TRIGGER await_hook ON app.transcodes;
    DROP FUNCTION app.await_hook();
    DROP TABLE app.hook_calls;
    ALTER TABLE app.renditions DROP COLUMN inventory;
    DROP FUNCTION app.note_worker(text, integer, text, text, text);
    DROP FUNCTION app.renew_unit(bigint, uuid, double precision, integer, double precision);
    DROP FUNCTION app.reap_units(integer);
    DROP FUNCTION app.take_back_unit(bigint, boolean, integer);
    ALTER TABLE app.workers DROP CONSTRAINT ck_workers_texts, DROP COLUMN machine,
        ADD CONSTRAINT ck_workers_texts CHECK (octet_length(name) <= 255 AND octet_length(queues) <= 255
            AND octet_length(problem) <= 8192);
    ALTER TABLE app.units DROP CONSTRAINT ck_units_texts, DROP COLUMN machine, DROP COLUMN fps,
        ADD CONSTRAINT ck_units_texts CHECK (octet_length(worker) <= 255 AND octet_length(error) <= 8192);
"""


def upgrade() -> None:
    connection = op.get_bind()
    sql.run(connection, TABLES)
    sql.run(connection, READ("units"))
    identity.install(connection, READ)


def downgrade() -> None:
    connection = op.get_bind()
    sql.run(connection, NO_TABLES)
    sql.run(connection, BEFORE("units"))
    identity.install(connection, BEFORE)
