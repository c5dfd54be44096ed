-- PostgreSQL roles are made and dropped by the provisioner, who owns these functions and no table: so no operator needs
-- more than EXECUTE on them. A login is in one group, and cannot become it (SET FALSE).

CREATE OR REPLACE FUNCTION login.group_of(p_role text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN app.prefix() || '_' || p_role || 's';

-- A name for a login that no role of the cluster has.
CREATE OR REPLACE FUNCTION login.free_name(p_base text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    base text := left(p_base, 50);
    name text := base;
BEGIN
    FOR number IN 2..10000 LOOP
        EXIT WHEN NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name);
        name := base || '_' || number;
    END LOOP;
    RETURN name;
END $$;

-- The server would take any text for a password, and log it.
CREATE OR REPLACE FUNCTION login.require_verifier(p_verifier text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF p_verifier IS NULL OR p_verifier !~ '^SCRAM-SHA-256\$[0-9]{4,7}:[A-Za-z0-9+/]{22,}={0,2}\$[A-Za-z0-9+/]{43}=:[A-Za-z0-9+/]{43}=$' THEN
        RAISE EXCEPTION 'a password must come as a SCRAM-SHA-256 verifier' USING ERRCODE = 'invalid_parameter_value';
    END IF;
END $$;

CREATE OR REPLACE FUNCTION login.make(
    p_base text, p_verifier text, p_group text, p_connections integer, p_valid_until timestamptz
) RETURNS text
-- The instant goes through text, which the caller's settings would make another: 'CET' may be what a made-up zone calls itself.
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO' SET timezone = 'UTC' AS $$
DECLARE
    name text := login.free_name(p_base);
BEGIN
    PERFORM login.require_verifier(p_verifier);
    EXECUTE format('CREATE ROLE %I LOGIN CONNECTION LIMIT %s VALID UNTIL %L PASSWORD %L',
                   name, p_connections, coalesce(p_valid_until::text, 'infinity'), p_verifier);
    EXECUTE format('GRANT %I TO %I WITH INHERIT TRUE, SET FALSE', login.group_of(p_group), name);
    EXECUTE format('ALTER ROLE %I SET statement_timeout = %L', name, '60s');
    EXECUTE format('ALTER ROLE %I SET lock_timeout = %L', name, '5s');
    EXECUTE format('ALTER ROLE %I SET idle_in_transaction_session_timeout = %L', name, '120s');
    RETURN name;
END $$;

-- End a login's connections and drop it; returns how many there were.
CREATE OR REPLACE FUNCTION login.unmake(p_role text) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    connected integer[] := ARRAY(
        SELECT pid FROM pg_stat_activity WHERE usename = p_role AND pid <> pg_backend_pid() ORDER BY pid
    );
BEGIN
    IF p_role = session_user THEN
        -- Nobody can drop the role he acts with, so it ends here, and the next sweep drops it.
        PERFORM app.end_login(p_role);
        EXECUTE format('ALTER ROLE %I NOLOGIN', p_role);
        PERFORM pg_terminate_backend(pid) FROM unnest(connected) AS pid;
        RETURN cardinality(connected);
    END IF;
    PERFORM app.drop_login(p_role);
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = p_role) THEN
        PERFORM pg_terminate_backend(pid) FROM unnest(connected) AS pid;
        -- Everybody can make large objects, in any database of the cluster that he reaches, and they would keep his role.
        EXECUTE format('DROP OWNED BY %I', p_role);
        BEGIN
            EXECUTE format('DROP ROLE %I', p_role);
        EXCEPTION WHEN dependent_objects_still_exist THEN
            EXECUTE format('ALTER ROLE %I NOLOGIN PASSWORD NULL', p_role);
        END;
    END IF;
    RETURN cardinality(connected);
END $$;

-- Put a login into the group of a role or duty, and out of any other.
CREATE OR REPLACE FUNCTION login.regroup(p_role text, p_group text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    present text;
BEGIN
    FOR present IN
        SELECT g.rolname FROM pg_auth_members AS m JOIN pg_roles AS g ON g.oid = m.roleid
        JOIN pg_roles AS l ON l.oid = m.member
        WHERE l.rolname = p_role AND pg_has_role(g.oid, 'MEMBER WITH ADMIN OPTION')
    LOOP
        EXECUTE format('REVOKE %I FROM %I', present, p_role);
    END LOOP;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = p_role) THEN
        EXECUTE format('GRANT %I TO %I WITH INHERIT TRUE, SET FALSE', login.group_of(p_group), p_role);
    END IF;
END $$;

-- Make a user's personal login, or give it another password; returns its name.
CREATE OR REPLACE FUNCTION login.grant_personal(p_user bigint, p_verifier text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET createrole_self_grant = 'inherit' AS $$
DECLARE
    person record;
    name text;
BEGIN
    SELECT * INTO person FROM app.login_user(p_user, false);
    IF person.personal IS NOT NULL AND EXISTS (SELECT FROM pg_roles WHERE rolname = person.personal) THEN
        PERFORM login.require_verifier(p_verifier);
        EXECUTE format('ALTER ROLE %I PASSWORD %L', person.personal, p_verifier);
        PERFORM app.note_password(person.personal);
        RETURN person.personal;
    END IF;
    PERFORM app.drop_login(person.personal);
    name := login.make(
        app.prefix() || '_' || trim(both '_' from regexp_replace(split_part(person.email, '@', 1), '[^a-z0-9]+', '_', 'g')),
        p_verifier, person.role, 20, NULL);
    PERFORM app.add_login(name, p_user, 'personal', NULL, NULL);
    RETURN name;
END $$;

-- Make a service's login, or give it another password; returns its name.
CREATE OR REPLACE FUNCTION login.grant_service(p_duty text, p_verifier text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET createrole_self_grant = 'inherit' AS $$
DECLARE
    name text;
BEGIN
    PERFORM app.require_superadmin();
    IF p_duty NOT IN ('ingest', 'worker', 'listener', 'cron') THEN
        RAISE EXCEPTION 'there is no duty %', p_duty USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT l INTO name FROM app.logins_of(NULL, p_duty, false) AS l JOIN pg_roles ON rolname = l LIMIT 1;
    IF FOUND THEN
        PERFORM login.require_verifier(p_verifier);
        EXECUTE format('ALTER ROLE %I PASSWORD %L', name, p_verifier);
        PERFORM app.note_password(name);
        RETURN name;
    END IF;
    PERFORM app.drop_login(l) FROM app.logins_of(NULL, p_duty, false) AS l;
    name := login.make(app.prefix() || '_' || p_duty, p_verifier, p_duty, 100, NULL);
    PERFORM app.add_login(name, app.service_user(p_duty), 'service', p_duty, NULL);
    RETURN name;
END $$;

-- Make a login for some hours, at most as many as the installation allows, for the person who is logged in with his own.
CREATE OR REPLACE FUNCTION login.open_session(
    p_verifier text, p_hours double precision, OUT role text, OUT valid_until timestamptz
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET createrole_self_grant = 'inherit' AS $$
DECLARE
    me bigint := app.actor();
    mine record;
BEGIN
    SELECT * INTO mine FROM app.login_of(session_user::text);
    IF mine.kind IS DISTINCT FROM 'personal' THEN
        RAISE EXCEPTION 'a session is opened with a personal login' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF p_hours IS NULL OR p_hours <= 0 THEN
        RAISE EXCEPTION 'a session lasts longer than that' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM login.unmake(l) FROM app.logins_of(NULL, NULL, true) AS l;
    -- Each may connect 20 times, and the server has an end. Who opens several at once waits for himself.
    PERFORM pg_advisory_xact_lock(hashtextextended('dumacle.sessions', me));
    IF (SELECT count(*) FROM app.logins_of(me, NULL, false)) > 10 THEN
        RAISE EXCEPTION 'ten sessions of this user are open already' USING ERRCODE = 'configuration_limit_exceeded';
    END IF;
    valid_until := now() + make_interval(secs => 3600 * least(p_hours, app.session_hours()));
    role := login.make(session_user || '_' || left(md5(gen_random_uuid()::text), 8), p_verifier, app.actor_role(), 20,
                       valid_until);
    PERFORM app.add_login(role, me, 'session', NULL, valid_until);
END $$;

-- End a login at once; returns how many connections ended with it. Everybody may end his own sessions.
CREATE OR REPLACE FUNCTION login.revoke(p_role text) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known record;
BEGIN
    SELECT * INTO known FROM app.login_of(p_role);
    IF NOT FOUND THEN
        PERFORM app.actor();
        RAISE EXCEPTION 'there is no login %', p_role USING ERRCODE = 'no_data_found';
    END IF;
    PERFORM app.login_user(known.user_id, known.kind = 'session');
    RETURN login.unmake(p_role);
END $$;

-- End all logins of a user; returns how many.
CREATE OR REPLACE FUNCTION login.revoke_user(p_user bigint) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    names text[];
BEGIN
    PERFORM app.login_user(p_user, false);
    names := ARRAY(SELECT app.logins_of(p_user, NULL, false));
    PERFORM login.unmake(name) FROM unnest(names) AS name;
    RETURN cardinality(names);
END $$;

-- End a user's connections, but not the one that asks; for the owner's triggers only.
CREATE OR REPLACE FUNCTION login.disconnect(p_user bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    connected integer[] := ARRAY(
        SELECT pid FROM pg_stat_activity
        WHERE usename IN (SELECT app.logins_of(p_user, NULL, false)) AND pid <> pg_backend_pid() ORDER BY pid
    );
BEGIN
    PERFORM pg_terminate_backend(pid) FROM unnest(connected) AS pid;
END $$;

-- Drop the sessions that expired; returns how many.
CREATE OR REPLACE FUNCTION login.sweep() RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    names text[];
BEGIN
    PERFORM app.actor();
    names := ARRAY(SELECT app.logins_of(NULL, NULL, true));
    PERFORM login.unmake(name) FROM unnest(names) AS name;
    RETURN cardinality(names);
END $$;
