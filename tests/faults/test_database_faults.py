"""What can happen to a database under a command: each has its own sentence and exit status, and loses nothing."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import text
from sqlalchemy.orm import Session

from dumacle_cli import errors
from dumacle_cli.local import servers
from dumacle_cli.local.servers import Servers
from dumacle_cli.store import logins, revisions
from dumacle_cli.store.database import Database, Timeouts
from dumacle_cli.store.operations import Request
from tests.conftest import Run
from tests.factories import make_user
from tests.faults.proxy import Proxy, proxied

pytestmark = pytest.mark.integration

JSON = ("-o", "json")
SOMEONE, PASSWORD = "someone@example.com", "of this test"
CREATE = ("users", "create", "ada@example.com", *JSON)
Alter = Callable[[str], None]


def emails(database: Database) -> list[str]:
    with database.session() as session:
        return list(session.scalars(text("SELECT email FROM app.users WHERE role = 'enduser' ORDER BY id")))


# The connection is lost


@pytest.fixture
def proxy(run: Run, environment: Callable[..., None], database_url: str, tmp_path: Path) -> Iterator[Proxy]:
    """The program reaches its database through a proxy that can lose connections."""
    with proxied(database_url, tmp_path) as (proxy, url):
        environment(DUMACLE_DATABASE_URL=url)
        yield proxy


def test_connection_lost_before_commit(run: Run, proxy: Proxy, database: Database) -> None:
    proxy.before = 1
    assert run(*CREATE).json["changed"] is True
    assert proxy.commits == 2
    assert emails(database) == ["ada@example.com"]


def test_answer_of_commit_lost(run: Run, proxy: Proxy, database: Database) -> None:
    proxy.after = 1
    said = run(*CREATE, "--op-id", "monday").json
    assert (said["operation"], said["data"]["email"]) == ("monday", "ada@example.com")
    assert emails(database) == ["ada@example.com"]
    with database.session() as session:
        assert session.scalar(text("SELECT count(*) FROM app.operations")) == 1


def test_nobody_can_be_asked_after_commit(run: Run, proxy: Proxy, database: Database) -> None:
    proxy.after = 1
    proxy.goes_down = True
    failed = run(*CREATE, "--op-id", "monday", expect=11)
    assert failed.error["code"] == "commit-unknown"
    assert failed.error["fix"] == "repeat the command with --op-id monday: it takes effect once"
    proxy.is_down = False
    assert run(*CREATE, "--op-id", "monday").json["changed"] is False
    assert emails(database) == ["ada@example.com"]


def test_connection_lost_while_reading(run: Run, proxy: Proxy) -> None:
    proxy.is_down = True
    failed = run("users", "list", *JSON, expect=10)
    assert failed.error["code"] == "database-unavailable"


# Others are in the way


def test_serialization_failure_is_retried(database: Database) -> None:
    tries = []

    def work(session: Session) -> tuple[int, bool]:
        tries.append(session)
        if len(tries) < 3:
            session.execute(text("DO $$ BEGIN RAISE SQLSTATE '40001'; END $$"))
        return make_user(session).id, True

    assert database.change(Request("monday", "test", {}), work).changed
    assert len(tries) == 3
    assert len(emails(database)) == 1


def test_serialization_failure_for_ever(database: Database) -> None:
    def work(session: Session) -> tuple[int, bool]:
        session.execute(text("DO $$ BEGIN RAISE SQLSTATE '40001'; END $$"))
        raise AssertionError("unreachable")

    with pytest.raises(errors.DatabaseBusy):
        database.change(Request("monday", "test", {}), work)


def test_deadlock_is_retried(database: Database) -> None:
    """Two operations lock two rows crosswise: PostgreSQL ends one, and it succeeds when it is repeated."""
    with database.session() as session:
        rows = [make_user(session).id, make_user(session).id]
    meeting = threading.Barrier(2)
    met = set[str]()
    done = []

    def crosswise(name: str, first: int, second: int) -> None:
        def work(session: Session) -> tuple[int, bool]:
            lock = text("UPDATE app.users SET name = :name WHERE id = :id")
            session.execute(lock, {"name": name, "id": first})
            if name not in met:
                met.add(name)
                meeting.wait(10)
            session.execute(lock, {"name": name, "id": second})
            return 0, True

        done.append(database.change(Request(name, "test", {}), work).changed)

    threads = [
        threading.Thread(target=crosswise, args=("one", *rows)),
        threading.Thread(target=crosswise, args=("two", *reversed(rows))),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert done == [True, True]


def test_lock_timeout(run: Run, database: Database) -> None:
    assert run(*CREATE).code == 0
    with database.session() as other:
        other.execute(text("SELECT FROM app.users FOR UPDATE"))
        failed = run("users", "disable", "ada@example.com", "--set", "lock_timeout=0.1", *JSON, expect=10)
    assert failed.error["code"] == "database-busy"
    assert run("users", "disable", "ada@example.com", *JSON).json["changed"] is True


def test_statement_timeout(run: Run, database: Database) -> None:
    with database.session() as other:
        other.execute(text("LOCK TABLE app.users IN ACCESS EXCLUSIVE MODE"))
        failed = run("users", "list", "--set", "statement_timeout=0.1", *JSON, expect=10)
    assert failed.error["code"] == "database-busy"


def test_every_connection_of_the_program_is_in_use(database_url: str) -> None:
    narrow = Database(database_url, Timeouts(connect=0.1), pool_size=1)
    with narrow.session(), pytest.raises(errors.DatabaseBusy), narrow.session():
        pass
    narrow.close()


# The server refuses


@pytest.fixture
def login(embedded: Servers, copied: str, database: Database, environment: Callable[..., None]) -> Iterator[Alter]:
    """The program uses an enduser's login, which is this test's own; SQL with {} alters it."""
    with database.session() as session:
        name = logins.grant_personal(session, make_user(session, SOMEONE).id, PASSWORD)
    with psycopg.connect(embedded.admin_url, autocommit=True) as admin:

        def alter(statement: str) -> None:
            admin.execute(sql.SQL(statement).format(sql.Identifier(name)))

        environment(DUMACLE_DATABASE_URL=servers.url(embedded, name, PASSWORD, copied))
        yield alter
        alter("DROP ROLE {}")


@contextmanager
def connected(owner_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(owner_url, autocommit=True) as connection:
        yield connection


def test_wrong_password(run: Run, login: Alter) -> None:
    login("ALTER ROLE {} PASSWORD 'another'")
    failed = run("users", "list", *JSON, expect=4)
    assert failed.error["code"] == "database-refused"
    assert PASSWORD not in failed.err


def test_no_such_database(run: Run, database_url: str, environment: Callable[..., None]) -> None:
    environment(DUMACLE_DATABASE_URL=database_url.replace("/test_", "/no_such_"))
    assert run("users", "list", *JSON, expect=4).error["code"] == "database-refused"


def test_too_many_connections(run: Run, login: Alter) -> None:
    login("ALTER ROLE {} CONNECTION LIMIT 0")
    assert run("users", "list", *JSON, expect=10).error["code"] == "database-full"


def test_insufficient_privilege(run: Run, login: Alter) -> None:
    assert run(*CREATE, expect=5).error["message"] == "users create needs the role admin"


def test_read_only_server(run: Run, login: Alter) -> None:
    login("ALTER ROLE {} SET default_transaction_read_only = on")
    assert run(*CREATE, expect=10).error["code"] == "database-read-only"
    assert [user["email"] for user in run("users", "list", *JSON).data] == [SOMEONE]


# The schema is another


def test_missing_schema(run: Run, owner_url: str) -> None:
    with connected(owner_url) as owner:
        owner.execute("DROP SCHEMA app CASCADE")
    failed = run("users", "list", *JSON, expect=2)
    assert (failed.error["code"], failed.error["fix"]) == ("schema-missing", "dumacle db upgrade")


@pytest.mark.parametrize(("found", "code"), [("0001", "schema-too-old"), ("9999", "schema-too-new")])
@pytest.mark.parametrize("argv", [("users", "list", *JSON), CREATE])
def test_schema_of_another_release(found: str, code: str, argv: tuple[str, ...], run: Run, owner_url: str) -> None:
    with connected(owner_url) as owner:
        owner.execute(sql.SQL("UPDATE {} SET version_num = %s").format(sql.SQL(revisions.TABLE)), [found])
    failed = run(*argv, expect=2)
    assert failed.error["code"] == code
    assert found in failed.error["message"]
