"""Rights in PostgreSQL: the groups, the matrix of their rights, and applying it."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache

from psycopg import sql as words
from sqlalchemy import Connection, text

from dumacle_cli.store import sql

ROLES = ("superadmin", "admin", "enduser")
DUTIES = ("ingest", "worker", "listener", "cron")
EVERYBODY = (*ROLES, *DUTIES)
_PRIVILEGES = {"S": "SELECT", "I": "INSERT", "U": "UPDATE", "D": "DELETE", "X": "EXECUTE"}
_SCHEMAS = {"table": "app", "function": "app", "login": "login", "queue": "queue"}


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One privilege of one role or duty on a table or function; without `columns`, on all columns."""

    role: str
    schema: str
    name: str
    privilege: str
    columns: tuple[str, ...] = ()


def matrix(connection: Connection, read: sql.Read = sql.read) -> list[Right]:
    """Return every right in matrix.sql, in its order; `(*)` is all columns except those that PostgreSQL fills."""
    free = {name: tuple(columns) for name, columns in connection.execute(_FREE)}
    rows = connection.execute(text(read("matrix"))).mappings()
    return [_on_columns(right, free) for row in rows for right in of_row(dict(row))]


# The columns of each table, except those that PostgreSQL fills: ids and creation times.
_FREE = text("""
    SELECT c.relname, array_agg(a.attname::text ORDER BY a.attnum)
    FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relnamespace = 'app'::regnamespace AND c.relkind = 'r'
        AND a.attidentity = '' AND NOT (a.attname = 'created_at' AND a.atthasdef)
    GROUP BY c.relname
""")


def _on_columns(right: Right, free: dict[str, tuple[str, ...]]) -> Right:
    return replace(right, columns=free[right.name]) if right.columns == ("*",) else right


def of_row(row: dict[str, str]) -> Iterator[Right]:
    """Iterate over the rights in a row of matrix.sql."""
    for role in EVERYBODY:
        for word in row[role].split():
            letter, _, columns = word.rstrip(")").partition("(")
            listed = tuple(columns.split(",")) if columns else ()
            yield Right(role, _SCHEMAS[row["kind"]], row["name"], _PRIVILEGES[letter], listed)


def group(prefix: str, role: str) -> str:
    """Return the PostgreSQL group of a role or duty."""
    return f"{prefix}_{role}s"


def apply(connection: Connection, prefix: str, read: sql.Read = sql.read) -> None:
    """Grant exactly the rights in the matrix; run by the owner of the schemas."""
    groups = {role: _quoted(group(prefix, role)) for role in EVERYBODY}
    given = matrix(connection, read)
    sql.run(connection, _CLEAR.format(groups=", ".join(groups.values())))
    sql.run(connection, _script([right for right in given if right.schema != "login"], groups))
    with acting_as(connection, f"{prefix}_provisioner"):
        sql.run(connection, _script([right for right in given if right.schema == "login"], groups))


@contextmanager
def acting_as(connection: Connection, role: str) -> Iterator[None]:
    """Run statements as another role, which then owns what they create."""
    sql.run(connection, words.SQL("SET LOCAL ROLE {}").format(words.Identifier(role)).as_string())
    yield
    sql.run(connection, "RESET ROLE")


_CLEAR = """
    REVOKE ALL ON ALL TABLES IN SCHEMA app, queue FROM PUBLIC, {groups};
    REVOKE ALL ON ALL SEQUENCES IN SCHEMA app, queue FROM PUBLIC, {groups};
    REVOKE ALL ON ALL FUNCTIONS IN SCHEMA app, queue FROM PUBLIC, {groups};
    REVOKE ALL ON SCHEMA app, queue FROM PUBLIC, {groups};
    GRANT USAGE ON SCHEMA app, queue TO {groups}
"""


def _script(given: Iterable[Right], groups: Mapping[str, str]) -> str:
    """Write the statements that give these rights, one for all groups that have the same."""
    having: dict[str, list[str]] = {}
    for right in given:
        having.setdefault(_privilege(right), []).append(groups[right.role])
    return ";\n".join(f"GRANT {privilege} TO {', '.join(names)}" for privilege, names in having.items())


def _privilege(right: Right) -> str:
    columns = f" ({', '.join(map(_quoted, right.columns))})" if right.columns else ""
    if right.name == "every function":
        target = f"ALL FUNCTIONS IN SCHEMA {_quoted(right.schema)}"
    else:
        kind = "FUNCTION" if right.privilege == "EXECUTE" else "TABLE"
        target = f"{kind} {_quoted(right.schema)}.{_quoted(right.name)}"
    return f"{right.privilege}{columns} ON {target}"


@cache
def _quoted(name: str) -> str:
    return words.Identifier(name).as_string()
