"""Stores and databases that are away, throttle, hang or lie: an upload waits, ends in time, and believes no lie."""

import hashlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext, suppress
from pathlib import Path

import pytest
from sqlalchemy import text

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.objects import Location
from dumacle_cli.clients.puts import Puts
from dumacle_cli.errors import DumacleError
from dumacle_cli.ingest import engine, journal, transfer
from dumacle_cli.ingest.buffers import Buffers
from dumacle_cli.ingest.items import Attempt, Item, NoProgress, Result, Stopwatch
from dumacle_cli.ingest.journal import Journal
from dumacle_cli.ingest.pace import Pace
from dumacle_cli.ingest.sides import Side, Sides
from dumacle_cli.local.process import wait
from dumacle_cli.retry import Patience
from dumacle_cli.store.database import Database
from tests.conftest import Result as Done
from tests.ingest import checker
from tests.ingest.conftest import Fill, Home
from tests.processes import Begin
from tests.s3_stub import HANG, Fault, Stub

pytestmark = pytest.mark.integration
MIB = 1024**2
SLOW_DOWN = Fault(503, b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>")
PAGE = b"<html>please log in</html>"


@pytest.fixture
def stub(environment: Callable[..., None], configured: None) -> Iterator[Stub]:
    """A store of which the tests decide what goes wrong."""
    server = Stub()
    environment(DUMACLE_LOCAL_ENDPOINT=server.url, DUMACLE_LOCAL_ACCESS_KEY="k", DUMACLE_LOCAL_SECRET_KEY="s")
    yield server
    server.shutdown()
    server.server_close()


def statuses(database: Database) -> dict[str, int]:
    with database.session() as session:
        rows = session.execute(text("SELECT upload_status, count(*) FROM app.files GROUP BY 1")).all()
    return {row[0]: row[1] for row in rows}


def check(database: Database, stub: Stub) -> None:
    """What the rows call stored is there, byte for byte as recorded, and nothing else is called so."""
    with database.session() as session:
        rows = session.execute(
            text("SELECT v.key, v.sha256 FROM app.versions AS v JOIN app.files AS f ON f.version_id = v.id")
        ).all()
    assert {row.key: row.sha256.hex() for row in rows} == {
        key: hashlib.sha256(stub.objects[key]).hexdigest() for key in (row.key for row in rows)
    }
    checker.books(database)


# Away and back


def during(seconds: float, fault: Fault, *methods: str) -> Callable[[str, str], Fault | None]:
    """A fault of these methods, for so long from the first of them on."""
    began: list[float] = []

    def decide(method: str, _path: str) -> Fault | None:
        if method not in methods or (method == "HEAD" and fault.status == 200):  # its answer has no body
            return None
        began.append(time.monotonic())
        return fault if time.monotonic() - began[0] < seconds else None

    return decide


@pytest.mark.parametrize("fault", [SLOW_DOWN, Fault(500), Fault(429), Fault(lose=True), Fault(200, SLOW_DOWN.body)])
@pytest.mark.parametrize("methods", [("PUT",), ("POST",), ("HEAD",), ("PUT", "POST", "HEAD")])
def test_a_storm_is_waited_out(
    fault: Fault, methods: tuple[str, ...], stub: Stub, upload: Callable[..., Done], fill: Fill, database: Database
) -> None:
    stub.fault = during(1.5, fault, *methods)
    done = upload(fill(film=17 * MIB, **{f"n{number}": 2000 for number in range(40)}))
    assert done.data["uploaded"] == 41
    check(database, stub)
    assert stub.uploads == {} or fault.lose  # an upload whose answer was lost is nobody's; reaping ends it


def test_what_is_waited_for_is_told(stub: Stub, upload: Callable[..., Done], fill: Fill) -> None:
    stub.fault = during(1, SLOW_DOWN, "PUT")
    done = upload(fill(**{f"n{number}": 2000 for number in range(40)}))
    assert done.err.count("waiting for the store local at http://127.0.0.1") == 1
    assert done.err.count("is back after") == 1
    assert done.data["waiting_seconds"] > 0.5


@pytest.mark.parametrize("size", [2000, 17 * MIB])
def test_patience_ends(size: int, stub: Stub, upload: Callable[..., Done], fill: Fill, database: Database) -> None:
    stub.fault = lambda method, _: SLOW_DOWN if method == "PUT" else None
    begun = time.monotonic()
    failed = upload(fill(one=size), "--set", "patience=2s", expect=10)
    assert failed.error["code"] == "store-busy"
    assert 2 <= time.monotonic() - begun < 20
    checker.books(database)
    stub.fault = lambda method, path: None
    assert upload(fill(one=size)).data["uploaded"] == 1
    check(database, stub)


# Lies

LIES = [
    Fault(200, PAGE, {"Content-Type": "text/html"}),
    Fault(200, PAGE, {"Content-Type": "text/html", "ETag": '"5d41402abc4b2a76b9719d911017c592"'}),
    Fault(200),
    Fault(200, b"", {"ETag": '""'}),
]


@pytest.mark.parametrize("size", [2000, 17 * MIB])
@pytest.mark.parametrize("lie", LIES)
def test_an_answer_that_no_store_gives_is_no_upload(
    lie: Fault, size: int, stub: Stub, upload: Callable[..., Done], fill: Fill, database: Database
) -> None:
    stub.fault = lambda method, _: lie if method == "PUT" else None
    failed = upload(fill(one=size), "--set", "patience=2s", expect=2)
    assert failed.error["code"] == "not-astore"
    assert statuses(database) == {"failed": 1}
    assert stub.objects == {}
    checker.books(database)


# Multipart uploads


def test_the_lost_answer_to_complete_is_looked_up(
    stub: Stub, upload: Callable[..., Done], fill: Fill, database: Database
) -> None:
    first = Fault(lose=True)
    stub.fault = lambda method, _: first if method == "POST" and stub.count("POST", "uploadId=") == 1 else None
    assert upload(fill(film=17 * MIB)).data["uploaded"] == 1
    check(database, stub)
    assert stub.count("PUT") == 3


def test_an_upload_that_the_store_forgot_starts_over(
    stub: Stub, upload: Callable[..., Done], fill: Fill, database: Database
) -> None:
    def forget(method: str, path: str) -> Fault | None:
        if method == "PUT" and "partNumber=3" in path and stub.count("POST") == 1:
            stub.uploads.clear()
        return None

    stub.fault = forget
    assert upload(fill(film=17 * MIB)).data["uploaded"] == 1
    check(database, stub)
    assert stub.count("POST", "uploads") == 2


def test_large_files_advance_together(stub: Stub, upload: Callable[..., Done], fill: Fill) -> None:
    first: list[str] = []
    arrived = threading.Event()

    def wait(method: str, path: str) -> Fault | None:
        if method == "PUT" and len(first) < transfer.PART_SENDERS:
            first.append(path.partition("?")[0])
            if len(first) == transfer.PART_SENDERS:
                arrived.set()
            assert arrived.wait(10)
        return None

    stub.fault = wait
    size = transfer.PART_SENDERS * transfer.PART
    assert upload(fill(one=size, other=size)).data["uploaded"] == 2
    assert Counter(first).total() == transfer.PART_SENDERS
    assert max(Counter(first).values()) <= -(-transfer.PART_SENDERS // 2)


def test_large_files_give_way_to_others(stub: Stub, upload: Callable[..., Done], fill: Fill) -> None:
    tasks = Path("/proc/self/task")
    own, before, seen = os.getpriority(os.PRIO_PROCESS, 0), set(tasks.iterdir()), set[int]()

    def look(method: str, _path: str) -> Fault | None:
        for thread in set(tasks.iterdir()) - before if method == "PUT" else ():
            with suppress(ProcessLookupError):
                seen.add(os.getpriority(os.PRIO_PROCESS, int(thread.name)))
        return None

    stub.fault = look
    upload(fill(photo=2000))
    assert seen == {own}
    upload(fill(film=17 * MIB))
    assert seen == {own, min(19, own + transfer.NICENESS)}


def test_a_large_file_that_only_waits_for_the_store_makes_place(
    stub: Stub, upload: Callable[..., Done], fill: Fill
) -> None:
    made_place: list[bool] = []
    one_more = threading.Event()

    def hold(method: str, path: str) -> Fault | None:
        if method == "POST" and "uploadId" in path:
            made_place.append(one_more.wait(10))
        elif method == "POST" and stub.count("POST", "uploads") > engine.LARGE_AT_ONCE:
            one_more.set()
        return None

    stub.fault = hold
    files = {f"film{number}": 6 * MIB for number in range(engine.LARGE_AT_ONCE + 1)}
    assert upload(fill(**files), "--set", "large_file_size=5MiB").data["uploaded"] == len(files)
    assert made_place == [True] * len(files)


def test_what_cannot_be_recorded_fails_its_file_only(database: Database, home: Home) -> None:
    failures: list[BaseException] = []
    crew = transfer.Crew(1, failures.append)
    kept = Journal(database, Patience("the database", 5, lambda _: False, print), crew.hand)
    item = Item("film.jpg", b"film.jpg", 17 * MIB, 1)
    with pytest.raises(DumacleError):
        kept.record_parts(Attempt(item, 1, 1, 1, "k", False, upload_id="with a \0", part_size=5 * MIB))
    kept.record_parts(Attempt(item, 1, 1, 1, "k", False, upload_id="u", part_size=5 * MIB))
    assert failures == []
    crew.close()


def test_a_large_file_is_completed_when_the_parts_of_others_are_recorded(
    stub: Stub, upload: Callable[..., Done], fill: Fill, database: Database
) -> None:
    """So that a kill at that instant makes nobody send them again, even if the store does not list them."""
    recorded: list[int] = []
    at_once, is_first = threading.Semaphore(transfer.PART_SENDERS), threading.Lock()

    def look(method: str, path: str) -> Fault | None:
        if method == "PUT":
            time.sleep(0.2 if at_once.acquire(blocking=False) else 0.5)
        if method == "POST" and "uploadId" in path and is_first.acquire(blocking=False):
            with database.session() as session:
                recorded.append(session.execute(text("SELECT count(*) FROM app.parts")).scalar_one())
        return None

    stub.fault = look
    assert upload(fill(one=3 * transfer.PART, other=3 * transfer.PART)).data["uploaded"] == 2
    assert recorded == [6]


def test_parts_are_recorded_together_and_before_whatever_somebody_waits_for(
    stub: Stub,
    upload: Callable[..., Done],
    fill: Fill,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(journal, "LATEST", 60)
    recorded: list[int] = []

    def count() -> int:
        with database.session() as session:
            return int(session.execute(text("SELECT count(*) FROM app.parts")).scalar_one())

    def look(method: str, path: str) -> Fault | None:
        if method == "PUT" and f"partNumber={journal.TOGETHER + 2}&" in path:
            recorded.append(wait(lambda: count() >= journal.TOGETHER, 20))
        if method == "POST" and "uploadId" in path:
            recorded.append(count())
        return None

    stub.fault = look
    parts = journal.TOGETHER + 2
    assert upload(fill(film=parts * transfer.PART)).data["uploaded"] == 1
    assert recorded == [True, parts]


def test_nothing_is_sent_of_a_large_file_whose_upload_is_refused(
    stub: Stub, upload: Callable[..., Done], fill: Fill, database: Database
) -> None:
    stub.fault = lambda method, _: Fault(403, b"<Error><Code>AccessDenied</Code></Error>") if method == "POST" else None
    upload(fill(film=17 * MIB), expect=5)
    assert stub.count("POST", "uploads") == 1
    assert stub.count("PUT") == 0
    checker.books(database)


def test_a_large_file_that_changes_while_its_upload_is_created_leaves_none(
    stub: Stub, upload: Callable[..., Done], fill: Fill, database: Database
) -> None:
    folder = fill(film=17 * MIB)

    def change(method: str, path: str) -> Fault | None:
        if method == "POST" and path.endswith("uploads="):
            os.utime(folder / "film.jpg", ns=(1, 1))
        return None

    stub.fault = change
    upload(folder, expect=3)
    assert (stub.count("POST", "uploads"), stub.uploads, stub.objects) == (1, {}, {})
    checker.books(database)


def continue_attempt(stub: Stub, bucket: Location, database: Database, home: Home, attempt: Attempt) -> Attempt:
    location = Location("local", stub.url, "us-east-1", bucket.bucket, "k", "s")
    patience = Patience("the store", 5, lambda _: False, print)
    with ObjectStore(location) as store, closing(Puts(location)) as puts:
        side = Side(puts, store, patience, Pace(4), is_primary=True)
        lanes = transfer.Lanes(
            Sides(side, None, print, print),
            Buffers(transfer.IN_FLIGHT),
            NoProgress(),
            Journal(database, patience, lambda work: work()),
            transfer.Crew(4, print),
            threading.Event(),
            (),
            lambda _: None,
            nullcontext,
            lambda: 1,
        )
        transfer.put(lanes, attempt, True, Stopwatch())
        lanes.crew.close()
    return attempt


@pytest.mark.parametrize(
    ("there", "sent"),
    [
        ([], [1, 2, 3, 4]),
        ([1, 2], [3, 4]),
        ([1, 2, 3, 4], []),
        ([4], [1, 2, 3]),
        ([-2], [1, 2, 3, 4]),  # negative: of other bytes
        ([1, -4], [2, 3, 4]),
    ],
)
def test_only_parts_that_are_not_there_are_sent(
    there: list[int], sent: list[int], stub: Stub, bucket: Location, database: Database, home: Home, fill: Fill
) -> None:
    folder, part = fill(film=3 * 5 * MIB + 7), 5 * MIB
    film = folder / "film.jpg"
    content, status = film.read_bytes(), film.stat()
    stub.uploads["u"] = {
        abs(number): content[(abs(number) - 1) * part : abs(number) * part] if number > 0 else b"other"
        for number in there
    }
    item = Item("film.jpg", os.fsencode(film), status.st_size, status.st_mtime_ns)
    attempt = Attempt(item, 1, 1, 1, "k", False, upload_id="u", part_size=part)
    done = continue_attempt(stub, bucket, database, home, attempt)
    assert (done.result, done.error) == (Result.UPLOADED, "")
    assert sorted(number for number in range(1, 5) if stub.count("PUT", f"partNumber={number}&")) == sent
    assert stub.objects["k"] == content


def test_an_upload_that_was_completed_already_is_proven(
    stub: Stub, bucket: Location, database: Database, home: Home, fill: Fill
) -> None:
    film = fill(film=17 * MIB) / "film.jpg"
    stub.objects["k"] = film.read_bytes()
    item = Item("film.jpg", os.fsencode(film), film.stat().st_size, film.stat().st_mtime_ns)
    attempt = Attempt(item, 1, 1, 1, "k", False, upload_id="gone", part_size=5 * MIB)
    assert continue_attempt(stub, bucket, database, home, attempt).result is Result.UPLOADED
    assert stub.count("PUT") == stub.count("POST") == 0


# Signals while the store hangs


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(("size", "hangs"), [(17 * MIB, "POST"), (17 * MIB, "PUT"), (2000, "PUT")])
def test_a_signal_ends_it_within_ten_seconds(
    number: signal.Signals,
    status: int,
    size: int,
    hangs: str,
    stub: Stub,
    home: Home,
    program: Begin,
    fill: Fill,
    database: Database,
) -> None:
    stub.fault = lambda method, _: Fault(hang=HANG) if method == hangs else None
    process = program("files", "upload", fill(one=size), "--pod", "films", "--owner", "ada@example.com")
    while not stub.count(hangs):
        time.sleep(0.05)
    begun = time.monotonic()
    process.send_signal(number)
    said = process.communicate(timeout=30)[1]
    assert (process.returncode, time.monotonic() - begun < 12) == (status, True), said
    checker.books(database)
    with database.session() as session:
        assert session.scalar(text("SELECT status FROM app.runs")) == "interrupted"


def test_a_second_signal_ends_it_at_once(stub: Stub, home: Home, program: Begin, fill: Fill) -> None:
    stub.fault = lambda method, _: Fault(hang=HANG) if method == "PUT" else None
    process = program("files", "upload", fill(one=2000), "--pod", "films", "--owner", "ada@example.com")
    while not stub.count("PUT"):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    time.sleep(1)
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert (process.returncode, time.monotonic() - begun < 4) == (143, True)


# Budgets


def test_few_descriptors_are_enough(stub: Stub, home: Home, fill: Fill, database: Database) -> None:
    folder = fill(film=40 * MIB, **{f"n{number}": 2000 for number in range(300)})

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    command = [sys.executable, "-m", "dumacle_cli", "files", "upload", folder, "--pod", "films"]
    done = subprocess.run(
        [*command, "--owner", "ada@example.com"], preexec_fn=limit, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert statuses(database) == {"uploaded": 301}


@pytest.mark.parametrize("sizes", [{"film": 17 * MIB}, {f"n{number}": MIB for number in range(17)}])
def test_bandwidth_is_not_exceeded(
    sizes: dict[str, int], stub: Stub, upload: Callable[..., Done], fill: Fill, database: Database
) -> None:
    done = upload(fill(**sizes), "--bandwidth", "6MiB")
    assert done.data["uploaded"] == len(sizes)
    assert done.data["seconds"] > 2
    assert done.data["waiting_seconds"] > 1
    check(database, stub)


def test_bandwidth_that_is_no_size(upload: Callable[..., Done], fill: Fill) -> None:
    assert "--bandwidth" in upload(fill(one=1), "--bandwidth", "fast", expect=2).error["message"]
