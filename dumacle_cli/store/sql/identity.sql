-- Who acts: `session_user`, which nobody can forge, stands for a user. These functions belong to the owner; what makes
-- and drops PostgreSQL roles belongs to the provisioner (logins.sql).

-- Whether nobody of Dumacle acts but the owner of its schema, who migrates, or a superuser of the cluster.
CREATE OR REPLACE FUNCTION app.is_owner() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
RETURN (
    SELECT rolsuper OR oid = (SELECT nspowner FROM pg_namespace WHERE nspname = 'app')
    FROM pg_roles WHERE rolname = session_user
);

-- The login that acts, with its user; no row for the owner. Unlike the next two it also tells who is disabled or expired.
CREATE OR REPLACE FUNCTION app.actor_login(
    OUT role text, OUT user_id bigint, OUT kind text, OUT duty text, OUT valid_until timestamptz, OUT user_role text,
    OUT email text, OUT barred text
) RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT l.role, l.user_id, l.kind, l.duty, l.valid_until, u.role, u.email,
        CASE WHEN u.status <> 'active' OR u.deleted_at IS NOT NULL THEN 'the user of this login is disabled'
             WHEN l.valid_until <= clock_timestamp() THEN 'this login expired' END
    FROM app.logins AS l JOIN app.users AS u ON u.id = l.user_id WHERE l.role = session_user;
END;

-- The user who acts, null for the owner; raises 28000 for a login that may not act any more.
CREATE OR REPLACE FUNCTION app.actor() RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    login record;
BEGIN
    SELECT * INTO login FROM app.actor_login();
    IF login.role IS NOT NULL AND login.barred IS NULL THEN
        -- An older snapshot does not show that he was disabled meanwhile.
        IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
            RAISE EXCEPTION 'a login acts at the isolation level read committed' USING ERRCODE = 'feature_not_supported';
        END IF;
        RETURN login.user_id;
    ELSIF login.role IS NULL AND app.is_owner() THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION '%', coalesce(login.barred, 'this login belongs to no user') USING ERRCODE = '28000';
END $$;

-- What he may do: `owner`, `superadmin`, `admin`, `enduser`, or of a service its duty; raises 28000 like app.actor().
CREATE OR REPLACE FUNCTION app.actor_role() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF app.actor() IS NULL THEN
        RETURN 'owner';
    END IF;
    RETURN (SELECT coalesce(login.duty, login.user_role) FROM app.actor_login() AS login);
END $$;

-- Whether he sees all rows of a table that he may read at all; an enduser sees his own.
CREATE OR REPLACE FUNCTION app.sees_all() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
RETURN app.actor_role() <> 'enduser';

CREATE OR REPLACE FUNCTION app.is_superadmin() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
RETURN app.actor_role() IN ('owner', 'superadmin');

-- Whether he administers users of this role: a superadmin all, an admin endusers.
CREATE OR REPLACE FUNCTION app.administers(p_role text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
RETURN app.is_superadmin() OR (p_role = 'enduser' AND app.actor_role() = 'admin');

CREATE OR REPLACE FUNCTION app.require_superadmin() RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT app.is_superadmin() THEN
        RAISE EXCEPTION 'this needs the role superadmin' USING ERRCODE = 'insufficient_privilege';
    END IF;
END $$;

-- The last superadmin can neither be demoted nor disabled nor deleted, also not by two who do it to each other.
CREATE OR REPLACE FUNCTION app.keep_a_superadmin() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM app.users
    WHERE role = 'superadmin' AND status = 'active' AND deleted_at IS NULL ORDER BY id FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the last superadmin must stay' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER keep_a_superadmin AFTER UPDATE OF role, status, deleted_at ON app.users
FOR EACH ROW WHEN (OLD.role = 'superadmin' AND OLD.status = 'active' AND OLD.deleted_at IS NULL
    AND (NEW.role <> 'superadmin' OR NEW.status <> 'active' OR NEW.deleted_at IS NOT NULL))
EXECUTE FUNCTION app.keep_a_superadmin();

CREATE OR REPLACE TRIGGER keep_a_superadmin_row AFTER DELETE ON app.users
FOR EACH ROW WHEN (OLD.role = 'superadmin' AND OLD.status = 'active' AND OLD.deleted_at IS NULL)
EXECUTE FUNCTION app.keep_a_superadmin();

-- Nor can the last of them who may log in lose the login that is his own, but by the owner.
CREATE OR REPLACE FUNCTION app.keep_a_superadmin_login() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM app.users
    WHERE role = 'superadmin' AND status = 'active' AND deleted_at IS NULL ORDER BY id FOR UPDATE;
    IF NOT app.is_owner()
        AND EXISTS (SELECT FROM app.users WHERE id = OLD.user_id AND role = 'superadmin' AND status = 'active')
        AND NOT EXISTS (
            SELECT FROM app.logins AS l JOIN app.users AS u ON u.id = l.user_id
            WHERE l.kind = 'personal' AND l.valid_until IS NULL
                AND u.role = 'superadmin' AND u.status = 'active' AND u.deleted_at IS NULL
        )
    THEN
        RAISE EXCEPTION 'the last superadmin who can log in must stay' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER keep_a_superadmin_login AFTER UPDATE OF valid_until OR DELETE ON app.logins
FOR EACH ROW WHEN (OLD.kind = 'personal') EXECUTE FUNCTION app.keep_a_superadmin_login();

-- Who is disabled loses his connections, since a cursor that is open asks no policy again. At COMMIT, because nothing
-- gives back a connection where this is rolled back.
CREATE OR REPLACE FUNCTION app.disconnect_disabled() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM login.disconnect(NEW.id);
    RETURN NULL;
END $$;

DROP TRIGGER IF EXISTS disconnect_disabled ON app.users;
CREATE CONSTRAINT TRIGGER disconnect_disabled AFTER UPDATE OF status, deleted_at ON app.users
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (
    OLD.status = 'active' AND OLD.deleted_at IS NULL AND (NEW.status <> 'active' OR NEW.deleted_at IS NOT NULL)
) EXECUTE FUNCTION app.disconnect_disabled();

-- Whoever deletes says that, not when: an instant to come, or one that no client can read, is taken for now.
CREATE OR REPLACE FUNCTION app.deleted_by_now() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.deleted_at NOT BETWEEN '1970-01-01 00:00:00+00' AND now() THEN
        NEW.deleted_at := now();
    END IF;
    RETURN NEW;
END $$;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['users', 'pods', 'files'] LOOP
        EXECUTE format('CREATE OR REPLACE TRIGGER deleted_by_now BEFORE UPDATE OF deleted_at ON app.%I
            FOR EACH ROW WHEN (NEW.deleted_at IS DISTINCT FROM OLD.deleted_at)
            EXECUTE FUNCTION app.deleted_by_now()', name);
    END LOOP;
END $$;

-- The logins of a user whose role changes go over into its group.
CREATE OR REPLACE FUNCTION app.regroup_logins() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM login.regroup(l.role, NEW.role) FROM app.logins AS l WHERE l.user_id = NEW.id AND l.duty IS NULL;
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER regroup_logins AFTER UPDATE OF role ON app.users
FOR EACH ROW WHEN (OLD.role <> NEW.role) EXECUTE FUNCTION app.regroup_logins();

-- Give a user another role; says whether it changed.
CREATE OR REPLACE FUNCTION app.set_role(p_user bigint, p_role text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM app.require_superadmin();
    IF p_role NOT IN ('superadmin', 'admin', 'enduser') THEN
        RAISE EXCEPTION 'there is no role % for a person', p_role USING ERRCODE = 'invalid_parameter_value';
    END IF;
    UPDATE app.users SET role = p_role, updated_at = now()
    WHERE id = p_user AND role <> p_role AND role <> 'service' AND deleted_at IS NULL;
    RETURN FOUND;
END $$;

-- Delete a user whose files are gone, with his logins and all that refers to the row; says whether there was one.
CREATE OR REPLACE FUNCTION app.erase_user(p_user bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM login.revoke_user(p_user);
    DELETE FROM app.leases WHERE user_id = p_user;
    DELETE FROM app.runs WHERE owner_id = p_user;
    DELETE FROM app.subscriptions WHERE user_id = p_user;
    DELETE FROM app.users WHERE id = p_user;
    RETURN FOUND;
END $$;

-- Keep other transactions from repairing counters until this one ends; only who may repair them can take this lock.
CREATE OR REPLACE FUNCTION app.lock_repair() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM app.installation FOR NO KEY UPDATE;
END $$;

-- What the provisioner asks, and what it notes; nobody else may call these.

-- The user whose login is to be made or ended, where the actor administers him or is he himself (`p_own`).
CREATE OR REPLACE FUNCTION app.login_user(p_user bigint, p_own boolean, OUT role text, OUT email text, OUT personal text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    SELECT u.role, u.email, (SELECT l.role FROM app.logins AS l WHERE l.user_id = u.id AND l.kind = 'personal')
    INTO role, email, personal FROM app.users AS u WHERE u.id = p_user;
    IF (app.administers(role) OR (p_own AND p_user = app.actor())) IS NOT TRUE THEN
        RAISE EXCEPTION 'this needs the role superadmin' USING ERRCODE = 'insufficient_privilege';
    END IF;
END $$;

-- Keep other transactions from what this one does for a user, until it ends.
CREATE OR REPLACE FUNCTION app.lock_user(p_user bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM app.users WHERE id = p_user FOR NO KEY UPDATE;
END $$;

CREATE OR REPLACE FUNCTION app.add_login(p_role text, p_user bigint, p_kind text, p_duty text, p_valid_until timestamptz)
RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    INSERT INTO app.logins (role, user_id, kind, duty, valid_until)
    VALUES (p_role, p_user, p_kind, p_duty, p_valid_until);
END;

CREATE OR REPLACE FUNCTION app.drop_login(p_role text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    DELETE FROM app.logins WHERE role = p_role;
END;

-- Record that a login got another password, which PostgreSQL's own catalogs keep and no trigger sees.
CREATE OR REPLACE FUNCTION app.note_password(p_role text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM app.audit_change(
        'logins', p_role, 'update', (SELECT user_id FROM app.logins WHERE role = p_role),
        '{"password": "[redacted]"}', '{"password": "[redacted]"}'
    );
END $$;

CREATE OR REPLACE FUNCTION app.end_login(p_role text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE app.logins SET valid_until = now() WHERE role = p_role;
END;

-- The user of a service: made when its first login is. Whoever has its e-mail and is no service does not become it.
CREATE OR REPLACE FUNCTION app.service_user(p_duty text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    address text := p_duty || '@service.invalid';
    known bigint := (SELECT id FROM app.users WHERE email = address AND role = 'service' AND deleted_at IS NULL);
BEGIN
    IF known IS NULL THEN
        INSERT INTO app.users (email, name, role) VALUES (address, p_duty, 'service') RETURNING id INTO known;
    END IF;
    RETURN known;
END $$;

-- The logins of a user, of a service, or those that expired.
CREATE OR REPLACE FUNCTION app.logins_of(p_user bigint, p_duty text, p_expired boolean) RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT role FROM app.logins
    WHERE user_id = p_user OR duty = p_duty OR (p_expired AND valid_until <= statement_timestamp())
    ORDER BY role;
END;

CREATE OR REPLACE FUNCTION app.login_of(p_role text, OUT user_id bigint, OUT kind text, OUT duty text)
RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT l.user_id, l.kind, l.duty FROM app.logins AS l WHERE l.role = p_role;
END;

CREATE OR REPLACE FUNCTION app.session_hours() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
RETURN (SELECT session_hours FROM app.installation);

CREATE OR REPLACE FUNCTION app.prefix() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
RETURN (SELECT prefix FROM app.installation);
