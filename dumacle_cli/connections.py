"""Connections of strangers to the listener: how many there are at once, and how long each may take.

uvicorn has a time-out for a connection that is idle between two requests, and none for one that says nothing or drips.
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
"""How many connections asyncio accepts before any of them is counted here."""
OTHER_FILES = 96
"""Descriptors that are left for all else: the database, and connections accepted but not yet counted or closed."""
LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Stage(StrEnum):
    """What a connection is about; it must not take longer over one than `SECONDS` says."""

    HEAD = "head"
    BODY = "body"
    ANSWER = "answer"


SECONDS = {Stage.HEAD: 10.0, Stage.BODY: 10.0, Stage.ANSWER: 30.0}
_STAGES = {h11.IDLE: Stage.HEAD, h11.SEND_BODY: Stage.BODY}


def most() -> int:
    """Return how many connections there may be at once, which also depends on the limit on open files."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if files == resource.RLIM_INFINITY else max(FEWEST, min(MOST, files - OTHER_FILES))


class Door:
    """Lets connections in; where it is full, a new one takes the place of that without progress for longest."""

    def __init__(self, limit: int, tell: Callable[[str], None]) -> None:
        self._limit = limit
        self._tell = tell
        self._unfinished: dict[Guarded, None] = {}
        self._answering: set[Guarded] = set()

    def enter(self, connection: "Guarded") -> None:
        """Let a connection in; where all others wait for their answers, it is closed again."""
        if len(self._unfinished) + len(self._answering) >= self._limit:
            self._tell(f"more than {self._limit} connections at once: those that send nothing are closed")
            next(iter(self._unfinished), connection).close()

    def move(self, connection: "Guarded", stage: Stage) -> None:
        """Note that a connection is at another stage from now on."""
        self.leave(connection)
        if stage is Stage.ANSWER:
            self._answering.add(connection)
        else:
            self._unfinished[connection] = None

    def leave(self, connection: "Guarded") -> None:
        """Forget a connection."""
        self._unfinished.pop(connection, None)
        self._answering.discard(connection)


class Guarded(H11Protocol):
    """An HTTP connection whose every stage ends in time, however its bytes come in."""

    def __init__(self, door: Door, **given: Any) -> None:
        super().__init__(**given)
        self._door = door
        self._stage: tuple[object, Stage] | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a place, and wait for a request."""
        super().connection_made(transport)
        self._door.enter(self)
        self._proceed()

    def data_received(self, data: bytes) -> None:
        """Take bytes; nonsense in a request that was answered already, which uvicorn cannot answer, ends it."""
        try:
            super().data_received(data)
        except h11.LocalProtocolError:
            self.transport.abort()
        self._proceed()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP; an answer to the request before it, which is still being made, comes too late."""
        if self.cycle:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        super().send_400_response(msg)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._proceed()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        super().connection_lost(exc)
        self.close()

    def close(self) -> None:
        """End the connection at once."""
        if self._deadline:
            self._deadline.cancel()
        self._door.leave(self)
        self.transport.abort()

    def _proceed(self) -> None:
        """Begin the time of a stage where the one before is over; more bytes of the same stage gain none."""
        stage = _STAGES.get(self.conn.their_state, Stage.ANSWER)
        if self.transport.is_closing() or self._stage == (self.cycle, stage):
            return
        if self._deadline:
            self._deadline.cancel()
        self._stage = self.cycle, stage
        self._deadline = self.loop.call_later(SECONDS[stage], self._give_up)
        self._door.move(self, stage)

    def _give_up(self) -> None:
        if self._stage != (self.cycle, Stage.ANSWER) and self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.write(LATE)
        self.close()
