-- The acting user: `session_user`, which cannot be forged, stands for a user. These functions belong to the owner of
-- the schema; the functions that create and drop PostgreSQL roles belong to the provisioner (logins.sql).
--
-- A right is checked when it is used, and again at COMMIT, so that no open transaction outlives it. Locks are taken in
-- this order: the installation, the user who is changed, plans, pods, files, transcodes, units, counters (units.sql);
-- and last, at COMMIT, the login and the acting user, FOR KEY SHARE, as foreign keys do. A transaction that takes a
-- right or a row away (a role, a status, a deletion, an archived plan) locks it FOR UPDATE, and so waits for
-- transactions that rely on it, and they wait for it.

-- Whether the session is the owner of the schema, who migrates, or a superuser of the cluster, and no user of Dumacle.
CREATE OR REPLACE FUNCTION app.is_owner() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
RETURN (
    SELECT rolsuper OR oid = (SELECT nspowner FROM pg_namespace WHERE nspname = 'app')
    FROM pg_roles WHERE rolname = session_user
);

-- The login of this session with its user; no row for the owner. Unlike the next two functions it also returns users
-- who are disabled and logins that expired.
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

-- The acting user, null for the owner; raises 28000 for a login that may no longer act.
CREATE OR REPLACE FUNCTION app.actor() RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    login record;
BEGIN
    SELECT * INTO login FROM app.actor_login();
    IF login.role IS NOT NULL AND login.barred IS NULL THEN
        -- An older snapshot does not show that the user was disabled meanwhile.
        IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
            RAISE EXCEPTION 'a login must use the isolation level read committed' USING ERRCODE = 'feature_not_supported';
        END IF;
        RETURN login.user_id;
    ELSIF login.role IS NULL AND app.is_owner() THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION '%', coalesce(login.barred, 'this login belongs to no user') USING ERRCODE = '28000';
END $$;

-- The role of the acting user: `owner`, `superadmin`, `admin`, `enduser`, or the duty of a service; raises 28000 like
-- app.actor().
CREATE OR REPLACE FUNCTION app.actor_role() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF app.actor() IS NULL THEN
        RETURN 'owner';
    END IF;
    RETURN (SELECT coalesce(login.duty, login.user_role) FROM app.actor_login() AS login);
END $$;

-- Whether the acting user sees all rows of each table that they may read; an enduser sees their own rows only.
CREATE OR REPLACE FUNCTION app.sees_all() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
RETURN app.actor_role() <> 'enduser';

CREATE OR REPLACE FUNCTION app.is_superadmin() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
RETURN app.actor_role() IN ('owner', 'superadmin');

-- Whether the acting user administers users of this role: superadmins administer all users, admins administer endusers.
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

-- Note that the acting user begins to change something, and the role that allows it: COMMIT compares it. The triggers
-- of each table call it for everybody; a function that decides by role calls it before it looks at the role.
CREATE OR REPLACE FUNCTION app.note_actor() RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    acts text := (SELECT coalesce(duty, user_role) FROM app.actor_login());
BEGIN
    IF acts IS NOT NULL THEN
        INSERT INTO app.acting (transaction, role) SELECT pg_current_xact_id()::text::bigint, acts
        WHERE NOT EXISTS (SELECT FROM app.acting WHERE transaction = pg_current_xact_id()::text::bigint);
        -- A prepared transaction would keep its locks, and could commit long after the right was taken away. PostgreSQL
        -- prepares no transaction that listened; here LISTEN has no other effect.
        IF current_setting('max_prepared_transactions') <> '0' THEN
            EXECUTE 'LISTEN dumacle_acting';
            EXECUTE 'UNLISTEN dumacle_acting';
        END IF;
    END IF;
END $$;

CREATE OR REPLACE FUNCTION app.act() RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM app.note_actor();
    RETURN app.actor_role();
END $$;

CREATE OR REPLACE FUNCTION app.note_statement() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM app.note_actor();
    RETURN NULL;
END $$;

-- Note that this transaction itself takes away the right that it acts with, which it still has, so that COMMIT does not
-- check the right. Call it while the row of the user is locked.
CREATE OR REPLACE FUNCTION app.note_own() RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF app.act() <> (SELECT role FROM app.acting WHERE transaction = pg_current_xact_id()::text::bigint) THEN
        RAISE EXCEPTION 'the rights of this login changed meanwhile' USING ERRCODE = '28000';
    END IF;
    UPDATE app.acting SET own = true WHERE transaction = pg_current_xact_id()::text::bigint;
END $$;

-- At COMMIT: check that the acting user may still act, in the role in which they began; the locks keep it so until the
-- transaction ends.
CREATE OR REPLACE FUNCTION app.check_actor() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    holder bigint;
    ends boolean;
BEGIN
    DELETE FROM app.acting WHERE transaction = NEW.transaction RETURNING own INTO ends;
    SELECT user_id INTO holder FROM app.logins WHERE role = session_user FOR KEY SHARE;
    PERFORM FROM app.users WHERE id = holder FOR KEY SHARE;
    IF holder IS NULL OR (NOT ends AND app.actor_role() <> NEW.role) THEN
        RAISE EXCEPTION 'the rights of this login changed meanwhile' USING ERRCODE = '28000';
    END IF;
    RETURN NULL;
END $$;

DO $$
DECLARE
    name text;
BEGIN
    FOR name IN
        SELECT relname FROM pg_class WHERE relnamespace = 'app'::regnamespace AND relkind = 'r' AND relname <> 'acting'
    LOOP
        EXECUTE format('CREATE OR REPLACE TRIGGER acts BEFORE INSERT OR UPDATE OR DELETE ON app.%I
            FOR EACH STATEMENT EXECUTE FUNCTION app.note_statement()', name);
    END LOOP;
    DROP TRIGGER IF EXISTS check_actor ON app.acting;
    CREATE CONSTRAINT TRIGGER check_actor AFTER INSERT ON app.acting
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.check_actor();
END $$;

-- A transaction that takes a right from a user waits for transactions that rely on the right, and the later of two sees
-- what the earlier did: a user cannot undo with an old right what was done to them.
CREATE OR REPLACE FUNCTION app.hold_user() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM app.users WHERE id = OLD.id FOR UPDATE;
    IF OLD.id = (SELECT user_id FROM app.actor_login()) THEN
        PERFORM app.note_own();
    END IF;
    RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER hold_user BEFORE UPDATE OF role, status, deleted_at ON app.users
FOR EACH ROW WHEN ((OLD.role, OLD.status, OLD.deleted_at) IS DISTINCT FROM (NEW.role, NEW.status, NEW.deleted_at))
EXECUTE FUNCTION app.hold_user();

-- The same for rows that are deleted or archived while another transaction refers to them.
CREATE OR REPLACE FUNCTION app.hold_row() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format('SELECT FROM app.%I WHERE id = $1 FOR UPDATE', TG_TABLE_NAME) USING OLD.id;
    RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER hold_pod BEFORE UPDATE OF deleted_at ON app.pods
FOR EACH ROW WHEN (OLD.deleted_at IS DISTINCT FROM NEW.deleted_at) EXECUTE FUNCTION app.hold_row();
CREATE OR REPLACE TRIGGER hold_plan BEFORE UPDATE OF archived_at ON app.plans
FOR EACH ROW WHEN (OLD.archived_at IS DISTINCT FROM NEW.archived_at) EXECUTE FUNCTION app.hold_row();

-- A row that begins to refer to a pod, a plan or a user finds it alive: its foreign keys waited for the deletion. The
-- same command, repeated, finds the deletion itself, with a better message.
CREATE OR REPLACE FUNCTION app.require_live() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    gone text;
BEGIN
    IF TG_TABLE_NAME = 'pod_grants' THEN
        SELECT 'the pod or the user was deleted' INTO gone FROM touched AS t
        JOIN app.pods AS p ON p.id = t.pod_id JOIN app.users AS u ON u.id = t.user_id
        WHERE p.deleted_at IS NOT NULL OR u.deleted_at IS NOT NULL LIMIT 1;
    ELSIF TG_TABLE_NAME = 'subscriptions' THEN
        -- What Stripe bills is mirrored, even if the plan or the user was deleted here.
        SELECT 'the plan was archived, or the user deleted' INTO gone FROM touched AS t
        JOIN app.plans AS p ON p.id = t.plan_id JOIN app.users AS u ON u.id = t.user_id
        WHERE t.stripe_subscription_id IS NULL AND t.ended_at IS NULL
            AND (p.archived_at IS NOT NULL OR u.deleted_at IS NOT NULL) LIMIT 1;
    ELSE
        SELECT 'the pod was deleted' INTO gone FROM touched AS t
        JOIN app.pods AS p ON p.id = t.default_pod_id WHERE p.deleted_at IS NOT NULL LIMIT 1;
    END IF;
    IF gone IS NOT NULL THEN
        RAISE EXCEPTION '% meanwhile', gone USING ERRCODE = 'serialization_failure';
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER require_live AFTER INSERT ON app.pod_grants
REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION app.require_live();
CREATE OR REPLACE TRIGGER require_live AFTER INSERT ON app.subscriptions
REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION app.require_live();
CREATE OR REPLACE TRIGGER require_live AFTER INSERT ON app.plans
REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION app.require_live();

-- For a plan that gets another default pod, and only then: a plan whose pod was deleted may still be renamed.
CREATE OR REPLACE FUNCTION app.require_default_pod() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM app.pods WHERE id = NEW.default_pod_id AND deleted_at IS NOT NULL FOR KEY SHARE) THEN
        RAISE EXCEPTION 'the pod was deleted meanwhile' USING ERRCODE = 'serialization_failure';
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER require_default_pod AFTER UPDATE OF default_pod_id ON app.plans
FOR EACH ROW WHEN (NEW.default_pod_id IS DISTINCT FROM OLD.default_pod_id) EXECUTE FUNCTION app.require_default_pod();

-- Until the transaction ends, no other one chooses a place in a bucket, creates a service or repairs counters.
CREATE OR REPLACE FUNCTION app.lock_installation() RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM app.act();
    PERFORM FROM app.installation FOR NO KEY UPDATE;
END $$;

-- Lock a user who is about to lose or gain a right, before checking whether the acting user may do that. A user who
-- keeps their own row locked in order to keep their role is disconnected.
CREATE OR REPLACE FUNCTION app.lock_user(p_user bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    patience text := current_setting('lock_timeout');
BEGIN
    PERFORM app.act();
    IF app.administers((SELECT role FROM app.users WHERE id = p_user)) IS NOT TRUE THEN
        RAISE EXCEPTION 'this needs the role superadmin' USING ERRCODE = 'insufficient_privilege';
    END IF;
    BEGIN
        PERFORM set_config('lock_timeout', '1s', true);
        PERFORM FROM app.users WHERE id = p_user FOR UPDATE;
    EXCEPTION WHEN lock_not_available THEN
        PERFORM set_config('lock_timeout', patience, true);
        PERFORM login.disconnect(p_user);
        PERFORM FROM app.users WHERE id = p_user FOR UPDATE;
    END;
    PERFORM set_config('lock_timeout', patience, true);
    IF app.administers((SELECT role FROM app.users WHERE id = p_user)) IS NOT TRUE THEN
        RAISE EXCEPTION 'this needs the role superadmin' USING ERRCODE = 'insufficient_privilege';
    END IF;
END $$;

-- The last superadmin can be neither demoted nor disabled nor deleted, not even by two who do it to each other.
CREATE OR REPLACE FUNCTION app.keep_a_superadmin() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM app.users
    WHERE role = 'superadmin' AND status = 'active' AND deleted_at IS NULL ORDER BY id FOR NO KEY UPDATE;
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

-- Only the owner can take the personal login from the last superadmin who can log in.
CREATE OR REPLACE FUNCTION app.keep_a_superadmin_login() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF app.is_owner() OR NOT EXISTS (
        SELECT FROM app.users WHERE id = OLD.user_id AND role = 'superadmin' AND status = 'active'
    ) THEN
        RETURN NULL;
    END IF;
    PERFORM FROM app.users
    WHERE role = 'superadmin' AND status = 'active' AND deleted_at IS NULL ORDER BY id FOR NO KEY UPDATE;
    IF NOT EXISTS (
        SELECT FROM app.logins AS l JOIN app.users AS u ON u.id = l.user_id
        WHERE l.kind = 'personal' AND l.valid_until IS NULL
            AND u.role = 'superadmin' AND u.status = 'active' AND u.deleted_at IS NULL
    ) THEN
        RAISE EXCEPTION 'the last superadmin who can log in must stay' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER keep_a_superadmin_login AFTER UPDATE OF valid_until OR DELETE ON app.logins
FOR EACH ROW WHEN (OLD.kind = 'personal') EXECUTE FUNCTION app.keep_a_superadmin_login();

-- When a user is disabled or gets another role, their running statements end, because an open cursor does not ask a
-- policy again. When the role changes, their sessions end too, and with a higher role the personal login: others may
-- know its password. This happens at COMMIT, because a rollback cannot reopen a connection.
CREATE OR REPLACE FUNCTION app.end_rights() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.role <> OLD.role THEN
        PERFORM login.change_role(
            NEW.id, NEW.role,
            array_position(ARRAY['enduser', 'admin', 'superadmin'], NEW.role)
                > array_position(ARRAY['enduser', 'admin', 'superadmin'], OLD.role)
        );
    ELSE
        PERFORM login.disconnect(NEW.id);
    END IF;
    RETURN NULL;
END $$;

DROP TRIGGER IF EXISTS disconnect_disabled ON app.users;
DROP TRIGGER IF EXISTS regroup_logins ON app.users;
DROP TRIGGER IF EXISTS end_rights ON app.users;
DROP FUNCTION IF EXISTS app.disconnect_disabled();
DROP FUNCTION IF EXISTS app.regroup_logins();
CREATE CONSTRAINT TRIGGER end_rights AFTER UPDATE OF role, status, deleted_at ON app.users
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (
    NEW.role <> OLD.role
    OR (OLD.status = 'active' AND OLD.deleted_at IS NULL AND (NEW.status <> 'active' OR NEW.deleted_at IS NOT NULL))
) EXECUTE FUNCTION app.end_rights();

-- A deletion happens now: any other instant, be it in the future or one that no client can read, is replaced by now.
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

-- Give a user another role; returns whether the role changed.
CREATE OR REPLACE FUNCTION app.set_role(p_user bigint, p_role text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM app.act();
    PERFORM app.require_superadmin();
    IF p_role NOT IN ('superadmin', 'admin', 'enduser') THEN
        RAISE EXCEPTION 'there is no role % for a person', p_role USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM app.lock_user(p_user);
    PERFORM app.require_superadmin();
    UPDATE app.users SET role = p_role, updated_at = now()
    WHERE id = p_user AND role <> p_role AND role <> 'service' AND deleted_at IS NULL;
    RETURN FOUND;
END $$;

-- Delete a user whose files are gone, with their logins and all rows that refer to them, and remove names and paths
-- from the audit log (erasure.sql); returns whether the user existed.
CREATE OR REPLACE FUNCTION app.erase_user(p_user bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    called record;
    deliveries bigint;
BEGIN
    PERFORM app.lock_user(p_user);
    SELECT * INTO called FROM app.names_of(p_user);
    PERFORM login.revoke_user(p_user);
    -- Wait for what others are about to write about the user; it could not be removed later.
    LOCK TABLE app.operations, app.stripe_payloads IN SHARE ROW EXCLUSIVE MODE;
    deliveries := app.erase_deliveries(p_user, called.addresses);
    DELETE FROM app.leases WHERE user_id = p_user;
    DELETE FROM app.runs WHERE owner_id = p_user;
    DELETE FROM app.subscriptions WHERE user_id = p_user;
    DELETE FROM app.users WHERE id = p_user;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM app.redact_user(p_user, called.addresses, called.names, deliveries);
    RETURN true;
END $$;

-- What the provisioner asks and notes; no other role may call these functions.

-- The user whose login is to be made or ended, if the acting user administers them or is the same user (`p_own`). The
-- row is locked, so that the user cannot be promoted or deleted meanwhile.
DROP FUNCTION IF EXISTS app.login_user(bigint, boolean);
CREATE OR REPLACE FUNCTION app.login_user(
    p_user bigint, p_own boolean, OUT role text, OUT email text, OUT deleted boolean, OUT personal text
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM app.act();
    SELECT u.role, u.email, u.deleted_at IS NOT NULL INTO role, email, deleted
    FROM app.users AS u WHERE u.id = p_user FOR NO KEY UPDATE;
    IF (app.administers(role) OR (p_own AND p_user = app.actor())) IS NOT TRUE THEN
        RAISE EXCEPTION 'this needs the role superadmin' USING ERRCODE = 'insufficient_privilege';
    END IF;
    personal := (SELECT l.role FROM app.logins AS l WHERE l.user_id = p_user AND l.kind = 'personal');
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

-- Record that a login got another password: PostgreSQL keeps it in its own catalogs, where no trigger sees it.
CREATE OR REPLACE FUNCTION app.note_password(p_role text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM app.audit_change(
        'logins', p_role, 'update', (SELECT user_id FROM app.logins WHERE role = p_role),
        '{"password": "[redacted]"}', '{"password": "[redacted]"}'
    );
END $$;

CREATE OR REPLACE FUNCTION app.end_login(p_role text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM app.note_own();
    UPDATE app.logins SET valid_until = now() WHERE role = p_role;
END $$;

-- The user of a service, created with the first login of the service. A user who has its e-mail address and is no
-- service does not become the service.
CREATE OR REPLACE FUNCTION app.service_user(p_duty text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    address text := p_duty || '@service.invalid';
    known bigint;
BEGIN
    -- If two transactions create the same service, the later one finds it here.
    PERFORM FROM app.installation FOR NO KEY UPDATE;
    SELECT id INTO known FROM app.users WHERE email = address AND role = 'service' AND deleted_at IS NULL;
    IF known IS NULL THEN
        INSERT INTO app.users (email, name, role) VALUES (address, p_duty, 'service') RETURNING id INTO known;
    END IF;
    RETURN known;
END $$;

-- The logins of a user, of a service, or all expired logins. The rows are locked: two sweeps share the work.
DROP FUNCTION IF EXISTS app.logins_of(bigint, text, boolean);
CREATE OR REPLACE FUNCTION app.logins_of(p_user bigint, p_duty text) RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT role FROM app.logins WHERE user_id = p_user OR duty = p_duty ORDER BY role;
END;

CREATE OR REPLACE FUNCTION app.expired_logins() RETURNS SETOF text
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT role FROM app.logins WHERE valid_until <= statement_timestamp() ORDER BY role FOR UPDATE SKIP LOCKED;
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
