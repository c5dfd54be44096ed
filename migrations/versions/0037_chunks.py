"""Long films in chunks: units of a transcode that several workers share, and what they store until it is published."""

from pathlib import Path

from alembic import op

from dumacle_cli.store import identity, sql

revision = "0037"
down_revision = "0036"

MIGRATIONS = Path(__file__).parents[1]
READ, BEFORE = sql.frozen(MIGRATIONS, revision), sql.frozen(MIGRATIONS, down_revision)

TABLES = """
    ALTER TABLE app.units ADD COLUMN progress smallint NOT NULL DEFAULT 0, ADD COLUMN inventory bytea,
        ADD CONSTRAINT ck_units_progress CHECK (progress BETWEEN 0 AND 100),
        ADD CONSTRAINT ck_units_inventory CHECK (octet_length(inventory) = 32),
        DROP CONSTRAINT ck_units_kind,
        ADD CONSTRAINT ck_units_kind CHECK (kind IN ('chunk', 'audio', 'finalize', 'whole'));
    CREATE INDEX ix_units_pieces ON app.units (transcode_id) WHERE inventory IS NOT NULL;
    DROP FUNCTION app.claim_next(uuid, text, double precision, text[]);
"""
# The release before knows whole films only. Objects of chunks that are done stay until their file is purged.
NO_TABLES = """
    DO $$
    BEGIN
        PERFORM app.replace_units(t.id, 'chunk', NULL) FROM app.transcodes AS t
        WHERE status IN ('queued', 'running', 'publishing')
            AND EXISTS (SELECT FROM app.units WHERE transcode_id = t.id AND first_frame IS NOT NULL);
    END $$;
    UPDATE app.units SET kind = 'chunk' WHERE kind = 'whole';
    DROP FUNCTION app.claim_next(uuid, text, double precision, text[], boolean);
    DROP FUNCTION app.divide_unit(bigint, uuid, bigint[], boolean);
    DROP FUNCTION app.complete_unit(bigint, uuid, bytea);
    DROP FUNCTION app.make_whole(bigint, uuid, text);
    DROP FUNCTION app.forget_pieces(bigint[]);
    DROP FUNCTION app.replace_units(bigint, text, text);
    DROP FUNCTION app.settle_units(bigint);
    DROP FUNCTION app.cancel_units(bigint);
    DROP FUNCTION app.units_status(bigint);
    DROP FUNCTION app.units_progress(app.units, integer);
    DROP INDEX app.ix_units_pieces;
    ALTER TABLE app.units DROP COLUMN progress, DROP COLUMN inventory,
        DROP CONSTRAINT ck_units_kind,
        ADD CONSTRAINT ck_units_kind CHECK (kind IN ('chunk', 'audio', 'finalize'));
"""


def upgrade() -> None:
    connection = op.get_bind()
    sql.run(connection, TABLES)
    sql.run(connection, READ("chunks"))
    sql.run(connection, READ("units"))
    identity.install(connection, READ)


def downgrade() -> None:
    connection = op.get_bind()
    sql.run(connection, NO_TABLES)
    sql.run(connection, BEFORE("units"))
    identity.install(connection, BEFORE)
