"""Secondary places of pods, and the state of every copy there."""

from pathlib import Path

from alembic import op

from dumacle_cli.store import identity, sql

revision = "0024"
down_revision = "0023"

MIGRATIONS = Path(__file__).parents[1]
READ, BEFORE = sql.frozen(MIGRATIONS, revision), sql.frozen(MIGRATIONS, down_revision)
FUNCTIONS = ("objects", "copies")

# Nothing was ever copied to a secondary provider, so none of them holds anything.
PLACES = """
    UPDATE app.pods SET secondary_provider = NULL WHERE secondary_provider IS NOT NULL;
    ALTER TABLE app.pods ADD COLUMN secondary_bucket text,
        DROP CONSTRAINT ck_pods_texts,
        ADD CONSTRAINT ck_pods_texts CHECK (octet_length(bucket) <= 255 AND octet_length(secondary_bucket) <= 255
            AND octet_length(prefix) <= 1024),
        ADD CONSTRAINT ck_pods_secondary CHECK ((secondary_provider IS NULL) = (secondary_bucket IS NULL));
"""
NO_PLACES = """
    UPDATE app.pods SET secondary_provider = NULL, secondary_bucket = NULL WHERE secondary_provider IS NOT NULL;
    ALTER TABLE app.pods DROP CONSTRAINT ck_pods_secondary,
        DROP CONSTRAINT ck_pods_texts,
        ADD CONSTRAINT ck_pods_texts CHECK (octet_length(bucket) <= 255 AND octet_length(prefix) <= 1024),
        DROP COLUMN secondary_bucket;
"""
TIMES = """
    (checked_at BETWEEN '1970-01-01 00:00:00+00' AND '2999-12-31 23:59:59+00'
        AND created_at BETWEEN '1970-01-01 00:00:00+00' AND '2999-12-31 23:59:59+00'
        AND due_at BETWEEN '1970-01-01 00:00:00+00' AND '2999-12-31 23:59:59+00')
"""
COPIES = f"""
    DROP INDEX app.ix_copies_status_unstored;
    ALTER TABLE app.copies
        ADD COLUMN created_at timestamptz NOT NULL DEFAULT now(),
        ADD COLUMN due_at timestamptz NOT NULL DEFAULT now(),
        ADD COLUMN attempts smallint NOT NULL DEFAULT '0',
        ADD COLUMN error text,
        DROP CONSTRAINT ck_copies_times,
        ADD CONSTRAINT ck_copies_times CHECK {TIMES},
        DROP CONSTRAINT ck_copies_texts,
        ADD CONSTRAINT ck_copies_texts CHECK (octet_length(etag) <= 1024 AND octet_length(error) <= 8192);
    CREATE INDEX ix_copies_due_at_unstored ON app.copies (due_at, version_id) WHERE status <> 'stored';
    CREATE TABLE app.rendition_copies (
        rendition_id bigint NOT NULL
            CONSTRAINT fk_rendition_copies_rendition_id REFERENCES app.renditions (id) ON DELETE CASCADE,
        provider text NOT NULL,
        status text NOT NULL DEFAULT 'pending',
        etag text,
        checked_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT now(),
        due_at timestamptz NOT NULL DEFAULT now(),
        attempts smallint NOT NULL DEFAULT '0',
        error text,
        CONSTRAINT pk_rendition_copies PRIMARY KEY (rendition_id, provider),
        CONSTRAINT ck_rendition_copies_times CHECK {TIMES},
        CONSTRAINT ck_rendition_copies_texts CHECK (octet_length(etag) <= 1024 AND octet_length(error) <= 8192),
        CONSTRAINT ck_rendition_copies_provider CHECK (provider IN ('s3', 'wasabi', 'oracle', 'local')),
        CONSTRAINT ck_rendition_copies_status CHECK (status IN ('pending', 'stored', 'failed', 'missing'))
    );
    CREATE INDEX ix_rendition_copies_due_at_unstored ON app.rendition_copies (due_at, rendition_id)
        WHERE status <> 'stored';
    CREATE TABLE app.outages (
        pod_id bigint NOT NULL CONSTRAINT fk_outages_pod_id REFERENCES app.pods (id) ON DELETE CASCADE,
        provider text NOT NULL,
        since timestamptz NOT NULL DEFAULT now(),
        seen_at timestamptz NOT NULL DEFAULT now(),
        error text NOT NULL,
        CONSTRAINT pk_outages PRIMARY KEY (pod_id, provider),
        CONSTRAINT ck_outages_times CHECK (since BETWEEN '1970-01-01 00:00:00+00' AND '2999-12-31 23:59:59+00'
            AND seen_at BETWEEN '1970-01-01 00:00:00+00' AND '2999-12-31 23:59:59+00'),
        CONSTRAINT ck_outages_texts CHECK (octet_length(error) <= 8192),
        CONSTRAINT ck_outages_provider CHECK (provider IN ('s3', 'wasabi', 'oracle', 'local'))
    );
"""
NO_COPIES = """
    DROP TABLE app.outages, app.rendition_copies;
    DROP INDEX app.ix_copies_due_at_unstored;
    ALTER TABLE app.copies
        DROP CONSTRAINT ck_copies_times,
        ADD CONSTRAINT ck_copies_times
            CHECK (checked_at BETWEEN '1970-01-01 00:00:00+00' AND '2999-12-31 23:59:59+00'),
        DROP CONSTRAINT ck_copies_texts,
        ADD CONSTRAINT ck_copies_texts CHECK (octet_length(etag) <= 1024),
        DROP COLUMN created_at,
        DROP COLUMN due_at,
        DROP COLUMN attempts,
        DROP COLUMN error;
    CREATE INDEX ix_copies_status_unstored ON app.copies (status, version_id) WHERE status <> 'stored';
"""


def upgrade() -> None:
    connection = op.get_bind()
    sql.run(connection, PLACES)
    sql.run(connection, COPIES)
    for name in FUNCTIONS:
        sql.run(connection, READ(name))
    identity.install(connection, READ)


def downgrade() -> None:
    connection = op.get_bind()
    sql.run(connection, BEFORE("objects"))
    for function in ("promote_pod", "set_secondary", "lock_places", "await_copies", "pod_overlaps"):
        op.execute(f"DROP FUNCTION app.{function} CASCADE")
    sql.run(connection, NO_COPIES)
    sql.run(connection, "DROP TRIGGER audit ON app.pods")  # it names the column
    sql.run(connection, NO_PLACES)
    identity.install(connection, BEFORE)
