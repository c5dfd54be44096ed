"""Workers whose database goes away, whose queue is tampered with, and to whom anybody may say anything."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import procrastinate
import psycopg
import pytest
from psycopg import sql
from sqlalchemy import text

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.local import ffmpeg
from dumacle_cli.local.process import wait
from dumacle_cli.local.servers import Servers
from dumacle_cli.store.database import Database, Timeouts
from dumacle_cli.store.places import Place
from dumacle_cli.transcode import job, lease
from dumacle_cli.transcode.limits import Limits
from dumacle_cli.transcode.sources import Sources
from dumacle_cli.worker import _Connector, _conninfo
from tests.faults.proxy import proxied
from tests.faults.workers import LEASE, await_encoder, begin, stop
from tests.films import SECONDS, Films, Submit, await_status, check, films, rows, submit
from tests.processes import Begin

__all__ = ["begin", "films", "submit"]
pytestmark = pytest.mark.integration
TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"


@contextmanager
def cut_off(database: Database, embedded: Servers) -> Iterator[None]:
    """End all connections to a database, and allow none while inside."""
    name = sql.Identifier(str(database.url.database))
    database.close()
    with psycopg.connect(embedded.admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
        admin.execute(TERMINATE, [database.url.database])
        try:
            yield
        finally:
            admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))


def test_all_connections_are_lost_while_it_runs(
    begin: Begin,
    submit: Submit,
    films: Films,
    database: Database,
    object_store: ObjectStore,
    embedded: Servers,
) -> None:
    submit(films(12, "1280x720"))
    worker = begin()
    await_encoder(worker)
    name = database.url.database
    database.close()
    with psycopg.connect(embedded.admin_url, autocommit=True) as admin:
        admin.execute(TERMINATE, [name])
    await_status(database, "done")
    submit(films(1))
    await_status(database, "done", "done", seconds=20)
    said = stop(worker)
    assert said.count("unit done") == 2
    check(database, object_store, 2)
    assert rows(database, "SELECT sum(setbacks) AS setbacks FROM app.units") == [{"setbacks": 0}]


def test_the_database_is_down_for_a_while(
    begin: Begin,
    submit: Submit,
    films: Films,
    database: Database,
    object_store: ObjectStore,
    embedded: Servers,
) -> None:
    submit(films(12, "1280x720"))
    worker = begin()
    await_encoder(worker)
    with cut_off(database, embedded):
        time.sleep(4 * LEASE)  # an outage that outlasts leases and patience
        assert worker.poll() is None
    await_status(database, "done")
    submit(films(1))
    await_status(database, "done", "done")
    assert stop(worker).count("unit done") == 2
    check(database, object_store, 2)


def test_drains_while_the_database_is_down(
    begin: Begin,
    submit: Submit,
    films: Films,
    database: Database,
    object_store: ObjectStore,
    embedded: Servers,
) -> None:
    """What it cannot give back lapses."""
    submit(films(12, "1280x720"))
    worker = begin("--drain-timeout", "0")
    await_encoder(worker)
    with cut_off(database, embedded):
        stop(worker)
    another = begin()
    await_status(database, "done")
    stop(another)
    check(database, object_store, 1)


def test_does_not_start_without_a_database(begin: Begin, environment: Callable[..., None], tmp_path: Path) -> None:
    environment(DUMACLE_DATABASE_URL=f"postgresql://nobody@/nothing?host={tmp_path}")
    worker = begin()
    said = worker.communicate(timeout=SECONDS)[1]
    assert (worker.returncode, "Traceback" in said) == (10, False), said


ABORT = '{"type": "abort_job_requested", "job_id": %s}'
LIES = [
    "",
    "garbage",
    "{",
    "[]",
    "null",
    '{"type": 1}',
    '{"type": "job_inserted"}',
    "\\x00" * 100,
    ABORT % "{}",
    ABORT % 1,
]


def test_forged_and_garbled_notifications(
    begin: Begin,
    submit: Submit,
    films: Films,
    database: Database,
    object_store: ObjectStore,
    embedded: Servers,
) -> None:
    """Any login may notify: it wakes the worker, and does nothing else."""
    submit(films(12, "1280x720"))
    worker = begin()
    await_encoder(worker)
    [doing] = rows(database, "SELECT id FROM queue.procrastinate_jobs WHERE status = 'doing'")
    channels = ["procrastinate_any_queue_v1", "procrastinate_queue_v1#transcode", "procrastinate_queue_v1#webhooks"]
    lies = [*LIES, ABORT % doing["id"]]
    login, name = f"plain_{uuid4().hex[:8]}", str(database.url.database)
    with psycopg.connect(embedded.admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(login)))
        try:
            with psycopg.connect(embedded.admin_url, dbname=name, autocommit=True) as connection:
                connection.execute(sql.SQL("SET SESSION AUTHORIZATION {}").format(sql.Identifier(login)))
                for channel in channels:
                    for lie in lies:
                        connection.execute("SELECT pg_notify(%s, %s)", [channel, lie])
        finally:
            admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(login)))
    await_status(database, "done")
    submit(films(1))
    await_status(database, "done", "done", seconds=20)
    assert stop(worker).count("unit done") == 2
    check(database, object_store, 2)


def test_a_notification_says_no_more_than_wake_up(database: Database) -> None:
    heard: list[str] = []

    async def listen() -> None:
        connector = _Connector(_conninfo(database), 2, lambda event, **facts: None)
        app = procrastinate.App(connector=connector)
        notified = asyncio.Event()

        async def hear(*, channel: str, payload: str) -> None:
            heard.append(payload)
            if len(heard) == len(LIES):
                notified.set()

        async with app.open_async():
            listening = asyncio.create_task(connector.listen_notify(hear, ["procrastinate_any_queue_v1"]))
            while not rows(database, "SELECT FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND state = 'idle'"):
                await asyncio.sleep(0.01)
            for lie in LIES:
                with database.session() as session:
                    session.execute(text("SELECT pg_notify('procrastinate_any_queue_v1', :lie)"), {"lie": lie})
            async with asyncio.timeout(SECONDS):
                await notified.wait()
            listening.cancel()

    asyncio.run(listen())
    assert {json.loads(payload)["type"] for payload in heard} == {"job_inserted"}


def test_calls_that_make_no_sense(
    begin: Begin, submit: Submit, films: Films, database: Database, object_store: ObjectStore
) -> None:
    worker = begin()
    with database.session() as session:
        session.execute(
            text("""
                INSERT INTO queue.procrastinate_jobs (queue_name, task_name, args) VALUES
                ('transcode', 'transcode', '{"id": "x"}'), ('transcode', 'transcode', '{"other": [1]}'),
                ('transcode', 'nothing', '{}'), ('transcode', 'transcode', '{"id": 4711}'),
                ('transcode', 'builtin:procrastinate.builtin.remove_old_jobs', '{"max_hours": 0}')
            """)
        )
    submit(films(1))
    await_status(database, "done", seconds=20)
    wait(lambda: rows(database, "SELECT * FROM queue.procrastinate_jobs") == [], 20)
    stop(worker)
    assert rows(database, "SELECT * FROM queue.procrastinate_jobs") == []
    check(database, object_store, 1)


def test_the_queue_forgets_the_worker_and_its_calls(
    begin: Begin, submit: Submit, films: Films, database: Database, object_store: ObjectStore
) -> None:
    """As after it was frozen for long: it registers anew."""
    submit(films(10, "1280x720"))
    worker = begin()
    await_encoder(worker)
    with database.session() as session:
        session.execute(text("DELETE FROM queue.procrastinate_workers"))
        session.execute(text("DELETE FROM queue.procrastinate_jobs"))
    await_status(database, "done")
    submit(films(1))
    await_status(database, "done", "done", seconds=30)
    stop(worker)
    check(database, object_store, 2)


@pytest.mark.parametrize("lost", ["before", "after"])
def test_the_connection_is_lost_at_the_publication(
    lost: str,
    submit: Submit,
    films: Films,
    database: Database,
    database_url: str,
    object_store: ObjectStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before the server hears of it, or before its answer arrives: it is published once, and its objects stay."""
    monkeypatch.setattr(lease, "RENEW_SECONDS", 60)
    submit(films(1))
    with proxied(database_url, tmp_path) as (proxy, url):
        asked: list[str] = []

        def stores(place: Place) -> ObjectStore:
            asked.append(place.bucket)
            if len(asked) == 2:
                setattr(proxy, lost, 1)  # it is opened to store what was made, and what is committed next is that
            return object_store

        through = Database(url, Timeouts())
        where = {"stores": stores, "ffmpeg": ffmpeg.locate(), "scratch": tmp_path, "limits": Limits()}
        more = {"codecs": ("h264",), "lease_seconds": 600, "worker": "me", "give_back": threading.Event()}
        more["sources"] = Sources(tmp_path)
        deps = lease.WorkerDeps(through, **where, **more)  # type: ignore[arg-type]
        claimed = job.claim(deps)
        assert claimed is not None
        assert job.run(deps, claimed).outcome == "done"
        assert (proxy.before, proxy.after) == (0, 0)
        through.close()
    check(database, object_store, 1)
