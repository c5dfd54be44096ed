"""What people and services may try in raw SQL, what PostgreSQL answers, and who may do it or what is lawful instead."""

# ruff: noqa: E501 - one attack is one line

from dataclasses import dataclass

DENIED, BARRED, UNSUPPORTED, INVALID, BOUND, FULL = "42501", "28000", "0A000", "22023", "23514", "53400"
NOTHING = ""


@dataclass(frozen=True, slots=True)
class Attack:
    """Statements that somebody tries; `refused` is a SQLSTATE, or NOTHING where they find and change no row.

    The control is who succeeds, and with what; without a statement of his own, with the same.
    """

    name: str
    by: str
    sql: str
    control: str
    lawful: str = ""
    refused: str = DENIED


def _attacks(text: str, refused: str = DENIED) -> list[Attack]:
    """Read lines `name | by, by | statement | who succeeds [| his statement]`."""
    made = []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, attackers, statement, control, *lawful = (part.strip() for part in line.split(" | "))
        made += [Attack(name, by, statement, control, "".join(lawful), refused) for by in attackers.split(", ")]
    return made


PROMOTION = _attacks("""
    promote himself | admin, ada, session, worker, cron | UPDATE app.users SET role = 'superadmin' WHERE id = {admin} | root | SELECT app.set_role({bob}, 'admin')
    ask for a role | admin, ada, session, ingest, worker, listener, cron | SELECT app.set_role({ada}, 'superadmin') | root
    make a superadmin | admin | INSERT INTO app.users (email, role) VALUES ('x@example.com', 'superadmin') | root
    make an admin | admin | INSERT INTO app.users (email, role) VALUES ('x@example.com', 'admin') | root
    make a service | admin | INSERT INTO app.users (email, role) VALUES ('x@example.com', 'service') | admin | INSERT INTO app.users (email) VALUES ('x@example.com')
    make a user | ada, session, worker, ingest, listener, cron | INSERT INTO app.users (email) VALUES ('x@example.com') | admin
    take over by upsert | admin | INSERT INTO app.users (email) VALUES ('root@example.com') ON CONFLICT (email) WHERE deleted_at IS NULL DO UPDATE SET email = 'x@example.com' | admin | INSERT INTO app.users (email) VALUES ('bob@example.com') ON CONFLICT (email) WHERE deleted_at IS NULL DO UPDATE SET email = 'x@example.com'
    promote by upsert | admin | INSERT INTO app.users (email) VALUES ('bob@example.com') ON CONFLICT (email) WHERE deleted_at IS NULL DO UPDATE SET role = 'superadmin' | admin | INSERT INTO app.users (email) VALUES ('bob@example.com') ON CONFLICT (email) WHERE deleted_at IS NULL DO UPDATE SET name = 'Bob'
    promote by merge | admin | MERGE INTO app.users AS u USING (SELECT 1) AS s ON u.id = {admin} WHEN MATCHED THEN UPDATE SET role = 'superadmin' | admin | MERGE INTO app.users AS u USING (SELECT 1) AS s ON u.id = {bob} WHEN MATCHED THEN UPDATE SET name = 'Bob'
    disable an enduser | ada, worker, ingest, cron | UPDATE app.users SET status = 'disabled' WHERE id = {bob} | admin
    delete a user by hand | admin, root, ada, cron | DELETE FROM app.users WHERE id = {eve} | owner
    erase an enduser | ada, session, worker, ingest, listener, cron | SELECT app.erase_user({eve}) | admin
    erase a superadmin | admin | SELECT app.erase_user({rosa}) | admin | SELECT app.erase_user({eve})
    erase a service | admin | SELECT app.erase_user({user_cron}) | admin | SELECT app.erase_user({eve})
    take a login | admin, root, ada, worker | UPDATE app.logins SET user_id = {root} WHERE role = '{login_admin}' | root | SELECT login.grant_personal({eve}, '{verifier}')
    claim a login | admin, root, session | INSERT INTO app.logins (role, user_id, kind) VALUES ('x', {root}, 'personal') | root | SELECT login.grant_personal({eve}, '{verifier}')
    forget a login | admin, root, ada | DELETE FROM app.logins WHERE role = '{login_rosa}' | root | SELECT login.revoke('{login_ida}')
    live for ever | session | UPDATE app.logins SET valid_until = NULL | ada | SELECT login.open_session('{verifier}', 24)
""") + _attacks(
    """
    disable a superadmin | admin | UPDATE app.users SET status = 'disabled' WHERE id = {root} | admin | UPDATE app.users SET status = 'disabled' WHERE id = {bob}
    rename a superadmin | admin | UPDATE app.users SET email = 'x@example.com' WHERE role = 'superadmin' | admin | UPDATE app.users SET email = 'x@example.com' WHERE id = {bob}
    rename an admin | admin | UPDATE app.users SET name = 'Boss' WHERE id = {admin} | root
    lock a superadmin's row | admin, worker | SELECT FROM app.users WHERE id = {root} FOR UPDATE | worker | SELECT FROM app.users WHERE id = {bob} FOR UPDATE
    grant what he has | root | GRANT SELECT ON app.credentials TO PUBLIC | owner
    grant what everybody has | admin, root, ada | GRANT ALL ON DATABASE {P} TO PUBLIC | owner
    take the rights of others | admin, root | REVOKE ALL ON DATABASE {P} FROM {P}_superadmins | owner
    claim to be another in a setting | admin | SELECT set_config('app.actor', '{root}', true); UPDATE app.users SET name = 'x' WHERE id = {root} | admin | UPDATE app.users SET name = 'x' WHERE id = {bob}
""",
    NOTHING,
)

ROLES = _attacks("""
    become the group | admin, ada, session, worker, root | SET LOCAL ROLE {P}_superadmins | owner | SET LOCAL ROLE {P}_provisioner
    become the owner | admin, ada, root, ingest, worker, listener, cron, stranger | SET LOCAL ROLE {O} | superuser
    become the provisioner | admin, root, ada, cron | SET LOCAL ROLE {P}_provisioner | owner
    become another login | admin, ada, session | SET LOCAL ROLE {login_root} | root
    become another by a setting | admin | SELECT set_config('role', '{login_root}', true) | root
    be another session | admin, ada, root, worker | SET LOCAL SESSION AUTHORIZATION {login_rosa} | rosa
    join the group | admin, ada, worker, root | GRANT {P}_superadmins TO {login_ada} | owner
    join a login | admin, root | GRANT {login_rosa} TO {login_admin} | superuser
    give himself away | admin | GRANT {login_admin} TO {login_ada} | superuser
    be a superuser | admin, root, ada, worker | ALTER ROLE CURRENT_USER SUPERUSER | superuser | ALTER ROLE {login_bob} SUPERUSER
    make roles | admin, root, session, cron | ALTER ROLE CURRENT_USER CREATEROLE | superuser | ALTER ROLE {login_bob} CREATEROLE
    escape the policies | admin, root, ada | ALTER ROLE CURRENT_USER BYPASSRLS | superuser | ALTER ROLE {login_bob} BYPASSRLS
    replicate | admin, root | ALTER ROLE CURRENT_USER REPLICATION | superuser | ALTER ROLE {login_bob} REPLICATION
    outlive the session | session | ALTER ROLE CURRENT_USER VALID UNTIL 'infinity' | session | ALTER ROLE CURRENT_USER SET lock_timeout = '1s'
    more connections | ada, session | ALTER ROLE CURRENT_USER CONNECTION LIMIT -1 | superuser | ALTER ROLE {login_ada} CONNECTION LIMIT -1
    another's password | admin, ada, root | ALTER ROLE {login_rosa} PASSWORD '{verifier}' | rosa
    the password of his own login from a session | session | ALTER ROLE {login_ada} PASSWORD '{verifier}' | ada
    another's settings | admin | ALTER ROLE {login_root} SET default_transaction_read_only = on | root
    everybody's settings | admin, root | ALTER ROLE ALL SET search_path = public | superuser
    the database's settings | admin, root | ALTER DATABASE {P} SET search_path = public | owner
    drop another | admin, ada | DROP ROLE {login_ida} | root | SELECT login.revoke('{login_ida}')
    rename another | admin, session | ALTER ROLE {login_ida} RENAME TO {P}_x | superuser
    make a login | admin, root, ada | CREATE ROLE {P}_x LOGIN | owner
    drop what another owns | admin, root | DROP OWNED BY {O} | admin | DROP OWNED BY CURRENT_USER
    drop what a superadmin owns | admin | DROP OWNED BY {login_root} | root | DROP OWNED BY CURRENT_USER
    take what the owner owns | admin, root | REASSIGN OWNED BY {O} TO CURRENT_USER | superuser | REASSIGN OWNED BY {login_bob} TO {login_ida}
    foist on another | admin | REASSIGN OWNED BY CURRENT_USER TO {login_root} | superuser | REASSIGN OWNED BY {login_bob} TO {login_ida}
    grant what is the owner's | admin, ada | GRANT SELECT ON app.credentials TO PUBLIC | owner
""") + _attacks(
    """
    rename himself | admin | ALTER ROLE {login_admin} RENAME TO {P}_x | superuser
""",
    UNSUPPORTED,
)

LOGINS = (
    _attacks("""
    a session from a session | session | SELECT login.open_session('{verifier}', 1) | ada
    a session for a service | ingest, worker, listener, cron | SELECT login.open_session('{verifier}', 1) | root
    a login for a superadmin | admin, ada, session, worker | SELECT login.grant_personal({rosa}, '{verifier}') | root
    a login for an admin | admin | SELECT login.grant_personal({admin}, '{verifier}') | root
    a login for himself | ada, session | SELECT login.grant_personal({ada}, '{verifier}') | admin
    a login for nobody | admin | SELECT login.grant_personal(999999, '{verifier}') | admin | SELECT login.grant_personal({eve}, '{verifier}')
    a service's login | admin, ada, worker | SELECT login.grant_service('cron', '{verifier}') | root
    end a superadmin's login | admin, ada, worker | SELECT login.revoke('{login_rosa}') | admin | SELECT login.revoke('{login_ida}')
    end a service's login | admin | SELECT login.revoke('{login_cron}') | root | SELECT login.revoke('{login_ida}')
    end all logins of a superadmin | admin, ada | SELECT login.revoke_user({rosa}) | admin | SELECT login.revoke_user({ida})
    end another's session | bob | SELECT login.revoke('{login_idle}') | ada
    end his own personal login | ada, session | SELECT login.revoke('{login_ada}') | ada | SELECT login.revoke('{login_idle}')
    sweep | ada, worker, ingest | SELECT login.sweep() | cron
    make a login by the inner function | admin, root, ada | SELECT login.make('x', '{verifier}', 'superadmin', NULL) | root | SELECT login.grant_personal({eve}, '{verifier}')
    drop a login by the inner function | admin, root, cron | SELECT login.unmake('{login_rosa}') | root | SELECT login.revoke('{login_ida}')
    regroup by the inner function | admin, root, ada | SELECT login.regroup('{login_ada}', 'superadmin') | root | SELECT app.set_role({bob}, 'superadmin')
    note a login | admin, root, ada, worker | SELECT app.add_login('{login_admin}', {root}, 'personal', NULL, NULL) | owner | SELECT app.add_login('x', {root}, 'personal', NULL, NULL)
    forget a login by the inner function | admin, root | SELECT app.drop_login('{login_rosa}') | owner
    make a service's user | admin, root | SELECT app.service_user('cron') | owner
    ask for another's login | admin, ada | SELECT app.login_user({root}, true) | owner
    list logins | ada, worker | SELECT app.logins_of({root}, NULL) | admin | SELECT role FROM app.logins WHERE user_id = {root}
    the installation's name | root, admin | UPDATE app.installation SET prefix = 'x' | root | UPDATE app.installation SET session_hours = 1
    longer sessions | admin, ada, cron | UPDATE app.installation SET session_hours = 8760 | root
""")
    + _attacks(
        """
    a password in plain text | ada, root | SELECT login.open_session('hunter2 hunter2', 1) | ada | SELECT login.open_session('{verifier}', 1)
    a verifier with more in it | ada | SELECT login.open_session('{verifier}'' SUPERUSER', 1) | ada | SELECT login.open_session('{verifier}', 1)
    a session for no time | ada | SELECT login.open_session('{verifier}', -1) | ada | SELECT login.open_session('{verifier}', 1)
    a plain password for another | admin | SELECT login.grant_personal({bob}, 'hunter2 hunter2') | admin | SELECT login.grant_personal({bob}, '{verifier}')
    a login of no duty | root | SELECT login.grant_service('owner', '{verifier}') | root | SELECT login.grant_service('cron', '{verifier}')
    a role for a person that is none | root | SELECT app.set_role({bob}, 'service') | root | SELECT app.set_role({bob}, 'admin')
""",
        INVALID,
    )
    + _attacks(
        """
    act without being a user | stranger | SELECT app.actor() | root
    count without being a user | stranger | SELECT count(*) FROM app.files | root
    make a user without being one | stranger | INSERT INTO app.users (email) VALUES ('x@example.com') | root
    promote without being a user | stranger | SELECT app.set_role({bob}, 'admin') | root
    give a login without being a user | stranger | SELECT login.grant_personal({eve}, '{verifier}') | root
    claim work without being a user | stranger | SELECT app.claim_unit(1, gen_random_uuid(), 'w', 60, 3) | worker
    read keys without being a user | stranger | SELECT * FROM app.credentials | worker
""",
        BARRED,
    )
)

DEFINITIONS = _attacks("""
    a table | admin, root, ada, worker | CREATE TABLE app.x (i int) | owner
    a table outside | admin, root, ada, cron | CREATE TABLE public.x (i int) | owner
    a table that inherits | admin | CREATE TABLE public.x () INHERITS (app.credentials) | owner
    a temporary table | admin, root, ada, session, ingest, worker, listener, cron | CREATE TEMPORARY TABLE users (id int) | owner
    a temporary view that shadows | admin | CREATE TEMPORARY VIEW logins AS SELECT 1 | owner
    a schema | admin, root, ada | CREATE SCHEMA x | owner
    a schema of his own name | admin | CREATE SCHEMA AUTHORIZATION CURRENT_USER | owner | CREATE SCHEMA x
    a function | admin, root, ada | CREATE FUNCTION public.x() RETURNS int LANGUAGE sql RETURN 1 | owner
    another is_superadmin | admin, root, ada | CREATE OR REPLACE FUNCTION app.is_superadmin() RETURNS boolean LANGUAGE sql RETURN true | owner
    a function in the search path | admin | SET LOCAL search_path = pg_temp, public; CREATE FUNCTION actor_role() RETURNS text LANGUAGE sql RETURN 'owner' | owner | CREATE FUNCTION public.actor_role() RETURNS text LANGUAGE sql RETURN 'owner'
    an operator | admin, ada | CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = texteq) | owner
    a type | admin | CREATE TYPE public.x AS (i int) | owner
    a sequence | admin | CREATE SEQUENCE app.x | owner
    an index | admin | CREATE INDEX ON app.users (name) | owner
    an extension | admin, root, ada | CREATE EXTENSION {extension} | superuser
    a server | admin, root | CREATE FOREIGN DATA WRAPPER x | superuser
    a language | admin | CREATE LANGUAGE plperlu HANDLER plpgsql_call_handler | superuser
    a trigger | admin, root, ada | CREATE TRIGGER x BEFORE UPDATE ON app.users FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger() | owner
    an event trigger | admin, root | CREATE EVENT TRIGGER x ON ddl_command_start EXECUTE FUNCTION suppress_redundant_updates_trigger() | superuser | CREATE FUNCTION app.x() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; CREATE EVENT TRIGGER x ON ddl_command_start EXECUTE FUNCTION app.x()
    a rule | admin, root | CREATE RULE x AS ON UPDATE TO app.users DO INSTEAD NOTHING | owner
    a policy | admin, root, ada | CREATE POLICY x ON app.credentials USING (true) | owner
    another policy | admin, root, ada | ALTER POLICY keys ON app.credentials USING (true) | owner
    no policy | admin, root, ada | DROP POLICY own ON app.files | owner
    no row-level security | admin, root, ada, worker | ALTER TABLE app.files DISABLE ROW LEVEL SECURITY | owner
    no force | admin | ALTER TABLE app.files NO FORCE ROW LEVEL SECURITY | owner
    no triggers | admin, root, ada | ALTER TABLE app.users DISABLE TRIGGER ALL | superuser
    no record | admin, root | ALTER TABLE app.users DISABLE TRIGGER audit | owner
    drop the record's trigger | admin, root | DROP TRIGGER audit ON app.users | owner
    drop the last superadmin's guard | admin, root | DROP TRIGGER keep_a_superadmin ON app.users | owner
    own a table | admin, root | ALTER TABLE app.users OWNER TO CURRENT_USER | owner
    own a function | admin | ALTER FUNCTION app.is_superadmin() OWNER TO CURRENT_USER | owner
    a function of the caller | admin | ALTER FUNCTION app.actor() SECURITY INVOKER | owner
    drop a function | admin, root | DROP FUNCTION app.audit_row() CASCADE | owner
    own a schema | admin, root | ALTER SCHEMA login OWNER TO CURRENT_USER | superuser
    drop a schema | admin, root | DROP SCHEMA queue CASCADE | owner
    empty a table | admin, root, ada, cron | TRUNCATE app.files CASCADE | owner
    empty the record | admin, root | TRUNCATE app.audit | owner
    lock everybody out | ada, worker, listener | LOCK TABLE app.users IN ACCESS EXCLUSIVE MODE | owner
    replica | admin, root, ada, worker | SET LOCAL session_replication_role = replica | superuser
    load a library | admin, root | LOAD 'plpgsql' | superuser
    read the settings anew | admin, root | SELECT pg_reload_conf() | superuser
    a publication | admin | CREATE PUBLICATION x FOR TABLE app.credentials | owner
    count from the start again | admin, root, ada | SELECT setval(pg_get_serial_sequence('app.users', 'id'), 1) | owner | SELECT last_value FROM app.users_id_seq
    draw a number | admin, ada | SELECT nextval(pg_get_serial_sequence('app.users', 'id')) | owner | SELECT last_value FROM app.users_id_seq
    end another's connection | admin, ada, rosa, cron | SELECT pg_terminate_backend({pid_root}) | root | SELECT pg_cancel_backend({pid_root})
    stop another's statement | admin, ada, rosa | SELECT pg_cancel_backend({pid_root}) | root
    stop the server's log | admin | SELECT pg_rotate_logfile() | superuser | SELECT pg_reload_conf()
""")

FILES = _attacks("""
    read a file | admin, root, ada, worker | SELECT pg_read_file('postgresql.conf') | superuser
    read a file's bytes | admin | SELECT pg_read_binary_file('PG_VERSION') | superuser
    list a folder | admin, ada | SELECT pg_ls_dir('.') | superuser
    copy from a file | admin, root | COPY app.users (email) FROM '/etc/passwd' | superuser | SELECT pg_read_file('PG_VERSION')
    copy to a file | admin, root, ada | COPY app.users TO '/dev/null' | superuser
    copy to a program | admin, root, worker | COPY (SELECT 1) TO PROGRAM 'cat > /dev/null' | superuser
    copy from a program | admin | COPY app.users (email) FROM PROGRAM 'echo x@example.com' | superuser
    a file as large object | admin, root, ada | SELECT lo_import('/etc/passwd') | superuser
    a large object as file | admin | SELECT lo_export({of_root}, '/dev/null') | superuser
    another's large object | admin, ada | SELECT lo_get({of_root}) | root
    drop another's large object | admin, ada | SELECT lo_unlink({of_root}) | root
    write another's large object | admin | SELECT lo_put({of_root}, 0, 'x') | root
    verifiers | admin, root, ada, worker, stranger | SELECT rolpassword FROM pg_authid | superuser
    verifiers by the view | admin, root | SELECT passwd FROM pg_shadow | superuser
    who may connect | admin | SELECT * FROM pg_hba_file_rules | superuser
    statistics as they are | admin, ada | SELECT * FROM pg_statistic | superuser
    keys | admin, ada, session, listener | SELECT * FROM app.credentials | worker
    replace keys | admin, worker, ingest, cron | UPDATE app.credentials SET ciphertext = 'x' | root
    drop keys | admin, worker | DELETE FROM app.credentials | root
    use keys of one's own | admin | UPDATE app.pods SET use_custom_s3 = true WHERE id = {pod_bob} | root
    deliveries of Stripe | admin, ada, cron | SELECT payload FROM app.stripe_payloads | worker
    deliveries of Stripe after they came | listener | SELECT payload FROM app.stripe_payloads | worker
    whether an event came | listener | SELECT 1 FROM app.stripe_events | worker
    what Stripe said | listener | SELECT state FROM app.stripe_objects | worker
    who is a user | listener | SELECT email FROM app.users | admin
    the record | admin, ada, session, worker, ingest, listener, cron | SELECT * FROM app.audit | root
    the record of one row | admin | SELECT app.audit_of('logins', '{login_root}') | root
    see past the policies | ada, admin, root | SET LOCAL row_security = off; SELECT * FROM app.files | owner
    waiting jobs | ada, listener, ingest | SELECT * FROM queue.procrastinate_jobs | admin | SELECT count(*) FROM queue.procrastinate_jobs
""")

_OWN = """
    app.users WHERE id = {bob} | app.logins WHERE user_id = {bob} | app.files WHERE owner_id = {bob}
    app.files WHERE id = {file_bob} FOR UPDATE | app.versions WHERE file_id = {file_bob}
    app.copies WHERE version_id = {version_bob} | app.runs WHERE owner_id = {bob} | app.pods WHERE id = {pod_bob}
    app.pod_grants WHERE user_id = {bob} | app.subscriptions WHERE user_id = {bob}
    app.quota_anchors WHERE user_id = {bob} | app.quota_limits WHERE user_id = {bob}
    app.quota_grants WHERE user_id = {bob} | app.quota_counters WHERE user_id = {bob}
    app.quota_entries WHERE user_id = {bob} | app.quota_closings WHERE user_id = {bob}
    app.entitlements WHERE user_id = {bob} | app.own_limits WHERE user_id = {bob}
    app.transcodes WHERE file_id = {file_bob} | app.units WHERE transcode_id = {transcode_bob}
    app.renditions WHERE file_id = {file_bob} | app.operations WHERE login = '{login_bob}'
"""
ROWS = (
    [
        Attack(f"another's rows of {place.strip()}", by, f"SELECT 1 FROM {place.strip()}", "bob", refused=NOTHING)
        for by in ("ada", "session")
        for place in _OWN.strip().replace("\n", " | ").split(" | ")
    ]
    + _attacks(
        """
    delete another's file | ada, session | UPDATE app.files SET deleted_at = now() WHERE id = {file_bob} | bob
    cancel another's transcode | ada, session | SELECT 1 WHERE app.cancel_unit({unit_bob}) | bob
    purge a content that stays | admin, root, cron | SELECT 1 FROM app.purge_versions(ARRAY[{version_bob}]) WHERE versions > 0 | cron | UPDATE app.files SET version_id = NULL WHERE id = {file_bob}; UPDATE app.versions SET status = 'purging' WHERE id = {version_bob}; SELECT 1 FROM app.purge_versions(ARRAY[{version_bob}]) WHERE (versions, renditions) = (1, 1) AND bytes > 0
    purge a file that stays | admin, root, cron | SELECT 1 WHERE app.purge_files(9) > 0 | admin | UPDATE app.files SET version_id = NULL, deleted_at = now(), purging_at = now() WHERE id = {file_bob}; UPDATE app.versions SET status = 'purging' WHERE id = {version_bob}; SELECT app.purge_versions(ARRAY[{version_bob}]); SELECT 1 WHERE app.purge_files(9) = 1
    another's quota | ada | SELECT 1 FROM app.quota_usage({bob}, 'storage', now()) WHERE used > 0 | bob
    others' logins | worker, cron, listener | SELECT 1 FROM app.logins WHERE user_id = {root} | admin
    others' operations | admin, worker | SELECT 1 FROM app.operations WHERE login <> session_user | root
    rewrite another's operation | admin | UPDATE app.operations SET result = '1' WHERE login = '{login_root}' | root
    divide by zero on a hidden row | ada | SELECT 1 FROM app.users WHERE id <> {ada} AND 1 / (id - {bob}) IS NOT NULL | ada | SELECT 1 FROM app.users WHERE 1 / (id - {bob}) IS NOT NULL
    cast a hidden value | ada | SELECT 1 FROM app.users WHERE id <> {ada} AND email::bigint = 0 | ada | SELECT 1 FROM app.users WHERE id = {ada}
    say hidden values in an error | ada | DO $$ BEGIN PERFORM (email || 'x')::bigint FROM app.users WHERE id = {bob}; END $$ | ada | SELECT 1 FROM app.users WHERE id = {ada}
    statistics of values | ada, admin, root | SELECT 1 FROM pg_stats WHERE schemaname = 'app' | owner
    another's statement | admin, ada | SELECT 1 FROM pg_stat_activity WHERE pid = {pid_root} AND query ~ 'backend' | root
    verifiers shown | admin | SELECT 1 FROM pg_roles WHERE rolpassword LIKE 'SCRAM%' | superuser | SELECT 1 FROM pg_authid WHERE rolpassword LIKE 'SCRAM%'
""",
        NOTHING,
    )
    + _attacks("""
    give his file away | ada, cron | UPDATE app.files SET owner_id = {bob} WHERE id = {file_ada} | admin
    take another's file | ada, session | UPDATE app.files SET owner_id = {ada} WHERE id = {file_bob} | admin
    a file that is not there | ada | INSERT INTO app.files (pod_id, owner_id, path, size) VALUES ({pod_bob}, {ada}, 'x', 1) | ingest
    pretend less | ada, cron | UPDATE app.files SET size = 0 | ingest
    pretend more before it goes | admin, root, ada, worker, cron, ingest | UPDATE app.versions SET size = size + 1 WHERE id = {version_bob} | owner
    steal a file under another number | admin, root, ingest | UPDATE app.files SET id = DEFAULT, owner_id = {bob} WHERE id = {file_ada} | admin | UPDATE app.files SET owner_id = {bob} WHERE id = {file_ada}
    give a file away | ada, ingest, worker, cron | UPDATE app.files SET owner_id = {bob} WHERE id = {file_ada} | admin
    another key | admin, root, ingest | UPDATE app.versions SET key = 'x' WHERE id = {version_bob} | owner
    a number of one's choice | admin, root | INSERT INTO app.users (id, email) OVERRIDING SYSTEM VALUE VALUES (999999, 'x@example.com') | admin | INSERT INTO app.users (email) VALUES ('x@example.com')
    the quota of another month | admin, root, ingest | SELECT app.take_lease({pod_ada}, {ada}, NULL, 1, 1, 60, now() - interval '40 days') | ingest | SELECT app.take_lease({pod_ada}, {ada}, NULL, 1, 1, 60, now())
    end connections by the inner function | admin, root, ada, worker | SELECT login.disconnect({bob}) | root | SELECT login.revoke_user({eve})
    note a password by the inner function | admin, root, ada | SELECT app.note_password('{login_bob}') | admin | SELECT login.grant_personal({bob}, '{verifier}')
    pretend that it was stored | ada, worker, cron | UPDATE app.versions SET stored_at = now() WHERE id = {version_bob} | ingest
    pretend that a copy is missing | ada, cron | UPDATE app.copies SET status = 'missing' WHERE version_id = {version_bob} | worker
    pretend what a store took | ada, session, worker, cron, listener | INSERT INTO app.parts VALUES ({version_bob}, 2, 1, 'e', sha256('a')) | ingest
    rename himself | ada | UPDATE app.users SET name = 'x' WHERE id = {ada} | admin
    upload into another's pod | ada, session | INSERT INTO app.pod_grants (pod_id, user_id) VALUES ({pod_bob}, {ada}) | admin
    a better plan | ada | UPDATE app.subscriptions SET plan_id = {plan} | admin
    no limit | ada, session | UPDATE app.quota_limits SET "limit" = NULL | admin
    a present | ada | INSERT INTO app.quota_grants (user_id, metric, period_start, amount) VALUES ({ada}, 'upload', now(), 1) | admin
    customers | ada | SELECT * FROM app.customers | admin
    lock users | ada | SELECT FROM app.users FOR UPDATE | admin
    lock a user by the function | ada, session, worker, ingest | SELECT app.lock_user({bob}) | admin
    lock a superadmin by the function | admin | SELECT app.lock_user({root}) | admin | SELECT app.lock_user({bob})
    lock the installation | ada, session, worker, cron | SELECT app.lock_installation() | admin
    who writes | admin, root, ada, cron | SELECT count(*) FROM app.acting | owner
    not to be asked at COMMIT | admin, root, ada | DELETE FROM app.acting | owner | SELECT count(*) FROM app.acting
    give a right up by the inner function | admin, root, ada, worker | SELECT app.note_own() | owner
    act by the inner function | admin, root, ada | SELECT app.act() | owner
    forget to act by the inner function | admin, root | SELECT app.note_actor() | owner
    lock logins that expired | admin, root, ada | SELECT count(*) FROM app.expired_logins() | owner
    end others' connections | admin, root, ada | SELECT login.terminate(ARRAY['{login_rosa}']) | root | SELECT login.revoke_user({eve})
    another group by the inner function | admin, root, ada | SELECT login.change_role({ada}, 'superadmin', false) | root | SELECT app.set_role({bob}, 'admin')
""")
)

MACHINE = (
    _attacks("""
    act as another in an operation | admin, ada, worker, root | INSERT INTO app.operations (id, command, fingerprint, login) VALUES ('x', 'c', 'f', '{login_rosa}') | rosa
    take another's operation id | admin, ada, session, worker, root | INSERT INTO app.operations (id, command, fingerprint, user_id) VALUES ('x', 'c', 'f', {rosa}) | rosa
    rename an operation | admin | UPDATE app.operations SET login = '{login_root}' | admin | UPDATE app.operations SET result = '1' WHERE login = session_user
    add to the record | admin, root, ada, worker | INSERT INTO app.audit (table_name, row_id, action) VALUES ('users', '1', 'insert') | root | UPDATE app.users SET name = 'Zoe' WHERE id = {bob}; SELECT FROM app.audit WHERE row_id = '{bob}' AND login = session_user AND after ->> 'name' = 'Zoe'
    change the record | admin, root, cron | UPDATE app.audit SET login = '{login_rosa}' | root | SELECT FROM app.audit
    delete from the record | admin, root, cron, worker | DELETE FROM app.audit | root | SELECT FROM app.audit
    call what records | admin, root | SELECT app.audit_change('users', '1', 'insert', NULL, NULL, NULL) | owner
    call what records a set | admin, root | SELECT app.audit_set('users', 'insert', ARRAY[1], ARRAY[1], NULL, NULL, NULL) | owner
    call a trigger's function | admin, root | SELECT app.audit_row() | root | UPDATE app.users SET name = 'Zoe' WHERE id = {bob}
    call the guard | admin, ada | SELECT app.keep_a_superadmin() | root | UPDATE app.users SET name = 'Zoe' WHERE id = {bob}
    take a lease by hand | admin, ingest, ada | UPDATE app.leases SET granted = 1 | ingest | SELECT app.keep_leases({run_ada}, 60)
    drop a lease | admin, root, ingest, cron | DELETE FROM app.leases | owner
    end leases that are held | admin, root, ingest, cron | SELECT app.reap_leases(now() + interval '1 year') | owner
    end leases that ran out | ada, worker, listener | SELECT app.reap_leases(now()) | cron
    a lease | ada, session, worker, cron, listener | SELECT app.take_lease({pod_ada}, {ada}, NULL, 1, 1, 60, now()) | ingest
    reserve room for a client | ada, session, worker, cron, listener | SELECT app.reserve_upload({pod_ada}, {ada}, 1, 60) | ingest
    keep a client's room | ada, session, worker, cron, listener | SELECT app.keep_upload(1, 60) | ingest
    take over another's object | ada, session, worker, cron, listener | SELECT count(*) FROM app.share_objects(ARRAY[1], ARRAY[sha256('a')]) | ingest
    spend another's lease | ada, worker | SELECT app.spend_leases(ARRAY[1], ARRAY[0]) | ingest
    take work by hand | admin, worker, ingest | UPDATE app.units SET status = 'done' | worker | SELECT app.claim_unit((SELECT id FROM app.units WHERE transcode_id = {transcode_ada}), gen_random_uuid(), 'w', 60, 3)
    claim work | admin, ada, ingest, cron, listener | SELECT app.claim_unit(1, gen_random_uuid(), 'w', 60, 3) | worker
    publish work | admin, ada, ingest | SELECT app.publish_unit(1, gen_random_uuid(), '[]') | worker
    settle work by the inner function | worker, admin | SELECT app.settle_unit(u) FROM app.units AS u | owner
    a rendition that nobody made | worker, admin, ada | INSERT INTO app.renditions (transcode_id, file_id, name, kind, prefix, size) VALUES ({transcode_ada}, {file_ada}, 'x', 'mp4', 'x', 1) | owner
    count less | admin, ada, worker, ingest, cron | UPDATE app.quota_counters SET used = 0 | root
    consume by the inner function | admin, worker, ada | SELECT app.consume_quota('x', {ada}, 'upload', 1, now()) | owner
    count by the inner function | admin, ingest | SELECT app.open_quota_counter({ada}, 'upload', now()) | owner
    rewrite the ledger | admin, root, cron | UPDATE app.quota_entries SET delta = 0 | owner
    add to the ledger | admin, root, worker | INSERT INTO app.quota_entries (id, user_id, metric, period_start, delta, occurred_at) VALUES ('x', {ada}, 'upload', now(), -1, now()) | owner
    rewrite a period that was closed | admin, root, cron | UPDATE app.quota_closings SET used = 0 | owner
    rewrite which plan was in force | admin, root, cron, worker, ada | UPDATE app.entitlements SET plan_id = 1 | owner
    rewrite which limit was in force | admin, root, cron, worker, ada | UPDATE app.own_limits SET "limit" = NULL | owner
    close a period | ada, worker, ingest | SELECT app.close_quota_periods(now(), 1) | cron
    adjust a quota | ada, session, worker, ingest, listener, cron | SELECT app.adjust_quota('x', {ada}, 'upload', 1, 'x') | admin
    prune the ledger | ada, session, worker, ingest, listener | SELECT app.prune_quota_entries(now() - interval '90 days', 1) | cron
    prune events | ada, session, worker, ingest, listener | SELECT app.prune_events(now(), ARRAY['applied'], '', 1) | cron
    prune bodies | ada, session, worker, ingest, listener | SELECT app.prune_bodies(now(), 1) | cron
    close a period that still runs | admin, root, cron | SELECT app.close_quota_periods(now() + interval '1 year', 1) | owner
    give storage back by the inner function | admin, root, cron, ada, worker, ingest | SELECT app.release_storage({pod_ada}, {ada}, 1) | owner
    purge a content | ada, session, worker, ingest, listener | SELECT app.purge_versions(ARRAY[{version_bob}]) | cron
    purge a file | ada, session, worker, ingest, listener | SELECT app.purge_files(1) | cron
    take a content away and its storage not | admin, root, cron | DELETE FROM app.versions WHERE id = {version_bob} | cron | SELECT app.purge_versions(ARRAY[{version_bob}])
    take a file away | admin, root, cron, ada | DELETE FROM app.files WHERE id = {file_bob} | cron | SELECT app.purge_files(1)
    take work away that holds storage | admin, root, cron, worker | DELETE FROM app.transcodes WHERE id = {transcode_bob} | owner
    take a rendition away and its storage not | admin, root, cron, worker | DELETE FROM app.renditions WHERE file_id = {file_bob} | owner
    forget where a copy lies | admin, root, cron, worker | DELETE FROM app.copies WHERE version_id = {version_bob} | owner
    carry storage | ada, worker, ingest, cron | SELECT app.carry_storage(ARRAY[{ada}], ARRAY[1], ARRAY[0], {bob}) | admin
    a pod that holds nothing | admin, ingest, worker | UPDATE app.pods SET used = 0 | root
    prices | admin, worker, ada | UPDATE app.plans SET price = 0 | root
    what a store proves | ada, worker, ingest | UPDATE app.probes SET proof = 'payload-hash' | cron
    another provider | admin, worker | UPDATE app.provider_defaults SET endpoint = 'https://example.com' | root
    an event of Stripe | admin, ada, ingest, listener | INSERT INTO app.stripe_events (id, type, created_at) VALUES ('x', 'x', now()) | worker
    a delivery of Stripe | admin, ada, session, ingest, worker, cron | SELECT app.receive_deliveries(ARRAY['x'], ARRAY['invoice.paid'], ARRAY[false], ARRAY[now()], ARRAY[NULL], ARRAY['x'::bytea], ARRAY['x'], ARRAY['subscription'], ARRAY['sub_x']) | listener
    a secret of the listener | admin, ada, session, ingest, worker, cron | SELECT app.note_webhook_secrets(ARRAY['x'], ARRAY['x']) | listener
    use of a secret | admin, ada, session, ingest, worker, cron | SELECT app.note_webhook_use('x', 'x') | listener
    apply an event | listener | UPDATE app.stripe_events SET applied_at = now() | worker
    another revision | admin, root | UPDATE app.schema_version SET version_num = '0001' | owner
    a job | admin, ada, listener | INSERT INTO queue.procrastinate_jobs (queue_name, task_name) VALUES ('q', 't') | admin | SELECT app.wake('q', 't', ARRAY['1'], 0)
    drop jobs | ada, ingest, listener | DELETE FROM queue.procrastinate_jobs | admin | SELECT count(*) FROM queue.procrastinate_jobs
""")
    + _attacks(
        """
    copy into a table | admin | COPY app.users (email) FROM STDIN | admin | INSERT INTO app.users (email) SELECT unnest(ARRAY['x@example.com'])
    an old snapshot | ada, admin, worker | SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT app.actor() | ada | SET TRANSACTION READ ONLY; SELECT app.actor()
    an old snapshot of rows | ada | SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; SELECT * FROM app.files | ada | SELECT * FROM app.files
""",
        UNSUPPORTED,
    )
    + _attacks(
        """
    end leases by keeping them | admin, root, ingest | SELECT app.keep_leases({run_ada}, -1e6) | ingest | SELECT app.keep_leases({run_ada}, 60)
    end a client's room by keeping it | admin, root, ingest | SELECT app.keep_upload(1, -1e6) | ingest | SELECT app.keep_upload(1, 60)
    spend backwards | admin, root, ingest | SELECT app.spend_leases(ARRAY[1], ARRAY[-1]) | ingest | SELECT app.spend_leases(ARRAY[1], ARRAY[0])
    claim less than nothing | admin, root, ingest | SELECT app.take_lease({pod_ada}, {ada}, NULL, -1, -1, 60, now()) | ingest | SELECT app.take_lease({pod_ada}, {ada}, NULL, 1, 1, 60, now())
""",
        INVALID,
    )
)

BYTES = (
    _attacks("""
    name an object of somebody else | admin, root, ingest | INSERT INTO app.versions (file_id, size, key) VALUES ({file_ada}, 0, 'other/precious.txt') | ingest | INSERT INTO app.versions (file_id, size, key) VALUES ({file_ada}, 0, '0a/{token}.mp4')
    name an object above | admin, root, ingest | INSERT INTO app.versions (file_id, size, key) VALUES ({file_ada}, 0, '../0a/{token}') | ingest | INSERT INTO app.versions (file_id, size, key) VALUES ({file_ada}, 0, '0a/{token}')
    name an object below another prefix | admin, root, ingest | INSERT INTO app.versions (file_id, size, key) VALUES ({file_ada}, 0, 'films/0a/{token}') | ingest | INSERT INTO app.versions (file_id, size, key) VALUES ({file_ada}, 0, '0a/{token}')
    name what was made of another's | admin, root, ingest | INSERT INTO app.versions (file_id, size, key) SELECT {file_ada}, 0, prefix || entry FROM app.renditions WHERE file_id = {file_bob} | ingest | INSERT INTO app.versions (file_id, size, key) VALUES ({file_ada}, 0, '0a/{token}')
    name an object with a line more | admin, ingest | INSERT INTO app.versions (file_id, size, key) VALUES ({file_ada}, 0, E'0a/{token}\\nother') | ingest | INSERT INTO app.versions (file_id, size, key) VALUES ({file_ada}, 0, '0a/{token}.txt')
    name an object for no file | admin, root, ingest | INSERT INTO app.versions (file_id, size, key) VALUES (999999, 0, '0a/{token}') | ingest | INSERT INTO app.versions (file_id, size, key) VALUES ({file_ada}, 0, '0a/{token}')
    name objects in a set | admin, ingest | INSERT INTO app.versions (file_id, size, key) SELECT {file_ada}, 0, unnest(ARRAY['0a/{token}', 'other/precious.txt']) | ingest | INSERT INTO app.versions (file_id, size, key) SELECT {file_ada}, 0, unnest(ARRAY['0a/{token}', '0b/{token}'])
    name an object by merge | admin, root | MERGE INTO app.versions AS v USING (SELECT 1) AS s ON false WHEN NOT MATCHED THEN INSERT (file_id, size, key) VALUES ({file_ada}, 0, 'other/precious.txt') | admin | MERGE INTO app.versions AS v USING (SELECT 1) AS s ON false WHEN NOT MATCHED THEN INSERT (file_id, size, key) VALUES ({file_ada}, 0, '0a/{token}')
    name an object by upsert | admin, root, ingest | INSERT INTO app.versions (file_id, size, key) SELECT {file_ada}, 0, key FROM app.versions WHERE id = {version_bob} ON CONFLICT (file_id, id) DO UPDATE SET key = 'other/precious.txt' | owner | UPDATE app.versions SET key = 'other/precious.txt' WHERE id = {version_bob}
    take another's content | admin, root, ingest | UPDATE app.versions SET file_id = {file_ada} WHERE id = {version_bob} | owner | UPDATE app.versions SET lease_id = NULL WHERE id = {version_bob}
    a file where another pod lies | admin, root, ingest, cron | UPDATE app.files SET pod_id = {pod_bob} WHERE id = {file_ada} | owner
    a pod where others lie | admin, root, ingest | UPDATE app.pods SET prefix = 'other' WHERE id = {pod_ada} | owner
    a pod in another bucket | admin, root, ingest | UPDATE app.pods SET bucket = 'other' WHERE id = {pod_ada} | owner
    a pod at another provider | admin, root, ingest | UPDATE app.pods SET primary_provider = 's3' WHERE id = {pod_ada} | owner
    a pod with a second provider | admin, root | UPDATE app.pods SET secondary_provider = 's3', secondary_bucket = 'b' WHERE id = {pod_bob} | owner
    a second provider by a user | ada, session, worker, ingest, cron | SELECT app.set_secondary({pod_ada}, 's3', 'b') | admin
    promote a second provider | ada, session, worker, ingest, cron | SELECT app.promote_pod({pod_ada}) | admin | SELECT app.set_secondary({pod_ada}, 's3', 'b'); SELECT app.promote_pod({pod_ada})
    lock places by the inner function | admin, root | SELECT app.lock_places({pod_ada}) | owner
    pretend that a provider is away | ada, session | INSERT INTO app.outages (pod_id, provider, error) VALUES ({pod_bob}, 'wasabi', 'x') | worker
    a pod with others' keys | admin | INSERT INTO app.pods (name, capacity, primary_provider, bucket, prefix, use_custom_s3) VALUES ('x', 1, 's3', 'b', 'x', true) | admin | INSERT INTO app.pods (name, capacity, primary_provider, bucket, prefix) VALUES ('x', 1, 's3', 'b', 'x')
    a pod that is full | admin, root | INSERT INTO app.pods (name, capacity, primary_provider, bucket, prefix, used) VALUES ('x', 1, 's3', 'b', 'x', 1) | admin | INSERT INTO app.pods (name, capacity, primary_provider, bucket, prefix) VALUES ('x', 1, 's3', 'b', 'x')
    another hash of what is stored | admin, root, ingest | UPDATE app.versions SET sha256 = sha256('x') WHERE id = {version_bob} | owner
    another etag of what is stored | admin, root, ingest | UPDATE app.versions SET etag = 'x' WHERE id = {version_bob} | owner
    forget that it was stored | admin, root, ingest | UPDATE app.versions SET stored_at = NULL, status = 'failed' WHERE id = {version_bob} | admin | UPDATE app.versions SET status = 'failed' WHERE id = {version_bob}
    parts of another's upload | admin, root, ingest | UPDATE app.versions SET upload_id = 'x' WHERE id = {version_bob} | owner
    publish another's objects | worker | {claimed}; SELECT app.publish_unit({unit_ada}, '{uuid}', '[{{"name": "x", "kind": "mp4", "prefix": "other/", "entry": "x.mp4", "size": 0}}]') | worker | {claimed}; SELECT app.publish_unit({unit_ada}, '{uuid}', '[{{"name": "x", "kind": "mp4", "prefix": "renditions/{file_ada}/{transcode_ada}/{uuid}/", "entry": "x.mp4", "size": 0}}]')
    publish what is above | worker | {claimed}; SELECT app.publish_unit({unit_ada}, '{uuid}', '[{{"name": "x", "kind": "mp4", "prefix": "renditions/{file_ada}/{transcode_ada}/{uuid}/", "entry": "../../{file_bob}/x.mp4", "size": 0}}]') | worker | {claimed}; SELECT app.publish_unit({unit_ada}, '{uuid}', '[{{"name": "x", "kind": "mp4", "prefix": "renditions/{file_ada}/{transcode_ada}/{uuid}/", "entry": "a/x.mp4", "size": 0}}]')
    a content of a number of one's choice | admin, root, ingest | INSERT INTO app.versions (id, file_id, size, key) OVERRIDING SYSTEM VALUE VALUES (999999, {file_ada}, 0, '0a/{token}') | ingest | INSERT INTO app.versions (file_id, size, key) VALUES ({file_ada}, 0, '0a/{token}')
    a file of a number of one's choice | admin, root, ingest | INSERT INTO app.files (id, pod_id, owner_id, path, size) OVERRIDING SYSTEM VALUE VALUES (999999, {pod_ada}, {ada}, 'x', 0) | ingest | INSERT INTO app.files (pod_id, owner_id, path, size) VALUES ({pod_ada}, {ada}, 'x', 0)
    a pod of a number of one's choice | admin, root | INSERT INTO app.pods (id, name, capacity, primary_provider, bucket, prefix) OVERRIDING SYSTEM VALUE VALUES (999999, 'x', 1, 's3', 'b', 'x') | admin | INSERT INTO app.pods (name, capacity, primary_provider, bucket, prefix) VALUES ('x', 1, 's3', 'b', 'x')
    a transcode of a number of one's choice | admin, root, ingest | INSERT INTO app.transcodes (id, file_id, version_id, preset) OVERRIDING SYSTEM VALUE VALUES (999999, {file_ada}, {version_ada}, 'mp4') | ingest | INSERT INTO app.transcodes (file_id, version_id, preset) VALUES ({file_ada}, {version_ada}, 'mp4')
    a subscription under another number | admin, root, worker, cron | UPDATE app.subscriptions SET id = DEFAULT WHERE user_id = {ada} | owner
    a grant of a number of one's choice | admin, root | INSERT INTO app.quota_grants (id, user_id, metric, period_start, amount) OVERRIDING SYSTEM VALUE VALUES (999999, {ada}, 'upload', now(), 1) | admin | INSERT INTO app.quota_grants (user_id, metric, period_start, amount) VALUES ({ada}, 'upload', now(), 1)
    an operation of another time | admin, root, ada, worker, listener | INSERT INTO app.operations (id, command, fingerprint, created_at) VALUES ('x', 'c', 'f', now() - interval '1 year') | ada | INSERT INTO app.operations (id, command, fingerprint) VALUES ('x', 'c', 'f')
    a content of another time | admin, root, ingest | UPDATE app.versions SET created_at = now() - interval '1 year' | owner
    redact the record | admin, root, ada, cron | SELECT app.redact_user(999999, '{{}}', '{{}}', 0) | owner
    redact by the inner function | admin, root | SELECT app.without_personal('users', '{{}}') | owner
    names of another | admin, root, ada | SELECT app.names_of({root}) | owner
    forget deliveries | admin, root, worker | SELECT app.erase_deliveries({eve}, '{{}}') | owner
    make a key by the inner function | admin, ingest | SELECT app.make_key() | ingest | INSERT INTO app.versions (file_id, size, key) VALUES ({file_ada}, 0, '0a/{token}')
""")
    + _attacks(
        """
    have another's content transcoded as one's own | admin, root, ingest | INSERT INTO app.transcodes (file_id, version_id, preset) VALUES ({file_ada}, {version_bob}, 'mp4') | ingest | INSERT INTO app.transcodes (file_id, version_id, preset) VALUES ({file_ada}, {version_ada}, 'mp4')
""",
        "23503",
    )
    + _attacks(
        """
    a pod above the bucket | admin, root | INSERT INTO app.pods (name, capacity, primary_provider, bucket, prefix) VALUES ('x', 1, 's3', 'b', '../b') | admin | INSERT INTO app.pods (name, capacity, primary_provider, bucket, prefix) VALUES ('x', 1, 's3', 'b', 'b')
    a pod within renditions | admin, root | INSERT INTO app.pods (name, capacity, primary_provider, bucket, prefix) VALUES ('x', 1, 's3', 'b', 'renditions/{file_bob}') | admin | INSERT INTO app.pods (name, capacity, primary_provider, bucket, prefix) VALUES ('x', 1, 's3', 'b', 'rendition')
    a pod with a slash before it | admin, root | INSERT INTO app.pods (name, capacity, primary_provider, bucket, prefix) VALUES ('x', 1, 's3', 'b', '/b') | admin | INSERT INTO app.pods (name, capacity, primary_provider, bucket, prefix) VALUES ('x', 1, 's3', 'b', 'b/c')
""",
        "23514",
    )
    + _attacks(
        """
    a pod where another is | admin, root | INSERT INTO app.pods (name, capacity, primary_provider, bucket) VALUES ('x', 1, 'local', 'media') | admin | INSERT INTO app.pods (name, capacity, primary_provider, bucket) VALUES ('x', 1, 's3', 'media')
    a pod within another | admin, root | INSERT INTO app.pods (name, capacity, primary_provider, bucket, prefix) VALUES ('x', 1, 's3', 'b', 'a'), ('y', 1, 's3', 'b', 'a/b') | admin | INSERT INTO app.pods (name, capacity, primary_provider, bucket, prefix) VALUES ('x', 1, 's3', 'b', 'a'), ('y', 1, 's3', 'b', 'ab')
    a pod around another | admin, root | INSERT INTO app.pods (name, capacity, primary_provider, bucket, prefix) VALUES ('x', 1, 's3', 'b', 'a/b'), ('y', 1, 's3', 'b', 'a') | admin | INSERT INTO app.pods (name, capacity, primary_provider, bucket, prefix) VALUES ('x', 1, 's3', 'b', 'a/b'), ('y', 1, 's3', 'b', 'a/c')
""",
        "23P01",
    )
)

# What one could take of what all share.
EXHAUSTION = (
    _attacks("""
    sort on the whole disk | admin, root, ada, session, ingest, worker, listener, cron | SET LOCAL temp_file_limit = -1 | superuser
    sort on the whole disk for good | admin, root, ada, session | ALTER ROLE CURRENT_USER SET temp_file_limit = -1 | superuser | ALTER ROLE {login_bob} SET temp_file_limit = -1
    sort on the whole disk in this database | ada, root | ALTER ROLE CURRENT_USER IN DATABASE {P} SET temp_file_limit = -1 | superuser | ALTER ROLE {login_bob} IN DATABASE {P} SET temp_file_limit = -1
    the connections that are reserved | admin, root, ada, worker, owner | GRANT pg_use_reserved_connections TO CURRENT_USER | superuser | GRANT pg_use_reserved_connections TO {login_bob}
    more connections by the inner function | admin, root, ada, session | SELECT login.set_limit('{login_ada}', 'superadmin') | root | SELECT app.set_role({bob}, 'superadmin')
    more connections for a service | worker, cron, admin, root | ALTER ROLE {login_worker} CONNECTION LIMIT -1 | superuser
    hold up repairs by the row | admin, ada, session, ingest, worker, listener, cron | SELECT FROM app.installation FOR UPDATE | root
    hold up another's logging in | ada, session, listener | SELECT FROM app.users WHERE id = {bob} FOR NO KEY UPDATE | admin
    hold up all changes | ada, session, admin, root, ingest, worker, listener, cron | LOCK TABLE app.operations IN SHARE ROW EXCLUSIVE MODE | owner
    hold up uploads | ada, session, ingest, worker, listener, cron | LOCK TABLE app.files IN SHARE MODE | owner
    hold up what uploads count | ada, admin, ingest, worker | LOCK TABLE app.leases IN ROW EXCLUSIVE MODE | owner
    operations that are never pruned | ada, session, admin, root, worker | INSERT INTO app.operations (id, command, fingerprint, created_at) VALUES ('x', 'c', 'f', now() + interval '100 years') | ada | INSERT INTO app.operations (id, command, fingerprint) VALUES ('x', 'c', 'f')
    forget operations | ada, session, admin, root, cron | DELETE FROM app.operations | cron | SELECT app.prune_operations(10)
    prune operations | ada, session, ingest, worker, listener | SELECT app.prune_operations(10) | cron
    fill the queue of work | ada, session | SELECT app.wake('transcode', 'transcode', ARRAY['1'], 0) | admin
    keep a deleted table's rows | ada, worker | CREATE TEMPORARY TABLE hoard AS SELECT generate_series(1, 10) | owner
    replicate for ever | ada, root, worker | SELECT pg_create_physical_replication_slot('x', true) | superuser | SELECT pg_reload_conf()
""")
    + _attacks(
        """
    more operations than are kept | ada, session | INSERT INTO app.operations (id, command, fingerprint) SELECT 'x' || n, 'c', 'f' FROM generate_series(1, 10001) AS n | ada | INSERT INTO app.operations (id, command, fingerprint) SELECT 'x' || n, 'c', 'f' FROM generate_series(1, 100) AS n
    longer operations than are kept | ada | INSERT INTO app.operations (id, command, fingerprint, result) SELECT 'x' || n, 'c', 'f', d FROM generate_series(1, 8) AS n, (SELECT jsonb_agg(md5(random()::text)) FROM generate_series(1, 400000)) AS l (d) | ada | INSERT INTO app.operations (id, command, fingerprint, result) SELECT 'x' || n, 'c', 'f', d FROM generate_series(1, 2) AS n, (SELECT jsonb_agg(md5(random()::text)) FROM generate_series(1, 400000)) AS l (d)
    more sessions than he may have | ada | SELECT login.open_session('{verifier}', 1) FROM generate_series(1, 3) | ada | SELECT login.open_session('{verifier}', 1)
""",
        FULL,
    )
    + _attacks(
        """
    a result without end | ada, admin, worker | INSERT INTO app.operations (id, command, fingerprint, result) VALUES ('x', 'c', 'f', to_jsonb(repeat('x', 17000000))) | ada | INSERT INTO app.operations (id, command, fingerprint, result) VALUES ('x', 'c', 'f', to_jsonb(repeat('x', 1000000)))
    a result without end afterwards | ada | UPDATE app.operations SET result = to_jsonb(repeat('x', 17000000)) WHERE login = session_user | ada | UPDATE app.operations SET result = '1' WHERE login = session_user
    an id without end | ada, cron | INSERT INTO app.operations (id, command, fingerprint) VALUES (repeat('x', 1025), 'c', 'f') | ada | INSERT INTO app.operations (id, command, fingerprint) VALUES (repeat('x', 1024), 'c', 'f')
    an error without end | ingest, worker, cron, admin | UPDATE app.files SET error = repeat('x', 8193) | ingest | UPDATE app.files SET error = repeat('x', 8192)
    a kind without end | ingest | UPDATE app.files SET content_type = repeat('x', 256) | ingest | UPDATE app.files SET content_type = 'x'
    an upload that never was | ingest, admin | UPDATE app.files SET uploaded_at = 'infinity' | ingest | UPDATE app.files SET uploaded_at = now()
    a check before there were computers | cron, ingest | UPDATE app.files SET verified_at = '-infinity' | cron | UPDATE app.files SET verified_at = now()
    a purge in the year 10000 | admin, root | UPDATE app.files SET deleted_at = now(), purging_at = '10000-01-01' WHERE id = {file_bob} | admin | UPDATE app.files SET deleted_at = now(), purging_at = now() WHERE id = {file_bob}
    a content from before Christ | ingest | UPDATE app.versions SET stored_at = '0044-03-15 BC' | ingest | UPDATE app.versions SET stored_at = now()
    a user of the year 294276 | admin, root | UPDATE app.users SET updated_at = '294276-12-31' WHERE id = {bob} | admin | UPDATE app.users SET updated_at = now() WHERE id = {bob}
    a run that beats for ever | ingest, admin | UPDATE app.runs SET heartbeat_at = 'infinity' | ingest | UPDATE app.runs SET heartbeat_at = now()
    a run with totals without end | ingest | UPDATE app.runs SET totals = to_jsonb(repeat('x', 70000)) | ingest | UPDATE app.runs SET totals = '{{}}'
    a subscription without end | worker, cron, admin | UPDATE app.subscriptions SET current_period_end = 'infinity' | worker | UPDATE app.subscriptions SET current_period_end = now()
    a present for all eternity | admin | INSERT INTO app.quota_grants (user_id, metric, period_start, amount) VALUES ({bob}, 'upload', 'infinity', 1) | admin | INSERT INTO app.quota_grants (user_id, metric, period_start, amount) VALUES ({bob}, 'upload', now(), 1)
    an event of no time | listener | SELECT app.receive_deliveries(ARRAY['x'], ARRAY['invoice.paid'], ARRAY[false], ARRAY['-infinity'::timestamptz], ARRAY[NULL], ARRAY['x'::bytea], ARRAY['x'], ARRAY['subscription'], ARRAY['sub_x']) | listener | SELECT app.receive_deliveries(ARRAY['x'], ARRAY['invoice.paid'], ARRAY[false], ARRAY[now()], ARRAY[NULL], ARRAY['x'::bytea], ARRAY['x'], ARRAY['subscription'], ARRAY['sub_x'])
    an event of no time in the table | worker, root | INSERT INTO app.stripe_events (id, type, created_at) VALUES ('x', 'x', '-infinity') | worker | INSERT INTO app.stripe_events (id, type, created_at) VALUES ('x', 'x', now())
    an event without end | listener | SELECT app.receive_deliveries(ARRAY['x'], ARRAY[repeat('x', 300)], ARRAY[false], ARRAY[now()], ARRAY[NULL], ARRAY['x'::bytea], ARRAY['x'], ARRAY['subscription'], ARRAY['sub_x']) | listener | SELECT app.receive_deliveries(ARRAY['x'], ARRAY['invoice.paid'], ARRAY[false], ARRAY[now()], ARRAY[NULL], ARRAY['x'::bytea], ARRAY['x'], ARRAY['subscription'], ARRAY['sub_x'])
    a delivery without end | listener | SELECT app.receive_deliveries(ARRAY['x'], ARRAY['invoice.paid'], ARRAY[false], ARRAY[now()], ARRAY[NULL], ARRAY[convert_to(repeat('x', 17000000), 'UTF8')], ARRAY['x'], ARRAY['subscription'], ARRAY['sub_x']) | listener | SELECT app.receive_deliveries(ARRAY['x'], ARRAY['invoice.paid'], ARRAY[false], ARRAY[now()], ARRAY[NULL], ARRAY['x'::bytea], ARRAY['x'], ARRAY['subscription'], ARRAY['sub_x'])
    an object that is never wanted | worker | UPDATE app.stripe_objects SET wanted_at = 'infinity' | worker | UPDATE app.stripe_objects SET wanted_at = now()
    a state without end | worker | UPDATE app.stripe_objects SET state = to_jsonb(repeat('x', 5000000)) | worker | UPDATE app.stripe_objects SET state = '{{}}'
    a plan without end | root | UPDATE app.plans SET description = repeat('x', 9000) | root | UPDATE app.plans SET description = 'x'
""",
        BOUND,
    )
)

# Between logins, past the tables: what belongs to the server or to another's session
LANES = _attacks("""
    be a role of PostgreSQL's own | admin, root, ada, worker | SET LOCAL ROLE pg_read_all_data | superuser
    take a role of PostgreSQL's own | admin, root, ada, cron | GRANT pg_signal_backend TO {login_ada} | superuser
    be another session by a setting | admin, ada, session, worker | SELECT set_config('session_authorization', '{login_root}', false) | superuser
    settings of his own login from a session | session | ALTER ROLE {login_ada} SET search_path = public | ada
    take away another's settings | admin, ada, rosa | ALTER ROLE {login_root} RESET ALL | root
    rights to come | admin, root, ada | ALTER DEFAULT PRIVILEGES FOR ROLE {O} GRANT SELECT ON TABLES TO PUBLIC | owner
    a setting of superusers for himself | admin, root, worker | GRANT SET ON PARAMETER session_replication_role TO CURRENT_USER | superuser
    give a large object away | admin, ada | ALTER LARGE OBJECT {of_root} OWNER TO CURRENT_USER | superuser
    a subscription | admin, root, worker | CREATE SUBSCRIPTION x CONNECTION 'dbname=x' PUBLICATION x WITH (connect = false) | superuser
    a slot that keeps the log | admin, root, ada, worker | SELECT pg_create_physical_replication_slot('x' || pg_current_xact_id(), false, true) | superuser
    an origin | admin, ada | SELECT pg_replication_origin_create('x') | superuser
    the next segment of the log | admin, root, ada | SELECT pg_switch_wal() | superuser
    a mark in the log | admin | SELECT pg_create_restore_point('x') | superuser
    a backup | admin, root | SELECT pg_backup_start('x', true) | superuser | SELECT pg_create_restore_point('x')
    a checkpoint | admin, root, ada | CHECKPOINT | superuser
    another's memory in the log | admin, ada, rosa | SELECT pg_log_backend_memory_contexts({pid_root}) | superuser
    forget statistics | admin, root, ada | SELECT pg_stat_reset() | superuser
    how many users there are | admin, ada, worker | SELECT last_value FROM app.users_id_seq | owner
    hold a table that all write | ada, session, worker, listener, cron | LOCK TABLE app.operations IN SHARE MODE | owner
    hold a table that he reads | ada, worker, ingest, cron | LOCK TABLE app.users IN ROW EXCLUSIVE MODE | owner
    rebuild an index | admin, root, ada | REINDEX TABLE app.users | owner
    a remark on a table | admin, root, ada | COMMENT ON TABLE app.users IS 'x' | owner
    a remark on the database | admin, root | COMMENT ON DATABASE {P} IS 'x' | owner
    a cast | admin, root, ada | CREATE CAST (text AS integer) WITH INOUT | superuser
    a collation | admin, ada | CREATE COLLATION public.x FROM "C" | owner
    a domain | admin, ada | CREATE DOMAIN public.x AS int | owner
    a conversion | admin | CREATE CONVERSION public.x FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8 | owner
    a search configuration | admin | CREATE TEXT SEARCH CONFIGURATION public.x (COPY = english) | owner
    statistics of columns | admin, ada | CREATE STATISTICS app.x ON email, name FROM app.users | owner
    an access method | admin | CREATE ACCESS METHOD x TYPE TABLE HANDLER heap_tableam_handler | superuser
    a query in a function of the server | admin, ada | SELECT query_to_xml('SELECT rolpassword FROM pg_authid', true, false, '') | superuser | SELECT rolpassword FROM pg_authid
    a query in a function that counts words | ada | SELECT ts_stat('SELECT ciphertext FROM app.credentials') | ada | SELECT ts_stat('SELECT ''a''::tsvector')
""") + _attacks(
    """
    statistics anew | admin, ada | ANALYZE app.users | owner
    numbers drawn | admin, ada, worker | SELECT 1 FROM pg_sequences WHERE last_value IS NOT NULL | owner
    another's limit | ada, session | SELECT 1 WHERE app.quota_limit({bob}, 'upload', now()) > 0 | bob
    another's period | ada, session | SELECT 1 WHERE app.quota_anchor({bob}, now()) > '2000-01-01 UTC' | bob
    end others by what he sees of them | admin, ada | SELECT 1 FROM pg_stat_activity WHERE usename = '{login_root}' AND (state, query, client_addr, xact_start) IS DISTINCT FROM (NULL, '<insufficient privilege>', NULL, NULL) | root
""",
    NOTHING,
)

ATTACKS = [*PROMOTION, *ROLES, *LOGINS, *DEFINITIONS, *FILES, *ROWS, *MACHINE, *BYTES, *EXHAUSTION, *LANES]


@dataclass(frozen=True, slots=True)
class Race:
    """What somebody of a role begins in a transaction, and how their right is taken before they commit.

    The control is the same with the right kept. `{me}`, `{enduser}` and `{admin_}` are people of this attack only.
    """

    name: str
    role: str
    sql: str
    taken: str


def _races(text: str) -> list[Race]:
    """Read lines `name | role | statement | what takes the right, what takes it otherwise`."""
    made = []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, role, statement, takes = (part.strip() for part in line.split(" | "))
        made += [Race(name, role, statement, take) for take in takes.split(", ")]
    return made


TAKES = {
    "lowered": "SELECT app.set_role({me}, 'enduser')",
    "raised": "SELECT app.set_role({me}, 'superadmin')",
    "disabled": "UPDATE app.users SET status = 'disabled' WHERE id = {me}",
    "deleted": "UPDATE app.users SET status = 'disabled', deleted_at = now() WHERE id = {me}",
    "revoked": "SELECT login.revoke_user({me})",
}
RACES = _races("""
    leave a superadmin behind | superadmin | INSERT INTO app.users (email, role) VALUES ('x{me}@example.com', 'superadmin') | lowered, disabled, deleted, revoked
    raise an accomplice | superadmin | SELECT app.set_role({enduser}, 'superadmin') | lowered, disabled, deleted, revoked
    take over an admin | superadmin | SELECT login.grant_personal({admin_}, '{verifier}') | lowered, disabled, revoked
    take over a service | superadmin | SELECT login.grant_service('worker', '{verifier}') | lowered, revoked
    let sessions last | superadmin | UPDATE app.installation SET session_hours = 8760 | lowered, revoked
    replace keys | superadmin | UPDATE app.credentials SET ciphertext = 'x' | lowered, disabled
    give everything away | superadmin | UPDATE app.plans SET price = 0 | lowered, deleted
    leave an enduser behind | admin | INSERT INTO app.users (email) VALUES ('x{me}@example.com') | lowered, raised, disabled, deleted, revoked
    take over an enduser | admin | SELECT login.grant_personal({enduser}, '{verifier}') | lowered, raised, disabled, deleted, revoked
    take a file | admin | UPDATE app.files SET owner_id = {enduser} WHERE id = {file_bob} | lowered, disabled, revoked
    no limit | admin | INSERT INTO app.quota_limits (user_id, metric) VALUES ({enduser}, 'upload') | lowered, disabled, revoked
    a pod for an accomplice | admin | INSERT INTO app.pod_grants (pod_id, user_id) VALUES ({pod_bob}, {enduser}) | lowered, deleted
    claim room | admin | SELECT app.take_lease({pod_ada}, {ada}, NULL, 1, 1, 60, now()) | lowered, disabled
    a session for later | enduser | SELECT login.open_session('{verifier}', 24) | raised, disabled, deleted
    an operation for later | enduser | INSERT INTO app.operations (id, command, fingerprint) VALUES ('x', 'c', 'f') | raised, disabled, revoked
""")

ACCEPTED = {
    "a notification wakes somebody, and says nothing": "NOTIFY procrastinate_any_queue, 'x'",
    "who listens hears that there is work, and sees none": "LISTEN procrastinate_any_queue",
    "a snapshot shows others no more than their own": "SELECT pg_export_snapshot()",
    "who waits for whom is no secret": "SELECT * FROM pg_locks",
    "who reads a table may keep it from being altered": "LOCK TABLE app.users IN ACCESS SHARE MODE",
    "what he gives away are tables that he cannot make": "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
    "a lock of one's own number only delays": "SELECT pg_advisory_xact_lock(1)",
    "how many rows a table has is no secret": "SELECT reltuples FROM pg_class WHERE oid = 'app.users'::regclass",
    "nor is what a plan would cost": "EXPLAIN SELECT * FROM app.users",
    "nor are the functions": "SELECT prosrc FROM pg_proc WHERE proname = 'actor'",
    "nor are the settings of logins": "SELECT * FROM pg_db_role_setting",
    "nor is how large a table is": "SELECT pg_total_relation_size('app.users')",
    "timeouts are for accidents": "SET LOCAL statement_timeout = 0",
    "large objects are one's own": "SELECT lo_from_bytea(0, 'x')",
    "so are messages in the log": "SELECT pg_logical_emit_message(true, 'x', 'x')",
}
"""What every login may do besides: it delays others or fills the disk, and shows no rows of theirs."""
