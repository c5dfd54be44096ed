"""Identity after an upgrade from the release before, after a downgrade, and after a restore into another cluster."""

import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import NullPool, create_engine, make_url, text

from dumacle_cli.local import servers
from dumacle_cli.local.servers import Servers
from dumacle_cli.store import bootstrap, logins, schema
from dumacle_cli.store.database import Database, Timeouts
from tests.conftest import ROOT, ROOT_EMAIL, Run
from tests.factories import make_user
from tests.servers import program
from tests.store.rows import ROWS, fill

pytestmark = pytest.mark.integration

PASSWORD = "open-sesame"

# What the release before made with its first `db seed`, as the owner.
OLD_SEED = """
    DELETE FROM app.logins;
    CREATE ROLE {operators};
    GRANT USAGE ON SCHEMA app TO {operators};
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA app TO {operators};
    ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {operators};
    GRANT CONNECT ON DATABASE {database} TO {operators};
    CREATE ROLE {login} LOGIN PASSWORD {password} IN ROLE {operators};
    INSERT INTO app.logins (role, user_id, kind) SELECT {name}, min(id), 'personal' FROM app.users
"""
# Bodies of functions are left out: the files of SQL are those of this release at every revision.
RIGHTS = {
    "tables": """
        SELECT c.oid::regclass, relrowsecurity, a.grantee::regrole, a.privilege_type
        FROM pg_class AS c, aclexplode(coalesce(relacl, acldefault('r', relowner))) AS a
        WHERE relnamespace IN ('app'::regnamespace, 'queue'::regnamespace) AND relkind = 'r'""",
    "columns": "SELECT attrelid::regclass, attname, aclexplode(attacl) FROM pg_attribute WHERE attrelid >= 16384",
    "functions": """
        SELECT p.oid::regprocedure, prosecdef, proconfig::text, a.grantee::regrole
        FROM pg_proc AS p, aclexplode(coalesce(proacl, acldefault('f', proowner))) AS a
        WHERE pronamespace IN ('app'::regnamespace, 'queue'::regnamespace)""",
    "schemas": """
        SELECT nspname, a.grantee::regrole, a.privilege_type
        FROM pg_namespace, aclexplode(coalesce(nspacl, acldefault('n', nspowner))) AS a""",
    "policies": "SELECT tablename, policyname FROM pg_policies",
    "triggers": "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
    "defaults": "SELECT defaclrole::regrole, defaclobjtype, defaclacl::text FROM pg_default_acl",
    "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'app'",
}


def rights(url: str) -> dict[str, list[str]]:
    """What the catalogs say about who may do what."""
    with psycopg.connect(url) as connection:
        return {name: sorted(map(str, connection.execute(query.encode()))) for name, query in RIGHTS.items()}


@contextmanager
def bootstrapped(admin_url: str, owner: str, password: str = PASSWORD) -> Iterator[str]:
    """Make a database for an owner, with whose roles it goes again; yields its URL for the owner."""
    name = f"moves_{secrets.token_hex(4)}"
    bootstrap.bootstrap(admin_url, name, owner, password)
    try:
        url = make_url(admin_url).set(username=owner, password=password, database=name)
        yield url.render_as_string(hide_password=False)
    finally:
        prefix = prefix_of(make_conninfo(admin_url, dbname=name)) or name
        with psycopg.connect(admin_url, autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
            drop_roles(admin, prefix)


def prefix_of(url: str) -> str | None:
    """What the roles of a database are named after, where it has any."""
    with psycopg.connect(url) as connection:
        if connection.execute("SELECT to_regclass('app.installation')").fetchone() == (None,):
            return None
        row = connection.execute("SELECT prefix FROM app.installation").fetchone()
        return str(row[0]) if row else None


def drop_roles(admin: psycopg.Connection, prefix: str) -> None:
    """Drop the roles of an installation, the provisioner last, by whom the others' memberships were given."""
    query = "SELECT rolname FROM pg_roles WHERE starts_with(rolname, %s) ORDER BY rolname ~ '_provisioner$', rolname"
    for (role,) in admin.execute(query, [f"{prefix}_"]).fetchall():
        admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


@pytest.fixture
def admin_url(cluster: dict[str, str]) -> str:
    """The URL of a cluster's superuser, where the embedded servers know nothing of it."""
    return (
        f"postgresql://{cluster['user']}:{cluster['password']}@/postgres?host={cluster['host']}&port={cluster['port']}"
    )


@pytest.fixture
def moved(admin_url: str) -> Iterator[str]:
    """The owner's URL of a new, empty database."""
    with bootstrapped(admin_url, "moving_owner") as url:
        yield url
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute("DROP ROLE IF EXISTS moving_owner")


def filled(url: str, last: str) -> str:
    """Bring a database up to a revision, with rows in every table; returns its name."""
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)
    with engine.connect() as connection:
        for revision in [revision for revision in ROWS if revision <= last]:
            schema.upgrade(connection, revision)
            fill(connection, revision)
        return str(connection.scalar(text("SELECT current_database()")))


def old_seed(url: str) -> str:
    """Make the superadmin's login as the release before did; returns its name."""
    with psycopg.connect(url) as owner:
        database = owner.info.dbname
        names = {"operators": f"{database}_operators", "database": database, "login": f"{database}_1"}
        words = {key: sql.Identifier(value) for key, value in names.items()}
        verifier = owner.pgconn.encrypt_password(PASSWORD.encode(), b"", b"scram-sha-256").decode()
        owner.execute(sql.SQL(OLD_SEED).format(name=names["login"], password=verifier, **words))
    return names["login"]


def groups_of(url: str, login: str) -> list[str]:
    query = """SELECT g.rolname FROM pg_auth_members AS m JOIN pg_roles AS g ON g.oid = m.roleid
        JOIN pg_roles AS l ON l.oid = m.member WHERE l.rolname = %s"""
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute(query, [login])]


def is_refused(connection: psycopg.Connection, statement: str) -> bool:
    try:
        with connection.transaction():
            connection.execute(statement.encode())
    except psycopg.errors.InsufficientPrivilege:
        return True
    return False


@pytest.mark.parametrize("used_elsewhere", [False, True])
def test_operators_of_the_release_before_become_superadmins(moved: str, admin_url: str, used_elsewhere: bool) -> None:
    name = filled(moved, "0012")
    login = old_seed(moved)
    operators = sql.Identifier(f"{name}_operators")
    with psycopg.connect(make_conninfo(moved, user=login)) as person:
        person.execute("UPDATE app.audit SET login = 'somebody else'")
    with psycopg.connect(admin_url, autocommit=True) as admin:
        if used_elsewhere:
            admin.execute(sql.SQL("CREATE SCHEMA elsewhere; GRANT USAGE ON SCHEMA elsewhere TO {}").format(operators))
        schema.upgrade(moved)
        if used_elsewhere:
            admin.execute(sql.SQL("DROP SCHEMA elsewhere; DROP ROLE {}").format(operators))
        assert admin.execute("SELECT FROM pg_roles WHERE rolname = %s", [f"{name}_operators"]).fetchone() is None

    assert groups_of(moved, login) == [f"{name}_superadmins"]
    with psycopg.connect(make_conninfo(moved, user=login)) as person:
        assert person.execute("SELECT app.actor_role()").fetchone() == ("superadmin",)
        person.execute("UPDATE app.users SET name = 'Robert' WHERE email = 'bob@example.com'")
        assert person.execute("SELECT login FROM app.audit ORDER BY id DESC LIMIT 1").fetchone() == (login,)
        assert is_refused(person, "UPDATE app.audit SET login = 'somebody else'")
        assert is_refused(person, "DELETE FROM app.audit")
        assert is_refused(person, "INSERT INTO app.audit (table_name, row_id, action) VALUES ('users', '1', 'insert')")
        assert person.execute("SELECT login.grant_personal(app.actor(), %s)", [verifier("new")]).fetchone() == (login,)
    psycopg.connect(make_conninfo(moved, user=login, password="new")).close()


def verifier(password: str) -> str:
    encoded: bytes = psycopg.pq.PGconn.connect(b"").encrypt_password(password.encode(), b"", b"scram-sha-256")
    return encoded.decode()


def test_down_to_the_release_before_leaves_what_it_had(moved: str, admin_url: str) -> None:
    schema.upgrade(moved)
    with psycopg.connect(moved) as owner:
        owner.execute("INSERT INTO app.users (email, role) VALUES ('ada@example.com', 'superadmin')")
        owner.execute("SELECT login.grant_personal(min(id), %s) FROM app.users", [verifier(PASSWORD)])
        name = owner.info.dbname
    with psycopg.connect(make_conninfo(moved, user=f"{name}_ada")) as person:
        schema.downgrade(moved, "0012")
        assert is_refused(person, "SELECT FROM app.users")
    with bootstrapped(admin_url, "moving_owner") as fresh:
        schema.upgrade(fresh, "0012")
        assert rights(moved) == rights(fresh)

    schema.upgrade(moved)
    with psycopg.connect(make_conninfo(moved, user=f"{name}_ada")) as person:
        assert person.execute("SELECT email FROM app.users").fetchall() == [("ada@example.com",)]


def postgres(name: str, up: Servers, url: str, *arguments: str | Path) -> None:
    """Run one of PostgreSQL's programs; the password goes by its environment."""
    facts = conninfo_to_dict(url)
    if facts["host"] == up.host:
        facts["host"] = up.shared_host
    place = {"PGHOST": facts["host"], "PGUSER": facts["user"], "PGPASSWORD": facts["password"]}
    place |= {"PGPORT": facts.get("port", "5432")}
    subprocess.run(
        [program(up, name), f"--dbname={facts['dbname']}", *arguments],
        env={"PATH": os.defpath, **{key: str(value) for key, value in place.items()}},
        check=True,
        capture_output=True,
        cwd="/",
    )


@pytest.fixture
def dump(embedded: Servers, owner_url: str, database: Database, tmp_path: Path) -> Path:
    """A dump of a database with a superadmin and an admin who log in."""
    with database.session() as session:
        admin = make_user(session, "admin@example.com", role="admin")
        logins.grant_personal(session, admin.id, PASSWORD)
    file = tmp_path / "dump"
    postgres("pg_dump", embedded, owner_url, "--format=custom", f"--file={file}", "--schema=app", "--schema=queue")
    return file


def restore(up: Servers, url: str, dump: Path) -> None:
    postgres("pg_restore", up, url, "--no-owner", "--no-privileges", "--exit-on-error", dump)


def granted(url: str, email: str) -> str:
    """Give somebody a login anew, as the owner; returns its name."""
    database = Database(url, Timeouts())
    try:
        with database.session() as session:
            user: Any = session.scalar(text("SELECT id FROM app.users WHERE email = :email"), {"email": email})
            return logins.grant_personal(session, user, PASSWORD)
    finally:
        database.close()


def test_restored_into_another_cluster(
    embedded: Servers, dump: Path, moved: str, admin_url: str, invoke: Run, environment: Callable[..., None]
) -> None:
    restore(embedded, moved, dump)
    environment(DUMACLE_DATABASE_URL=moved)
    assert invoke("db", "upgrade", "--dry-run", "-o", "json").data["roles_made"] is True
    done = invoke("db", "upgrade")
    assert "missing roles and rights were created again" in done.err
    assert invoke("db", "upgrade", "-o", "json").json["changed"] is False
    assert granted(moved, ROOT_EMAIL) == ROOT
    with psycopg.connect(make_conninfo(moved, user=ROOT)) as root:
        assert root.execute("SELECT app.actor_role(), count(*) > 0 FROM app.audit").fetchone() == ("superadmin", True)
    with psycopg.connect(make_conninfo(moved, user=granted(moved, "admin@example.com"))) as admin:
        assert admin.execute("SELECT app.actor_role(), count(*) FROM app.users").fetchone() == ("admin", 2)
        assert is_refused(admin, "SELECT FROM app.audit")
        assert is_refused(admin, "SELECT FROM app.credentials")
        assert is_refused(admin, "INSERT INTO app.users (email, role) VALUES ('eve@example.com', 'superadmin')")


def test_restored_beside_its_original_it_takes_roles_of_its_own(
    embedded: Servers, dump: Path, database_url: str
) -> None:
    with bootstrapped(embedded.admin_url, servers.OWNER, embedded.owner_password) as copy:
        restore(embedded, copy, dump)
        engine = create_engine(copy.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)
        with engine.connect() as connection:
            schema.repair(connection)
            assert connection.scalar(text("SELECT count(*) FROM app.logins")) == 0
        prefix = prefix_of(copy)
        assert prefix == make_url(copy).database
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(make_conninfo(copy, user=ROOT, password=embedded.owner_password))
        assert granted(copy, ROOT_EMAIL) == f"{prefix}_tests"
        with psycopg.connect(copy) as owner:
            owner.execute("SELECT login.revoke_user(id) FROM app.users")
    with psycopg.connect(database_url) as root:
        assert root.execute("SELECT app.actor_role()").fetchone() == ("superadmin",)
