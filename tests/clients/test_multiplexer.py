"""Requests over connections of our own: what stores and proxies answer, one at a time and many at once."""

import base64
import hashlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import cast

import pytest

from dumacle_cli.clients import connection, multiplexer
from dumacle_cli.clients.connection import Response
from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.objects import Location
from dumacle_cli.clients.puts import Puts
from dumacle_cli.errors import DumacleError, StoreBusy, StoreUnavailable

BODY = bytes(range(256)) * 256
OK = b'HTTP/1.1 200 OK\r\nETag: "abc"\r\nContent-Length: 0\r\n\r\n'
ERROR = b"<Error><Code>SlowDown</Code><Message>slower</Message></Error>"
CHUNKS = b"%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (20, ERROR[:20], len(ERROR) - 20, ERROR[20:])

Serve = Callable[..., str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers that answer each request on a connection with the next of these answers, then close it."""
    listeners: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def start(*answers: bytes, reads: bool = True, pause: float = 0.0) -> str:
        listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        listeners.append(listener)

        def run() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                threads.append(threading.Thread(target=answer, args=(peer,), daemon=True))
                threads[-1].start()

        def answer(peer: socket.socket) -> None:
            with peer, suppress(OSError):
                for each in answers:
                    if not _request(peer, reads=reads):
                        return
                    for byte in range(len(each)) if pause else (None,):
                        peer.sendall(each if byte is None else each[byte : byte + 1])
                        time.sleep(pause)

        threads.append(threading.Thread(target=run, daemon=True))
        threads[-1].start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for thread in threads:
        thread.join()


def _request(peer: socket.socket, *, reads: bool) -> bytes:
    """Receive a request: its head, and the body if it is read."""
    head = b""
    while b"\r\n\r\n" not in head:
        piece = peer.recv(65536)
        if not piece:
            return b""
        head += piece
    head, _, body = head.partition(b"\r\n\r\n")
    left = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0) - len(body)
    while reads and left > 0:
        left -= len(peer.recv(65536))
    return head


def at(endpoint: str) -> Location:
    return Location("s3", endpoint, "us-east-1", "bucket", "access", "secret")


def by_thread(endpoint: str, body: bytes = BODY) -> str:
    with closing(Puts(at(endpoint))) as puts:
        return puts.put("key", body, hashlib.sha256(body).hexdigest(), "image/png")


def by_multiplexer(endpoint: str, body: bytes = BODY) -> str:
    """Send one request as the express lane does; what it hands back would be sent again, and raises here."""
    with closing(Puts(at(endpoint))) as puts:
        (outcome,) = send_all(puts, ["key"], body=body).values()
        if isinstance(outcome, OSError):
            raise StoreUnavailable(provider="s3", endpoint=endpoint, reason=str(outcome))
        return puts.etag(outcome)


def send_all(puts: Puts, keys: list[str], most: int = 8, body: bytes = BODY) -> dict[str, Response | OSError]:
    """Send a body under each key, and return what became of them."""
    sends = puts.multiplexer()
    assert sends
    waiting, ended = list(keys), dict[str, Response | OSError]()
    digest = hashlib.sha256(body).hexdigest()
    with closing(sends):
        while len(ended) < len(keys):
            while waiting and sends.is_ready and sends.in_flight < most:
                key = waiting.pop()
                sends.send(key, puts.request_head(key, len(body), digest, "image/png"), body)
            sends.open(most if waiting else 0)
            for tag, outcome in sends.poll(5):
                tag = tag or waiting.pop()  # A connection that could not be opened.
                ended[tag] = outcome
    return ended


both_ways = pytest.mark.parametrize("put", [by_thread, by_multiplexer])


@both_ways
@pytest.mark.parametrize("pause", [0.0, 0.001], ids=["at once", "byte by byte"])
@pytest.mark.parametrize(
    "answer",
    [OK, b"HTTP/1.1 100 Continue\r\n\r\n" + OK, OK.replace(b"Content-Length: 0\r\n", b"Connection: close\r\n")],
    ids=["length", "interim response", "until it closes"],
)
def test_stored(serve: Serve, put: Callable[[str], str], answer: bytes, pause: float) -> None:
    assert put(serve(answer, pause=pause)) == "abc"


@both_ways
@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (b"HTTP/1.1 503 x\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS, StoreBusy, "slower"),
        (b"HTTP/1.1 503 x\r\nContent-Length: %d\r\n\r\n" % len(ERROR) + ERROR, StoreBusy, "slower"),
        (b"HTTP/1.1 503 x\r\n\r\n" + ERROR, StoreBusy, "slower"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + b"<p>Log in" * 20_000, DumacleError, "a web page"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", DumacleError, "a web page"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", StoreUnavailable, "not HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X-Long: y\r\n" * 10_000, StoreUnavailable, "too long"),
        (OK[:20], StoreUnavailable, "closed before"),
        (b"", StoreUnavailable, "closed before"),
    ],
    ids=["chunked", "length", "until it closes", "login page", "no ETag", "not HTTP", "endless", "cut", "nothing"],
)
def test_refused(serve: Serve, put: Callable[[str], str], answer: bytes, error: type[DumacleError], says: str) -> None:
    with pytest.raises(error, match=says):
        put(serve(answer))


@both_ways
def test_a_refusal_before_the_body_was_read_is_told(serve: Serve, put: Callable[[str], str]) -> None:
    with pytest.raises(StoreUnavailable):
        put(serve(b"HTTP/1.1 503 x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", reads=False))


@both_ways
def test_nobody_answers(monkeypatch: pytest.MonkeyPatch, put: Callable[[str], str]) -> None:
    monkeypatch.setattr(connection, "IDLE_SECONDS", 1)
    monkeypatch.setattr(multiplexer, "IDLE_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(StoreUnavailable, match="in time"):
        put(f"http://127.0.0.1:{silent.getsockname()[1]}")


@both_ways
@pytest.mark.parametrize("answer", [OK, OK[:-2] + b"Connection: close\r\n\r\n"])
def test_a_success_before_the_body_was_read_is_none(serve: Serve, put: Callable[..., str], answer: bytes) -> None:
    with pytest.raises(StoreUnavailable, match=r"before it had received everything|reset"):
        put(serve(answer, reads=False), bytes(64 * 1024 * 1024))


REFUSED = b"HTTP/1.1 503 x\r\nContent-Length: %d\r\n\r\n" % len(ERROR) + ERROR


@both_ways
@pytest.mark.parametrize("first", [REFUSED, REFUSED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")])
def test_a_second_response_is_nobodys(serve: Serve, put: Callable[[str], str], first: bytes) -> None:
    with pytest.raises(StoreBusy, match="slower"):
        put(serve(first + OK))


@both_ways
@pytest.mark.parametrize("surplus", [OK, REFUSED, b"GARBAGE"])
def test_what_follows_a_response_is_not_that_of_the_next_request(
    serve: Serve, put: Callable[[str], str], surplus: bytes
) -> None:
    endpoint = serve(OK + surplus, REFUSED)
    with closing(Puts(at(endpoint))) as puts:
        for _ in range(3):
            assert puts.put("key", BODY, hashlib.sha256(BODY).hexdigest(), "image/png") == "abc"
        ended = send_all(puts, [str(number) for number in range(9)], most=3)
        assert {puts.etag(each) if isinstance(each, Response) else str(each) for each in ended.values()} == {"abc"}
    assert put(endpoint) == "abc"


@both_ways
def test_a_server_that_switches_protocols(serve: Serve, put: Callable[[str], str]) -> None:
    with pytest.raises(StoreUnavailable, match="not HTTP"):
        put(serve(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nx"))


def test_a_connection_that_the_store_closed_meanwhile_is_replaced(serve: Serve) -> None:
    with closing(Puts(at(serve(OK, OK)))) as puts:
        for _ in range(7):
            assert puts.put("key", BODY, hashlib.sha256(BODY).hexdigest(), "image/png") == "abc"


def test_many_requests_over_connections_that_end_after_a_few(serve: Serve) -> None:
    with closing(Puts(at(serve(OK, OK, OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))))) as puts:
        ended = send_all(puts, [str(number) for number in range(100)])
        assert {puts.etag(each) if isinstance(each, Response) else str(each) for each in ended.values()} == {"abc"}


@pytest.mark.parametrize("size", [0, 1, 65_536, 9_000_000])
def test_bodies_of_all_sizes_arrive_whole_and_signed(rclone: Location, size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]
    with closing(Puts(rclone)) as puts, ObjectStore(rclone) as store:
        keys = [f"multiplexed/{size}/{number} ü" for number in range(12)]
        # The embedded server makes a folder of a prefix, and answers 500 to some of many first requests for it at once.
        ended = send_all(puts, keys[:1], body=body) | send_all(puts, keys[1:], most=4, body=body)
        etags = {puts.etag(each) for each in ended.values() if isinstance(each, Response)}
        assert etags == {hashlib.md5(body).hexdigest()}
        assert all(b"".join(store.get(key)) == body for key in keys)


def test_bodies_arrive_over_tls(monkeypatch: pytest.MonkeyPatch, certified: tuple[Location, Path]) -> None:
    location, certificate = certified
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    body = bytes(range(256)) * 20_000
    with closing(Puts(location)) as puts, ObjectStore(location) as store:
        keys = [f"tls/{number}" for number in range(12)]
        # The embedded server makes a folder of a prefix, and answers 500 to some of many first requests for it at once.
        ended = send_all(puts, keys[:1], body=body) | send_all(puts, keys[1:], most=4, body=body)
        assert all(isinstance(each, Response) and puts.etag(each) for each in ended.values())
        assert all(b"".join(store.get(key)) == body for key in keys)


def test_little_waits_in_the_system_for_a_store_on_this_machine(serve: Serve) -> None:
    with closing(connection.Route(serve()).connect()) as near:
        link = cast("socket.socket", near.link)
        holds = link.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    assert connection.NEAR_BUFFER <= holds <= 2 * connection.NEAR_BUFFER  # Linux counts its own records, too.


def test_tickets_of_tls_close_no_idle_connection(
    monkeypatch: pytest.MonkeyPatch, certified: tuple[Location, Path]
) -> None:
    """TLS 1.3 sends tickets when a connection is open, whether or not it is used."""
    location, certificate = certified
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    with closing(Puts(location)) as puts:
        sends = puts.multiplexer()
        assert sends
        with closing(sends):
            sends.open(4)
            until = time.monotonic() + 2
            while time.monotonic() < until:
                sends.poll(0.1)
            assert len(sends._idle) == 4


class Relay:
    """A proxy with TLS and a password, that relays to one store whatever is asked for."""

    def __init__(self, certificate: Path, key: Path, target: str, password: str) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        host, _, port = target.rpartition("/")[2].partition(":")
        self._target, self._credentials = (host, int(port)), base64.b64encode(password.encode())
        self.asked: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _run(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(peer,), daemon=True).start()

    def _relay(self, peer: socket.socket) -> None:
        with suppress(OSError), self._context.wrap_socket(peer, server_side=True) as client:
            head = _request(client, reads=False)
            self.asked.append(head)
            if self._credentials not in head:
                client.sendall(b"HTTP/1.1 407 x\r\nContent-Length: 0\r\n\r\n")
                return
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with socket.create_connection(self._target) as store:
                threading.Thread(target=_pipe, args=(store, client), daemon=True).start()
                _pipe(client, store)


def _pipe(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            sink.sendall(piece)


@pytest.mark.parametrize("password", ["me:right", "me:wrong"])
def test_a_proxy_with_tls_and_a_password(
    monkeypatch: pytest.MonkeyPatch, certified: tuple[Location, Path], password: str
) -> None:
    location, certificate = certified
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    monkeypatch.setattr(connection, "proxy_of", lambda _: f"https://{password}@127.0.0.1:{relay.port}")
    with closing(Relay(certificate, certificate.with_suffix(".key"), location.endpoint or "", "me:right")) as relay:
        with closing(Puts(location)) as puts:
            assert puts.multiplexer() is None  # TLS inside TLS is sent by threads.
            if password == "me:right":
                assert puts.put("proxied", BODY, hashlib.sha256(BODY).hexdigest(), "image/png")
            else:
                with pytest.raises(StoreUnavailable, match="the proxy answered 407"):
                    puts.put("proxied", BODY, hashlib.sha256(BODY).hexdigest(), "image/png")
        assert all(each.startswith(b"CONNECT 127.0.0.1:") for each in relay.asked)
