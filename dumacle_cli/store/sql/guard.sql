-- The second belt, which only a superuser of the cluster can put on: nobody but the owners of Dumacle's schemas makes,
-- alters or drops anything in this database, nor writes where no right is asked. Without it their rights refuse that
-- too, as long as nobody gave them more. Safe to repeat.
CREATE SCHEMA IF NOT EXISTS dumacle_guard;

CREATE OR REPLACE FUNCTION dumacle_guard.refuse() RETURNS event_trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- Not session_user: a definer function acts with its owner's rights.
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

-- Large objects and logical messages are open to every login, and fill disk or the log without a trace; an advisory lock
-- is only a number, and whoever takes it first keeps others out.
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
    -- Verifiers of passwords and encrypted keys are parameters of statements.
    EXECUTE format('ALTER DATABASE %I SET log_parameter_max_length = 0', current_database());
    EXECUTE format('ALTER DATABASE %I SET log_parameter_max_length_on_error = 0', current_database());
END $$;
