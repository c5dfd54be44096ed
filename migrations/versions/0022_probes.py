"""What the store of a pod was found to keep and to enforce."""

from pathlib import Path

from alembic import op

from dumacle_cli.store import identity, sql

revision = "0022"
down_revision = "0021"

MIGRATIONS = Path(__file__).parents[1]
READ, BEFORE = sql.frozen(MIGRATIONS, revision), sql.frozen(MIGRATIONS, down_revision)

PROBES = """
    CREATE TABLE app.probes (
        pod_id bigint NOT NULL,
        provider text NOT NULL,
        endpoint text NOT NULL,
        bucket text NOT NULL,
        proof text NOT NULL,
        found jsonb NOT NULL,
        measured jsonb NOT NULL,
        lost jsonb NOT NULL DEFAULT '{}',
        probed_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT pk_probes PRIMARY KEY (pod_id, provider),
        CONSTRAINT fk_probes_pod_id FOREIGN KEY (pod_id) REFERENCES app.pods (id) ON DELETE CASCADE,
        CONSTRAINT ck_probes_times
            CHECK (probed_at BETWEEN '1970-01-01 00:00:00+00' AND '2999-12-31 23:59:59+00'),
        CONSTRAINT ck_probes_texts CHECK (octet_length(endpoint) <= 2048 AND octet_length(bucket) <= 255),
        CONSTRAINT ck_probes_documents CHECK (octet_length(found::text) <= 8192
            AND octet_length(measured::text) <= 8192 AND octet_length(lost::text) <= 8192),
        CONSTRAINT ck_probes_provider CHECK (provider IN ('s3', 'wasabi', 'oracle', 'local')),
        CONSTRAINT ck_probes_proof CHECK (proof IN ('payload-hash', 'md5-etag'))
    );
    CREATE INDEX ix_probes_provider_bucket ON app.probes (provider, bucket);
"""


def upgrade() -> None:
    sql.run(op.get_bind(), PROBES)
    identity.install(op.get_bind(), READ)


def downgrade() -> None:
    op.drop_table("probes", schema="app")
    identity.install(op.get_bind(), BEFORE)
