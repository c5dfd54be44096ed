"""Strangers who hold connections, and a database that stalls: an honest sender beside them loses nothing."""

import asyncio
import re
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import text

from dumacle_cli import batches
from dumacle_cli.connections import ConnectionLimit, Stage
from dumacle_cli.errors import DatabaseBusy
from dumacle_cli.store.database import Database
from tests.conftest import Run
from tests.faults.listener_fuzz import Fuzz
from tests.faults.listener_fuzz import run as fuzzed
from tests.faults.test_listener import EVENT, PATH, Listener, connected, listening, packed, stored
from tests.stripe_double.double import StripeDouble, sign

__all__ = ["connected"]
pytestmark = pytest.mark.integration

QUICK = """from dumacle_cli.connections import SECONDS, Stage
SECONDS.update({Stage.HEAD: 1, Stage.BODY: 1, Stage.ANSWER: 2})"""
FEW_FILES = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))"
HEAD = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nStripe-Signature: t=1,v1=00\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
KIB = 1024


def dripping(first: bytes, drop: bytes) -> Callable[[socket.socket], None]:
    """Say this, and then a little of the same for ever."""

    def act(line: socket.socket) -> None:
        line.sendall(first)
        while True:
            time.sleep(0.05)
            line.sendall(drop)

    return act


def silent(first: bytes = b"") -> Callable[[socket.socket], None]:
    """Say this, and no more."""

    def act(line: socket.socket) -> None:
        line.sendall(first)
        while line.recv(65_536):
            pass

    return act


def deaf(line: socket.socket) -> None:
    """Ask without end, and hear no answer."""
    while True:
        line.sendall(b"GET /none HTTP/1.1\r\nHost: x\r\n\r\n" * 100)


STRANGERS: dict[str, Callable[[socket.socket], None]] = {
    "silence": silent(),
    "half a line": silent(b"POST /webh"),
    "a head byte by byte": dripping(b"", b"G"),
    "header after header": dripping(f"POST {PATH} HTTP/1.1\r\n".encode(), b"A: b\r\n"),
    "empty lines": dripping(b"", b"\r\n"),
    "half a body": silent(f"{HEAD}Content-Length: 100\r\n\r\nhalf".encode()),
    "no body": silent(f"{HEAD}Content-Length: 100\r\n\r\n".encode()),
    "a body byte by byte": dripping(f"{HEAD}Content-Length: 1000\r\n\r\n".encode(), b"x"),
    "chunk by chunk": dripping(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode(), b"1\r\nx\r\n"),
    "a body that is asked for": silent(f"{HEAD}Expect: 100-continue\r\nContent-Length: 100\r\n\r\n".encode()),
    "a body for nothing": dripping(b"POST /none HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n", b"x"),
    "a body too large": dripping(f"{HEAD}Content-Length: 999999999\r\n\r\n".encode(), b"x"),
    "a second head byte by byte": dripping(HEALTH, b"G"),
    "nothing after an answer": silent(HEALTH),
    "no chunk after an answer": silent(b"POST /none HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "questions without end": deaf,
}
NONSENSE = {
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a long line": b"GET /" + b"x" * 100_000,
    "a wrong chunk after the answer": b"POST /none HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "two lengths": f"{HEAD}Content-Length: 5\r\nContent-Length: 6\r\n\r\n".encode(),
    "a negative length": f"{HEAD}Content-Length: -1\r\n\r\n".encode(),
    "a websocket": HEALTH[:-2] + b"Upgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    "an odd path": b"GET /%ff%00 HTTP/1.1\r\nHost: x\r\n\r\n",
    "nonsense behind a question": HEALTH + b"\0\r\n\r\n",
}


def reach(listener: Listener) -> socket.socket:
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.settimeout(20)
    line.connect(("127.0.0.1", listener.port))
    return line


def stays(listener: Listener, act: Callable[[socket.socket], None]) -> float:
    """Do this on a connection until the listener ends it, and return the seconds that it stayed open."""
    began = time.monotonic()
    with reach(listener) as line, suppress(ConnectionError):
        act(line)
    return time.monotonic() - began


@contextmanager
def honest(listener: Listener, secret: str) -> Iterator[tuple[list[int], Future[None]]]:
    """A sender that delivers all the time, each event on a connection of its own; yields the answers and the sender."""
    answers: list[int] = []
    over = threading.Event()

    def deliver() -> None:
        while not over.is_set():
            body = packed(EVENT | {"id": f"evt_{len(answers)}"})
            answers.append(listener.post(body, sign(body, secret)))
            over.wait(0.02)

    with ThreadPoolExecutor(1) as sender:
        done = sender.submit(deliver)
        try:
            yield answers, done
        finally:
            over.set()
        done.result()


def test_no_stranger_holds_a_connection(connected: StripeDouble, database: Database) -> None:
    with listening(before=QUICK) as listener, ThreadPoolExecutor(len(STRANGERS)) as crowd:
        with honest(listener, connected.secret) as (answers, _):
            held = {what: crowd.submit(stays, listener, act) for what, act in STRANGERS.items()}
            seconds = {what: each.result(30) for what, each in held.items()}
        code, told = listener.stop()
    # Who keeps silent after an answer is let idle for five seconds; thousands of questions take their time.
    busy = {"nothing after an answer", "questions without end"}
    assert {what: round(took) for what, took in seconds.items() if took > (20 if what in busy else 4)} == {}
    assert set(answers) == {200}
    assert len(stored(database)) == len(answers)
    assert (code, "Traceback" in told) == (0, False)


def test_nonsense_is_refused_in_silence(connected: StripeDouble) -> None:
    with listening(before=QUICK) as listener:
        for what, said in NONSENSE.items():
            assert (what, stays(listener, silent(said)) < 7) == (what, True)
        assert listener.post(b"", method="GET", path="/healthz") == 200
        code, told = listener.stop()
    assert (code, told.replace("dumacle: answered 408: the client disconnected before the end of the body\n", "")) == (
        0,
        "",
    )


@contextmanager
def many_files(number: int) -> Iterator[None]:
    """Let this process open so many files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(number, hard)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_who_comes_last_is_not_closed_first(connected: StripeDouble) -> None:
    body = packed(EVENT)
    half, limit = f"{HEAD}Content-Length: 100\r\n\r\nhalf".encode(), 160
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n".encode()
    with listening(before=FEW_FILES) as listener, ExitStack() as held:
        for _ in range(limit - 1):
            held.enter_context(reach(listener)).sendall(half)
        assert listener.post(b"", method="GET", path="/healthz") == 200  # so all of them were heard
        last = held.enter_context(reach(listener))
        for _ in range(limit // 2):
            held.enter_context(reach(listener)).sendall(half)
        last.sendall(head + b"Stripe-Signature: " + sign(body, connected.secret) + b"\r\n\r\n" + body)
        assert last.recv(12) == b"HTTP/1.1 200"


@pytest.mark.parametrize("said", [b"", b"POST /", f"{HEAD}Content-Length: 100\r\n\r\nhalf".encode()])
def test_many_strangers_take_nobodys_place(said: bytes, connected: StripeDouble, database: Database) -> None:
    with many_files(4096), listening(before=FEW_FILES) as listener, ExitStack() as held:
        with honest(listener, connected.secret) as (answers, sender):
            for _ in range(2000):
                held.enter_context(reach(listener)).sendall(said)
            count = len(answers)
            while len(answers) < count + 20:
                assert not sender.done(), sender.exception()
                time.sleep(0.01)
            assert listener.post(b"", method="GET", path="/healthz") == 200
            process = Path(f"/proc/{listener.process.pid}")
            assert len(list((process / "fd").iterdir())) < 200
            assert int(re.findall(r"VmHWM:\s+(\d+) kB", (process / "status").read_text())[0]) < 200 * KIB
        code, told = listener.stop()
    assert set(answers) == {200}
    assert len(stored(database)) == len(answers)
    assert code == 0
    assert {line.partition(" (and ")[0] for line in told.splitlines()} - {
        "dumacle: answered 408: the client disconnected before the end of the body"
    } == {"dumacle: more than 160 connections at once: those that send nothing are closed"}


# The database stalls


def test_deliveries_are_refused_soon_while_the_database_stalls(connected: StripeDouble, database: Database) -> None:
    bodies = [packed(EVENT | {"id": f"evt_{number}"}) for number in range(300)]

    def post(body: bytes) -> tuple[int, float]:
        began = time.monotonic()
        return listener.post(body, sign(body, connected.secret)), time.monotonic() - began

    with listening("--set", "lock_timeout=60") as listener, ThreadPoolExecutor(len(bodies)) as senders:
        with database.session() as session:
            session.execute(text("LOCK TABLE app.stripe_events IN ACCESS EXCLUSIVE MODE"))
            answers = list(senders.map(post, bodies))
            assert listener.post(b"", method="GET", path="/healthz") == 503
        assert {status for status, _ in answers} == {503}
        assert max(took for _, took in answers) < 30
        assert {post(body)[0] for body in bodies} == {200}
        assert listener.post(b"", method="GET", path="/healthz") == 200
    assert len(stored(database)) == 300


def test_what_waits_for_a_thread_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "QUEUE", 5)
    monkeypatch.setattr(batches, "ANSWER_S", 0.2)
    free = threading.Event()
    saved: list[int] = []

    def save(items: Sequence[int]) -> None:
        free.wait(20)
        saved.extend(items)

    async def ask() -> list[str]:
        asked = [asyncio.create_task(tried.add(number)) for number in range(20)]
        reasons = [str(each) for each in await asyncio.gather(*asked, return_exceptions=True)]
        free.set()
        await tried.add(20)
        return reasons

    tried = batches.Batches(save)
    reasons = asyncio.run(ask())
    tried.close()
    told = {reason: reasons.count(reason) for reason in reasons}
    assert told == {
        str(DatabaseBusy(reason="it did not answer within 0.2 s")): 5,
        str(DatabaseBusy(reason="5 requests are already waiting")): 15,
    }
    # What had begun by then is saved.
    assert sorted(saved) == [0, 1, 2, 3, 4, 20]


def test_one_at_fault_does_not_fail_others_of_its_batch() -> None:
    attempts: list[list[int]] = []

    def save(items: Sequence[int]) -> None:
        attempts.append(list(items))
        if 3 in items:
            raise ValueError("three")

    async def ask() -> list[str]:
        return [str(each) for each in await asyncio.gather(*map(tried.add, range(6)), return_exceptions=True)]

    tried = batches.Batches(save)
    assert asyncio.run(ask()) == ["None", "None", "None", "three", "None", "None"]
    tried.close()
    assert attempts == [[0, 1, 2, 3, 4, 5], [0], [1], [2], [3], [4], [5]]


def test_peer_with_most_connections_makes_room_for_others() -> None:
    class Connection:
        def __init__(self, peer: str) -> None:
            self.peer = peer

        def close(self) -> None:
            limit.leave(self)  # type: ignore[arg-type]
            closed.append(self)

    def enter(peer: str) -> Connection:
        made = Connection(peer)
        limit.enter(made)  # type: ignore[arg-type]
        limit.move(made, Stage.HEAD)  # type: ignore[arg-type]
        return made

    closed: list[Connection] = []
    told: list[str] = []
    limit = ConnectionLimit(10, told.append)
    honest, crowd = enter("honest"), [enter("crowd") for _ in range(9)]
    limit.move(crowd[0], Stage.ANSWER)  # type: ignore[arg-type]
    crowd += [enter("crowd") for _ in range(5)]
    assert closed == crowd[1:6]
    assert honest not in closed
    assert len(told) == 5


def test_connections_are_fewer_than_files(invoke: Run) -> None:
    from dumacle_cli.connections import max_connections

    with many_files(4096):
        assert max_connections() == 512


def test_random_requests_bring_out_no_500_and_take_nothing_away(connected: StripeDouble, database: Database) -> None:
    with listening(before=QUICK) as listener:

        def post(id_: str) -> int:
            body = packed(EVENT | {"id": id_})
            return listener.post(body, sign(body, connected.secret))

        fuzz = Fuzz(listener.port, connected.secret, 1)
        answers, grown, opened = fuzzed(fuzz, listener.process.pid, post, 6, 12)
        code, told = listener.stop()
    assert set(answers) == {200}
    assert {id_ for id_, _, _ in stored(database)} >= {f"evt_honest_{number}" for number in range(len(answers))}
    assert not fuzz.answers.keys() & {"500", "502", "504"}
    assert fuzz.answers.keys() >= {"200", "400", "404", "405", "413"}
    assert (grown < 8 * KIB, opened <= 0) == (True, True)
    assert (code, "Traceback" in told, connected.secret in told) == (0, False, False)
