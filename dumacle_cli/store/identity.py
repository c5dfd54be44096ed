"""Installing identity: PostgreSQL roles, the acting user, row visibility, rights, and the audit log."""

from psycopg import sql as words
from sqlalchemy import Connection, text

from dumacle_cli.store import rights, sql

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


def install(connection: Connection, read: sql.Read = sql.read) -> None:
    """Install roles, functions, policies, rights and audit triggers from the SQL files, in one transaction.

    The files are those of this release, or, in a migration, what `read` returns.
    Run by the owner of the database, who needs CREATEROLE. A database restored into another cluster has no roles: this
    creates them again with the same prefix; one restored next to its original takes a prefix of its own.
    """
    for name in ("roles", "identity", "erasure", "policies", "audit"):
        sql.run(connection, read(name))
    sql.run(connection, _QUEUE_DEFINERS)
    prefix = str(connection.execute(text("SELECT prefix FROM app.installation")).scalar_one())
    _provision(connection, prefix, read)
    rights.apply(connection, prefix, read)
    _let_provisioner_ask(connection, prefix, read)
    connection.execute(text(_REGROUP))


def is_complete(connection: Connection) -> bool:
    """Return whether the roles of this installation exist with their rights; a restore may lack them."""
    return connection.execute(text(_COMPLETE), {"roles": list(rights.EVERYBODY)}).scalar() is True


def for_provisioner(connection: Connection, read: sql.Read = sql.read) -> list[str]:
    """Return the names of the functions in the schema `app` that the provisioner may call."""
    return list(connection.execute(text(read("provisioner"))).scalars())


def _provision(connection: Connection, prefix: str, read: sql.Read) -> None:
    owner = str(connection.execute(text("SELECT current_user")).scalar_one())
    names = {
        "owner": words.Identifier(owner),
        "groups": words.SQL(", ").join(words.Identifier(rights.group(prefix, role)) for role in rights.EVERYBODY),
    }
    with rights.acting_as(connection, f"{prefix}_provisioner"):
        sql.run(connection, read("logins"))
        sql.run(connection, words.SQL(_PROVISIONED).format(**names).as_string())


def _let_provisioner_ask(connection: Connection, prefix: str, read: sql.Read) -> None:
    provisioner = words.Identifier(f"{prefix}_provisioner")
    functions = words.SQL(", ").join(words.Identifier("app", name) for name in for_provisioner(connection, read))
    sql.run(connection, words.SQL("GRANT EXECUTE ON FUNCTION {} TO {}").format(functions, provisioner).as_string())
