"""`dumacle doctor rls`: nothing is found in a fresh installation, and each fault that is planted in it is."""

import re
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date

import psycopg
import pytest
from sqlalchemy import Connection, NullPool, create_engine, make_url

from dumacle_cli.local import servers
from dumacle_cli.local.servers import OWNER, SUPERUSER, Servers
from dumacle_cli.services import checks, seed
from dumacle_cli.store import bootstrap, lints, schema, sql
from dumacle_cli.store.database import Database, Timeouts
from tests.conftest import Run
from tests.factories import make_user
from tests.servers import scratch_folder, start_servers, stop_servers
from tests.test_documents import script

pytestmark = pytest.mark.integration

P = "fresh"
"""The name of the installation."""
PEOPLE = {"admin": "admin", "ada": "enduser"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Servers]:
    """Servers of this module's own: roles belong to a cluster, and other tests leave theirs."""
    folder = scratch_folder()
    up = start_servers(folder)
    bootstrap.close_others(up.admin_url)
    yield up
    stop_servers(folder)


@pytest.fixture(scope="module")
def fresh(cluster: Servers) -> Callable[[str], str]:
    """A fresh installation with logins for a superadmin, an admin, an enduser and the worker: the URL for a role."""

    def url(role: str) -> str:
        password = cluster.postgres_password if role == SUPERUSER else cluster.owner_password
        return servers.url(cluster, role, password, P)

    bootstrap.bootstrap(cluster.admin_url, P, OWNER, cluster.owner_password)
    schema.upgrade(url(OWNER))
    database = Database(url(OWNER), Timeouts())
    with database.session() as session:
        seed.superadmin(session, "root@example.com", cluster.owner_password)
        for name, role in PEOPLE.items():
            make_user(session, f"{name}@example.com", role=role)
    database.close()
    with psycopg.connect(url(OWNER)) as owner:
        verifier = owner.pgconn.encrypt_password(cluster.owner_password.encode(), b"", b"scram-sha-256").decode()
        owner.execute("SELECT login.grant_personal(id, %s) FROM app.users WHERE role <> 'superadmin'", [verifier])
        owner.execute("SELECT login.grant_service('worker', %s)", [verifier])
    with psycopg.connect(url(f"{P}_ada")) as ada:
        ada.execute("SELECT login.open_session(%s, 1)", [verifier])
    return url


@pytest.fixture
def superuser(fresh: Callable[[str], str]) -> Iterator[Connection]:
    """A superuser's connection, whose transaction is rolled back."""
    engine = create_engine(make_url(fresh(SUPERUSER)).set(drivername="postgresql+psycopg"), poolclass=NullPool)
    with engine.connect() as connection:
        yield connection
        connection.rollback()


def found(connection: Connection) -> set[tuple[str, str, str]]:
    return {
        (check.check, check.status, check.finding)
        for check in checks.boundaries(connection)
        if check.status not in ("ok", "skipped")
    }


@pytest.mark.parametrize("role", [f"{P}_root", f"{P}_admin", OWNER])
def test_a_fresh_installation_is_clean(
    role: str, fresh: Callable[[str], str], invoke: Run, environment: Callable[..., None]
) -> None:
    environment(DUMACLE_DATABASE_URL=fresh(role))
    rows = invoke("doctor", "rls", "-o", "json").data
    assert [row for row in rows if row["status"] not in ("ok", "skipped")] == []
    assert {row["check"] for row in rows} == {*(lint.name for lint in lints.LINTS), "rights", "guard"}


@pytest.mark.parametrize("role", [f"{P}_ada", f"{P}_worker"])
def test_who_does_not_see_all_is_refused(
    role: str, fresh: Callable[[str], str], invoke: Run, environment: Callable[..., None]
) -> None:
    environment(DUMACLE_DATABASE_URL=fresh(role))
    assert invoke("doctor", "rls", expect=5).err.startswith("dumacle: doctor rls needs the role admin\n")


FAULTS: list[tuple[str, str, str, str]] = [
    # check, status, what is planted, how its finding begins
    ("row security", "failed", "ALTER TABLE app.files DISABLE ROW LEVEL SECURITY", "app.files has no row-level"),
    ("row security", "failed", "ALTER TABLE app.files FORCE ROW LEVEL SECURITY", "app.files binds its owner too"),
    (
        "row security",
        "failed",
        "CREATE VIEW app.all_files AS SELECT * FROM app.files",
        "app.all_files shows rows",
    ),
    ("policies", "failed", "ALTER POLICY own ON app.files TO fresh_endusers", "the policy own on app.files binds only"),
    ("policies", "failed", "CREATE POLICY open ON app.files USING (true)", "the policy open on app.files does not ask"),
    (
        "policies",
        "failed",
        "ALTER POLICY makes ON app.users WITH CHECK (true)",
        "the policy makes on app.users does not",
    ),
    (
        "policy calls",
        "warning",
        "ALTER POLICY own ON app.files USING (app.sees_all())",
        "the policy own on app.files calls",
    ),
    (
        "definer functions",
        "failed",
        "ALTER FUNCTION app.actor() RESET search_path",
        "app.actor() runs with its owner's",
    ),
    (
        "definer functions",
        "failed",
        "ALTER FUNCTION login.sweep() SET search_path = app",
        "login.sweep() runs with its",
    ),
    ("owners", "failed", "ALTER TABLE app.files OWNER TO fresh_admin", "app.files belongs to fresh_admin"),
    ("owners", "failed", "ALTER FUNCTION login.sweep() OWNER TO fresh_admin", "login.sweep() belongs to fresh_admin"),
    *(
        ("server's own rights", "failed", f"GRANT {right} TO {to}", f"{to} has {right.partition(' ON ')[0]} on ")
        for right in (
            "EXECUTE ON FUNCTION pg_read_file(text)",
            "SELECT ON pg_authid",
            "SELECT (rolpassword) ON pg_authid",
            "SET ON PARAMETER session_replication_role",
            "CREATE ON TABLESPACE pg_default",
        )
        for to in ("PUBLIC", "fresh_endusers", "fresh_admin")
    ),
    ("triggers", "failed", "ALTER TABLE app.users DISABLE TRIGGER audit", "the trigger audit on app.users is off"),
    (
        "default rights",
        "failed",
        "ALTER DEFAULT PRIVILEGES FOR ROLE dumacle_owner IN SCHEMA app GRANT SELECT ON TABLES TO fresh_endusers",
        "what dumacle_owner creates from now on, fresh_endusers may use",
    ),
    (
        "default rights",
        "failed",
        "ALTER DEFAULT PRIVILEGES FOR ROLE fresh_provisioner GRANT EXECUTE ON FUNCTIONS TO PUBLIC",
        "functions that fresh_provisioner creates from now on, everybody may call",
    ),
    (
        "schema's owner",
        "warning",
        "ALTER ROLE dumacle_owner BYPASSRLS",
        "dumacle_owner, the owner of the schema, has BYP",
    ),
    (
        "owner's members",
        "failed",
        "CREATE ROLE mallory; GRANT dumacle_owner TO mallory",
        "mallory can act as dumacle_owner",
    ),
    (
        "owner's members",
        "failed",
        "CREATE ROLE mallory; GRANT fresh_provisioner TO mallory",
        "mallory can act as fresh_provisioner",
    ),
    (
        "administrators",
        "warning",
        "CREATE ROLE helpdesk LOGIN CREATEROLE; GRANT dumacle_owner TO helpdesk",
        "helpdesk may create roles, and can act as dumacle_owner",
    ),
    ("attributes", "failed", "ALTER ROLE fresh_admin SUPERUSER CREATEROLE", "fresh_admin has SUPERUSER, CREATEROLE"),
    ("attributes", "failed", "ALTER ROLE fresh_endusers LOGIN", "fresh_endusers has LOGIN"),
    ("attributes", "failed", "ALTER ROLE fresh_provisioner BYPASSRLS", "fresh_provisioner has BYPASSRLS"),
    (
        "memberships",
        "failed",
        "GRANT fresh_superadmins TO fresh_admin",
        "fresh_admin has the rights of fresh_superadmins",
    ),
    (
        "memberships",
        "failed",
        "GRANT pg_read_all_data TO fresh_admins",
        "fresh_admins has the rights of pg_read_all_data",
    ),
    (
        "memberships",
        "failed",
        "GRANT fresh_admins TO fresh_admin WITH ADMIN TRUE",
        "fresh_admin can become fresh_admins",
    ),
    (
        "memberships",
        "failed",
        "REVOKE fresh_admins FROM fresh_admin GRANTED BY fresh_provisioner",
        "fresh_admin is not in fresh_admins",
    ),
    (
        "sessions",
        "failed",
        "UPDATE app.logins SET valid_until = now() WHERE kind = 'session'",
        "the session fresh_ada_",
    ),
    (
        "limits",
        "warning",
        "ALTER ROLE fresh_admin CONNECTION LIMIT -1",
        "fresh_admin may open any number of connections",
    ),
    ("limits", "warning", "ALTER ROLE fresh_admin RESET ALL", "fresh_admin has other settings than Dumacle gave it"),
    (
        "roles without a user",
        "warning",
        "CREATE ROLE stray LOGIN; GRANT fresh_admins TO stray",
        "the role stray is in fresh_admins and belongs to no user",
    ),
    (
        "users without a role",
        "warning",
        "UPDATE app.logins SET role = 'lost' WHERE role = 'fresh_admin'",
        "admin@example.com has the login lost, and there is no such role",
    ),
    (
        "disabled users",
        "warning",
        "UPDATE app.users SET status = 'disabled' WHERE email = 'admin@example.com'",
        "admin@example.com is disabled or deleted, and fresh_admin still opens connections",
    ),
    ("passwords", "failed", "SET LOCAL password_encryption = 'md5'", "passwords are kept as md5"),
    ("passwords", "failed", "SET LOCAL scram_iterations = 4095", "password verifiers use only 4095 iterations"),
    ("passwords", "failed", "SET LOCAL log_min_messages = 'panic'", "failed logins are not logged"),
    ("server's log", "warning", "SET LOCAL log_statement = 'ddl'", "the server's log gets verifiers of passwords"),
    (
        "server's log",
        "warning",
        "SET LOCAL log_min_duration_statement = 0; SET LOCAL log_parameter_max_length = -1",
        "the server's log gets what statements are given",
    ),
    (
        "server's log",
        "warning",
        "SET LOCAL log_parameter_max_length_on_error = -1",
        "the server's log gets what failing statements were given",
    ),
    ("rights", "failed", "GRANT SELECT ON app.audit TO fresh_admins", "fresh_admins has SELECT on TABLE app.audit"),
    (
        "rights",
        "failed",
        "GRANT UPDATE (role) ON app.users TO fresh_admins",
        "fresh_admins has UPDATE (role) on TABLE app.u",
    ),
    (
        "rights",
        "failed",
        "REVOKE UPDATE (email) ON app.users FROM fresh_admins",
        "fresh_admins lacks UPDATE (email) on",
    ),
    ("rights", "failed", "GRANT TRUNCATE ON app.files TO fresh_superadmins", "fresh_superadmins has TRUNCATE on TABLE"),
    (
        "rights",
        "failed",
        "GRANT USAGE ON SEQUENCE app.users_id_seq TO PUBLIC",
        "PUBLIC has USAGE on SEQUENCE app.users_id_seq",
    ),
    ("rights", "failed", "GRANT EXECUTE ON FUNCTION app.actor() TO PUBLIC", "PUBLIC has EXECUTE on FUNCTION app.actor"),
    ("rights", "failed", "CREATE FUNCTION app.f() RETURNS int RETURN 1", "PUBLIC has EXECUTE on FUNCTION app.f"),
    (
        "rights",
        "failed",
        "GRANT SELECT ON queue.procrastinate_jobs TO fresh_crons WITH GRANT OPTION",
        "fresh_crons has GRANT",
    ),
    ("rights", "failed", "GRANT CREATE ON SCHEMA app TO fresh_admins", "fresh_admins has CREATE on SCHEMA app"),
    ("rights", "failed", "GRANT CREATE ON SCHEMA public TO PUBLIC", "PUBLIC has CREATE on SCHEMA public"),
    ("rights", "failed", "GRANT TEMPORARY ON DATABASE fresh TO PUBLIC", "PUBLIC has TEMPORARY on DATABASE fresh"),
    (
        "rights",
        "failed",
        "REVOKE EXECUTE ON FUNCTION login.sweep FROM fresh_crons",
        "fresh_crons lacks EXECUTE on FUNCTION",
    ),
    (
        "rights",
        "failed",
        "REVOKE EXECUTE ON FUNCTION app.add_login FROM fresh_provisioner",
        "fresh_provisioner lacks EXEC",
    ),
    ("guard", "failed", "ALTER EVENT TRIGGER dumacle_guard DISABLE", "off"),
    (
        "shared resources",
        "warning",
        "REVOKE pg_use_reserved_connections FROM fresh_superadmins GRANTED BY dumacle_owner",
        "fresh_superadmins may not use the reserved connections",
    ),
    (
        "shared resources",
        "warning",
        "ALTER ROLE fresh_admin CONNECTION LIMIT 900",
        "all logins together may open 986 connections, and the server has 187 for them",
    ),
    (
        "shared resources",
        "warning",
        "ALTER DATABASE fresh SET temp_file_limit = -1",
        "what one statement sorts may fill the disk: temp_file_limit is -1",
    ),
    (
        "shared resources",
        "warning",
        "GRANT CONNECT ON DATABASE postgres TO PUBLIC",
        "everybody may connect to the database postgres of this cluster",
    ),
]


@pytest.mark.parametrize(("check", "status", "planted", "said"), FAULTS, ids=[fault[2] for fault in FAULTS])
def test_a_fault_is_found(check: str, status: str, planted: str, said: str, superuser: Connection) -> None:
    superuser.exec_driver_sql(planted)
    assert [fault for fault in found(superuser) if fault[:2] == (check, status) and fault[2].startswith(said)]


def test_each_lint_has_a_fault() -> None:
    known = {lint.name for lint in lints.LINTS} | {"rights", "guard"}
    assert known - {fault[0] for fault in FAULTS} == {"server", "unknown server", "idle transactions"}


def test_each_finding_has_a_fault() -> None:
    findings = Counter({lint.name: len(re.findall(r"^ {4}SELECT ", lint.query, re.M)) for lint in lints.LINTS})
    planted = Counter(fault[0] for fault in FAULTS)
    assert set((findings - planted).elements()) == {
        "passwords",
        "server",
        "unknown server",
        "idle transactions",
        "shared resources",  # three need another configuration of the server, or a queue that is full
    }


def test_logging_in_takes_a_minute_at_most(superuser: Connection, fresh: Callable[[str], str]) -> None:
    with psycopg.connect(fresh(SUPERUSER), autocommit=True) as admin:
        try:
            reload(admin, superuser, "ALTER SYSTEM SET authentication_timeout = 61", "61s")
            (fault,) = found(superuser)
        finally:
            reload(admin, superuser, "ALTER SYSTEM RESET authentication_timeout", "1min")
    assert fault == ("passwords", "failed", "who does not finish logging in holds a connection for 61s")
    assert found(superuser) == set()


def reload(admin: psycopg.Connection, other: Connection, statement: str, until: str) -> None:
    """Change how long a login may take, which no transaction can, and wait until another connection knows."""
    admin.execute(statement)
    admin.execute("SELECT pg_reload_conf()")
    while other.exec_driver_sql("SHOW authentication_timeout").scalar_one() != until:
        time.sleep(0.01)


def of_this(superuser: Connection) -> int:
    number: int = superuser.exec_driver_sql("SELECT current_setting('server_version_num')::int").scalar_one()
    return number


def test_a_server_with_known_holes(superuser: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    number = of_this(superuser)
    monkeypatch.setattr(lints, "FIXED", {number // 10_000: number + 1, 99: 990_001})
    (fault,) = found(superuser)
    assert fault[:2] == ("server", "failed")
    assert f"lacks the fixes of {number // 10_000}.{number % 10_000 + 1} (releases as of {lints.AS_OF})" in fault[2]


def test_a_server_of_which_no_release_was_known(superuser: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lints, "FIXED", {99: 990_001})
    (fault,) = found(superuser)
    major = of_this(superuser) // 10_000
    expected = f"no release of PostgreSQL {major} was known on {lints.AS_OF}"
    assert fault == ("unknown server", "warning", expected)


def test_the_list_of_releases_is_dated_and_the_embedded_server_is_in_it(superuser: Connection) -> None:
    assert of_this(superuser) >= lints.FIXED[of_this(superuser) // 10_000]
    (server,) = [check for check in checks.boundaries(superuser) if check.check == "server"]
    assert server.finding == f"nothing found (releases as of {lints.AS_OF})"


PUBLISHED = [
    {"major": "18", "latestMinor": "9", "relDate": "2027-02-11", "supported": True},
    {"major": "17", "latestMinor": "13", "relDate": "2027-02-11", "supported": True},
    {"major": "16", "latestMinor": "17", "relDate": "2027-02-11", "supported": True},
    {"major": "13", "latestMinor": "23", "relDate": "2025-11-13", "supported": False},
    {"major": "9.6", "latestMinor": "24", "relDate": "2021-11-11", "supported": False},
]


def test_the_list_of_releases_is_renewed_by_what_postgresql_publishes() -> None:
    made = script("releases").renewed(PUBLISHED)
    assert tomllib.loads(made) == {"as_of": date(2027, 2, 11), "newest": {"16": 17, "17": 13, "18": 9}}
    with pytest.raises(SystemExit, match="older than the present one: it lacks 18"):
        script("releases").renewed([PUBLISHED[0] | {"latestMinor": "5"}, *PUBLISHED[1:]])


def test_an_idle_transaction(
    superuser: Connection, fresh: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lints, "PATIENCE", 0)
    with psycopg.connect(fresh(f"{P}_admin")) as idle:
        idle.execute("SELECT 1")
        (fault,) = found(superuser)
    assert fault[:2] == ("idle transactions", "warning")
    assert fault[2].startswith("fresh_admin has an idle transaction open since ")


def test_without_a_guard_it_says_so(superuser: Connection) -> None:
    superuser.exec_driver_sql("DROP EVENT TRIGGER dumacle_guard")
    (guard,) = [check for check in checks.boundaries(superuser) if check.check == "guard"]
    assert guard.status == "skipped"
    assert found(superuser) == set()


def test_lost_roles_are_one_finding(superuser: Connection) -> None:
    superuser.exec_driver_sql("UPDATE app.installation SET prefix = 'elsewhere'")
    (fault,) = checks.boundaries(superuser)
    assert (fault.check, fault.status, fault.fix) == ("roles", "failed", "dumacle db upgrade")


def test_a_broken_boundary_is_exit_1(
    fresh: Callable[[str], str], invoke: Run, environment: Callable[..., None]
) -> None:
    environment(DUMACLE_DATABASE_URL=fresh(f"{P}_root"))
    with psycopg.connect(fresh(SUPERUSER), autocommit=True) as admin:
        admin.execute("GRANT SELECT ON app.credentials TO fresh_admins")
        (row,) = [row for row in invoke("doctor", "rls", "-o", "json", expect=1).data if row["status"] == "failed"]
        admin.execute(row["fix"])
    assert row["finding"] == "fresh_admins has SELECT on TABLE app.credentials"
    invoke("doctor", "rls")


def test_the_page_of_permissions_reads_the_matrix_as_postgres_does(superuser: Connection) -> None:
    rows = superuser.exec_driver_sql(sql.read("matrix")).mappings()
    assert script("generate").matrix() == [dict(row) for row in rows]
