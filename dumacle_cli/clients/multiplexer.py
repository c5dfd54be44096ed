"""Many HTTP requests at once from one thread, which waits for none of them; other threads open its connections."""

import selectors
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from ssl import SSLSocket, SSLWantReadError, SSLWantWriteError
from typing import Any, Generic, TypeVar

from dumacle_cli.clients.connection import IDLE_SECONDS, LONGEST, Arriving, Response, Route, TooEarly

T = TypeVar("T")
OPENERS = 16
"""The most connections that are opened at the same time."""
CHECK_SECONDS = 1.0
"""How often requests without traffic are looked for."""
_NOT_NOW = (BlockingIOError, SSLWantReadError, SSLWantWriteError)
_READ, _BOTH = selectors.EVENT_READ, selectors.EVENT_READ | selectors.EVENT_WRITE


@dataclass(slots=True)
class _Exchange(Generic[T]):
    """A request on its way: what is still to be sent, and what arrived of its response."""

    tag: T
    rest: memoryview
    arriving: Arriving = field(default_factory=Arriving)
    moved_at: float = field(default_factory=time.monotonic)


class Multiplexer(Generic[T]):
    """Sends requests over one route; each has a tag that tells its response. For one thread, except `wake`."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        self._selector.register(self._woken, _READ)
        self._closed = False
        self._opening = self._openers = 0
        self._wanted: SimpleQueue[bool] = SimpleQueue()
        self._opened: SimpleQueue[Any] = SimpleQueue()
        self._idle: list[Any] = []
        self._exchanges: dict[Any, _Exchange[T]] = {}
        self._checked_at = time.monotonic()
        self._received = memoryview(bytearray(LONGEST))

    @property
    def in_flight(self) -> int:
        """The number of requests without a response."""
        return len(self._exchanges)

    @property
    def is_ready(self) -> bool:
        """Whether a connection is free for a request."""
        return bool(self._idle)

    def open(self, most: int) -> None:
        """Have connections opened until there are `most`, a few at the same time."""
        while self._opening < OPENERS and self._opening + len(self._idle) + len(self._exchanges) < most:
            self._opening += 1
            self._wanted.put(True)
            if self._openers < self._opening:
                self._openers += 1
                threading.Thread(target=self._open_wanted, name="opener", daemon=True).start()

    def send(self, tag: T, head: bytes, body: bytes | memoryview) -> None:
        """Send a request over a free connection; its body may be used again once it ended."""
        link = self._idle.pop()
        exchange = self._exchanges[link] = _Exchange(tag, memoryview(body))
        with suppress(OSError):  # The response tells what is wrong, or `poll` finds that there is none.
            exchange.rest = _first(link, head, body)
            self._push(link, exchange)
        if exchange.rest:
            self._selector.modify(link, _BOTH)

    def poll(self, seconds: float) -> list[tuple[T | None, Response | OSError]]:
        """Wait until something happens, and return the tags of the requests that ended, with their responses.

        The tag is None if a connection could not be opened.
        """
        ended: list[tuple[T | None, Response | OSError]] = []
        for key, _ in self._selector.select(seconds):
            if key.fileobj is self._woken:
                with suppress(BlockingIOError):
                    self._woken.recv(LONGEST)
                ended += self._take_opened()
            elif exchange := self._exchanges.get(key.fileobj):
                if outcome := self._advance(key.fileobj, exchange, key.events):
                    ended.append((exchange.tag, outcome))
            elif not _is_open(key.fileobj):
                self._idle.remove(key.fileobj)
                self._drop(key.fileobj)
        return ended + self._expired()

    def wake(self) -> None:
        """Let `poll` return now, from any thread."""
        with suppress(OSError):  # It is full: it will return anyway. Or it was closed.
            self._waker.send(b"x")

    def close(self) -> None:
        """Close all connections, also those that are being opened."""
        self._closed = True
        for _ in range(self._openers):
            self._wanted.put(False)
        self._close_opened()
        for link in [*self._idle, *self._exchanges]:
            self._drop(link)
        self._selector.close()
        self._woken.close()
        self._waker.close()

    def _open_wanted(self) -> None:
        while self._wanted.get() and not self._closed:
            self._open()

    def _open(self) -> None:
        try:
            link: Any = self._route.connect().link
            link.setblocking(False)
        except OSError as error:
            link = error
        self._opened.put(link)
        self.wake()
        if self._closed:
            self._close_opened()

    def _close_opened(self) -> None:
        with suppress(Empty):
            while True:
                link = self._opened.get_nowait()
                if not isinstance(link, OSError):
                    link.close()

    def _take_opened(self) -> list[tuple[T | None, Response | OSError]]:
        failed: list[tuple[T | None, Response | OSError]] = []
        with suppress(Empty):
            while True:
                link = self._opened.get_nowait()
                self._opening -= 1
                if isinstance(link, OSError):
                    failed.append((None, link))
                else:
                    self._selector.register(link, _READ)
                    self._idle.append(link)
        return failed

    def _advance(self, link: Any, exchange: _Exchange[T], events: int) -> Response | OSError | None:
        """Send and receive as much as goes without waiting, and return the response once it is whole."""
        try:
            if exchange.rest:
                with suppress(BrokenPipeError, ConnectionResetError):
                    self._push(link, exchange)
            if not exchange.rest and events != _READ:
                self._selector.modify(link, _READ)
            while not exchange.arriving.is_whole:
                size = link.recv_into(self._received)
                exchange.arriving.take(self._received[:size])
        except _NOT_NOW:
            exchange.moved_at = time.monotonic()
            return None
        except OSError as error:
            self._end(link, stays=False)
            return error
        response = exchange.arriving.response
        self._end(link, stays=response.keeps_alive and not exchange.rest)
        return TooEarly() if exchange.rest and response.is_success else response

    def _push(self, link: Any, exchange: _Exchange[T]) -> None:
        with suppress(*_NOT_NOW):
            while exchange.rest:
                exchange.rest = exchange.rest[link.send(exchange.rest) :]

    def _end(self, link: Any, *, stays: bool) -> None:
        del self._exchanges[link]
        if stays:
            self._idle.append(link)
        else:
            self._drop(link)

    def _expired(self) -> list[tuple[T | None, Response | OSError]]:
        now = time.monotonic()
        if now - self._checked_at < CHECK_SECONDS:
            return []
        self._checked_at = now
        late = [(link, each) for link, each in self._exchanges.items() if now - each.moved_at > IDLE_SECONDS]
        for link, _ in late:
            self._end(link, stays=False)
        return [(each.tag, TimeoutError("it did not respond in time")) for _, each in late]

    def _drop(self, link: Any) -> None:
        self._selector.unregister(link)
        link.close()


def _is_open(link: Any) -> bool:
    """Whether an idle connection can still be used: TLS may have arrived, and nothing else."""
    try:
        link.recv(1)
    except _NOT_NOW:
        return True
    except OSError:
        return False
    return False


def _first(link: Any, head: bytes, body: bytes | memoryview) -> memoryview:
    """Send the beginning of a request, and return the rest; the body is not copied if the connection is plain."""
    if not isinstance(link, SSLSocket):
        sent = 0
        with suppress(BlockingIOError):
            sent = link.sendmsg([head, body])
        return memoryview(body)[sent - len(head) :] if sent >= len(head) else memoryview(b"".join((head[sent:], body)))
    return memoryview(b"".join((head, body)))
