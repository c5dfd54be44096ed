"""Setbacks apart from attempts, pods whose store is away, the turns of owners, and the workers that are alive."""

from pathlib import Path

from alembic import op

from dumacle_cli.store import identity, sql

revision = "0032"
down_revision = "0031"

MIGRATIONS = Path(__file__).parents[1]
READ, BEFORE = sql.frozen(MIGRATIONS, revision), sql.frozen(MIGRATIONS, down_revision)

TABLES = """
    ALTER TABLE app.transcodes ADD COLUMN turn bigint NOT NULL DEFAULT 0;
    ALTER TABLE app.units ADD COLUMN setbacks bigint NOT NULL DEFAULT 0,
        ADD CONSTRAINT ck_units_setbacks CHECK (setbacks >= 0);
    DROP INDEX app.ix_transcodes_priority_live;
    CREATE INDEX ix_transcodes_priority_live ON app.transcodes (priority DESC, turn, id)
        WHERE status IN ('queued', 'running', 'publishing');
    CREATE TABLE app.pauses (
        pod_id bigint NOT NULL CONSTRAINT fk_pauses_pod_id REFERENCES app.pods (id) ON DELETE CASCADE,
        since timestamptz NOT NULL DEFAULT now(),
        until timestamptz NOT NULL,
        setbacks bigint NOT NULL DEFAULT 1,
        error text NOT NULL,
        CONSTRAINT pk_pauses PRIMARY KEY (pod_id),
        CONSTRAINT ck_pauses_times CHECK (since BETWEEN '1970-01-01 00:00:00+00' AND '2999-12-31 23:59:59+00'
            AND until BETWEEN '1970-01-01 00:00:00+00' AND '2999-12-31 23:59:59+00'),
        CONSTRAINT ck_pauses_texts CHECK (octet_length(error) <= 8192)
    );
    CREATE TABLE app.workers (
        name text COLLATE "C" NOT NULL,
        started_at timestamptz NOT NULL DEFAULT now(),
        seen_at timestamptz NOT NULL DEFAULT now(),
        slots bigint NOT NULL,
        queues text NOT NULL,
        problem text,
        CONSTRAINT pk_workers PRIMARY KEY (name),
        CONSTRAINT ck_workers_times CHECK (started_at BETWEEN '1970-01-01 00:00:00+00' AND '2999-12-31 23:59:59+00'
            AND seen_at BETWEEN '1970-01-01 00:00:00+00' AND '2999-12-31 23:59:59+00'),
        CONSTRAINT ck_workers_texts CHECK (octet_length(name) <= 255 AND octet_length(queues) <= 255
            AND octet_length(problem) <= 8192)
    );
"""
NO_TABLES = """
    DROP FUNCTION app.claim_unit(bigint, uuid, text, double precision, integer);
    DROP FUNCTION app.claim_next(uuid, text, double precision);
    DROP FUNCTION app.reap_unit(bigint, integer);
    DROP FUNCTION app.crash_unit(bigint, uuid, text, integer);
    DROP FUNCTION app.set_back_unit(bigint, uuid, text, boolean);
    DROP FUNCTION app.end_pause(bigint, uuid);
    DROP FUNCTION app.requeue_unit(app.units, text, double precision);
    DROP FUNCTION app.setback_seconds(bigint);
    DROP FUNCTION app.note_worker(text, integer, text, text);
    DROP FUNCTION app.forget_worker(text);
    DROP TABLE app.workers;
    DROP TABLE app.pauses;
    DROP INDEX app.ix_transcodes_priority_live;
    CREATE INDEX ix_transcodes_priority_live ON app.transcodes (status, priority, id)
        WHERE status IN ('queued', 'running', 'publishing');
    ALTER TABLE app.units DROP COLUMN setbacks;
    ALTER TABLE app.transcodes DROP COLUMN turn;
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
