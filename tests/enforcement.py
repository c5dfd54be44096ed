"""What PostgreSQL really enforces, read from its catalogs and tried out, against what was promised."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import psycopg
from sqlalchemy import NullPool, create_engine

from dumacle_cli.store import rights
from tests.identity import Installation

COMMANDS = ("SELECT", "INSERT", "UPDATE", "DELETE")
ACTORS = {
    "root": "superadmin",
    "admin": "admin",
    "ada": "enduser",
    **{duty: duty for duty in rights.DUTIES},
    "stranger": "superadmin",
}
"""Who tries, with the role or duty whose rights he has; the stranger has a superadmin's, and is no user."""

# Whose a row is, by table: the ids of users for whom it is theirs.
OWN = {
    "users": "ARRAY[t.id]",
    "logins": "ARRAY[t.user_id]",
    "pods": "ARRAY(SELECT user_id FROM app.pod_grants WHERE pod_id = t.id)",
    "probes": "ARRAY(SELECT user_id FROM app.pod_grants WHERE pod_id = t.pod_id)",
    "files": "ARRAY[t.owner_id]",
    "runs": "ARRAY[t.owner_id]",
    "versions": "ARRAY(SELECT owner_id FROM app.files WHERE id = t.file_id)",
    "copies": "ARRAY(SELECT owner_id FROM app.files AS f JOIN app.versions AS v ON v.file_id = f.id"
    " WHERE v.id = t.version_id)",
    "rendition_copies": "ARRAY(SELECT owner_id FROM app.files AS f JOIN app.renditions AS r ON r.file_id = f.id"
    " WHERE r.id = t.rendition_id)",
    "outages": "ARRAY(SELECT user_id FROM app.pod_grants WHERE pod_id = t.pod_id)",
    "pauses": "ARRAY(SELECT user_id FROM app.pod_grants WHERE pod_id = t.pod_id)",
    "transcodes": "ARRAY(SELECT owner_id FROM app.files WHERE id = t.file_id)",
    "renditions": "ARRAY(SELECT owner_id FROM app.files WHERE id = t.file_id)",
    "units": "ARRAY(SELECT owner_id FROM app.files AS f JOIN app.transcodes AS s ON s.file_id = f.id"
    " WHERE s.id = t.transcode_id)",
    "operations": "ARRAY[t.user_id]",
    **dict.fromkeys(
        (
            "pod_grants",
            "customers",
            "subscriptions",
            "quota_anchors",
            "quota_limits",
            "quota_grants",
            "quota_counters",
            "quota_entries",
            "quota_closings",
            "entitlements",
            "own_limits",
            "leases",
            "findings",
        ),
        "ARRAY[t.user_id]",
    ),
}
EVERYBODYS = {"plans", "plan_prices", "plan_limits", "presets", "installation", "schema_version"}
NOT_FOR_ENDUSERS = {
    *("provider_defaults", "billing_accounts", "stripe_events", "stripe_payloads", "stripe_objects"),
    *("webhook_secrets", "credentials", "audit", "parts", "workers", "hook_calls"),
}
NOBODYS = {"acting"}
"""Tables in which nobody has a right, and in which no row outlives its transaction."""
LISTED = {*OWN, *EVERYBODYS, *NOT_FOR_ENDUSERS, *NOBODYS}

# Said a second time, since the matrix is under test: who at most writes, and who reads, what decides over others.
WRITERS = {
    **dict.fromkeys(("acting", "audit", "logins", "leases", "quota_entries", "quota_closings", "schema_version"), ""),
    **dict.fromkeys(("entitlements", "plan_limits", "own_limits", "webhook_secrets"), ""),
    **dict.fromkeys(("pauses", "workers", "renditions", "procrastinate_workers", "procrastinate_events"), ""),
    **dict.fromkeys(("installation", "provider_defaults", "credentials", "plans", "quota_counters"), "superadmin"),
    "billing_accounts": "superadmin",
    "plan_prices": "cron superadmin worker",
    **dict.fromkeys(("users", "pods", "presets", "quota_limits", "quota_grants"), "admin superadmin"),
    "probes": "admin cron superadmin",
    "versions": "admin cron ingest superadmin",
    "units": "admin ingest superadmin",
    "stripe_payloads": "superadmin",
    "hook_calls": "superadmin worker",
}
READERS = {
    "acting": "",
    "audit": "superadmin",
    "credentials": "cron ingest superadmin worker",
    "stripe_payloads": "superadmin worker",
}
LOCKING = {"updated_at"}
"""Columns whose change is no change: to lock a row takes the right to update something."""
COLUMNS = {
    ("users", "admin", "UPDATE"): {"email", "name", "status", "updated_at", "deleted_at"},
    ("users", "admin", "INSERT"): {"email", "name", "role", "status"},
    ("files", "enduser", "UPDATE"): {"deleted_at"},
    ("files", "worker", "UPDATE"): {"error"},
    ("files", "cron", "UPDATE"): {
        "upload_progress",
        "upload_status",
        "verified_at",
        "error",
        "version_id",
        "lost_version_id",
        "purging_at",
    },
    ("versions", "cron", "UPDATE"): {"status"},
}

# What the functions of the schema `login`, which the provisioner owns, ask and note in the schema `app`.
PROVISIONER = {
    *("act", "expired_logins", "lock_user"),
    *("actor", "actor_role", "require_superadmin", "login_user", "login_of", "logins_of"),
    *("add_login", "drop_login", "end_login", "note_password", "service_user", "session_hours", "prefix"),
}

IN_FORCE = """
    WITH ours AS (SELECT oid FROM pg_namespace WHERE nspname IN ('app', 'login', 'queue'))
    SELECT coalesce(r.rolname, 'PUBLIC'), a.schema, a.name, a.privilege_type, a.col, a.is_grantable FROM (
        SELECT relnamespace::regnamespace::text AS schema, relname::text AS name, relowner AS owner, '' AS col, acl.*
        FROM pg_class, aclexplode(relacl) AS acl WHERE relnamespace IN (TABLE ours)
        UNION ALL
        SELECT relnamespace::regnamespace::text, relname, relowner, attname, acl.*
        FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid, aclexplode(attacl) AS acl
        WHERE relnamespace IN (TABLE ours)
        UNION ALL
        SELECT pronamespace::regnamespace::text, proname, proowner, '', acl.*
        FROM pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner))) AS acl
        WHERE pronamespace IN (TABLE ours)
        UNION ALL
        SELECT nspname, '', nspowner, '', acl.*
        FROM pg_namespace, aclexplode(coalesce(nspacl, acldefault('n', nspowner))) AS acl
        WHERE nspname IN ('app', 'login', 'queue')
        UNION ALL
        SELECT '', '', datdba, '', acl.* FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba))) AS acl
        WHERE datname = current_database()
        UNION ALL
        SELECT 'by default', defaclobjtype::text, defaclrole, '', acl.*
        FROM pg_default_acl, aclexplode(defaclacl) AS acl
        UNION ALL
        SELECT 'role', g.rolname, g.oid, '', m.grantor, m.member,
            concat_ws(' ', 'MEMBER', CASE WHEN inherit_option THEN 'INHERIT' END, CASE WHEN set_option THEN 'SET' END),
            m.admin_option
        FROM pg_auth_members AS m JOIN pg_roles AS g ON g.oid = m.roleid JOIN pg_roles AS p ON p.oid = m.member
        WHERE starts_with(g.rolname, current_database()) AND p.rolname NOT LIKE '%\\_provisioner' AND NOT p.rolsuper
        UNION ALL
        SELECT 'role', g.rolname, 0, '', m.grantor, m.member, 'OUTSIDE', m.admin_option
        FROM pg_auth_members AS m JOIN pg_roles AS g ON g.oid = m.roleid JOIN pg_roles AS p ON p.oid = m.member
        WHERE starts_with(p.rolname, current_database()) AND NOT starts_with(g.rolname, current_database())
        UNION ALL
        SELECT 'postgresql', object, owner, '', acl.*
        FROM (
            SELECT proname, proacl, proowner, 'pg_proc'::regclass, oid, 0 FROM pg_proc
            WHERE pronamespace = 'pg_catalog'::regnamespace
            UNION ALL
            SELECT relname, relacl, relowner, 'pg_class'::regclass, oid, 0 FROM pg_class
            WHERE relnamespace = 'pg_catalog'::regnamespace
            UNION ALL
            SELECT relname || '.' || attname, attacl, relowner, 'pg_class'::regclass, c.oid, attnum
            FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid WHERE relnamespace = 'pg_catalog'::regnamespace
            UNION ALL
            SELECT parname, paracl, 0, 'pg_parameter_acl'::regclass, oid, 0 FROM pg_parameter_acl
            UNION ALL
            SELECT spcname, spcacl, spcowner, 'pg_tablespace'::regclass, oid, 0 FROM pg_tablespace
            UNION ALL
            SELECT nspname, nspacl, nspowner, 'pg_namespace'::regclass, oid, 0 FROM pg_namespace
            WHERE nspname = 'public'
        ) AS own (object, given, owner, class, id, part), aclexplode(own.given) AS acl
        WHERE (grantee = 0 OR starts_with(grantee::regrole::text, current_database())) AND acl <> ALL (
            SELECT b FROM pg_init_privs AS born, aclexplode(born.initprivs) AS b
            WHERE (classoid, objoid, objsubid) = (class, own.id, part)
        )
        UNION ALL
        SELECT 'attribute', '', 0, '', 0, oid, attribute, false FROM pg_roles, unnest(ARRAY[
            CASE WHEN rolsuper THEN 'SUPERUSER' END, CASE WHEN rolcreaterole THEN 'CREATEROLE' END,
            CASE WHEN rolcreatedb THEN 'CREATEDB' END, CASE WHEN rolreplication THEN 'REPLICATION' END,
            CASE WHEN rolbypassrls THEN 'BYPASSRLS' END
        ]) AS attribute WHERE attribute IS NOT NULL AND starts_with(rolname, current_database())
    ) AS a LEFT JOIN pg_roles AS r ON r.oid = a.grantee WHERE a.grantee <> a.owner
"""
# A policy for a role is one that another role escapes; an expression that does not ask who acts lets everybody.
POLICIES = """
    SELECT tablename || ': ' || policyname FROM pg_policies WHERE schemaname = 'app' AND (
        roles <> '{public}' OR permissive <> 'PERMISSIVE'
        OR qual !~ '\\( SELECT app\\.' OR with_check !~ '\\( SELECT app\\.')
    UNION ALL
    SELECT relname FROM pg_class WHERE relnamespace = 'app'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
        AND NOT (relkind = 'r' AND relrowsecurity)
"""


def promised(everybody: Installation) -> set[tuple[Any, ...]]:
    """The rights that the matrix gives, and those that make the roles work, in the words of the catalogs."""
    name, owner = everybody.database, everybody.logins["owner"]
    groups = {role: rights.group(name, role) for role in rights.EVERYBODY}
    functions = (
        everybody.as_("superuser")
        .execute(
            "SELECT pronamespace::regnamespace::text, proname FROM pg_proc "
            "WHERE pronamespace = ANY (ARRAY['login', 'queue']::regnamespace[])"
        )
        .fetchall()
    )
    made = {(owner, "login", function, "EXECUTE", "", False) for schema, function in functions if schema == "login"}
    made |= {(owner, "login", "", "USAGE", "", False), (owner, "role", f"{name}_provisioner", "MEMBER SET", "", False)}
    made |= {(f"{name}_provisioner", "app", function, "EXECUTE", "", False) for function in PROVISIONER}
    made |= {(f"{name}_provisioner", "app", "", "USAGE", "", False)}
    made |= {(f"{name}_provisioner", "attribute", "", "CREATEROLE", "", False)}
    for group in groups.values():
        made |= {(group, schema, "", "USAGE", "", False) for schema in ("app", "login", "queue")}
        made |= {(group, "", "", "CONNECT", "", False)}
    # Who makes a role may grant it.
    made |= {(owner, "role", each, "MEMBER", "", True) for each in (*groups.values(), f"{name}_provisioner")}
    for who, login in everybody.logins.items():
        if who not in ("owner", "nobody"):
            made |= {(login, "role", groups[_role(who)], "MEMBER INHERIT", "", False)}
    for right in matrix(everybody):
        names = [f for s, f in functions if s == right.schema] if right.name == "every function" else [right.name]
        made |= {
            (groups[right.role], right.schema, each, right.privilege, column, False)
            for each in names
            for column in right.columns or ("",)
        }
    return made


def _role(who: str) -> str:
    return ACTORS.get(who) or {"rosa": "superadmin"}.get(who, "enduser")


def matrix(everybody: Installation) -> list[rights.Right]:
    """What matrix.sql says."""
    engine = create_engine(everybody.url("owner").replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)
    with engine.connect() as connection:
        return rights.matrix(connection)


def differences(connection: psycopg.Connection[Any], promise: set[tuple[Any, ...]]) -> set[Any]:
    """Rights that are in force and not promised, or the reverse, and policies that let everybody."""
    in_force = set(connection.execute(IN_FORCE).fetchall())
    return (in_force ^ promise) | set(connection.execute(POLICIES).fetchall())


class Row(NamedTuple):
    """A row of a table: how to find it, its values, and whose it is."""

    where: str
    values: str
    owners: list[int]
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the schema `app` with its rows, and the columns that a statement may name."""

    name: str
    key: list[str]
    columns: list[str]
    writable: list[str]
    rows: list[Row]


def tables(everybody: Installation) -> list[Table]:
    """Every table of the schema `app`, as a superuser sees it; fails for one that stands in no list above."""
    found = (
        everybody.as_("superuser")
        .execute("""
        SELECT c.relname, array_agg(a.attname ORDER BY attnum) FILTER (WHERE attnum = ANY (i.indkey)),
            array_agg(a.attname ORDER BY attnum), array_agg(a.attname ORDER BY attnum) FILTER (WHERE attidentity = '')
        FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND attnum > 0 AND NOT attisdropped
        LEFT JOIN pg_index AS i ON i.indrelid = c.oid AND i.indisprimary
        WHERE relnamespace = 'app'::regnamespace AND relkind IN ('r', 'p') GROUP BY 1 ORDER BY 1
    """)
        .fetchall()
    )
    assert {name for name, *_ in found} == LISTED, "a table is in no list of whose its rows are"
    return [Table(name, key, columns, writable, _rows(everybody, name, key)) for name, key, columns, writable in found]


def _rows(everybody: Installation, table: str, key: list[str]) -> list[Row]:
    where = ", ".join(f"format('%I = %L', '{column}', t.{column})" for column in key)
    owners = OWN.get(table, "ARRAY[]::bigint[]")
    query = f"SELECT concat_ws(' AND ', {where}), to_jsonb(t)::text, {owners}, to_jsonb(t) FROM app.{table} AS t"
    # Of the record of changes a few are enough.
    return [Row(*row) for row in everybody.as_("superuser").execute(f"{query} ORDER BY 1 LIMIT 15").fetchall()]


def expected(
    everybody: Installation, given: Iterable[rights.Right], table: Table, actors: Iterable[str] = tuple(ACTORS)
) -> dict[tuple[str, str], list[str]]:
    """What becomes of each command of everybody on each row of a table: `done`, `hidden`, or the refusal's SQLSTATE."""
    mine = {(right.role, right.privilege): right.columns for right in given if right.name == table.name}
    return {
        (who, command): [
            _fate(everybody, who, command, table.name, row, (ACTORS[who], command) in mine) for row in table.rows
        ]
        for who in actors
        for command in COMMANDS
    }


def _fate(everybody: Installation, who: str, command: str, table: str, row: Row, granted: bool) -> str:
    if not granted:
        return "42501"
    if who == "stranger":
        return (
            "42501" if (table, command) == ("operations", "INSERT") and not _own_login(everybody, who, row) else "28000"
        )
    seen = _touches(everybody, who, "SELECT", table, row)
    if command == "INSERT":
        return "done" if _touches(everybody, who, command, table, row) else "42501"
    if not (seen and _touches(everybody, who, command, table, row)):
        return "hidden"
    # Who sees all operations still writes none but his own.
    return "42501" if (table, command) == ("operations", "UPDATE") and not _own_login(everybody, who, row) else "done"


def _own_login(everybody: Installation, who: str, row: Row) -> bool:
    return bool(row.facts["login"] == everybody.logins[who])


def _touches(everybody: Installation, who: str, command: str, table: str, row: Row) -> bool:
    """Whether the policies let somebody have this row for this command, if he may have it for it at all."""
    role = ACTORS[who]
    own = everybody.facts[who if who in everybody.facts else f"user_{who}"] in row.owners
    if table == "operations":
        return _own_login(everybody, who, row) if command == "INSERT" else own or role == "superadmin"
    if role == "superadmin" or table in EVERYBODYS:
        return True
    if table == "users" and command != "SELECT":
        return role != "enduser" and row.facts["role"] == "enduser"
    if table == "logins" and role != "admin":
        return own
    return own or role != "enduser"


# Try statements one by one and take each back; what a table's own constraints refuse, nobody forbade.
TRIED = """
    CREATE FUNCTION pg_temp.tried(statements text[]) RETURNS text[] LANGUAGE plpgsql AS $$
    DECLARE
        statement text;
        touched bigint;
        fate text;
        fates text[] := '{}';
    BEGIN
        FOREACH statement IN ARRAY statements LOOP
            BEGIN
                EXECUTE statement;
                GET DIAGNOSTICS touched = ROW_COUNT;
                RAISE EXCEPTION USING ERRCODE = CASE WHEN touched > 0 THEN 'ZZ001' ELSE 'ZZ000' END;
            EXCEPTION WHEN OTHERS THEN
                fate := CASE WHEN SQLSTATE = 'ZZ001' OR SQLSTATE LIKE '23%' THEN 'done'
                             WHEN SQLSTATE = 'ZZ000' THEN 'hidden' ELSE SQLSTATE END;
            END;
            fates := fates || fate;
        END LOOP;
        RETURN fates;
    END $$
"""


def observed(
    everybody: Installation,
    given: Iterable[rights.Right],
    table: Table,
    connection: psycopg.Connection[Any],
    actors: Iterable[str] = tuple(ACTORS),
) -> dict[tuple[str, str], list[str]]:
    """The same as `expected`, tried out in the transaction of a superuser who takes on each login in turn."""
    mine = {(right.role, right.privilege): right.columns for right in given if right.name == table.name}
    fates = {}
    for who in actors:
        statements = [
            _statement(table, command, mine.get((ACTORS[who], command), ()), row)
            for command in COMMANDS
            for row in table.rows
        ]
        connection.execute(f"SET LOCAL SESSION AUTHORIZATION {everybody.logins[who]}")
        found = connection.execute("SELECT pg_temp.tried(%s)", [statements]).fetchone()
        connection.execute("SET LOCAL SESSION AUTHORIZATION DEFAULT")
        assert found
        for place, command in enumerate(COMMANDS):
            fates[who, command] = found[0][place * len(table.rows) : (place + 1) * len(table.rows)]
    return fates


def _statement(table: Table, command: str, columns: Sequence[str], row: Row) -> str:
    name = f"app.{table.name}"
    if command == "SELECT":
        return f"SELECT {', '.join(table.key)} FROM {name} WHERE {row.where}"
    if command == "INSERT":
        named = ", ".join(f'"{column}"' for column in columns or table.columns)
        values = row.values.replace("'", "''")
        return (
            f"INSERT INTO {name} ({named}) OVERRIDING SYSTEM VALUE "
            f"SELECT {named} FROM jsonb_populate_record(NULL::{name}, '{values}')"
        )
    if command == "UPDATE":
        column = (columns or table.writable)[0]
        return f"UPDATE {name} SET {column} = {column} WHERE {row.where}"
    return f"DELETE FROM {name} WHERE {row.where}"


CONTENTS = """
    SELECT string_agg(format(
        $$SELECT %L, md5(string_agg(t::text, '' ORDER BY t::text)) FROM app.%I AS t$$, relname, relname
    ), ' UNION ALL ') FROM pg_class WHERE relnamespace = 'app'::regnamespace AND relkind = 'r'
"""
ROLES = """
    SELECT md5(string_agg(r::text || coalesce(p.rolpassword, ''), '' ORDER BY r.rolname))
    FROM pg_roles AS r JOIN pg_authid AS p USING (oid)
"""


def state(everybody: Installation) -> list[Any]:
    """All rows of the schema `app`, and all roles with their verifiers, as fingerprints."""
    found = everybody.as_("superuser").execute(everybody.value(CONTENTS)).fetchall()
    return [*sorted(found), everybody.value(ROLES)]
