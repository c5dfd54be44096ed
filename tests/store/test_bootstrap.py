"""The bootstrap: a database that its owner can migrate and that nobody else may enter."""

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from sqlalchemy import URL

from dumacle_cli.errors import DatabaseTooOldServer
from dumacle_cli.store import bootstrap, revisions, rights, schema

pytestmark = pytest.mark.integration

PASSWORD = "it's a % \\ secret"
DATABASE = "the media"
OWNER = "test owner"


@pytest.fixture
def root(cluster: dict[str, str]) -> Iterator[psycopg.Connection]:
    """A superuser's connection; what the tests made in the cluster is dropped in the end."""
    with psycopg.connect(**cluster, dbname="postgres", autocommit=True) as connection:
        yield connection
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(DATABASE)))
        groups = (f"{DATABASE}_{role}s" for role in rights.EVERYBODY)
        for role in (*groups, f"{DATABASE}_provisioner", OWNER, "test_admin", "test_stranger"):
            connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))


def conninfo(cluster: dict[str, str], **changes: str) -> str:
    return make_conninfo("", **{**cluster, "dbname": "postgres", **changes})


def login(root: psycopg.Connection, role: str, attributes: str) -> str:
    password = secrets.token_urlsafe()
    statement = f"CREATE ROLE {{}} LOGIN {attributes} PASSWORD {{}}"
    root.execute(sql.SQL(statement).format(sql.Identifier(role), sql.Literal(password)))
    return password


def test_makes_what_is_missing_and_is_safe_to_repeat(cluster: dict[str, str], root: psycopg.Connection) -> None:
    admin = conninfo(cluster)
    assert bootstrap.bootstrap(admin, DATABASE, OWNER, PASSWORD) == bootstrap.Bootstrapped(True, True, True)
    assert bootstrap.bootstrap(admin, DATABASE, OWNER, PASSWORD) == bootstrap.Bootstrapped(False, False, False)
    rights = root.execute("SELECT rolsuper, rolcreaterole, rolcanlogin FROM pg_roles WHERE rolname = %s", [OWNER])
    assert rights.fetchone() == (False, True, True)


def test_several_at_once_make_it_once(cluster: dict[str, str], root: psycopg.Connection) -> None:
    with ThreadPoolExecutor(8) as hosts:
        made = list(hosts.map(lambda _: bootstrap.bootstrap(conninfo(cluster), DATABASE, OWNER, PASSWORD), range(8)))
    assert sorted(made, key=astuple) == [
        *[bootstrap.Bootstrapped(False, False, False)] * 7,
        bootstrap.Bootstrapped(True, True, True),
    ]


def test_the_owner_can_migrate_without_being_superuser(cluster: dict[str, str], root: psycopg.Connection) -> None:
    bootstrap.bootstrap(conninfo(cluster), DATABASE, OWNER, PASSWORD)
    place = {key: cluster[key] for key in ("host", "port")}
    url = URL.create("postgresql", OWNER, PASSWORD, database=DATABASE, query=place)
    schema.upgrade(url)
    schema.downgrade(url, "base")
    schema.upgrade(url)
    with psycopg.connect(conninfo(cluster, dbname=DATABASE)) as inside:
        owners = inside.execute(
            "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname IN ('app', 'queue')"
        ).fetchall()
    assert owners == [(OWNER,)]


def test_nobody_else_may_enter(cluster: dict[str, str], root: psycopg.Connection) -> None:
    bootstrap.bootstrap(conninfo(cluster), DATABASE, OWNER, PASSWORD)
    password = login(root, "test_stranger", "")
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(conninfo(cluster, dbname=DATABASE, user="test_stranger", password=password))


def test_an_administrator_need_not_be_superuser(cluster: dict[str, str], root: psycopg.Connection) -> None:
    password = login(root, "test_admin", "CREATEROLE CREATEDB")
    admin = conninfo(cluster, user="test_admin", password=password)
    for made in (True, False):
        assert bootstrap.bootstrap(admin, DATABASE, OWNER, PASSWORD) == bootstrap.Bootstrapped(made, made, False)
    with psycopg.connect(conninfo(cluster, dbname=DATABASE, user=OWNER, password=PASSWORD)) as owner:
        assert owner.execute("SELECT current_user").fetchone() == (OWNER,)
    root.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(DATABASE)))
    root.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(OWNER)))


def test_what_is_missing_is_said_before(cluster: dict[str, str], root: psycopg.Connection) -> None:
    admin = conninfo(cluster)
    assert bootstrap.missing(admin, DATABASE, OWNER) == bootstrap.Bootstrapped(True, True, True)
    bootstrap.bootstrap(admin, DATABASE, OWNER, PASSWORD)
    assert bootstrap.missing(admin, DATABASE, OWNER) == bootstrap.Bootstrapped(False, False, False)
    with psycopg.connect(conninfo(cluster, dbname=DATABASE)) as inside:
        inside.execute("DROP EVENT TRIGGER dumacle_guard")
    assert bootstrap.missing(admin, DATABASE, OWNER) == bootstrap.Bootstrapped(False, False, True)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("CREATE TABLE app.mine (id int)", "only the owner of the schema may do that: CREATE TABLE"),
        ("CREATE TEMPORARY TABLE mine (id int)", "only the owner of the schema may do that: CREATE TABLE"),
        ("DROP EVENT TRIGGER dumacle_guard", "must be owner of event trigger"),
        ("DROP SCHEMA dumacle_guard CASCADE", "only the owner of the schema may do that: DROP SCHEMA"),
        ("SELECT lo_from_bytea(0, 'x')", "permission denied for function lo_from_bytea"),
        ("SELECT lo_create(0)", "permission denied for function lo_create"),
        ("SELECT pg_logical_emit_message(false, 'x', 'x')", "permission denied for function pg_logical_emit_message"),
    ],
)
def test_the_guard_holds_against_rights_given_by_mistake(
    cluster: dict[str, str], root: psycopg.Connection, statement: str, said: str
) -> None:
    bootstrap.bootstrap(conninfo(cluster), DATABASE, OWNER, PASSWORD)
    with psycopg.connect(conninfo(cluster, dbname=DATABASE, user=OWNER, password=PASSWORD)) as owner:
        owner.execute("CREATE SCHEMA app")
    password = login(root, "test_stranger", "")
    with psycopg.connect(conninfo(cluster, dbname=DATABASE)) as inside:
        inside.execute("GRANT ALL ON SCHEMA app TO test_stranger")
        inside.execute(
            sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO test_stranger").format(sql.Identifier(DATABASE))
        )
    stranger = psycopg.connect(conninfo(cluster, dbname=DATABASE, user="test_stranger", password=password))
    with stranger, pytest.raises(psycopg.errors.InsufficientPrivilege, match=said):
        stranger.execute(statement.encode())


def test_a_sort_has_a_limit_that_no_login_raises(cluster: dict[str, str], root: psycopg.Connection) -> None:
    bootstrap.bootstrap(conninfo(cluster), DATABASE, OWNER, PASSWORD)
    password = login(root, "test_stranger", "")
    root.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO test_stranger").format(sql.Identifier(DATABASE)))
    stranger = conninfo(cluster, dbname=DATABASE, user="test_stranger", password=password)
    with psycopg.connect(stranger, autocommit=True) as inside:
        for more in ("SET temp_file_limit = -1", "ALTER ROLE test_stranger SET temp_file_limit = -1"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                inside.execute(more.encode())
        assert inside.execute("SHOW temp_file_limit").fetchone() == ("1GB",)
    with psycopg.connect(conninfo(cluster, dbname=DATABASE, user=OWNER, password=PASSWORD)) as owner:
        assert owner.execute("SHOW temp_file_limit").fetchone() == ("-1",)


def test_the_owner_hands_reserved_connections_on_to_superadmins(
    cluster: dict[str, str], root: psycopg.Connection
) -> None:
    bootstrap.bootstrap(conninfo(cluster), DATABASE, OWNER, PASSWORD)
    url = URL.create("postgresql", OWNER, PASSWORD, database=DATABASE, query={"host": cluster["host"]})
    schema.upgrade(url)
    asked = "SELECT pg_has_role(%s, 'pg_use_reserved_connections', 'USAGE')"
    found = {role: root.execute(asked, [f"{DATABASE}_{role}s"]).fetchone() for role in rights.EVERYBODY}
    assert found == {role: (role == "superadmin",) for role in rights.EVERYBODY}
    # An earlier release made the group, and its owner could not.
    root.execute(sql.SQL("REVOKE pg_use_reserved_connections FROM {} CASCADE").format(sql.Identifier(OWNER)))
    bootstrap.bootstrap(conninfo(cluster), DATABASE, OWNER, PASSWORD)
    assert root.execute(asked, [f"{DATABASE}_superadmins"]).fetchone() == (True,)


def test_parameters_of_statements_are_not_logged(cluster: dict[str, str], root: psycopg.Connection) -> None:
    bootstrap.bootstrap(conninfo(cluster), DATABASE, OWNER, PASSWORD)
    with psycopg.connect(conninfo(cluster, dbname=DATABASE, user=OWNER, password=PASSWORD)) as owner:
        assert owner.execute("SHOW log_parameter_max_length").fetchone() == ("0",)


def test_the_password_reaches_the_server_as_a_verifier_only(cluster: dict[str, str], root: psycopg.Connection) -> None:
    root.execute("ALTER ROLE postgres SET log_statement = 'all'")
    try:
        bootstrap.bootstrap(conninfo(cluster), DATABASE, OWNER, PASSWORD)
        log = root.execute("SELECT pg_read_file(coalesce(pg_current_logfile(), '../postgres.log'))").fetchone()
    finally:
        root.execute("ALTER ROLE postgres RESET log_statement")
    assert log is not None
    assert "ALTER ROLE" in log[0]
    assert "SCRAM-SHA-256$" in log[0]
    assert "secret" not in log[0]


def test_an_old_server_is_refused(
    cluster: dict[str, str], root: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revisions, "OLDEST_SERVER", 990000)
    with pytest.raises(DatabaseTooOldServer):
        bootstrap.bootstrap(conninfo(cluster), DATABASE, OWNER, PASSWORD)
    assert root.execute("SELECT count(*) FROM pg_roles WHERE rolname = %s", [OWNER]).fetchone() == (0,)


def test_an_old_server_is_not_migrated(pg_url: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revisions, "OLDEST_SERVER", 990000)
    with pytest.raises(DatabaseTooOldServer):
        schema.upgrade(pg_url)
