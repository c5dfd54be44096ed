"""The express lane: one thread reads, unless disks are slow; one sends; what does not go well takes another way."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.ingest import express, transfer
from dumacle_cli.ingest.buffers import LEAST
from dumacle_cli.ingest.items import Attempt
from dumacle_cli.local.process import wait
from dumacle_cli.store.database import Database
from tests.conftest import Result, Run
from tests.ingest import checker
from tests.ingest.conftest import Fill, Home

pytestmark = pytest.mark.integration


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of the threads that read a file; each read takes as long as the test sets."""
    seen: list[str] = []
    read = transfer.read_whole

    def slowly(attempt: Attempt, body: memoryview) -> None:
        seen.append(threading.current_thread().name + str(threading.get_ident()))
        time.sleep(SLOW[0])
        read(attempt, body)

    monkeypatch.setattr(transfer, "read_whole", slowly)
    yield seen
    SLOW[0] = 0.0


SLOW = [0.0]


def test_slow_disks_get_more_readers(
    names: list[str], upload: Callable[..., Result], fill: Fill, object_store: ObjectStore
) -> None:
    SLOW[0] = 0.02
    folder = fill(**{f"f{number}": 100 for number in range(120)})
    assert upload(folder).data["uploaded"] == 120
    readers = {name for name in names if name.startswith("reader")}
    assert 2 < len(readers) <= express.MOST_READERS
    assert len(list(object_store.list(""))) == 120


def test_a_reader_that_waits_for_memory_gets_no_others_that_would_wait(
    monkeypatch: pytest.MonkeyPatch, names: list[str], upload: Callable[..., Result], fill: Fill
) -> None:
    staff = express.Express._staff

    def while_all_is_in_flight(lane: express.Express) -> None:
        assert wait(lambda: lane._lanes.buffers.is_awaited or not (lane._readers and lane._waiting), 20)
        lane._start()
        staff(lane)

    monkeypatch.setattr(transfer, "IN_FLIGHT", 4 * LEAST)
    monkeypatch.setattr(express, "STARVED_SECONDS", 0)
    monkeypatch.setattr(express.Express, "_staff", while_all_is_in_flight)
    assert upload(fill(**{f"f{number}": LEAST for number in range(40)})).data["uploaded"] == 40
    assert len(set(names)) == 1


def test_a_file_that_does_not_go_well_does_not_hold_up_others(
    monkeypatch: pytest.MonkeyPatch, upload: Callable[..., Result], fill: Fill, database: Database, home: Home
) -> None:
    """What the express lane hands back is sent by a thread of its own, which says what is wrong."""
    tried: list[tuple[str, str]] = []
    check = transfer._check_unchanged

    def broken(handle: int, attempt: Attempt) -> None:
        if attempt.item.path.endswith("bad.jpg"):
            tried.append((attempt.item.path, threading.current_thread().name))
            raise transfer.Changed("it changed while it was read; run the same command again")
        check(handle, attempt)

    monkeypatch.setattr(transfer, "_check_unchanged", broken)
    folder = fill(bad=500, **{f"f{number}": 500 for number in range(50)})
    done = upload(folder, expect=3)
    assert (done.data["uploaded"], done.data["changed"]) == (50, 1)
    assert [thread for _, thread in tried] == ["reader", "sender"]
    checker.books(database)


@pytest.mark.parametrize("options", [("--bandwidth", "100MiB"), ("--concurrency", "1"), ()])
def test_each_way_stores_the_same(
    run: Run, upload: Callable[..., Result], fill: Fill, object_store: ObjectStore, options: tuple[str, ...]
) -> None:
    folder = fill(empty=0, one=1, small=70_000, medium=3_000_000)
    assert upload(folder, *options).data["uploaded"] == 4
    stored = sorted(b"".join(object_store.get(entry.key)) for entry in object_store.list(""))
    assert stored == sorted(path.read_bytes() for path in Path(folder).iterdir())


def test_a_file_that_is_loaded_between_two_looks_is_sent_at_once(
    monkeypatch: pytest.MonkeyPatch, run: Run, upload: Callable[..., Result], fill: Fill
) -> None:
    """Nothing wakes the sender for it, which would look again an hour later."""
    staff, first = express.Express._staff, [True]

    def loaded_meanwhile(lane: express.Express) -> None:
        staff(lane)
        while first and lane._readers and not lane._loaded:
            time.sleep(0.001)
        if lane._readers:
            first.clear()

    monkeypatch.setattr(express, "LOOK", 3600)
    monkeypatch.setattr(express.Express, "_staff", loaded_meanwhile)
    assert upload(fill(one=100), "--timeout", "20").data["uploaded"] == 1
