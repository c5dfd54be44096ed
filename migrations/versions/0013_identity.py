"""Who may do what: PostgreSQL roles for people and duties, row-level security, rights, and the record of changes."""

import sqlalchemy as sa
from alembic import op

from dumacle_cli.store import identity, rights, sql

revision = "0013"
down_revision = "0012"

# In the release before, whoever was an operator could write every table.
RETIRE_OPERATORS = """
DO $$
DECLARE
    operators text := current_database() || '_operators';
BEGIN
    IF to_regrole(quote_ident(operators)) IS NULL THEN
        RETURN;
    END IF;
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA app FROM %I', operators);
    EXECUTE format('REVOKE ALL ON SCHEMA app FROM %I', operators);
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM %I', current_database(), operators);
    EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA app REVOKE ALL ON TABLES FROM %I', operators);
    BEGIN
        EXECUTE format('DROP ROLE %I', operators);
    EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege THEN
        RAISE NOTICE 'the role % stays: another database uses it, or another role made it', operators;
    END;
END $$
"""
# What the functions of the release before call: there, nobody is known.
NOBODY = """
    CREATE OR REPLACE FUNCTION app.actor() RETURNS bigint LANGUAGE sql STABLE RETURN NULL::bigint;
    CREATE OR REPLACE FUNCTION app.sees_all() RETURNS boolean LANGUAGE sql STABLE RETURN true;
"""
AUDIT_INDEXES = """
    DROP INDEX app.ix_audit_actor_id_id;
    CREATE INDEX ix_audit_actor_id_at_id ON app.audit (actor_id, at, id);
    CREATE INDEX ix_audit_login_at_id ON app.audit (login, at, id);
    CREATE INDEX ix_audit_table_name_at_id ON app.audit (table_name, at, id);
    CREATE INDEX ix_audit_operation_id_at_id ON app.audit (operation_id, at, id) WHERE operation_id IS NOT NULL;
    CREATE INDEX ix_audit_at_id_delete ON app.audit (at, id) WHERE action = 'delete';
    CREATE INDEX ix_audit_sets ON app.audit USING gist (int8range(
        split_part(row_id, '..', 1)::bigint, split_part(row_id, '..', 2)::bigint, '[]'
    )) WHERE row_id ~ '^[0-9]+[.][.][0-9]+$';
"""
NO_AUDIT_INDEXES = """
    DROP INDEX app.ix_audit_actor_id_at_id, app.ix_audit_login_at_id, app.ix_audit_table_name_at_id,
        app.ix_audit_operation_id_at_id, app.ix_audit_at_id_delete, app.ix_audit_sets;
    CREATE INDEX ix_audit_actor_id_id ON app.audit (actor_id, id);
"""
LEAVE = """
DO $$
DECLARE
    name text;
BEGIN
    PERFORM set_config('role', pg_get_userbyid(nspowner)::text, true) FROM pg_namespace WHERE nspname = 'login';
    ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO PUBLIC;
    DROP SCHEMA login CASCADE;
    RESET ROLE;
    ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO PUBLIC;
    FOR name IN
        SELECT quote_ident(policyname) || ' ON app.' || quote_ident(tablename) FROM pg_policies WHERE schemaname = 'app'
    LOOP
        EXECUTE 'DROP POLICY ' || name;
    END LOOP;
    FOR name IN SELECT relname FROM pg_class WHERE relnamespace = 'app'::regnamespace AND relrowsecurity LOOP
        EXECUTE format('ALTER TABLE app.%I DISABLE ROW LEVEL SECURITY', name);
    END LOOP;
    FOR name IN
        SELECT quote_ident(t.tgname) || ' ON ' || t.tgrelid::regclass FROM pg_trigger AS t
        JOIN pg_proc AS f ON f.oid = t.tgfoid
        WHERE NOT t.tgisinternal AND f.pronamespace = 'app'::regnamespace AND f.proname <> 'cut_quota_periods'
    LOOP
        EXECUTE 'DROP TRIGGER ' || name;
    END LOOP;
    FOREACH name IN ARRAY ARRAY(
        SELECT oid::regprocedure::text FROM pg_proc
        WHERE pronamespace = 'app'::regnamespace AND proname = ANY ({functions})
    ) LOOP
        EXECUTE 'DROP FUNCTION IF EXISTS ' || name || ' CASCADE';
    END LOOP;
    -- The roles stay, with their members: an upgrade gives them their rights again.
    FOR name IN
        SELECT quote_ident(r.rolname) FROM app.installation AS i, pg_roles AS r, unnest({roles}) AS role
        WHERE r.rolname = i.prefix || '_' || role
    LOOP
        EXECUTE 'REVOKE ALL ON ALL TABLES IN SCHEMA app, queue FROM ' || name;
        EXECUTE 'REVOKE ALL ON ALL SEQUENCES IN SCHEMA app, queue FROM ' || name;
        EXECUTE 'REVOKE ALL ON ALL FUNCTIONS IN SCHEMA app, queue FROM ' || name;
        EXECUTE 'REVOKE ALL ON SCHEMA app, queue FROM ' || name;
    END LOOP;
    FOR name IN SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'queue'::regnamespace LOOP
        EXECUTE format('ALTER FUNCTION %s SECURITY INVOKER', name);
    END LOOP;
    GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA app, queue TO PUBLIC;
END $$
"""


def upgrade() -> None:
    connection = op.get_bind()
    op.create_table(
        "installation",
        sa.Column("id", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("session_hours", sa.BigInteger(), server_default="24", nullable=False),
        sa.CheckConstraint("id", name=op.f("ck_installation_one")),
        sa.CheckConstraint("session_hours BETWEEN 1 AND 8760", name=op.f("ck_installation_session_hours")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_installation")),
        schema="app",
    )
    op.execute("INSERT INTO app.installation (prefix) SELECT left(current_database(), 40)")
    for name in ("leases", "bookings", "units", "closings", "jobs", "quotas"):
        sql.load(connection, name)
    sql.run(connection, AUDIT_INDEXES)
    sql.run(connection, RETIRE_OPERATORS)
    identity.install(connection)


def downgrade() -> None:
    connection = op.get_bind()
    names = sorted({name for file in ("identity", "erasure", "bookings", "audit") for name in sql.functions(file)})
    roles = ["provisioner", *(f"{role}s" for role in rights.EVERYBODY)]
    sql.run(connection, LEAVE.replace("{functions}", f"ARRAY{names}").replace("{roles}", f"ARRAY{roles}"))
    sql.run(connection, NO_AUDIT_INDEXES)
    op.drop_table("installation", schema="app")
    sql.run(connection, NOBODY)
