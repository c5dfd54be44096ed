"""Uploads that are killed, cut off, doubled or crowded: running the same command again makes it whole, once."""

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.objects import Location
from dumacle_cli.errors import RunBusy
from dumacle_cli.ingest.items import NoProgress
from dumacle_cli.local import servers
from dumacle_cli.local.process import wait
from dumacle_cli.local.servers import Servers
from dumacle_cli.store import runs
from dumacle_cli.store.database import Database, Timeouts
from tests import buckets
from tests.conftest import Result, Run
from tests.factories import make_grant, make_plan, make_pod, make_subscription, make_user
from tests.faults.workers import is_alive
from tests.ingest import checker
from tests.ingest.conftest import Drive, Fill, Home, Meddler
from tests.processes import Begin, Process
from tests.servers import scratch_folder

pytestmark = pytest.mark.integration
MIB = 1024**2
SECONDS = 60


@pytest.fixture
def begin(configured: None, home: Home, program: Begin) -> Begin:
    """Start uploads as processes of their own."""
    to = ("--pod", "films", "--owner", "ada@example.com")
    return lambda *arguments: program("files", "upload", *arguments, *to)


def finish(process: Process) -> tuple[int, str]:
    """Wait for a process, and return its exit status and what it said on standard error."""
    try:
        said = process.communicate(timeout=SECONDS)[1]
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        pytest.fail(f"it did not end:\n{process.communicate()[1]}")
    return process.returncode, said


def scalar(database: Database, query: str) -> int:
    with database.session() as session:
        return int(session.scalar(text(query)) or 0)


def uploaded(database: Database) -> int:
    return scalar(database, "SELECT count(*) FROM app.files WHERE version_id IS NOT NULL")


def await_uploaded(database: Database, process: Process, files: int) -> None:
    wait(lambda: uploaded(database) >= files or process.poll() is not None, SECONDS)
    assert process.poll() is None, "it ended before it could be disturbed"


def many(fill: Fill, files: int = 1500) -> Path:
    return fill(**{f"n{number}": 20_000 + number for number in range(files)})


@contextmanager
def closed_port() -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{probe.getsockname()[1]}"


class Gate:
    """Passes bytes to the object store until it is shut."""

    def __init__(self, endpoint: str) -> None:
        host, _, port = endpoint.removeprefix("http://").partition(":")
        self._target = (host, int(port))
        self._pairs: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.endpoint = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def shut(self) -> None:
        """Take no more connections, and break off those there are."""
        for connection in (self._listening, *self._pairs):
            with suppress(OSError):  # it may have ended by itself
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                client = self._listening.accept()[0]
            except OSError:
                return
            server = socket.create_connection(self._target)
            self._pairs += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket) -> None:
        try:
            while said := source.recv(65536):
                sink.sendall(said)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return


# Killed


@pytest.mark.parametrize("files", [0, 1, 700])
def test_killed_and_run_again(
    files: int, begin: Begin, upload: Callable[..., Result], fill: Fill, database: Database, object_store: ObjectStore
) -> None:
    # Sets of 500 are committed: enough of them must be left when the kill comes.
    planned = max(1500, files + 1100)
    folder = many(fill, planned)
    process = begin(folder)
    if files:
        await_uploaded(database, process, files)
    else:
        wait(lambda: scalar(database, "SELECT count(*) FROM app.versions") > 0, SECONDS)
    process.kill()
    process.wait()
    done = uploaded(database)
    again = upload(folder)
    assert (again.data["uploaded"], again.data["unchanged"]) == (planned - done, done)
    checker.check(database, object_store, checker.tree(folder))
    assert scalar(database, "SELECT count(*) FROM app.runs") == 1


def test_killed_while_what_arrives_is_submitted(
    begin: Begin, tmp_path: Path, upload: Callable[..., Result], database: Database
) -> None:
    folder, files = tmp_path / "films", 1500
    folder.mkdir()
    for number in range(files):
        (folder / f"{number}.mp4").write_bytes(number.to_bytes(4, "big") * 4)
    left_out = """
        SELECT count(*) FROM app.files WHERE version_id IS NOT NULL AND (
            SELECT count(*) FROM app.transcodes AS t JOIN app.units AS u ON u.transcode_id = t.id
            WHERE t.version_id = files.version_id
        ) <> 1
    """
    process = begin(folder, "--transcode", "hls")
    await_uploaded(database, process, 300)
    process.kill()
    process.wait(SECONDS)
    assert scalar(database, left_out) == 0
    summary = upload(folder, "--transcode", "hls").data
    assert summary["transcodes"] == summary["uploaded"] < files
    assert uploaded(database) == scalar(database, "SELECT count(*) FROM queue.procrastinate_jobs") == files
    assert scalar(database, left_out) == 0


def test_killed_and_never_run_again_on_what_is_gone(
    begin: Begin, upload: Callable[..., Result], fill: Fill, database: Database, object_store: ObjectStore
) -> None:
    folder = many(fill)
    process = begin(folder)
    await_uploaded(database, process, 1)
    process.kill()
    process.wait()
    for file in sorted(folder.iterdir())[::2]:
        file.unlink()
    upload(folder)
    checker.books(database)


def test_killed_in_a_large_file(
    begin: Begin, upload: Callable[..., Result], fill: Fill, database: Database, object_store: ObjectStore
) -> None:
    folder = fill(film=400 * MIB)
    process = begin(folder)
    wait(lambda: scalar(database, "SELECT count(*) FROM app.versions WHERE upload_id IS NOT NULL") == 1, SECONDS)
    process.kill()
    process.wait()
    assert upload(folder).data["uploaded"] == 1
    checker.check(database, object_store, checker.tree(folder))


@pytest.mark.parametrize(
    ("number", "status", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated"), (signal.SIGHUP, None, "")],
)
def test_signal(
    number: signal.Signals,
    status: int | None,
    word: str,
    begin: Begin,
    upload: Callable[..., Result],
    fill: Fill,
    database: Database,
    object_store: ObjectStore,
) -> None:
    folder = many(fill, 1800)
    process = begin(folder)
    await_uploaded(database, process, 300)
    process.send_signal(number)
    code, said = finish(process)
    assert status in (code, None)
    assert code != 0
    assert word in said
    assert "Traceback" not in said
    assert 300 <= uploaded(database) < 1800
    checker.books(database)
    with database.session() as session:
        run = session.execute(text("SELECT status, totals FROM app.runs")).one()
    assert run.status == "interrupted"
    assert run.totals["uploaded"] == uploaded(database)
    assert upload(folder).data["uploaded"] == 1800 - run.totals["uploaded"]
    checker.check(database, object_store, checker.tree(folder))


def test_signal_in_a_large_file(begin: Begin, fill: Fill, database: Database, object_store: ObjectStore) -> None:
    folder = fill(film=800 * MIB)
    process = begin(folder)
    wait(lambda: scalar(database, "SELECT count(*) FROM app.versions WHERE upload_id IS NOT NULL") == 1, SECONDS)
    process.send_signal(signal.SIGTERM)
    assert finish(process)[0] == 143
    checker.books(database)
    # What it had sent is kept, so that the same command goes on with it.
    assert len(buckets.unfinished_uploads(object_store.location)) == 1


def test_timeout(upload: Callable[..., Result], fill: Fill, database: Database, object_store: ObjectStore) -> None:
    folder = many(fill, 6000)
    broken_off = upload(folder, "--timeout", "1.5", expect=10)
    assert "1.5 s" in broken_off.error["message"]
    checker.books(database)
    upload(folder)
    checker.books(database)
    assert uploaded(database) == 6000


# Cut off from the store


@pytest.mark.parametrize(("patience", "files"), [("0", 3), ("0", 200), ("2s", 200)])
def test_store_is_down(
    patience: str,
    files: int,
    upload: Callable[..., Result],
    fill: Fill,
    database: Database,
    environment: Callable[..., None],
    object_store: ObjectStore,
) -> None:
    folder = many(fill, files)
    started = time.monotonic()
    with closed_port() as endpoint:
        environment(DUMACLE_LOCAL_ENDPOINT=endpoint)
        result = upload(folder, "--set", f"patience={patience}", expect=10)
    assert time.monotonic() - started < 30
    assert result.error["code"] == "store-unreachable"
    assert uploaded(database) == 0
    checker.check(database, object_store, {})


def test_store_goes_away(
    begin: Begin,
    upload: Callable[..., Result],
    fill: Fill,
    database: Database,
    environment: Callable[..., None],
    embedded: Servers,
    object_store: ObjectStore,
) -> None:
    folder = many(fill, 1800)
    gate = Gate(embedded.s3_endpoint)
    environment(DUMACLE_LOCAL_ENDPOINT=gate.endpoint, DUMACLE_PATIENCE="2s")
    process = begin(folder)
    await_uploaded(database, process, 200)
    gate.shut()
    code, said = finish(process)
    assert (code, "Traceback" in said) == (10, False), said
    checker.books(database)
    done = uploaded(database)
    environment(DUMACLE_LOCAL_ENDPOINT=embedded.s3_endpoint)
    assert upload(folder).data["uploaded"] == 1800 - done
    checker.check(database, object_store, checker.tree(folder))


def test_store_goes_away_in_a_large_file(
    begin: Begin,
    fill: Fill,
    database: Database,
    environment: Callable[..., None],
    embedded: Servers,
    object_store: ObjectStore,
) -> None:
    folder = fill(film=800 * MIB)
    gate = Gate(embedded.s3_endpoint)
    environment(DUMACLE_LOCAL_ENDPOINT=gate.endpoint, DUMACLE_PATIENCE="2s")
    process = begin(folder)
    wait(lambda: scalar(database, "SELECT count(*) FROM app.versions WHERE upload_id IS NOT NULL") == 1, SECONDS)
    gate.shut()
    assert finish(process)[0] == 10
    checker.check(database, object_store, {})


# Cut off from the database


def test_database_connections_are_lost(
    begin: Begin,
    upload: Callable[..., Result],
    fill: Fill,
    database: Database,
    embedded: Servers,
    object_store: ObjectStore,
) -> None:
    folder = many(fill, 1800)
    process = begin(folder)
    await_uploaded(database, process, 200)
    name = database.url.database
    own = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
    database.close()
    with psycopg.connect(embedded.admin_url, autocommit=True) as admin:
        admin.execute(own, [name])
    code, said = finish(process)
    assert (code, "Traceback" in said) == (0, False), said
    assert uploaded(database) == 1800
    checker.check(database, object_store, checker.tree(folder))


def test_every_row_is_there_after_postgresql_was_killed(
    invoke: Run, environment: Callable[..., None], fill: Fill, tmp_path: Path
) -> None:
    scratch = scratch_folder()
    data = scratch / "data"
    environment(DUMACLE_DATA_DIR=str(data), DUMACLE_CONFIG=str(tmp_path / "config.toml"))
    try:
        invoke("local", "start")
        with own(data) as database, database.session() as session:
            owner, pod = (
                make_user(session, "ada@example.com"),
                make_pod(session, "films", bucket=servers.start(data).bucket),
            )
            make_grant(session, pod, owner)
            make_subscription(session, owner, make_plan(session))
        invoke("files", "upload", many(fill), "--pod", "films", "--owner", "ada@example.com")
        (pid,) = (each.pid for each in servers.status(data) if each.server == "postgresql")
        assert pid
        os.kill(pid, signal.SIGKILL)
        wait(lambda: not is_alive(pid), SECONDS)
        with own(data) as database:
            assert uploaded(database) == 1500
            checker.books(database)
    finally:
        servers.stop(data)
        shutil.rmtree(scratch)


def test_postgresql_is_away_for_a_while(
    invoke: Run, program: Begin, environment: Callable[..., None], fill: Fill, tmp_path: Path
) -> None:
    scratch = scratch_folder()
    data = scratch / "data"
    environment(DUMACLE_DATA_DIR=str(data), DUMACLE_CONFIG=str(tmp_path / "config.toml"))
    try:
        invoke("local", "start")
        with own(data) as database:
            with database.session() as session:
                owner = make_user(session, "ada@example.com")
                pod = make_pod(session, "films", bucket=servers.start(data).bucket)
                make_grant(session, pod, owner)
                make_subscription(session, owner, make_plan(session))
            folder = many(fill, 3000)
            process = program("files", "upload", folder, "--pod", "films", "--owner", "ada@example.com")
            await_uploaded(database, process, 300)
        (pid,) = (each.pid for each in servers.status(data) if each.server == "postgresql")
        assert pid
        os.kill(pid, signal.SIGINT)
        wait(lambda: not is_alive(pid), SECONDS)
        time.sleep(3)
        servers.start(data)
        code, said = finish(process)
        assert code == 0, said
        assert said.count("waiting for the database") == said.count("the database is back") == 1
        with own(data) as database:
            assert uploaded(database) == 3000
            checker.books(database)
    finally:
        servers.stop(data)
        shutil.rmtree(scratch)


@contextmanager
def own(data: Path) -> Iterator[Database]:
    """The database of a data folder, which is started where it is down."""
    found = servers.start(data)
    opened = Database(servers.url(found, servers.OWNER, found.owner_password, servers.DATABASE), Timeouts())
    yield opened
    opened.close()


# Doubled and crowded


def test_the_same_command_twice_at_once(
    begin: Begin, fill: Fill, database: Database, object_store: ObjectStore, tmp_path: Path
) -> None:
    folder = many(fill, 1800)
    first = begin(folder, "--results", tmp_path / "results.jsonl")
    await_uploaded(database, first, 1)
    # Held still, so that it cannot end before the second one looks.
    first.send_signal(signal.SIGSTOP)
    code, said = finish(begin(folder, "--results", tmp_path / "results.jsonl"))
    first.send_signal(signal.SIGCONT)
    assert (code, "this upload is already running" in said) == (9, True), said
    assert finish(first)[0] == 0
    checker.check(database, object_store, checker.tree(folder))
    assert scalar(database, "SELECT count(*) FROM app.versions") == 1800
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 1800


def test_four_at_once_from_the_start(begin: Begin, fill: Fill, database: Database, object_store: ObjectStore) -> None:
    folder = many(fill, 300)
    codes = [finish(process)[0] for process in [begin(folder) for _ in range(4)]]
    assert set(codes) <= {0, 9}
    assert 0 in codes
    checker.check(database, object_store, checker.tree(folder))
    assert scalar(database, "SELECT count(*) FROM app.versions") == 300


def test_overlapping_selections_at_once(
    begin: Begin, upload: Callable[..., Result], fill: Fill, database: Database, object_store: ObjectStore
) -> None:
    folder, other = many(fill, 1500), fill("other", o1=10)
    processes = [begin(folder), begin(folder, other)]
    assert {finish(process)[0] for process in processes} <= {0, 3}
    upload(folder, other)
    checker.check(database, object_store, checker.tree(folder, other))


def test_sixteen_fill_a_pod_to_the_brim(
    database: Database, bucket: Location, home: Home, drive: Drive, fill: Fill, object_store: ObjectStore
) -> None:
    folders = [fill(f"f{number}", **{f"p{number}n{n}": 1000 for n in range(40)}) for number in range(16)]
    with database.session() as session:
        session.execute(text("UPDATE app.pods SET capacity = 300500"))
    stop, seen = threading.Event(), []

    def watch() -> None:
        while not stop.wait(0.01):
            seen.append(scalar(database, "SELECT used + reserved FROM app.pods"))

    watching = threading.Thread(target=watch)
    watching.start()
    with ThreadPoolExecutor(16) as pool:
        done = list(pool.map(lambda folder: drive(folder, NoProgress()), folders))
    stop.set()
    watching.join()
    assert max(seen) <= 300_500
    assert all(each.uploaded + each.refused == each.planned == 40 for each in done)
    checker.books(database)
    # What one had claimed while another was refused may be left; whoever comes again finds it.
    rest = [drive(folder, NoProgress()) for folder in folders]
    assert sum(each.uploaded for each in done + rest) == 300
    assert scalar(database, "SELECT used FROM app.pods") == 300_000
    checker.books(database)


# Held by others


def leave_a_run(begin: Begin, database: Database, folder: Path, silent: int) -> None:
    """Leave the run of a killed upload as that of another host that was heard so many seconds ago."""
    process = begin(folder)
    await_uploaded(database, process, 1)
    process.kill()
    process.wait()
    with database.session() as session:
        ago = {"ago": silent}
        session.execute(
            text("UPDATE app.runs SET host = 'elsewhere', heartbeat_at = now() - make_interval(secs => :ago)"), ago
        )


def test_run_of_another_host_that_is_silent(
    begin: Begin, upload: Callable[..., Result], fill: Fill, database: Database, object_store: ObjectStore
) -> None:
    folder = many(fill)
    leave_a_run(begin, database, folder, 31)
    upload(folder)
    checker.check(database, object_store, checker.tree(folder))
    assert scalar(database, "SELECT count(*) FROM app.runs") == 1


def test_run_of_another_host_that_is_alive(
    begin: Begin, upload: Callable[..., Result], fill: Fill, database: Database
) -> None:
    folder = many(fill)
    leave_a_run(begin, database, folder, 10)
    assert upload(folder, expect=9).error["code"] == "run-busy"


def test_run_that_was_taken_over_ends_and_closes_nothing(
    drive: Drive, fill: Fill, database: Database, upload: Callable[..., Result], object_store: ObjectStore
) -> None:
    folder = fill(**{f"film{number}": 40 * MIB for number in range(6)})

    def take_over() -> None:
        with database.session() as session:
            runs.expel(session, [1])
            runs.take_over(session, 1, host="elsewhere", pid=1, parameters="{}")

    with suppress(RunBusy):  # which it notices with its next heartbeat, if it lives that long
        assert drive(folder, Meddler(when_planned=take_over)).failed == 6
    assert scalar(database, "SELECT count(*) FROM app.runs WHERE status = 'running' AND host = 'elsewhere'") == 1
    with database.session() as session:
        session.execute(text("UPDATE app.runs SET heartbeat_at = now() - interval '1 hour'"))
    upload(folder)
    checker.check(database, object_store, checker.tree(folder))


def test_heartbeat_of_a_run_that_another_has(database: Database, home: Home) -> None:
    with database.session() as session:
        identity = {"pod": home.pod_id, "owner": home.owner_id, "prefix": "", "selection": b"", "name": "films"}
        run = runs.open_run(session, host="here", pid=1, parameters="{}", **identity).id
        assert runs.heartbeat(session, run, run, "here", 1, 30) is False
        runs.take_over(session, run, host="elsewhere", pid=1, parameters="{}")
        assert runs.heartbeat(session, run, run, "here", 1, 30) is None
        assert tuple(runs.holder(session, run)) == ("elsewhere", 1)
        values = {"status": "done", "files": 0, "size": 0, "totals": "{}", "error": None}
        assert not runs.leave(session, run, host="here", pid=1, **values)
        assert session.scalar(text("SELECT status FROM app.runs")) == "running"


def close_leases(database: Database) -> None:
    with database.session() as session:
        session.execute(text("SELECT app.close_lease(id) FROM app.leases WHERE closed_at IS NULL"))


def test_lease_that_expired_is_taken_anew(
    drive: Drive, fill: Fill, database: Database, object_store: ObjectStore
) -> None:
    folder = many(fill, 50)
    done = drive(folder, Meddler(when_planned=lambda: close_leases(database)))
    assert (done.uploaded, done.failed) == (50, 0)
    checker.check(database, object_store, checker.tree(folder))


def test_lease_that_expired_with_room_for_some_only(
    drive: Drive, fill: Fill, database: Database, object_store: ObjectStore
) -> None:
    folder = fill(**{f"n{number}": 1000 for number in range(50)})

    def close() -> None:
        close_leases(database)
        with database.session() as session:
            session.execute(text("UPDATE app.pods SET capacity = 20500"))

    done = drive(folder, Meddler(when_planned=close))
    assert (done.uploaded, done.failed) == (20, 30)
    checker.books(database)
    assert scalar(database, "SELECT used FROM app.pods") == 20_000


def test_attempts_that_others_gave_up_are_not_recorded(
    drive: Drive, fill: Fill, database: Database, object_store: ObjectStore
) -> None:
    folder = many(fill, 50)

    def give_up() -> None:
        close_leases(database)
        with database.session() as session:
            session.execute(text("UPDATE app.versions SET status = 'failed'"))

    done = drive(folder, Meddler(when_planned=give_up))
    assert (done.uploaded, done.failed) == (0, 50)
    checker.check(database, object_store, {})


def test_locks_that_others_hold_for_a_while(
    fill: Fill, database: Database, upload: Callable[..., Result], object_store: ObjectStore
) -> None:
    folder = many(fill, 100)
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with database.session() as session:
            session.execute(text("SELECT FROM app.pods FOR NO KEY UPDATE"))
            held.set()
            release.wait(SECONDS)

    holding = threading.Thread(target=hold)
    holding.start()
    held.wait(SECONDS)
    threading.Timer(2.5, release.set).start()
    assert upload(folder, "--set", "lock_timeout=1").data["uploaded"] == 100
    holding.join()
    checker.check(database, object_store, checker.tree(folder))
