"""A queue of notifications that somebody filled stops no work: it is committed, and workers find it."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from dumacle_cli import embedded
from dumacle_cli.local import servers
from dumacle_cli.local.servers import Servers
from dumacle_cli.store import queue
from dumacle_cli.store.database import Database, Timeouts
from tests.servers import scratch_folder, stop_servers

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def small() -> Iterator[Servers]:
    """An installation whose server has a small queue of notifications."""
    folder = scratch_folder()
    up = embedded.start(folder)
    with psycopg.connect(up.admin_url, autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET max_notify_queue_pages = 64")
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


def waiting(session: Any) -> int:
    return int(session.scalar(text("SELECT count(*) FROM queue.procrastinate_jobs WHERE status = 'todo'")))
