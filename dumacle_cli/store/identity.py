"""Putting identity into force: PostgreSQL roles, who acts, which rows, which rights, and what is recorded of it."""

from psycopg import sql as words
from sqlalchemy import Connection, text

from dumacle_cli.store import rights, sql

FOR_PROVISIONER = (
    "actor",
    "actor_role",
    "lock_user",
    "require_superadmin",
    "login_user",
    "login_of",
    "logins_of",
    "add_login",
    "drop_login",
    "end_login",
    "note_password",
    "service_user",
    "session_hours",
    "prefix",
)
_PROVISIONED = """
    ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
    REVOKE ALL ON ALL FUNCTIONS IN SCHEMA login FROM PUBLIC;
    GRANT USAGE ON SCHEMA login TO {owner}, {groups};
    GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA login TO {owner};
"""
_QUEUE_DEFINERS = """
DO $$
DECLARE
    function regprocedure;
BEGIN
    FOR function IN SELECT oid FROM pg_proc WHERE pronamespace = 'queue'::regnamespace LOOP
        EXECUTE format('ALTER FUNCTION %s SECURITY DEFINER', function);
    END LOOP;
END $$
"""
_REGROUP = """
    SELECT login.regroup(l.role, coalesce(l.duty, u.role)) FROM app.logins AS l JOIN app.users AS u ON u.id = l.user_id
    WHERE to_regrole(quote_ident(l.role)) IS NOT NULL
"""
_COMPLETE = """
    SELECT bool_and(coalesce(
        n.nspowner = to_regrole(quote_ident(prefix || '_provisioner'))
            AND has_schema_privilege(to_regrole(quote_ident(prefix || '_' || role || 's')), 'app', 'USAGE')
            AND has_database_privilege(
                to_regrole(quote_ident(prefix || '_' || role || 's')), current_database(), 'CONNECT'),
        false))
    FROM app.installation, pg_namespace AS n, unnest(CAST(:roles AS text[])) AS role WHERE n.nspname = 'login'
"""


def install(connection: Connection) -> None:
    """Make roles, functions, policies, rights and the record what this release says they are, in one transaction.

    To be run by the owner of the database, who needs CREATEROLE. A database that was restored into another cluster has
    no roles: this makes them again, by the same prefix; one restored beside its original takes a prefix of its own.
    """
    sql.load(connection, "roles")
    for name in ("identity", "policies", "audit"):
        sql.load(connection, name)
    sql.run(connection, _QUEUE_DEFINERS)
    prefix = str(connection.execute(text("SELECT prefix FROM app.installation")).scalar_one())
    _provision(connection, prefix)
    rights.apply(connection, prefix)
    _let_provisioner_ask(connection, prefix)
    connection.execute(text(_REGROUP))


def is_complete(connection: Connection) -> bool:
    """Tell whether the roles of this installation are there with their rights, which a restore may leave behind."""
    return connection.execute(text(_COMPLETE), {"roles": list(rights.EVERYBODY)}).scalar() is True


def _provision(connection: Connection, prefix: str) -> None:
    owner = str(connection.execute(text("SELECT current_user")).scalar_one())
    names = {
        "owner": words.Identifier(owner),
        "groups": words.SQL(", ").join(words.Identifier(rights.group(prefix, role)) for role in rights.EVERYBODY),
    }
    with rights.acting_as(connection, f"{prefix}_provisioner"):
        sql.load(connection, "logins")
        sql.run(connection, words.SQL(_PROVISIONED).format(**names).as_string())


def _let_provisioner_ask(connection: Connection, prefix: str) -> None:
    provisioner = words.Identifier(f"{prefix}_provisioner")
    functions = words.SQL(", ").join(words.Identifier("app", name) for name in FOR_PROVISIONER)
    sql.run(connection, words.SQL("GRANT EXECUTE ON FUNCTION {} TO {}").format(functions, provisioner).as_string())
