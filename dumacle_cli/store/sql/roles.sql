-- The PostgreSQL roles of this installation, which belong to the whole cluster: a group for each role and duty, and the
-- provisioner, the only one that creates logins. Run by the owner of the database; safe to repeat.

-- Roles that another database of the cluster uses are not touched: two installations with the same roles could drop
-- and promote each other's logins. So a copy of a database next to its original takes the next free prefix, and none of
-- the original's logins.
DO $$
DECLARE
    chosen text := (SELECT prefix FROM app.installation);
    number integer := 1;
BEGIN
    WHILE EXISTS (
        SELECT FROM pg_roles AS r
        WHERE r.rolname = chosen || '_provisioner'
            AND r.oid IS DISTINCT FROM (SELECT nspowner FROM pg_namespace WHERE nspname = 'login')
            AND (NOT pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION') OR EXISTS (
                SELECT FROM pg_shdepend AS d JOIN pg_database AS other ON other.oid = d.dbid
                WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = r.oid
                    AND other.datname <> current_database()))
    ) LOOP
        chosen := left(current_database(), 40) || CASE WHEN number > 1 THEN '_' || number ELSE '' END;
        number := number + 1;
    END LOOP;
    UPDATE app.installation SET prefix = chosen WHERE prefix <> chosen;
END $$;

DO $$
DECLARE
    prefix text := (SELECT i.prefix FROM app.installation AS i);
    provisioner text := prefix || '_provisioner';
    name text;
BEGIN
    IF to_regrole(quote_ident(provisioner)) IS NULL THEN
        EXECUTE format('CREATE ROLE %I NOLOGIN CREATEROLE', provisioner);
    END IF;
    EXECUTE format('GRANT %I TO CURRENT_USER WITH SET TRUE, INHERIT FALSE', provisioner);
    FOREACH name IN ARRAY ARRAY['superadmin', 'admin', 'enduser', 'ingest', 'worker', 'listener', 'cron'] LOOP
        name := prefix || '_' || name || 's';
        IF to_regrole(quote_ident(name)) IS NULL THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', name);
        END IF;
        EXECUTE format('GRANT %I TO %I WITH ADMIN TRUE, INHERIT FALSE, SET FALSE', name, provisioner);
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), name);
    END LOOP;
    EXECUTE format('REVOKE CONNECT, CREATE, TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    -- Superadmins can connect when all other connections are taken, if the role that ran the bootstrap could grant
    -- that.
    IF pg_has_role('pg_use_reserved_connections', 'MEMBER WITH ADMIN OPTION') THEN
        EXECUTE format('GRANT pg_use_reserved_connections TO %I', prefix || '_superadmins');
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA app TO %I', provisioner);
    PERFORM set_config('role', pg_get_userbyid(nspowner)::text, true) FROM pg_namespace WHERE nspname = 'login';
    EXECUTE 'DROP SCHEMA IF EXISTS login CASCADE';
    RESET ROLE;
    EXECUTE format('CREATE SCHEMA login AUTHORIZATION %I', provisioner);
    -- No role can execute a new function until matrix.sql grants it.
    EXECUTE 'ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC';
END $$;

-- Logins that the owner created in releases without a provisioner are handed over to it. A login that the owner cannot
-- grant belongs to another installation, even if app.logins lists it: the row is deleted, and its user needs a new one.
DO $$
DECLARE
    known record;
    provisioner regrole := (SELECT to_regrole(quote_ident(prefix || '_provisioner')) FROM app.installation);
BEGIN
    FOR known IN
        SELECT l.role, array_agg(m.member::regrole) FILTER (WHERE m.admin_option) AS keepers
        FROM app.logins AS l JOIN pg_roles AS r ON r.rolname = l.role LEFT JOIN pg_auth_members AS m ON m.roleid = r.oid
        GROUP BY l.role
    LOOP
        CONTINUE WHEN provisioner = ANY (known.keepers);
        IF to_regrole(quote_ident(current_user)) = ANY (known.keepers) OR (
            known.keepers IS NULL AND (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
        ) THEN
            EXECUTE format('GRANT %I TO %s WITH ADMIN TRUE, INHERIT TRUE, SET FALSE', known.role, provisioner);
        ELSE
            DELETE FROM app.logins WHERE role = known.role;
        END IF;
    END LOOP;
END $$;
