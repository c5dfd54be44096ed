"""`dumacle db`: the owner and the database made, the schema up and down, the first content, and the check."""

import stat
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from dumacle_cli import errors
from dumacle_cli.local import servers
from dumacle_cli.local.servers import Servers
from dumacle_cli.store import logins, revisions, schema
from dumacle_cli.store.database import Database
from tests.conftest import Run
from tests.factories import make_user
from tests.terminal import ask

pytestmark = pytest.mark.integration


@pytest.fixture
def run(run: Run, environment: Callable[..., None], owner_url: str) -> Run:
    """Run the program as the owner of the schema."""
    environment(DUMACLE_DATABASE_URL=owner_url)
    return run


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url) as session:
        session.execute(statement.encode())


def test_a_current_schema_needs_nothing(run: Run) -> None:
    assert run("db", "current", "-o", "json").data == {
        "revision": revisions.OWN,
        "needed": revisions.OWN,
        "pending": [],
    }
    assert run("db", "upgrade", "-o", "json").json["changed"] is False


def test_down_and_up_again(run: Run) -> None:
    run("db", "downgrade", "0007", expect=errors.Exit.USAGE)
    planned = run("db", "downgrade", "0007", "--dry-run", "-o", "json").data
    assert run("db", "current", "-o", "json").data["pending"] == []
    assert run("db", "downgrade", "0007", "--yes", "-o", "json").data == planned
    assert [step[:4] for step in planned["steps"]] == [f"{n:04d}" for n in range(int(revisions.OWN), 7, -1)]
    assert run("db", "current", "-o", "json").data["revision"] == "0007"
    run("users", "list", expect=errors.Exit.USAGE)

    assert [step[:4] for step in run("db", "upgrade", "0008", "-o", "json").data["steps"]] == ["0008"]
    assert run("db", "upgrade", "-o", "json").data["after"] == revisions.OWN
    run("users", "list")


@pytest.mark.parametrize(("answer", "code"), [("", 1), ("y", 1), ("downgrade", 0)])
def test_downgrade_wants_its_name_typed_and_holds_nothing_meanwhile(
    run: Run, embedded: Servers, database_url: str, answer: str, code: int
) -> None:
    name = str(psycopg.conninfo.conninfo_to_dict(database_url)["dbname"])
    connected: list[int] = []

    def count() -> None:
        with psycopg.connect(embedded.admin_url) as admin:
            found = admin.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = %s", [name]).fetchone()
        connected.append(found[0] if found else 0)

    asked = ask(answer, "db", "downgrade", "0008", meanwhile=count)
    assert (asked.code, connected) == (code, [0])
    assert f"deletes their data: {revisions.OWN}" in asked.err
    assert "Type downgrade to continue" in asked.err
    assert run("db", "current", "-o", "json").data["revision"] == (revisions.OWN if code else "0008")


def test_downgrade_does_only_what_was_confirmed(run: Run) -> None:
    asked = ask("downgrade", "db", "downgrade", "0007", meanwhile=lambda: run("db", "downgrade", "0008", "--yes"))
    assert asked.code == errors.Exit.CONFLICT
    assert f"from {revisions.OWN} to 0008 in the meantime" in asked.err
    assert run("db", "current", "-o", "json").data["revision"] == "0008"


def test_down_to_nothing(run: Run) -> None:
    assert run("db", "downgrade", "base", "--yes", "-o", "json").data["after"] is None
    assert run("db", "current", "-o", "json").data["revision"] is None
    assert run("db", "downgrade", "base", "--yes", "-o", "json").json["changed"] is False
    assert run("db", "check", "-o", "json", expect=1).data[1]["fix"] == "dumacle db upgrade"


@pytest.mark.parametrize("argv", [("upgrade", "0042"), ("downgrade", "0042", "--yes"), ("downgrade", "../1", "--yes")])
def test_an_unknown_revision_is_refused(run: Run, argv: tuple[str, ...]) -> None:
    assert "there is no revision" in run("db", *argv, expect=errors.Exit.USAGE).err


def test_a_dry_revision_names_its_file_and_writes_none(run: Run) -> None:
    file = Path(run("db", "revision", "Colours of pods", "--dry-run", "-o", "json").data["file"])
    assert file == schema.folder() / "versions" / f"{int(revisions.OWN) + 1:04}_colours_of_pods.py"
    assert not file.exists()
    run("db", "revision", "!", "--dry-run", expect=errors.Exit.USAGE)


def test_check_is_content_with_the_migrations(run: Run) -> None:
    assert [(row["check"], row["status"]) for row in run("db", "check", "-o", "json").data] == [
        ("database", "ok"),
        ("schema", "ok"),
        ("tables", "ok"),
        ("functions", "ok"),
    ]


@pytest.mark.parametrize(
    ("damage", "check", "named"),
    [
        ("DROP INDEX app.uq_users_email_live", "tables", "uq_users_email_live"),
        ("ALTER TABLE app.pods ADD COLUMN colour text", "tables", "colour"),
        ("ALTER FUNCTION app.consume_quota RENAME TO devour_quota", "functions", "consume_quota"),
        ("UPDATE app.schema_version SET version_num = '9999'", "schema", "9999"),
    ],
)
def test_check_finds_what_was_changed_by_hand(run: Run, owner_url: str, damage: str, check: str, named: str) -> None:
    execute(owner_url, damage)
    found = {row["check"]: row for row in run("db", "check", "-o", "json", expect=1).data}
    assert found[check]["status"] == "failed"
    assert named in found[check]["finding"]
    assert found[check]["fix"]


def test_seed_shows_a_password_that_works_once(run: Run, embedded: Servers, owner_url: str) -> None:
    first = run("db", "seed", "-o", "json", "--op-id", "seed-1")
    seeded = first.data
    assert (seeded["email"], seeded["plans"]) == ("root@example.com", ["free", "starter", "pro"])
    with psycopg.connect(owner_url) as session:
        name = session.info.dbname
        stored = session.execute("SELECT string_agg(result::text, '') FROM app.operations").fetchone()
    assert seeded["password"] not in str(stored)

    login = servers.url(embedded, seeded["login"], seeded["password"], name)
    with psycopg.connect(login) as session:
        assert session.execute("SELECT app.actor_role()").fetchone() == ("superadmin",)
        session.execute("UPDATE app.users SET name = 'Root'")
    again = run("db", "seed", "-o", "json")
    assert (again.json["changed"], again.data["password"], again.data["plans"]) == (False, None, [])
    repeated = run("db", "seed", "-o", "json", "--op-id", "seed-1")
    assert (repeated.json["changed"], repeated.data["password"]) == (False, None)
    psycopg.connect(login).close()


def test_dry_seed_leaves_nothing(run: Run, owner_url: str) -> None:
    query = """SELECT (SELECT array_agg(email) FROM app.users), (SELECT array_agg(role) FROM app.logins),
        (SELECT count(*) FROM pg_roles)"""
    with psycopg.connect(owner_url, autocommit=True) as session:
        before = session.execute(query).fetchone()
        assert run("db", "seed", "--dry-run", "-o", "json").json["changed"] is True
        assert session.execute(query).fetchone() == before


def test_seed_takes_nobody_for_a_superadmin(run: Run) -> None:
    run("users", "create", "ada@example.com")
    assert "enduser" in run("db", "seed", "ada@example.com", expect=errors.Exit.CONFLICT).err


@pytest.fixture
def act_as(environment: Callable[..., None], embedded: Servers, database: Database) -> Callable[[str], None]:
    """Let the program act as a new user of this role from now on."""

    def act(role: str) -> None:
        with database.session() as session:
            user = make_user(session, f"{role}@example.com", role=role)
            login = logins.grant_personal(session, user.id, "sesame")
        environment(DUMACLE_DATABASE_URL=servers.url(embedded, login, "sesame", str(database.url.database)))

    return act


def test_a_superadmin_may_seed_and_an_admin_may_not(run: Run, act_as: Callable[[str], None]) -> None:
    act_as("superadmin")
    assert run("db", "seed", "other@example.com", "-o", "json").data["password"]
    act_as("admin")
    for email in ("third@example.com", "other@example.com"):
        assert "superadmin" in run("db", "seed", email, expect=errors.Exit.FORBIDDEN).err


@pytest.mark.parametrize("argv", [("upgrade",), ("upgrade", "--dry-run"), ("downgrade", "0008", "--yes")])
def test_the_schema_is_its_owners_alone(run: Run, act_as: Callable[[str], None], argv: tuple[str, ...]) -> None:
    act_as("superadmin")
    refused = run("db", *argv, expect=errors.Exit.FORBIDDEN)
    assert f"only the owner of the schema, {servers.OWNER}, can do this" in refused.err
    assert run("db", "current", "-o", "json").data["pending"] == []
    run("db", "check")


def test_a_superuser_does_not_migrate_what_is_the_owners(
    run: Run, environment: Callable[..., None], embedded: Servers, owner_url: str
) -> None:
    name = str(psycopg.conninfo.conninfo_to_dict(owner_url)["dbname"])
    environment(DUMACLE_DATABASE_URL=servers.url(embedded, servers.SUPERUSER, embedded.postgres_password, name))
    assert servers.OWNER in run("db", "upgrade", expect=errors.Exit.FORBIDDEN).err


def test_bootstrap_needs_the_superusers_connection(invoke: Run) -> None:
    refused = invoke("db", "bootstrap", "--password-file", "-", expect=errors.Exit.USAGE)
    assert "DUMACLE_ADMIN_DATABASE_URL" in refused.err


def test_bootstrap_makes_role_database_and_password(
    invoke: Run, environment: Callable[..., None], embedded: Servers, tmp_path: Path
) -> None:
    name = f"test_{uuid4().hex[:12]}"
    file = tmp_path / "password"
    options = ("--database", name, "--owner", f"{name}_owner", "--password-file", file, "-o", "json")
    environment(DUMACLE_ADMIN_DATABASE_URL=embedded.admin_url)

    planned = invoke("db", "bootstrap", *options, "--dry-run")
    assert not file.exists()
    done = invoke("db", "bootstrap", *options)
    assert done.data == planned.data
    assert [done.data[f"made_{what}"] for what in ("role", "database", "guard", "password")] == [True] * 4
    password = file.read_text().strip()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(password) > 40
    assert password not in done.out + done.err
    assert embedded.postgres_password not in done.out + done.err
    assert invoke("db", "bootstrap", *options).json["changed"] is False

    environment(DUMACLE_DATABASE_URL=servers.url(embedded, f"{name}_owner", password, name))
    assert invoke("db", "upgrade", "-o", "json").json["changed"] is True
    invoke("db", "seed", "-q")
    invoke("db", "check")
    execute_as_admin = psycopg.connect(embedded.admin_url, autocommit=True)
    execute_as_admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
    execute_as_admin.close()


def test_bootstrap_takes_the_password_from_stdin(
    invoke: Run, environment: Callable[..., None], embedded: Servers
) -> None:
    name = f"test_{uuid4().hex[:12]}"
    options = ("--database", name, "--owner", f"{name}_owner", "--password-file", "-")
    environment(DUMACLE_ADMIN_DATABASE_URL=embedded.admin_url)
    invoke("db", "bootstrap", *options, stdin="", expect=errors.Exit.USAGE)
    assert "sesame" not in str(invoke("db", "bootstrap", *options, stdin="open-sesame\n"))
    psycopg.connect(servers.url(embedded, f"{name}_owner", "open-sesame", name)).close()
    with psycopg.connect(embedded.admin_url, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.mark.parametrize("argv", [("current",), ("upgrade",), ("check",), ("seed",), ("downgrade", "0001", "--yes")])
def test_without_a_server_it_is_temporary(invoke: Run, environment: Callable[..., None], argv: tuple[str, ...]) -> None:
    environment(DUMACLE_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert len(invoke("db", *argv, expect=errors.Exit.TEMPORARY).err.splitlines()) == 2


def test_bootstrap_without_a_server_keeps_quiet_about_the_password(
    invoke: Run, environment: Callable[..., None]
) -> None:
    environment(DUMACLE_ADMIN_DATABASE_URL="postgresql://postgres:hush-hush@127.0.0.1:1/postgres")
    refused = invoke("db", "bootstrap", "--password-file", "-", stdin="x", expect=errors.Exit.TEMPORARY)
    assert "hush-hush" not in refused.err
