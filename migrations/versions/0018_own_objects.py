"""Keys are made by the database, what is made of a content belongs to its file, and erasing a user leaves no name."""

from alembic import op

from dumacle_cli.store import sql

revision = "0018"
down_revision = "0017"

# A row that said otherwise would have shown one file's content as what was made of another.
TRUE_FILES = """
    UPDATE app.renditions AS r SET file_id = v.file_id
    FROM app.transcodes AS t JOIN app.versions AS v ON v.id = t.version_id
    WHERE t.id = r.transcode_id AND r.file_id <> v.file_id;
    UPDATE app.transcodes AS t SET file_id = v.file_id FROM app.versions AS v
    WHERE v.id = t.version_id AND t.file_id <> v.file_id;
"""
TO_VERSION_OF_FILE = """
    ALTER TABLE app.transcodes
        ADD CONSTRAINT fk_transcodes_file_id_version_id FOREIGN KEY (file_id, version_id)
            REFERENCES app.versions (file_id, id) ON DELETE RESTRICT,
        DROP CONSTRAINT fk_transcodes_version_id;
"""
TO_VERSION = """
    ALTER TABLE app.transcodes
        ADD CONSTRAINT fk_transcodes_version_id FOREIGN KEY (version_id)
            REFERENCES app.versions (id) ON DELETE RESTRICT,
        DROP CONSTRAINT fk_transcodes_file_id_version_id;
"""
# What was recorded of files of several owners in one names a path that no erasure could find by its owner.
OF_SEVERAL = """
    UPDATE app.audit SET before = before #- '{first,path}' #- '{first,error}',
        after = after #- '{first,path}' #- '{first,error}'
    WHERE table_name = 'files' AND action = 'update' AND jsonb_array_length(after -> 'owners') > 1
        AND (after -> 'first' ?| ARRAY['path', 'error'] OR before -> 'first' ?| ARRAY['path', 'error']);
"""
BY_OWNER = "CREATE INDEX ix_audit_on_behalf_of ON app.audit (on_behalf_of) WHERE on_behalf_of IS NOT NULL"


def upgrade() -> None:
    for statements in (TRUE_FILES, TO_VERSION_OF_FILE, OF_SEVERAL, BY_OWNER):
        sql.run(op.get_bind(), statements)


def downgrade() -> None:
    op.drop_index("ix_audit_on_behalf_of", "audit", schema="app")
    sql.run(op.get_bind(), TO_VERSION)
