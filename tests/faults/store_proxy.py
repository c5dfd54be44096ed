"""A proxy before an S3 server that loses, delays, damages or answers requests itself, as a test tells it to.

It passes the Host header on as it came, because the signature covers it.
"""

import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import BinaryIO
from urllib.parse import parse_qs, urlsplit

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
EXPECT = re.compile(rb"\r\nexpect: *100-continue", re.IGNORECASE)
LAST = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
KINDS = ("put", "create", "part", "complete", "abort", "parts", "uploads", "get", "head", "list", "delete")
"""What requests ask for."""


class Cut(Exception):
    """The connection is cut off."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came."""

    method: str
    target: str
    head: bytes
    body: bytes

    @property
    def kind(self) -> str:
        """What it asks for: one of KINDS."""
        url = urlsplit(self.target)
        words, has_key = parse_qs(url.query, keep_blank_values=True), url.path.strip("/").count("/") > 0
        if "uploadId" in words:
            return {"PUT": "part", "POST": "complete", "DELETE": "abort"}.get(self.method, "parts")
        if "uploads" in words:
            return "create" if self.method == "POST" else "uploads"
        if self.method == "GET" and not has_key:
            return "list"
        return {"PUT": "put", "GET": "get", "HEAD": "head"}.get(self.method, "delete")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer as it came, or one that the store never gave."""

    head: bytes
    body: bytes


@dataclass(slots=True)
class Exchange:
    """A request, and the ways to answer it."""

    request: Request
    proxy: "StoreProxy"
    client: socket.socket
    server: "_Server"

    def forward(self, request: Request | None = None) -> Answer:
        """Let the store answer the request, or another in its place; raises Cut if the store does not."""
        return self.server.ask(request or self.request)

    def reply(self, answer: Answer) -> None:
        """Send an answer to the client."""
        self.client.sendall(answer.head + (b"" if self.request.method == "HEAD" else answer.body))


Action = Callable[[Exchange], None]


@dataclass(slots=True)
class Fault:
    """What is done to the next `times` requests of these kinds, after `after` others of them."""

    kinds: tuple[str, ...]
    action: Action
    times: float
    after: int
    done: int = 0


# What can be done to a request


def drop(exchange: Exchange) -> None:
    """Cut the connection before the store hears of it."""
    raise Cut


def lose_answer(exchange: Exchange) -> None:
    """Let the store do it, and cut the connection instead of answering."""
    exchange.forward()
    raise Cut


def hang(exchange: Exchange) -> None:
    """Never answer; the connection is cut when the proxy heals."""
    healed = exchange.proxy.healed
    healed.wait()
    raise Cut


def delay(seconds: float) -> Action:
    """Answer later."""

    def act(exchange: Exchange) -> None:
        time.sleep(seconds)
        exchange.reply(exchange.forward())

    return act


def truncate_answer(exchange: Exchange) -> None:
    """Break off in the middle of the answer's body."""
    answer = exchange.forward()
    exchange.reply(replace(answer, body=answer.body[: len(answer.body) // 2]))
    raise Cut


def shorten_answer(exchange: Exchange) -> None:
    """Answer with half of the body, as if that were all of it."""
    body = exchange.forward().body
    exchange.reply(_answer(200, body[: len(body) // 2]))


def corrupt_answer(exchange: Exchange) -> None:
    """Flip a bit in the middle of the answer's body."""
    answer = exchange.forward()
    exchange.reply(replace(answer, body=_flipped(answer.body)))


def truncate_body(exchange: Exchange) -> None:
    """Break off in the middle of the request's body."""
    exchange.server.say(exchange.request.head + exchange.request.body[: len(exchange.request.body) // 2])
    exchange.server.close()
    raise Cut


def corrupt_body(exchange: Exchange) -> None:
    """Flip a bit in the middle of the request's body."""
    exchange.reply(exchange.forward(replace(exchange.request, body=_flipped(exchange.request.body))))


def error(status: int, code: str, **headers: str) -> Action:
    """Answer with this S3 error."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>from the proxy</Message></Error>".encode()
    return lambda exchange: exchange.reply(_answer(status, body, **headers))


def chunked_error(exchange: Exchange) -> None:
    """Answer SlowDown in chunks over a connection that stays open, as AWS does."""
    body = b"<Error><Code>SlowDown</Code></Error>"
    head = b"HTTP/1.1 503 Slow Down\r\nTransfer-Encoding: chunked\r\nContent-Type: application/xml\r\n\r\n"
    exchange.reply(Answer(head, b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)))


def trickle(exchange: Exchange) -> None:
    """Answer byte by byte."""
    answer = exchange.forward()
    for place in range(len(answer.head)):
        exchange.client.sendall(answer.head[place : place + 1])
    exchange.reply(Answer(b"", answer.body))


def corrupt_store(exchange: Exchange) -> None:
    """Store other bytes, and answer as if they were the right ones: 200, and the ETag of nothing."""
    exchange.forward(replace(exchange.request, body=_flipped(exchange.request.body)))
    exchange.reply(_answer(200, b"", ETag='"d41d8cd98f00b204e9800998ecf8427e"'))


def login_page(exchange: Exchange) -> None:
    """Answer 200 with a page, as the portal of a hotel does."""
    exchange.reply(_answer(200, b"<html><title>Sign in</title>Welcome, please sign in.</html>"))


slow_down = error(503, "SlowDown", Retry_After="1")
internal_error = error(500, "InternalError")
error_in_200 = error(200, "InternalError")
skewed_clock = error(403, "RequestTimeTooSkewed", Date="Tue, 01 Jan 2019 00:00:00 GMT")
"""What a store says, and the time that it has, if one of the two clocks is wrong."""


def names(cases: list[tuple[str, Action]]) -> list[str]:
    """Return how a test names these kinds of requests and what becomes of them."""
    named = {value: name for name, value in globals().items() if callable(value)}
    return [f"{kind}-{named.get(action, 'delay')}" for kind, action in cases]


class StoreProxy:
    """Passes requests to an S3 server, except those that a fault is for."""

    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        self.upstream = (str(parts.hostname), int(parts.port or 80))
        self.seen: Counter[str] = Counter()
        """Requests by kind."""
        self.point: Callable[[str], None] = lambda _: None
        """Called with `before KIND` and `after KIND` of each request that is passed on; may raise Cut."""
        self.healed = threading.Event()
        self._faults: list[Fault] = []
        self._lock = threading.Condition()
        self._busy = 0
        self._away = False
        self._connections: set[socket.socket] = set()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.endpoint = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def inject(self, kinds: str, action: Action, times: float = 1, after: int = 0) -> None:
        """Do this to the next `times` requests of these kinds (words), once `after` of them were passed on."""
        assert set(kinds.split()) <= set(KINDS)
        with self._lock:
            self._faults.append(Fault(tuple(kinds.split()), action, times, after))

    def heal(self) -> None:
        """Forget all faults, and cut what hangs."""
        with self._lock:
            self._faults.clear()
            self.healed.set()
            self.healed = threading.Event()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Cut all connections, and take none while inside."""
        self._away = True
        self.cut()
        try:
            yield
        finally:
            self._away = False

    def cut(self) -> None:
        """Cut all connections."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            _hang_up(connection)

    def settle(self, seconds: float = 10) -> None:
        """Wait until the store has answered all that it was asked."""
        with self._lock:
            assert self._lock.wait_for(lambda: self._busy == 0, seconds), "requests are still under way"

    def close(self) -> None:
        """Take no more connections, and cut those there are."""
        self._away = True
        _hang_up(self._listening)
        self._listening.close()
        self.heal()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._listening.accept()[0]
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = _Server(self.upstream)
        with client, suppress(Cut, OSError):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                if self._away:
                    return
                self._connections.add(client)
            with client.makefile("rb") as stream:
                while request := _request(client, stream):
                    self._exchange(Exchange(request, self, client, server))
                    if LAST.search(request.head):
                        break
        server.close()
        with self._lock:
            self._connections.discard(client)

    def _exchange(self, exchange: Exchange) -> None:
        kind = exchange.request.kind
        with self._lock:
            self.seen[kind] += 1
            fault = self._fault(kind)
            self._busy += 1
        try:
            if fault:
                fault.action(exchange)
            else:
                self.point(f"before {kind}")
                answer = exchange.forward()
                self.point(f"after {kind}")
                exchange.reply(answer)
        finally:
            with self._lock:
                self._busy -= 1
                self._lock.notify_all()

    def _fault(self, kind: str) -> Fault | None:
        for fault in self._faults:
            if kind in fault.kinds and fault.done < fault.after + fault.times:
                fault.done += 1
                if fault.done > fault.after:
                    return fault
        return None


@dataclass(slots=True)
class _Server:
    """The connection to the store that belongs to one of the client's."""

    address: tuple[str, int]
    _socket: socket.socket | None = None
    _stream: BinaryIO = field(init=False)

    def ask(self, request: Request) -> Answer:
        fresh = self._socket is None
        try:
            # A store that refuses a request may answer and close before it has read the body.
            with suppress(BrokenPipeError, ConnectionResetError):
                self.say(request.head + request.body)
            return _answered(self._stream, request.method)
        except (Cut, OSError):
            self.close()
            if fresh:
                raise Cut from None
        return self.ask(request)  # a kept connection may have ended meanwhile

    def say(self, said: bytes) -> None:
        if self._socket is None:
            self._socket = socket.create_connection(self.address)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._stream = self._socket.makefile("rb")
        self._socket.sendall(said)

    def close(self) -> None:
        if self._socket is not None:
            self._stream.close()
            self._socket.close()
            self._socket = None


@contextmanager
def store_proxied(endpoint: str) -> Iterator[StoreProxy]:
    """Start a proxy before the S3 server at this endpoint."""
    proxy = StoreProxy(endpoint)
    try:
        yield proxy
    finally:
        proxy.close()


def _request(client: socket.socket, stream: BinaryIO) -> Request | None:
    head = _head(stream)
    if not head:
        return None
    method, target = head.split(b" ", 2)[:2]
    if EXPECT.search(head):
        client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        head = EXPECT.sub(b"", head)
    length = LENGTH.search(head)
    return Request(method.decode(), target.decode(), head, _exactly(stream, int(length[1]) if length else 0))


def _answered(stream: BinaryIO, method: str) -> Answer:
    head = _head(stream)
    while head.startswith((b"HTTP/1.1 1", b"HTTP/1.0 1")):
        head = _head(stream)
    if not head:
        raise Cut
    if method == "HEAD" or head.split(b" ", 2)[1] in (b"204", b"304"):
        return Answer(head, b"")
    if CHUNKED.search(head):
        return Answer(head, b"".join(_chunks(stream)))
    length = LENGTH.search(head)
    return Answer(head, _exactly(stream, int(length[1]) if length else 0))


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the chunks of a body with the lines around them."""
    while True:
        line = stream.readline()
        yield line
        chunk = _exactly(stream, int(line.partition(b";")[0], 16) + 2)
        yield chunk
        if len(chunk) == 2:
            return


def _head(stream: BinaryIO) -> bytes:
    lines = []
    while line := stream.readline():
        lines.append(line)
        if line == b"\r\n":
            return b"".join(lines)
    return b""


def _exactly(stream: BinaryIO, size: int) -> bytes:
    body = stream.read(size)
    if len(body) < size:
        raise Cut
    return body


def _answer(status: int, body: bytes, **headers: str) -> Answer:
    named = {"Content-Type": "application/xml", "Content-Length": str(len(body)), **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in named.items())
    return Answer(f"HTTP/1.1 {status} Fault\r\n{lines}\r\n".encode(), body)


def _flipped(body: bytes) -> bytes:
    """Return the bytes with one bit changed in their middle."""
    middle = len(body) // 2
    return body[:middle] + bytes(byte ^ 1 for byte in body[middle : middle + 1]) + body[middle + 1 :]


def _hang_up(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
