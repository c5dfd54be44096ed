"""The rights in PostgreSQL's catalogs, compared with those in matrix.sql."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from psycopg import sql
from sqlalchemy import Connection, text

from dumacle_cli.store import identity, rights
from dumacle_cli.store.lints import Fault

PUBLIC = "PUBLIC"


class Privilege(NamedTuple):
    """A privilege of a role on a target, both as written in SQL: `SELECT (email)` on `TABLE app.users`."""

    role: str
    privilege: str
    target: str


def differences(connection: Connection) -> list[Fault]:
    """Return each surplus right and each missing right, with the statement that fixes it."""
    actual = {Privilege(*row) for row in connection.execute(text(_ACTUAL))}
    expected = set(_expected(connection))
    surplus = [_difference(each, "has", "REVOKE", "FROM") for each in sorted(actual - expected)]
    return surplus + [_difference(each, "lacks", "GRANT", "TO") for each in sorted(expected - actual)]


def _difference(right: Privilege, verb: str, statement: str, preposition: str) -> Fault:
    role = right.role if right.role == PUBLIC else sql.Identifier(right.role).as_string()
    finding = f"{right.role} {verb} {right.privilege} on {right.target}"
    return Fault(finding, f"{statement} {right.privilege} ON {right.target} {preposition} {role}")


def _expected(connection: Connection) -> Iterator[Privilege]:
    """Iterate over the rights that `identity.install` grants."""
    prefix, database = connection.execute(text(_NAMES)).one()
    yield Privilege(f"{prefix}_provisioner", "USAGE", "SCHEMA app")
    for name in identity.for_provisioner(connection):
        yield Privilege(f"{prefix}_provisioner", "EXECUTE", f"FUNCTION app.{name}")
    queue = connection.scalars(text(_QUEUE)).all()
    quoted = {str(row[0]): str(row[1]) for row in connection.execute(text(_COLUMNS))}
    for role in rights.EVERYBODY:
        group = rights.group(prefix, role)
        yield Privilege(group, "CONNECT", f"DATABASE {database}")
        yield from (Privilege(group, "USAGE", f"SCHEMA {schema}") for schema in ("app", "login", "queue"))
    for right in rights.matrix(connection):
        group = rights.group(prefix, right.role)
        yield from (Privilege(group, privilege, target) for privilege, target in _in_sql(right, queue, quoted))


def _in_sql(right: rights.Right, queue: Sequence[str], quoted: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    if right.privilege == "EXECUTE":
        names = queue if right.name == "every function" else [right.name]
        yield from (("EXECUTE", f"FUNCTION {right.schema}.{name}") for name in names)
        return
    for privilege in [f"{right.privilege} ({quoted[column]})" for column in right.columns] or [right.privilege]:
        yield privilege, f"TABLE {right.schema}.{right.name}"


_NAMES = "SELECT prefix, quote_ident(current_database()) FROM app.installation"
_COLUMNS = """
    SELECT DISTINCT a.attname::text, quote_ident(a.attname)
    FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
    WHERE c.relnamespace = to_regnamespace('app') AND a.attnum > 0 AND NOT a.attisdropped
"""
_QUEUE = "SELECT DISTINCT proname::text FROM pg_proc WHERE pronamespace = to_regnamespace('queue') ORDER BY 1"

# Without any grant PostgreSQL stores no ACL, and its defaults apply. Excluded are the rights of owners, who have all of
# them anyway (the owner of the schema also has the provisioner's), and USAGE on `public`, which every role has.
_ACTUAL = """
    WITH ours AS (
        SELECT oid, nspname, nspowner, nspacl FROM pg_namespace WHERE nspname IN ('app', 'login', 'queue')
    ), objects (target, suffix, owner, acl) AS (
        SELECT format('%s %I.%I', CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, n.nspname, c.relname), '',
            c.relowner, c.relacl
        FROM ours AS n JOIN pg_class AS c ON c.relnamespace = n.oid
        UNION ALL
        SELECT format('TABLE %I.%I', n.nspname, c.relname), format(' (%I)', a.attname), c.relowner, a.attacl
        FROM ours AS n JOIN pg_class AS c ON c.relnamespace = n.oid JOIN pg_attribute AS a ON a.attrelid = c.oid
        UNION ALL
        SELECT format('FUNCTION %I.%I', n.nspname, p.proname), '', p.proowner,
            coalesce(p.proacl, acldefault('f', p.proowner))
        FROM ours AS n JOIN pg_proc AS p ON p.pronamespace = n.oid
        UNION ALL
        SELECT format('SCHEMA %I', nspname), '', nspowner, nspacl FROM ours
        UNION ALL
        SELECT 'SCHEMA public', '', nspowner, nspacl FROM pg_namespace WHERE nspname = 'public'
        UNION ALL
        SELECT format('DATABASE %I', datname), '', datdba, coalesce(datacl, acldefault('d', datdba))
        FROM pg_database WHERE datname = current_database()
    )
    SELECT coalesce(r.rolname::text, 'PUBLIC'), concat(option, a.privilege_type, o.suffix), o.target
    FROM objects AS o CROSS JOIN aclexplode(o.acl) AS a LEFT JOIN pg_roles AS r ON r.oid = a.grantee
    CROSS JOIN unnest(CASE WHEN a.is_grantable THEN ARRAY['', 'GRANT OPTION FOR '] ELSE ARRAY[''] END) AS option
    WHERE a.grantee NOT IN (o.owner, (SELECT nspowner FROM ours WHERE nspname = 'app'))
        AND (o.target <> 'SCHEMA public' OR a.privilege_type <> 'USAGE')
"""
