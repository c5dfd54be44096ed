-- The provisioner creates and drops PostgreSQL roles. It owns these functions and no tables, so operators only need
-- EXECUTE on them. A login is a member of one group, and cannot SET ROLE to it (SET FALSE).

CREATE OR REPLACE FUNCTION login.group_of(p_role text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN app.prefix() || '_' || p_role || 's';

-- How many connections each login of a role or duty may have, and how many sessions a user of the role may have: a user
-- gets that many connections for each session and for the personal login, so one enduser cannot take all connections.
CREATE OR REPLACE FUNCTION login.limits_of(p_group text, OUT connections integer, OUT sessions integer)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT known.connections, known.sessions FROM (VALUES
        ('superadmin', 20, 5), ('admin', 10, 5), ('enduser', 3, 3),
        ('ingest', 40, 0), ('worker', 60, 0), ('listener', 20, 0), ('cron', 10, 0)
    ) AS known (name, connections, sessions) WHERE name = p_group;
END;

-- A name for a login that no role of the cluster has yet.
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

-- Require a SCRAM verifier: the server accepts any text as a password, and logs it.
CREATE OR REPLACE FUNCTION login.require_verifier(p_verifier text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF p_verifier IS NULL OR p_verifier !~ '^SCRAM-SHA-256\$[0-9]{4,7}:[A-Za-z0-9+/]{22,}={0,2}\$[A-Za-z0-9+/]{43}=:[A-Za-z0-9+/]{43}=$' THEN
        RAISE EXCEPTION 'a password must come as a SCRAM-SHA-256 verifier' USING ERRCODE = 'invalid_parameter_value';
    END IF;
END $$;

CREATE OR REPLACE FUNCTION login.make(
    p_base text, p_verifier text, p_group text, p_valid_until timestamptz
) RETURNS text
-- VALID UNTIL takes text, so the caller's settings must not apply: a custom time zone may call itself 'CET'.
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO' SET timezone = 'UTC' AS $$
DECLARE
    name text := login.free_name(p_base);
BEGIN
    PERFORM login.require_verifier(p_verifier);
    EXECUTE format('CREATE ROLE %I LOGIN CONNECTION LIMIT %s VALID UNTIL %L PASSWORD %L',
                   name, (login.limits_of(p_group)).connections, coalesce(p_valid_until::text, 'infinity'), p_verifier);
    EXECUTE format('GRANT %I TO %I WITH INHERIT TRUE, SET FALSE', login.group_of(p_group), name);
    EXECUTE format('ALTER ROLE %I SET statement_timeout = %L', name, '60s');
    EXECUTE format('ALTER ROLE %I SET lock_timeout = %L', name, '5s');
    EXECUTE format('ALTER ROLE %I SET idle_in_transaction_session_timeout = %L', name, '120s');
    RETURN name;
END $$;

-- End the connections of these logins, except the calling one; returns how many.
CREATE OR REPLACE FUNCTION login.terminate(p_roles text[]) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    connected integer[] := ARRAY(
        SELECT pid FROM pg_stat_activity WHERE usename = ANY (p_roles) AND pid <> pg_backend_pid() ORDER BY pid
    );
BEGIN
    PERFORM pg_terminate_backend(pid) FROM unnest(connected) AS pid;
    RETURN cardinality(connected);
END $$;

-- End a login's connections and drop the login; returns how many connections there were. Connections end first, because
-- an open one may keep the login's row locked, and once more for those opened meanwhile.
CREATE OR REPLACE FUNCTION login.unmake(p_role text) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    connected integer := login.terminate(ARRAY[p_role]);
BEGIN
    IF p_role = session_user THEN
        -- A role cannot drop itself: only the connections end here, and the next sweep drops the login.
        PERFORM app.end_login(p_role);
        EXECUTE format('ALTER ROLE %I NOLOGIN', p_role);
        RETURN connected;
    END IF;
    PERFORM app.drop_login(p_role);
    PERFORM login.terminate(ARRAY[p_role]);
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = p_role) THEN
        -- Every login can create large objects in each database of the cluster that it can connect to, and DROP ROLE
        -- fails while these exist.
        EXECUTE format('DROP OWNED BY %I', p_role);
        BEGIN
            EXECUTE format('DROP ROLE %I', p_role);
        EXCEPTION WHEN dependent_objects_still_exist THEN
            EXECUTE format('ALTER ROLE %I NOLOGIN PASSWORD NULL', p_role);
            -- The name of the login is derived from an e-mail address: do not keep it.
            EXECUTE format('ALTER ROLE %I RENAME TO %I', p_role,
                           app.prefix() || '_ended_' || left(md5(gen_random_uuid()::text), 8));
        END;
    END IF;
    RETURN connected;
END $$;

-- Give a login the connection limit of its group; a service keeps another limit that an administrator set.
CREATE OR REPLACE FUNCTION login.set_limit(p_role text, p_group text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    present integer := (SELECT rolconnlimit FROM pg_roles WHERE rolname = p_role);
    fit record := login.limits_of(p_group);
BEGIN
    IF present <> fit.connections AND (fit.sessions > 0 OR present = -1) THEN
        EXECUTE format('ALTER ROLE %I CONNECTION LIMIT %s', p_role, fit.connections);
    END IF;
END $$;

-- Put a login into the group of a role or duty, and take it out of any other.
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
        PERFORM login.set_limit(p_role, p_group);
    END IF;
END $$;

-- Create a user's personal login, or change its password; returns its name.
CREATE OR REPLACE FUNCTION login.grant_personal(p_user bigint, p_verifier text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET createrole_self_grant = 'inherit' AS $$
DECLARE
    person record;
    name text;
BEGIN
    SELECT * INTO person FROM app.login_user(p_user, false);
    IF person.deleted THEN
        RAISE EXCEPTION 'the user is deleted' USING ERRCODE = 'no_data_found';
    END IF;
    IF person.personal IS NOT NULL AND EXISTS (SELECT FROM pg_roles WHERE rolname = person.personal) THEN
        PERFORM login.require_verifier(p_verifier);
        EXECUTE format('ALTER ROLE %I PASSWORD %L', person.personal, p_verifier);
        PERFORM app.note_password(person.personal);
        RETURN person.personal;
    END IF;
    PERFORM app.drop_login(person.personal);
    name := login.make(
        app.prefix() || '_' || trim(both '_' from regexp_replace(split_part(person.email, '@', 1), '[^a-z0-9]+', '_', 'g')),
        p_verifier, person.role, NULL);
    PERFORM app.add_login(name, p_user, 'personal', NULL, NULL);
    RETURN name;
END $$;

-- Create a service's login, or change its password; returns its name.
CREATE OR REPLACE FUNCTION login.grant_service(p_duty text, p_verifier text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET createrole_self_grant = 'inherit' AS $$
DECLARE
    holder bigint;
    name text;
BEGIN
    PERFORM app.act();
    PERFORM app.require_superadmin();
    IF p_duty NOT IN ('ingest', 'worker', 'listener', 'cron') THEN
        RAISE EXCEPTION 'there is no duty %', p_duty USING ERRCODE = 'invalid_parameter_value';
    END IF;
    holder := app.service_user(p_duty);
    SELECT l INTO name FROM app.logins_of(NULL, p_duty) AS l JOIN pg_roles ON rolname = l LIMIT 1;
    IF FOUND THEN
        PERFORM login.require_verifier(p_verifier);
        EXECUTE format('ALTER ROLE %I PASSWORD %L', name, p_verifier);
        PERFORM app.note_password(name);
        RETURN name;
    END IF;
    PERFORM app.drop_login(l) FROM app.logins_of(NULL, p_duty) AS l;
    name := login.make(app.prefix() || '_' || p_duty, p_verifier, p_duty, NULL);
    PERFORM app.add_login(name, holder, 'service', p_duty, NULL);
    RETURN name;
END $$;

-- Create a session for some hours, at most as many as the installation allows, for the user of this personal login.
CREATE OR REPLACE FUNCTION login.open_session(
    p_verifier text, p_hours double precision, OUT role text, OUT valid_until timestamptz
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET createrole_self_grant = 'inherit' AS $$
DECLARE
    me bigint := app.actor();
    mine record;
BEGIN
    PERFORM app.act();
    SELECT * INTO mine FROM app.login_of(session_user::text);
    IF mine.kind IS DISTINCT FROM 'personal' THEN
        RAISE EXCEPTION 'a session is opened with a personal login' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF p_hours IS NULL OR p_hours <= 0 THEN
        RAISE EXCEPTION 'a session lasts more than 0 hours' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM login.unmake(l) FROM app.expired_logins() AS l;
    -- A user opens one session at a time. This is a row lock, which others cannot take, unlike an advisory lock.
    PERFORM app.login_user(me, true);
    IF (SELECT count(*) FROM app.logins_of(me, NULL)) > (login.limits_of(app.actor_role())).sessions THEN
        RAISE EXCEPTION 'all sessions that this user may have are open already' USING ERRCODE = 'configuration_limit_exceeded';
    END IF;
    valid_until := now() + make_interval(secs => 3600 * least(p_hours, app.session_hours()));
    role := login.make(session_user || '_' || left(md5(gen_random_uuid()::text), 8), p_verifier, app.actor_role(),
                       valid_until);
    PERFORM app.add_login(role, me, 'session', NULL, valid_until);
END $$;

-- End a login at once; returns how many connections ended with it. Every user may end their own sessions.
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
    IF known.kind = 'session' AND known.user_id = app.actor() THEN
        PERFORM app.login_user(known.user_id, true);
    ELSE
        PERFORM app.lock_user(known.user_id);
    END IF;
    -- The login may have ended meanwhile, and its name may now belong to another user.
    IF known.user_id IS DISTINCT FROM (SELECT user_id FROM app.login_of(p_role)) THEN
        RAISE EXCEPTION 'there is no login %', p_role USING ERRCODE = 'no_data_found';
    END IF;
    RETURN login.unmake(p_role);
END $$;

-- End all logins of a user; returns how many.
CREATE OR REPLACE FUNCTION login.revoke_user(p_user bigint) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    names text[];
BEGIN
    PERFORM app.lock_user(p_user);
    names := ARRAY(SELECT app.logins_of(p_user, NULL));
    PERFORM login.unmake(name) FROM unnest(names) AS name;
    RETURN cardinality(names);
END $$;

-- End a user's connections, except the calling one; for functions of the owner only.
CREATE OR REPLACE FUNCTION login.disconnect(p_user bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM login.terminate(ARRAY(SELECT app.logins_of(p_user, NULL)));
END $$;

-- Make the logins of a user follow their role: sessions and running statements end, and the personal login moves to the
-- group of the role, or is dropped with its password if the role is higher. For triggers of the owner only.
CREATE OR REPLACE FUNCTION login.change_role(p_user bigint, p_group text, p_higher boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT app.logins_of(p_user, NULL) LOOP
        IF p_higher OR (SELECT kind FROM app.login_of(name)) = 'session' THEN
            PERFORM login.unmake(name);
        ELSE
            PERFORM login.regroup(name, p_group);
            PERFORM login.terminate(ARRAY[name]);
        END IF;
    END LOOP;
END $$;

-- Drop expired sessions; returns how many.
CREATE OR REPLACE FUNCTION login.sweep() RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    names text[];
BEGIN
    PERFORM app.act();
    names := ARRAY(SELECT app.expired_logins());
    PERFORM login.unmake(name) FROM unnest(names) AS name;
    RETURN cardinality(names);
END $$;
