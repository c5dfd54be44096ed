"""Workers that are killed, frozen, drained or cancelled: every transcode is published once, and nothing is left."""

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.local.process import wait
from dumacle_cli.local.servers import Servers
from dumacle_cli.store.database import Database
from tests.conftest import Run
from tests.faults.workers import LAPSED, LEASE, await_encoder, begin, encoders, is_alive, stop
from tests.films import SECONDS, Films, Submit, await_status, check, films, rows, statuses, submit
from tests.processes import Begin

__all__ = ["begin", "films", "submit"]
pytestmark = pytest.mark.integration


def test_killed_in_the_middle(
    begin: Begin, submit: Submit, films: Films, database: Database, object_store: ObjectStore, tmp_path: Path
) -> None:
    submit(films(8, "1280x720"))
    first = begin()
    encoder = await_encoder(first)
    first.kill()
    first.wait()
    wait(lambda: not is_alive(encoder), 5)
    assert not is_alive(encoder)
    assert statuses(database) == ["running"]
    second = begin()
    await_status(database, "done")
    stop(second)
    check(database, object_store, 1)
    assert rows(database, "SELECT attempt, setbacks FROM app.units") == [{"attempt": 1, "setbacks": 1}]
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_frozen_worker_publishes_nothing_after_another_took_over(
    begin: Begin, submit: Submit, films: Films, database: Database, object_store: ObjectStore
) -> None:
    submit(films(8, "1280x720"))
    frozen = begin()
    await_encoder(frozen)
    frozen.send_signal(signal.SIGSTOP)
    wait(lambda: rows(database, LAPSED) != [], SECONDS)
    current = begin()
    await_status(database, "done")
    frozen.send_signal(signal.SIGCONT)
    wait(lambda: not encoders(frozen), 10)
    assert "unit lost" in stop(frozen)
    assert "unit done" in stop(current)
    check(database, object_store, 1)


@pytest.mark.parametrize("patience", ["0", "60"])
def test_drains(
    patience: str,
    begin: Begin,
    submit: Submit,
    films: Films,
    database: Database,
    object_store: ObjectStore,
) -> None:
    submit(films(12, "1280x720"))
    worker = begin("--drain-timeout", patience)
    encoder = await_encoder(worker)
    said = stop(worker)
    assert not is_alive(encoder)
    if patience == "0":
        assert "unit given back" in said
        assert rows(database, "SELECT status, attempt, setbacks FROM app.units") == [
            {"status": "queued", "attempt": 0, "setbacks": 0}
        ]
        check(database, object_store, 0)
    else:
        assert "unit done" in said
        check(database, object_store, 1)


def test_cancelled_while_it_runs(
    begin: Begin, submit: Submit, films: Films, database: Database, object_store: ObjectStore, run: Run
) -> None:
    [transcode] = submit(films(20, "1280x720"))
    worker = begin()
    encoder = await_encoder(worker)
    run("transcode", "cancel", str(transcode))
    wait(lambda: not is_alive(encoder), 5)
    assert not is_alive(encoder)
    assert "unit lost" in stop(worker)
    assert statuses(database) == ["cancelled"]
    check(database, object_store, 0)


def test_two_workers_share_the_work(
    begin: Begin, submit: Submit, films: Films, database: Database, object_store: ObjectStore
) -> None:
    submit(*[films(1, "160x90")] * 20)
    said = [worker.communicate(timeout=120)[1] for worker in [begin("--once"), begin("--once", "--slots", "2")]]
    done = [each.count("unit done") for each in said]
    assert sum(done) == 20, said
    assert min(done) > 0
    check(database, object_store, 20)
    assert rows(database, "SELECT sum(attempt) AS attempts FROM app.units") == [{"attempts": 20}]


# Disturbed while it stores what it made


class Stall:
    """Passes bytes to the object store; from the fourth object of a rendition on they wait until it is opened."""

    def __init__(self, endpoint: str) -> None:
        host, _, port = endpoint.removeprefix("http://").partition(":")
        self._target = (host, int(port))
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.endpoint = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._ends: list[socket.socket] = []
        self.seen = 0
        self.opened = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.opened.set()
        for end in (self._listening, *self._ends):
            with suppress(OSError):  # it may have ended by itself
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._listening.accept()[0]
                server = socket.create_connection(self._target)
                self._ends += [client, server]
                threading.Thread(target=self._pass, args=(client, server), daemon=True).start()
                threading.Thread(target=self._pass, args=(server, client), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while said := source.recv(65536):
                if said.startswith(b"PUT ") and b"/renditions/" in said[:300]:
                    self.seen += 1
                    if self.seen > 3:
                        self.opened.wait()
                sink.sendall(said)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def stall(embedded: Servers, begin: Begin, environment: Callable[..., None]) -> Iterator[Stall]:
    """Stand between the next worker and the object store."""
    stalling = Stall(embedded.s3_endpoint)
    environment(DUMACLE_LOCAL_ENDPOINT=stalling.endpoint)
    yield stalling
    stalling.close()


def test_killed_while_it_stores(
    begin: Begin,
    stall: Stall,
    environment: Callable[..., None],
    embedded: Servers,
    submit: Submit,
    films: Films,
    database: Database,
    object_store: ObjectStore,
) -> None:
    submit(films(20), preset="hls")
    first = begin()
    wait(lambda: stall.seen > 5, SECONDS)
    first.kill()
    first.wait()
    stall.opened.set()
    environment(DUMACLE_LOCAL_ENDPOINT=embedded.s3_endpoint)
    second = begin()
    await_status(database, "done")
    stop(second)
    check(database, object_store, 1)
    assert rows(database, "SELECT setbacks FROM app.units") == [{"setbacks": 1}]


def test_frozen_while_it_stores(
    begin: Begin,
    stall: Stall,
    environment: Callable[..., None],
    embedded: Servers,
    submit: Submit,
    films: Films,
    database: Database,
    object_store: ObjectStore,
) -> None:
    submit(films(20), preset="hls")
    frozen = begin()
    wait(lambda: stall.seen > 5, SECONDS)
    frozen.send_signal(signal.SIGSTOP)
    wait(lambda: rows(database, LAPSED) != [], SECONDS)
    environment(DUMACLE_LOCAL_ENDPOINT=embedded.s3_endpoint)
    current = begin()
    await_status(database, "done")
    frozen.send_signal(signal.SIGCONT)
    stall.opened.set()
    assert "unit lost" in stop(frozen)
    stop(current)
    check(database, object_store, 1)


def test_drained_while_it_stores(
    begin: Begin, stall: Stall, submit: Submit, films: Films, database: Database, object_store: ObjectStore
) -> None:
    submit(films(20), preset="hls")
    worker = begin("--drain-timeout", "0")
    wait(lambda: stall.seen > 5, SECONDS)
    worker.send_signal(signal.SIGTERM)
    time.sleep(LEASE)  # it lets go when it next renews
    stall.opened.set()
    said = worker.communicate(timeout=SECONDS)[1]
    assert (worker.returncode, "unit given back" in said) == (0, True), said
    check(database, object_store, 0)
