"""What all share, on a server that has little of it: who takes all there is stops neither work nor superadmins."""

from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from dumacle_cli import embedded as local_default
from dumacle_cli.local import servers
from dumacle_cli.local.servers import Servers
from dumacle_cli.store import queue
from dumacle_cli.store.database import Database, Timeouts
from tests.conftest import Run
from tests.servers import scratch_folder, stop_servers

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def small() -> Iterator[Servers]:
    """An installation whose server has a small queue of notifications, few connections, and an enduser."""
    folder = scratch_folder()
    up = local_default.start(folder)
    with psycopg.connect(up.admin_url, autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET max_notify_queue_pages = 64")
        admin.execute("ALTER SYSTEM SET max_connections = 30")
    with psycopg.connect(servers.owner_url(up)) as owner:
        verifier = owner.pgconn.encrypt_password(up.owner_password.encode(), b"", b"scram-sha-256").decode()
        owner.execute("INSERT INTO app.users (email) VALUES ('mal@example.com')")
        owner.execute("SELECT login.grant_personal(max(id), %s) FROM app.users", [verifier])
    servers.stop(folder)
    yield servers.start(folder)
    stop_servers(folder)


@contextmanager
def full(up: Servers) -> Iterator[None]:
    """The queue is full as long as somebody listens in an open transaction."""
    url = servers.owner_url(up)
    with psycopg.connect(url) as idle, psycopg.connect(url, autocommit=True) as other:
        idle.execute("LISTEN junk")
        idle.commit()
        idle.execute("SELECT 1")
        many = (f"SELECT pg_notify('junk', repeat('x', 7000) || {number})" for number in range(200))
        with pytest.raises(psycopg.errors.ProgramLimitExceeded):
            deque(map(other.execute, map(str.encode, many)), maxlen=0)
        yield
        idle.rollback()


def test_work_is_committed_and_found(small: Servers) -> None:
    database = Database(servers.owner_url(small), Timeouts())
    with full(small):
        for number in range(3):
            with database.session() as session:
                assert queue.wake_stripe(session, [f"sub_{number}"]) == 1
        with database.session() as session:
            assert waiting(session) == 3
    database.close()


def test_a_worker_is_told_after_the_transaction_also_where_the_queue_was_full(small: Servers) -> None:
    database = Database(servers.owner_url(small), Timeouts())
    with full(small):
        pass
    with psycopg.connect(servers.owner_url(small), autocommit=True) as worker:
        worker.execute('LISTEN "procrastinate_queue_v1#webhooks"')
        with database.session() as session:
            queue.wake_stripe(session, ["sub_9"])
        assert [note.payload for note in worker.notifies(timeout=5, stop_after=1)] == [""]
        with database.session() as session:
            assert queue.wake_stripe(session, ["sub_9"]) == 0
        assert list(worker.notifies(timeout=0.2, stop_after=1)) == []
    database.close()


def enduser(up: Servers, database: str = servers.DATABASE) -> psycopg.Connection[Any]:
    """A connection of the enduser's own."""
    return psycopg.connect(servers.url(up, "dumacle_mal", up.owner_password, database), autocommit=True)


def test_superadmins_get_in_where_all_connections_are_taken(small: Servers) -> None:
    with psycopg.connect(small.admin_url, autocommit=True) as superuser, ExitStack() as taken:
        superuser.execute("ALTER ROLE dumacle_mal CONNECTION LIMIT -1")
        with pytest.raises(psycopg.OperationalError, match="remaining connection slots are reserved for"):
            deque((taken.enter_context(enduser(small)) for _ in range(30)), maxlen=0)
        with psycopg.connect(servers.login_url(small)) as root:
            root.execute("UPDATE app.users SET status = 'disabled' WHERE email = 'mal@example.com'")
        with psycopg.connect(servers.owner_url(small)) as owner:
            owner.execute("UPDATE app.users SET status = 'active' WHERE email = 'mal@example.com'")
        superuser.execute("ALTER ROLE dumacle_mal CONNECTION LIMIT 3")


def test_an_enduser_of_the_embedded_server_has_no_more_than_is_his(small: Servers) -> None:
    with enduser(small) as mal:
        shown = {
            name: mal.execute(f"SHOW {name}".encode()).fetchone()
            for name in ("temp_file_limit", "max_prepared_transactions")
        }
    assert shown == {"temp_file_limit": ("1GB",), "max_prepared_transactions": ("0",)}
    for database in ("postgres", "template1"):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            enduser(small, database)


def waiting(session: Any) -> int:
    return int(session.scalar(text("SELECT count(*) FROM queue.procrastinate_jobs WHERE status = 'todo'")))


def test_an_enduser_passes_no_bound_by_several_transactions(
    run: Run, embedded: Servers, copied: str, owner_url: str
) -> None:
    """What is counted is counted one after the other."""
    run("users", "create", "mal@example.com")
    granted = run(
        "users", "grant-login", "mal@example.com", "--password-file", "-", "-o", "json", stdin="a password of mal"
    )
    url = servers.url(embedded, granted.data["login"], "a password of mal", copied)
    planted = (
        "INSERT INTO app.operations (id, command, fingerprint) SELECT %s || n, 'c', 'f' FROM generate_series(1, 6000) n"
    )
    with psycopg.connect(url) as first, psycopg.connect(url) as second:
        first.execute(planted, ["first"])
        second.execute("SET lock_timeout = '200ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            second.execute(planted, ["second"])
        second.rollback()
        first.commit()
        with pytest.raises(psycopg.errors.ConfigurationLimitExceeded):
            second.execute(planted, ["second"])
    with psycopg.connect(owner_url) as owner:
        assert owner.execute("SELECT count(*) FROM app.operations WHERE command = 'c'").fetchone() == (6000,)


def test_an_enduser_at_the_limit_of_operations_records_no_more_but_may_repeat(
    run: Run, embedded: Servers, copied: str, owner_url: str
) -> None:
    """Results are counted where they change, and only there: a repeat that changes none has nothing to count."""
    run("users", "create", "mal@example.com")
    granted = run(
        "users", "grant-login", "mal@example.com", "--password-file", "-", "-o", "json", stdin="a password of mal"
    )
    with psycopg.connect(owner_url) as owner:
        owner.execute(
            "INSERT INTO app.operations (id, command, fingerprint, user_id, login, result)"
            " SELECT n, 'c', 'f', u.id, %s, '1' FROM generate_series(1, 10001) AS n, app.users AS u WHERE u.email = %s",
            [granted.data["login"], "mal@example.com"],
        )
    with psycopg.connect(servers.url(embedded, granted.data["login"], "a password of mal", copied)) as mal:
        assert mal.execute("UPDATE app.operations SET result = '1'").rowcount == 10001
        with pytest.raises(psycopg.errors.ConfigurationLimitExceeded):
            mal.execute("UPDATE app.operations SET result = '2' WHERE id = '1'")
