"""What could be looser: each right that a group has not, each policy that lets everybody, and what else."""

from typing import Any

import psycopg

from dumacle_cli.store import rights

GRANTEES = (*rights.EVERYBODY, "PUBLIC")


WIDER = {
    "a group for an admin": "GRANT {P}_superadmins TO {login_admin}",
    "a group that he may become": "GRANT {P}_admins TO {login_admin} WITH SET TRUE",
    "a right with the option to grant it": "GRANT SELECT ON app.files TO {P}_admins WITH GRANT OPTION",
    "a right of his own": "GRANT SELECT ON app.credentials TO {login_admin}",
    "temporary tables": "GRANT TEMPORARY ON DATABASE {P} TO PUBLIC",
    "the database for everybody": "GRANT CONNECT ON DATABASE {P} TO PUBLIC",
    "an attribute": "ALTER ROLE {login_admin} CREATEROLE",
    "past the policies": "ALTER ROLE {login_admin} BYPASSRLS",
    "rights by default": "ALTER DEFAULT PRIVILEGES FOR ROLE {O} IN SCHEMA app GRANT SELECT ON TABLES TO {P}_admins",
    "a role of PostgreSQL's own": "GRANT pg_read_all_data TO {login_admin}",
    "the same for a group": "GRANT pg_signal_backend TO {P}_endusers",
    "a function of PostgreSQL's own": "GRANT EXECUTE ON FUNCTION pg_read_file(text) TO PUBLIC",
    "a table of PostgreSQL's own": "GRANT SELECT ON pg_authid TO {P}_admins",
    "a column of PostgreSQL's own": "GRANT SELECT (rolpassword) ON pg_authid TO {login_ada}",
    "a setting of superusers": "GRANT SET ON PARAMETER session_replication_role TO {login_admin}",
    "another schema": "GRANT CREATE ON SCHEMA public TO PUBLIC",
    "a tablespace": "GRANT CREATE ON TABLESPACE pg_default TO {P}_workers",
    "a view": "CREATE VIEW app.x AS SELECT * FROM app.credentials",
    "a policy for a role": "CREATE POLICY x ON app.files TO {P}_admins USING ((SELECT app.sees_all()))",
    "a right less": "REVOKE SELECT ON app.files FROM {P}_endusers",
}


BOUND = ("admin", "ada", "stranger")
"""Those whom policies keep from rows; the others see all where they may read at all."""
UNCHECKED = {
    *("app.users", "app.installation", "app.schema_version", "app.leases", "app.renditions"),
    *(
        "app.quota_entries",
        "app.quota_closings",
        "app.entitlements",
        "app.plan_limits",
        "app.own_limits",
        "app.webhook_secrets",
        "app.workers",
        "app.pauses",
        "app.hook_calls",
    ),
    "app.pods",  # a trigger asks who acts, too
}


def missing(
    connection: psycopg.Connection[Any], to: str, promise: set[tuple[Any, ...]]
) -> list[tuple[str, str, str, str, str]]:
    """Every right that a group has not on tables, their columns, sequences, functions and schemas."""
    every = []
    privileges = connection.execute("SELECT privilege_type FROM aclexplode(acldefault('r', 1))").fetchall()
    tables = connection.execute(
        "SELECT relnamespace::regnamespace::text, relname, relkind, "
        "ARRAY(SELECT attname FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped) "
        "FROM pg_class AS c WHERE relkind IN ('r', 'S') AND relnamespace = ANY (ARRAY['app', 'queue']::regnamespace[])"
    ).fetchall()
    for schema, name, kind, columns in tables:
        if kind == "S":
            every += [(schema, name, word, "", f"SEQUENCE {schema}.{name}") for word in ("USAGE", "SELECT", "UPDATE")]
            continue
        every += [(schema, name, word, "", f"{schema}.{name}") for (word,) in privileges]
        every += [
            (schema, name, word, each, f"{schema}.{name}")
            for word in ("SELECT", "INSERT", "UPDATE")
            for each in columns
        ]
    functions = connection.execute(
        "SELECT pronamespace::regnamespace::text, proname, oid::regprocedure::text FROM pg_proc "
        "WHERE pronamespace = ANY (ARRAY['app', 'login', 'queue']::regnamespace[])"
    ).fetchall()
    every += [(schema, name, "EXECUTE", "", f"FUNCTION {signature}") for schema, name, signature in functions]
    every += [(schema, "", "CREATE", "", f"SCHEMA {schema}") for schema in ("app", "login", "queue")]
    return [each for each in every if (to, *each[:4], False) not in promise]


def loosenings(table: str, policy: str, command: str) -> list[str]:
    using, check = command != "INSERT", command not in ("SELECT", "DELETE")
    clauses = (
        ["USING (true)"] * using
        + ["WITH CHECK (true)"] * check
        + ["USING (true) WITH CHECK (true)"] * (using and check)
    )
    return [f"ALTER POLICY {policy} ON app.{table} {clause}" for clause in clauses] + [
        f"ALTER TABLE app.{table} DISABLE ROW LEVEL SECURITY"
    ]
