"""The parts of multipart uploads that stores answered for, until the objects are complete."""

from pathlib import Path

from alembic import op

from dumacle_cli.store import identity, sql

revision = "0030"
down_revision = "0029"

MIGRATIONS = Path(__file__).parents[1]
READ, BEFORE = sql.frozen(MIGRATIONS, revision), sql.frozen(MIGRATIONS, down_revision)

PARTS = """
    CREATE TABLE app.parts (
        version_id bigint NOT NULL CONSTRAINT fk_parts_version_id REFERENCES app.versions (id) ON DELETE CASCADE,
        number smallint NOT NULL,
        size bigint NOT NULL,
        etag text NOT NULL,
        sha256 bytea NOT NULL,
        CONSTRAINT pk_parts PRIMARY KEY (version_id, number),
        CONSTRAINT ck_parts_texts CHECK (octet_length(etag) <= 1024),
        CONSTRAINT ck_parts_number CHECK (number BETWEEN 1 AND 10000),
        CONSTRAINT ck_parts_size CHECK (size >= 0),
        CONSTRAINT ck_parts_sha256 CHECK (octet_length(sha256) = 32)
    );
"""


def upgrade() -> None:
    sql.run(op.get_bind(), PARTS)
    identity.install(op.get_bind(), READ)


def downgrade() -> None:
    op.drop_table("parts", schema="app")
    identity.install(op.get_bind(), BEFORE)
