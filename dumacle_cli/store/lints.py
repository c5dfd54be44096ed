"""Lints of PostgreSQL's catalogs: one query for each way in which the rights can be bypassed."""

import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Literal

from sqlalchemy import Connection, text

from dumacle_cli.store.rights import EVERYBODY

RELEASES = "minor_releases.toml"
_KNOWN = tomllib.loads(resources.files(__package__).joinpath(RELEASES).read_text("utf-8"))
AS_OF = str(_KNOWN["as_of"])
"""The date of the newest public release when this list was written."""
FIXED = {int(major): int(major) * 10_000 + minor for major, minor in _KNOWN["newest"].items()}
"""The newest minor version of each major one, in libpq's format: earlier ones have published vulnerabilities."""
PATIENCE = 300
"""Seconds after which an idle transaction is reported."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A finding, and what fixes it."""

    finding: str
    fix: str


@dataclass(frozen=True, slots=True)
class Lint:
    """A query for faults of one kind; `failed` if rights can be bypassed, else a warning."""

    name: str
    status: Literal["failed", "warning"]
    query: str
    clean: str = "nothing found"


def faults(connection: Connection, lint: Lint) -> list[Fault]:
    """Return what a lint finds; the caller must see all of `app.logins` and `app.users`."""
    asked = {"everybody": list(EVERYBODY), "fixed": list(FIXED.values()), "as_of": AS_OF, "patience": PATIENCE}
    return [Fault(*row) for row in connection.execute(text(f"{_OURS} {lint.query} ORDER BY 1"), asked)]


def is_guarded(connection: Connection) -> bool | None:
    """Return whether the guard against DDL (guard.sql) is on; None if no superuser installed it."""
    found = connection.execute(text("SELECT evtenabled FROM pg_event_trigger WHERE evtname = 'dumacle_guard'")).scalar()
    return None if found is None else found in ("O", "A")


# The owner of the schema, the groups, and the logins that exist as roles, each with its group.
_OURS = """
    WITH ours AS (
        SELECT i.prefix, i.prefix || '_provisioner' AS provisioner, n.nspowner AS owner
        FROM app.installation AS i, pg_namespace AS n WHERE n.nspname = 'app'
    ), groups AS (
        SELECT r.oid, r.rolname::text AS name FROM ours, unnest(CAST(:everybody AS text[])) AS role
        JOIN pg_roles AS r ON true WHERE r.rolname = ours.prefix || '_' || role || 's'
    ), known AS (
        SELECT l.*, u.email, u.status <> 'active' OR u.deleted_at IS NOT NULL AS barred,
            ours.prefix || '_' || coalesce(l.duty, u.role) || 's' AS belongs
        FROM ours, app.logins AS l JOIN app.users AS u ON u.id = l.user_id
    ), logins AS (
        SELECT r.oid, r.rolname::text AS name, k.kind, k.duty, k.valid_until, k.email, k.barred, k.belongs
        FROM known AS k JOIN pg_roles AS r ON r.rolname = k.role
    )
"""

_DEFINERS = r"""
    SELECT format('%s runs with its owner''s rights and uses the caller''s search_path', oid::regprocedure),
        format('ALTER FUNCTION %s SET search_path = pg_catalog, pg_temp', oid::regprocedure)
    FROM pg_proc
    WHERE pronamespace::regnamespace::text IN ('app', 'login', 'queue') AND prosecdef
        AND NOT EXISTS (SELECT FROM unnest(proconfig) AS setting WHERE setting ~ '^search_path=.*\mpg_temp$')
"""
_OWNERS = """
    SELECT format('%s belongs to %s', o.name, o.owner::regrole), format('give it back to %s', o.rightful)
    FROM (
        SELECT c.oid::regclass::text, c.relowner, ours.owner::regrole::text
        FROM ours, pg_class AS c WHERE c.relnamespace::regnamespace::text IN ('app', 'queue')
        UNION ALL
        SELECT p.oid::regprocedure::text, p.proowner,
            CASE WHEN p.pronamespace = to_regnamespace('login') THEN quote_ident(ours.provisioner)
                 ELSE ours.owner::regrole::text END
        FROM ours, pg_proc AS p WHERE p.pronamespace::regnamespace::text IN ('app', 'queue', 'login')
    ) AS o (name, owner, rightful)
    WHERE o.owner::regrole::text <> o.rightful
"""
_POLICIES = r"""
    SELECT format('the policy %I on %s binds only %s', polname, polrelid::regclass,
            (SELECT string_agg(role::regrole::text, ', ') FROM unnest(polroles) AS role)),
        format('ALTER POLICY %I ON %s TO PUBLIC', polname, polrelid::regclass)
    FROM pg_policy WHERE polrelid IN (SELECT oid FROM pg_class WHERE relnamespace = to_regnamespace('app'))
        AND polroles <> '{0}'
    UNION ALL
    SELECT format('the policy %I on %s does not ask for the acting user', polname, polrelid::regclass),
        'change it to what docs/permissions.md says'
    FROM pg_policy, LATERAL (VALUES (pg_get_expr(polqual, polrelid)), (pg_get_expr(polwithcheck, polrelid))) AS e (said)
    WHERE polrelid IN (SELECT oid FROM pg_class WHERE relnamespace = to_regnamespace('app'))
        AND polpermissive AND said !~ '\mapp\.\w+\('
"""
_CALLS = r"""
    SELECT format('the policy %I on %s calls a function for each row', polname, polrelid::regclass),
        'write (SELECT f()) there, which runs once per statement'
    FROM pg_policy
    WHERE polrelid IN (SELECT oid FROM pg_class WHERE relnamespace = to_regnamespace('app'))
        AND concat(pg_get_expr(polqual, polrelid), ' ', pg_get_expr(polwithcheck, polrelid)) ~ '(?<!SELECT )app\.\w+\('
"""
_TABLES = """
    SELECT format('%s has no row-level security', oid::regclass),
        format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', oid::regclass)
    FROM pg_class WHERE relnamespace = to_regnamespace('app') AND relkind IN ('r', 'p') AND NOT relrowsecurity
    UNION ALL
    SELECT format('%s binds its owner too, so the functions that its policies call recurse', oid::regclass),
        format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY', oid::regclass)
    FROM pg_class WHERE relnamespace = to_regnamespace('app') AND relforcerowsecurity
    UNION ALL
    SELECT format('%s shows rows in spite of the policies', oid::regclass),
        'drop it, or make it a view WITH (security_invoker = true)'
    FROM pg_class
    WHERE relnamespace = to_regnamespace('app') AND relkind IN ('v', 'm', 'f')
        AND NOT coalesce(reloptions && ARRAY['security_invoker=true', 'security_invoker=on'], false)
"""
_TRIGGERS = """
    SELECT format('the trigger %I on %s is off', tgname, tgrelid::regclass),
        format('ALTER TABLE %s ENABLE TRIGGER %I', tgrelid::regclass, tgname)
    FROM pg_trigger
    WHERE tgrelid IN (SELECT oid FROM pg_class WHERE relnamespace = to_regnamespace('app')) AND tgenabled IN ('D', 'R')
"""
_DEFAULTS = """
    SELECT format('what %s creates from now on, %s may use', d.defaclrole::regrole,
            CASE WHEN a.grantee = 0 THEN 'everybody' ELSE a.grantee::regrole::text END),
        format('as %s: ALTER DEFAULT PRIVILEGES … REVOKE', d.defaclrole::regrole)
    FROM ours, pg_default_acl AS d, aclexplode(d.defaclacl) AS a
    WHERE d.defaclrole IN (ours.owner, to_regrole(quote_ident(ours.provisioner))) AND a.grantee <> d.defaclrole
    UNION ALL
    SELECT format('functions that %s creates from now on, everybody may call', role::regrole),
        format('as %s: ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC', role::regrole)
    FROM ours, unnest(ARRAY[ours.owner, to_regrole(quote_ident(ours.provisioner))]) AS role
    WHERE NOT EXISTS (
        SELECT FROM pg_default_acl WHERE defaclrole = role AND defaclnamespace = 0 AND defaclobjtype = 'f'
    )
"""
# A superuser needs no membership. An administrator who may create roles could join again: that is only a warning.
_MEMBERS = """
    SELECT format('%I can act as %s, the owner of the schema', r.rolname, ours.owner::regrole),
        format('REVOKE %s FROM %I', ours.owner::regrole, r.rolname)
    FROM ours, pg_roles AS r
    WHERE NOT r.rolsuper AND NOT r.rolcreaterole AND r.oid <> ours.owner AND pg_has_role(r.oid, ours.owner, 'MEMBER')
    UNION
    SELECT format('%s can act as %I, which creates logins', m.member::regrole, ours.provisioner),
        format('REVOKE %I FROM %s', ours.provisioner, m.member::regrole)
    FROM ours JOIN pg_auth_members AS m ON m.roleid = to_regrole(quote_ident(ours.provisioner))
    JOIN pg_roles AS r ON r.oid = m.member WHERE NOT r.rolsuper AND r.oid <> ours.owner
"""
_ADMINISTRATORS = """
    SELECT format('%I may create roles, and can act as %s, the owner of the schema', r.rolname, ours.owner::regrole),
        'trust it like a superuser, or revoke it'
    FROM ours, pg_roles AS r
    WHERE NOT r.rolsuper AND r.rolcreaterole AND r.oid <> ours.owner AND pg_has_role(r.oid, ours.owner, 'MEMBER')
"""
_OWNER = """
    SELECT format('%I, the owner of the schema, has %s', r.rolname,
            concat_ws(', ', CASE WHEN r.rolsuper THEN 'SUPERUSER' END, CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END,
                CASE WHEN r.rolreplication THEN 'REPLICATION' END)),
        'it needs CREATEROLE only'
    FROM ours JOIN pg_roles AS r ON r.oid = ours.owner WHERE r.rolsuper OR r.rolbypassrls OR r.rolreplication
"""
_ATTRIBUTES = """
    SELECT format('%I has %s', r.rolname, f.found),
        format('ALTER ROLE %I NO%s', r.rolname, replace(f.found, ', ', ' NO'))
    FROM pg_roles AS r, LATERAL concat_ws(', ',
        CASE WHEN r.rolsuper THEN 'SUPERUSER' END, CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END,
        CASE WHEN r.rolcreatedb THEN 'CREATEDB' END, CASE WHEN r.rolreplication THEN 'REPLICATION' END,
        CASE WHEN r.rolcreaterole AND r.rolname <> (SELECT provisioner FROM ours) THEN 'CREATEROLE' END,
        CASE WHEN r.rolcanlogin AND r.oid NOT IN (SELECT oid FROM logins) THEN 'LOGIN' END) AS f (found)
    WHERE f.found <> '' AND (r.rolname = (SELECT provisioner FROM ours)
        OR r.oid IN (SELECT oid FROM groups UNION ALL SELECT oid FROM logins))
"""
_MEMBERSHIPS = """
    SELECT format('%s has the rights of %s besides its own', m.member::regrole, m.roleid::regrole),
        format('REVOKE %s FROM %s', m.roleid::regrole, m.member::regrole)
    FROM pg_auth_members AS m
    JOIN (SELECT oid, belongs FROM logins UNION ALL SELECT oid, NULL FROM groups) AS o ON o.oid = m.member
    WHERE m.roleid IS DISTINCT FROM to_regrole(quote_ident(o.belongs)) AND (
        m.roleid <> 'pg_use_reserved_connections'::regrole
        OR m.member IS DISTINCT FROM (SELECT to_regrole(quote_ident(prefix || '_superadmins')) FROM ours))
    UNION
    SELECT format('%I can become %I, or add members to it', l.name, l.belongs),
        format('REVOKE ADMIN OPTION, SET OPTION FOR %I FROM %I', l.belongs, l.name)
    FROM pg_auth_members AS m JOIN logins AS l ON l.oid = m.member
    WHERE m.roleid = to_regrole(quote_ident(l.belongs)) AND (m.admin_option OR m.set_option)
    UNION
    SELECT format('%I is not in %I', l.name, l.belongs), 'give the user the role again: dumacle users set-role'
    FROM logins AS l
    WHERE NOT EXISTS (SELECT FROM pg_auth_members AS m
        WHERE m.member = l.oid AND m.roleid = to_regrole(quote_ident(l.belongs)))
"""
_SESSIONS = """
    SELECT format('the session %I of %s is valid for longer than it was opened for', l.name, l.email),
        format('dumacle auth sessions revoke %s', l.name)
    FROM logins AS l JOIN pg_roles AS r ON r.oid = l.oid
    WHERE l.kind = 'session' AND r.rolcanlogin AND coalesce(r.rolvaliduntil, 'infinity') > l.valid_until
"""
_LIMITS = """
    SELECT format('%I may open any number of connections', l.name), 'revoke the login and grant it again'
    FROM logins AS l JOIN pg_roles AS r ON r.oid = l.oid WHERE r.rolconnlimit < 0
    UNION ALL
    SELECT format('%I has other settings than Dumacle gave it: %s', l.name, coalesce(nullif(given.names, ''), 'none')),
        'revoke the login and grant it again'
    FROM logins AS l, LATERAL (
        SELECT string_agg(split_part(setting, '=', 1), ', ' ORDER BY setting)
        FROM pg_db_role_setting AS s, unnest(s.setconfig) AS setting WHERE s.setrole = l.oid
    ) AS given (names)
    WHERE given.names IS DISTINCT FROM 'idle_in_transaction_session_timeout, lock_timeout, statement_timeout'
"""
_STRANGERS = """
    SELECT format('the role %s is in %I and belongs to no user', m.member::regrole, g.name),
        format('DROP ROLE %s', m.member::regrole)
    FROM groups AS g JOIN pg_auth_members AS m ON m.roleid = g.oid
    JOIN ours ON m.member NOT IN (ours.owner, to_regrole(quote_ident(ours.provisioner)))
    WHERE m.member NOT IN (SELECT oid FROM logins)
"""
_LOST = """
    SELECT format('%s has the login %s, and there is no such role', k.email, k.role),
        CASE k.kind WHEN 'session' THEN 'log in again: dumacle auth login'
            WHEN 'service' THEN 'dumacle users grant-login --service ' || k.duty
            ELSE 'dumacle users grant-login ' || k.email END
    FROM known AS k WHERE k.role NOT IN (SELECT name FROM logins)
"""
_BARRED = """
    SELECT format('%s is disabled or deleted, and %I still opens connections', l.email, l.name),
        format('dumacle users revoke-login %s', l.email)
    FROM logins AS l JOIN pg_roles AS r ON r.oid = l.oid WHERE l.barred AND r.rolcanlogin
"""
# Columns, too: those of pg_authid hold the verifiers. PostgreSQL remembers the grants of initdb.
_SYSTEM = """
    SELECT format('%s has %s on %s', g.name, a.privilege_type || o.suffix, o.target),
        format('REVOKE %s ON %s FROM %s', a.privilege_type || o.suffix, o.target, g.name)
    FROM (
        SELECT format('FUNCTION %s', p.oid::regprocedure), '', p.proacl, 'pg_proc'::regclass, p.oid, 0
        FROM pg_proc AS p WHERE p.pronamespace = 'pg_catalog'::regnamespace
        UNION ALL
        SELECT c.oid::regclass::text, '', c.relacl, 'pg_class'::regclass, c.oid, 0
        FROM pg_class AS c WHERE c.relnamespace = 'pg_catalog'::regnamespace
        UNION ALL
        SELECT c.oid::regclass::text, format(' (%I)', a.attname), a.attacl, 'pg_class'::regclass, c.oid, a.attnum
        FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
        WHERE c.relnamespace = 'pg_catalog'::regnamespace
        UNION ALL
        SELECT format('PARAMETER %s', parname), '', paracl, 'pg_parameter_acl'::regclass, oid, 0 FROM pg_parameter_acl
        UNION ALL
        SELECT format('TABLESPACE %I', spcname), '', spcacl, 'pg_tablespace'::regclass, oid, 0 FROM pg_tablespace
    ) AS o (target, suffix, acl, class, id, part)
    LEFT JOIN pg_init_privs AS i ON i.classoid = o.class AND i.objoid = o.id AND i.objsubid = o.part
    CROSS JOIN aclexplode(o.acl) AS a
    JOIN (
        SELECT 0, 'PUBLIC' UNION ALL SELECT oid, quote_ident(name) FROM groups
        UNION ALL SELECT oid, quote_ident(name) FROM logins
    ) AS g (oid, name) ON g.oid = a.grantee
    WHERE NOT EXISTS (
        SELECT FROM aclexplode(i.initprivs) AS b WHERE (b.grantee, b.privilege_type) = (a.grantee, a.privilege_type)
    )
"""
_SERVER = """
    SELECT format('PostgreSQL %s lacks the fixes of %s.%s (releases as of %s)', current_setting('server_version'),
            fixed / 10000, fixed % 10000, CAST(:as_of AS text)),
        format('upgrade it to %s.%s or newer', fixed / 10000, fixed % 10000)
    FROM unnest(CAST(:fixed AS integer[])) AS fixed, CAST(current_setting('server_version_num') AS integer) AS found
    WHERE found / 10000 = fixed / 10000 AND found < fixed
"""
_UNKNOWN_SERVER = """
    SELECT format('no release of PostgreSQL %s was known on %s', found / 10000, CAST(:as_of AS text)),
        'upgrade Dumacle; until then, see https://www.postgresql.org/support/security/'
    FROM CAST(current_setting('server_version_num') AS integer) AS found
    WHERE NOT found / 10000 IN (SELECT fixed / 10000 FROM unnest(CAST(:fixed AS integer[])) AS fixed)
"""
_PASSWORDS = """
    SELECT 'passwords are kept as ' || current_setting('password_encryption'),
        'set password_encryption = scram-sha-256 in postgresql.conf'
    WHERE current_setting('password_encryption') <> 'scram-sha-256'
    UNION ALL
    SELECT format('password verifiers use only %s iterations', current_setting('scram_iterations')),
        'set scram_iterations = 4096 or more in postgresql.conf'
    WHERE CAST(current_setting('scram_iterations') AS integer) < 4096
    UNION ALL
    SELECT 'who does not finish logging in holds a connection for ' || current_setting('authentication_timeout'),
        'set authentication_timeout = 60s or less in postgresql.conf'
    WHERE CAST(current_setting('authentication_timeout') AS interval) > interval '1 minute'
    UNION ALL
    SELECT 'failed logins are not logged', 'set log_min_messages = warning in postgresql.conf'
    WHERE current_setting('log_min_messages') = 'panic'
"""
_LOG = """
    SELECT 'the server''s log gets verifiers of passwords, by log_statement = ' || current_setting('log_statement'),
        'set log_statement = none in postgresql.conf'
    WHERE current_setting('log_statement') <> 'none'
    UNION ALL
    SELECT 'the server''s log gets what statements are given: names, addresses, encrypted keys',
        'set log_parameter_max_length = 0 in postgresql.conf'
    WHERE current_setting('log_parameter_max_length') <> '0'
        AND (current_setting('log_statement') IN ('mod', 'all') OR current_setting('log_min_duration_statement') <> '-1'
            OR current_setting('log_min_duration_sample') <> '-1'
            OR current_setting('log_transaction_sample_rate') <> '0')
    UNION ALL
    SELECT 'the server''s log gets what failing statements were given',
        'set log_parameter_max_length_on_error = 0 in postgresql.conf'
    WHERE current_setting('log_parameter_max_length_on_error') <> '0'
"""
_IDLE = """
    SELECT format('%I has an idle transaction open since %s (process %s)', usename,
            to_char(xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), pid),
        format('SELECT pg_terminate_backend(%s)', pid)
    FROM pg_stat_activity
    WHERE datname = current_database() AND starts_with(state, 'idle in transaction')
        AND clock_timestamp() - state_change > make_interval(secs => :patience)
"""

# What one login can take from all others. The disk limit is the database's own setting, else the server's.
_SHARED = """
    SELECT 'no connection is reserved for superadmins',
        'set reserved_connections = 10 in postgresql.conf, and restart it'
    WHERE current_setting('reserved_connections') = '0'
    UNION ALL
    SELECT format('%I may not use the reserved connections', name),
        format('as a superuser: GRANT pg_use_reserved_connections TO %I', name)
    FROM ours, groups
    WHERE name = prefix || '_superadmins' AND NOT pg_has_role(oid, 'pg_use_reserved_connections', 'USAGE')
    UNION ALL
    SELECT format('all logins together may open %s connections, and the server has %s for them',
            asked.total, room.total),
        format('set max_connections = %s in postgresql.conf, and restart it, or revoke logins', asked.total + room.kept)
    FROM (
        SELECT sum(r.rolconnlimit) AS total FROM logins AS l JOIN pg_roles AS r ON r.oid = l.oid
        WHERE r.rolcanlogin AND r.rolconnlimit > 0
    ) AS asked, (
        SELECT CAST(current_setting('max_connections') AS integer) - kept AS total, kept
        FROM CAST(current_setting('reserved_connections') AS integer) AS r,
            CAST(current_setting('superuser_reserved_connections') AS integer) AS s, LATERAL (SELECT r + s) AS k (kept)
    ) AS room WHERE asked.total > room.total
    UNION ALL
    SELECT 'what one statement sorts may fill the disk: temp_file_limit is -1',
        format('as a superuser: ALTER DATABASE %I SET temp_file_limit = %L', current_database(), '1GB')
    WHERE coalesce((
        SELECT split_part(setting, '=', 2) FROM pg_db_role_setting AS s, unnest(s.setconfig) AS setting
        WHERE s.setrole = 0 AND s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND starts_with(setting, 'temp_file_limit=')
    ), current_setting('temp_file_limit')) = '-1'
    UNION ALL
    SELECT format('everybody may connect to the database %I of this cluster, and make temporary tables there', datname),
        format('as its owner: REVOKE CONNECT, TEMPORARY ON DATABASE %I FROM PUBLIC', datname)
    FROM pg_database
    WHERE datallowconn AND datname <> current_database() AND has_database_privilege('public', oid, 'CONNECT')
    UNION ALL
    SELECT 'a login may leave prepared transactions behind, with all that they lock',
        'set max_prepared_transactions = 0 in postgresql.conf, and restart it'
    WHERE current_setting('max_prepared_transactions') <> '0'
    UNION ALL
    SELECT format('the queue of notifications is %s percent full: workers get no notifications, and poll for jobs',
            round(used * 100)),
        'end idle transactions that listen: see idle transactions'
    FROM CAST(pg_notification_queue_usage() AS numeric) AS used WHERE used > 0.5
"""

SHARED = Lint("shared resources", "warning", _SHARED)
LINTS = (
    Lint("row security", "failed", _TABLES),
    Lint("policies", "failed", _POLICIES),
    Lint("policy calls", "warning", _CALLS),
    Lint("definer functions", "failed", _DEFINERS),
    Lint("owners", "failed", _OWNERS),
    Lint("triggers", "failed", _TRIGGERS),
    Lint("default rights", "failed", _DEFAULTS),
    Lint("schema's owner", "warning", _OWNER),
    Lint("owner's members", "failed", _MEMBERS),
    Lint("administrators", "warning", _ADMINISTRATORS),
    Lint("attributes", "failed", _ATTRIBUTES),
    Lint("memberships", "failed", _MEMBERSHIPS),
    Lint("server's own rights", "failed", _SYSTEM),
    Lint("sessions", "failed", _SESSIONS),
    Lint("limits", "warning", _LIMITS),
    Lint("roles without a user", "warning", _STRANGERS),
    Lint("users without a role", "warning", _LOST),
    Lint("disabled users", "warning", _BARRED),
    Lint("server", "failed", _SERVER, f"nothing found (releases as of {AS_OF})"),
    Lint("unknown server", "warning", _UNKNOWN_SERVER),
    Lint("passwords", "failed", _PASSWORDS),
    Lint("server's log", "warning", _LOG),
    Lint("idle transactions", "warning", _IDLE),
    SHARED,
)
