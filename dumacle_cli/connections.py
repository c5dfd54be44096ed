"""Limits on connections to the listener: how many may be open, and how long each stage may take.

uvicorn times out a connection that is idle between two requests, but not one that sends nothing or very slowly.
"""

import asyncio
import resource
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST = 512
FEWEST = 16
BURST = 16
"""How many connections asyncio accepts before they are counted here."""
OTHER_FILES = 96
"""File descriptors reserved for the database and for connections that are not yet counted or closed."""
LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Stage(StrEnum):
    """What a connection is doing; `SECONDS` limits each stage."""

    HEAD = "head"
    BODY = "body"
    ANSWER = "answer"


SECONDS = {Stage.HEAD: 10.0, Stage.BODY: 10.0, Stage.ANSWER: 30.0}
_STAGES = {h11.IDLE: Stage.HEAD, h11.SEND_BODY: Stage.BODY}


def max_connections() -> int:
    """Return how many connections may be open at once, also within the limit on open files."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if files == resource.RLIM_INFINITY else max(FEWEST, min(MOST, files - OTHER_FILES))


class ConnectionLimit:
    """Counts connections; above the limit, a new one replaces one without progress, of the peer that has most of them.

    Behind a proxy all connections are of one peer.
    """

    def __init__(self, limit: int, log: Callable[[str], None]) -> None:
        self._limit = limit
        self._log = log
        self._unfinished: dict[str, dict[LimitedConnection, None]] = {}
        self._count = 0
        self._answering: set[LimitedConnection] = set()

    def enter(self, connection: "LimitedConnection") -> None:
        """Accept a connection; if all others are waiting for their responses, it is closed again."""
        if self._count + len(self._answering) >= self._limit:
            most = max(self._unfinished.values(), key=len, default={})
            self._log(f"more than {self._limit} connections at once: those that send nothing are closed")
            next(iter(most), connection).close()

    def move(self, connection: "LimitedConnection", stage: Stage) -> None:
        """Record that a connection enters another stage."""
        self.leave(connection)
        if stage is Stage.ANSWER:
            self._answering.add(connection)
        else:
            self._unfinished.setdefault(connection.peer, {})[connection] = None
            self._count += 1

    def leave(self, connection: "LimitedConnection") -> None:
        """Forget a connection."""
        self._answering.discard(connection)
        mine = self._unfinished.get(connection.peer, {})
        if connection in mine:
            del mine[connection]
            self._count -= 1
            if not mine:
                del self._unfinished[connection.peer]


class LimitedConnection(H11Protocol):
    """An HTTP connection with a time limit for each stage, however slowly its bytes arrive."""

    def __init__(self, limit: ConnectionLimit, **given: Any) -> None:
        super().__init__(**given)
        self._limit = limit
        self.peer = ""
        self._stage: tuple[object, Stage] | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection, and wait for a request."""
        super().connection_made(transport)
        self.peer = self.client[0] if self.client else ""
        self._limit.enter(self)
        self._proceed()

    def data_received(self, data: bytes) -> None:
        """Handle bytes; close the connection on invalid ones after the response, which uvicorn cannot answer."""
        try:
            super().data_received(data)
        except h11.LocalProtocolError:
            self.transport.abort()
        self._proceed()

    def send_400_response(self, msg: str) -> None:
        """Answer invalid HTTP with 400, and cancel the pending response to an earlier request."""
        if self.cycle:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        super().send_400_response(msg)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._proceed()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting the connection."""
        super().connection_lost(exc)
        self.close()

    def close(self) -> None:
        """Close the connection at once."""
        if self._deadline:
            self._deadline.cancel()
        self._limit.leave(self)
        self.transport.abort()

    def _proceed(self) -> None:
        """Start the timer of a new stage; more bytes in the same stage do not extend it."""
        stage = _STAGES.get(self.conn.their_state, Stage.ANSWER)
        if self.transport.is_closing() or self._stage == (self.cycle, stage):
            return
        if self._deadline:
            self._deadline.cancel()
        self._stage = self.cycle, stage
        self._deadline = self.loop.call_later(SECONDS[stage], self._give_up)
        self._limit.move(self, stage)

    def _give_up(self) -> None:
        if self._stage != (self.cycle, Stage.ANSWER) and self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.write(LATE)
        self.close()
