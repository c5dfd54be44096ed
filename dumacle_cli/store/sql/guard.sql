-- A second line of defence, which only a superuser of the cluster can install: only the owners of Dumacle's schemas may
-- create, alter or drop anything in this database, and no login writes where PostgreSQL asks no right. Without it the
-- rights of the logins refuse that too, as long as nobody granted them more. Safe to repeat.
CREATE SCHEMA IF NOT EXISTS dumacle_guard;

CREATE OR REPLACE FUNCTION dumacle_guard.refuse() RETURNS event_trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- Not session_user: a SECURITY DEFINER function runs with the rights of its owner.
    IF NOT EXISTS (
        SELECT FROM pg_roles AS r WHERE r.rolname = current_user AND (
            r.rolsuper
            OR r.oid = (SELECT datdba FROM pg_database WHERE datname = current_database())
            OR r.oid IN (SELECT nspowner FROM pg_namespace WHERE nspname IN ('app', 'queue', 'login')))
    ) THEN
        RAISE EXCEPTION 'only the owner of the schema may do that: %', tg_tag USING ERRCODE = 'insufficient_privilege';
    END IF;
END $$;
REVOKE ALL ON FUNCTION dumacle_guard.refuse() FROM PUBLIC;

DROP EVENT TRIGGER IF EXISTS dumacle_guard;
CREATE EVENT TRIGGER dumacle_guard ON ddl_command_start EXECUTE FUNCTION dumacle_guard.refuse();

-- By default every login may write large objects and logical messages, which fill the disk or the WAL without a trace,
-- and may take any advisory lock, which is only a number, and so block others.
DO $$
DECLARE
    function regprocedure;
    owner name := (SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database());
BEGIN
    FOR function IN
        SELECT oid FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND proname IN (
            'lo_create', 'lo_creat', 'lo_from_bytea', 'lo_put', 'lowrite', 'lo_open', 'lo_truncate', 'lo_truncate64',
            'lo_import', 'lo_export', 'lo_unlink', 'pg_logical_emit_message')
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', function);
    END LOOP;
    FOR function IN
        SELECT oid FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace AND proname ~ '^pg_(try_)?advisory_(xact_)?lock'
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', function);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', function, owner);
    END LOOP;
    -- Password verifiers and encrypted keys are parameters of statements.
    EXECUTE format('ALTER DATABASE %I SET log_parameter_max_length = 0', current_database());
    EXECUTE format('ALTER DATABASE %I SET log_parameter_max_length_on_error = 0', current_database());
END $$;
