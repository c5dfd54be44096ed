"""The express lane: small files that go well. One thread sends them all; one reads and hashes them, or more as needed.

What does not go well is handed back, and is sent again by a thread of its own, which waits, retries and says why. A
thread for each request in flight would take twice the CPU: the interpreter runs one of them at a time.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dumacle_cli import errors
from dumacle_cli.clients.connection import Response
from dumacle_cli.clients.multiplexer import Multiplexer
from dumacle_cli.ingest import transfer
from dumacle_cli.ingest.interruption import LOOK
from dumacle_cli.ingest.items import Attempt, Stopwatch
from dumacle_cli.ingest.pace import Pace

MOST_READERS = 16
STARVED_SECONDS = 0.1
"""How long the sender has nothing to send until another reader is started: disks may take milliseconds for a file."""
TOGETHER = 16
"""The most files that a reader takes at once."""
TOGETHER_SIZE = 2 * transfer.MIB
AHEAD = 64
"""Files that are read before they can be sent."""


@dataclass(slots=True)
class _Loaded:
    """A file that was read, with the head of its request, and when that was sent."""

    attempt: Attempt
    head: bytes
    body: memoryview
    sent_at: float = 0.0


class Express:
    """Sends attempts over one multiplexer.

    `start` starts a thread, `ended` gets attempts that are stored and `back` those that are handed back; `room` is told
    when some were taken.
    """

    def __init__(
        self,
        lanes: transfer.Lanes,
        multiplexer: Multiplexer[_Loaded],
        pace: Pace,
        start: Callable[[Callable[[], None], str], None],
        ended: Callable[[Attempt], None],
        back: Callable[[Attempt], None],
        room: Callable[[], None],
    ) -> None:
        self._lanes, self._multiplexer, self._pace, self._ended, self._back = lanes, multiplexer, pace, ended, back
        self._start_thread, self._room = start, room
        self._side = lanes.sides.primary
        self._waiting: deque[Attempt] = deque()
        self._loaded: deque[_Loaded] = deque()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._over = self._polls = False
        self._readers = 0
        self._fed_at = 0.0
        self._spent = Stopwatch()

    @property
    def waiting(self) -> int:
        """The number of attempts that wait to be read."""
        return len(self._waiting)

    def add(self, attempts: Sequence[Attempt]) -> None:
        """Send these, or hand them back."""
        with self._lock:
            self._waiting.extend(attempts)
            self._changed.notify_all()
        self._multiplexer.wake()

    def close(self) -> None:
        """Let the threads end; what is in flight still ends."""
        with self._lock:
            self._over = True
            self._changed.notify_all()
        self._multiplexer.wake()

    # Reading

    def _read(self) -> None:
        """Read, hash and sign files until `close`."""
        spent = Stopwatch()
        while attempts := self._take():
            for attempt in attempts:
                self._load(attempt, spent)
        self._lanes.add(spent)

    def _take(self) -> list[Attempt]:
        """Wait for files, and for room for what is read of them."""
        self._room()
        with self._lock:
            while not self._over and (not self._waiting or len(self._loaded) >= AHEAD):
                self._changed.wait()
            if self._over or self._lanes.halted.is_set():
                return []
            taken, size = [self._waiting.popleft()], 0
            while self._waiting and len(taken) < TOGETHER and size < TOGETHER_SIZE:
                taken.append(self._waiting.popleft())
                size += taken[-1].item.size
            return taken

    def _load(self, attempt: Attempt, spent: Stopwatch) -> None:
        if not self._lanes.sides.are_plain:
            self._back(attempt)
            return
        size = attempt.item.size
        body = self._lanes.buffers.take(size)
        spent.start()
        try:
            transfer.read_whole(attempt, body)
            spent.read()
            transfer.find_type(self._lanes, attempt, body)
            transfer.hash_whole(self._side, attempt, body)
            spent.hashed()
            head = self._side.puts.request_head(attempt.key, size, attempt.sha256.hex(), attempt.content_type)
        except (transfer.Changed, OSError, errors.DumacleError):
            self._lanes.buffers.give(body)
            self._back(attempt)
            return
        self._loaded.append(_Loaded(attempt, head, body))
        if self._polls:
            self._multiplexer.wake()

    # Sending

    def send(self) -> None:
        """Send what is read until `close`; run by one thread."""
        try:
            while not self._over or self._multiplexer.in_flight:
                seen = self._start()
                self._staff()
                # A reader that loads a file from here on wakes the multiplexer; one may have been loaded meanwhile.
                self._polls = True
                has_more = self._can_start() or len(self._loaded) > seen
                for loaded, outcome in self._multiplexer.poll(0 if has_more else LOOK):
                    self._end(loaded, outcome)
                self._polls = False
        finally:
            self._multiplexer.close()
            self._lanes.add(self._spent)

    def _can_start(self) -> bool:
        return bool(self._loaded) and self._multiplexer.is_ready and self._multiplexer.in_flight < self._pace.limit

    def _start(self) -> int:
        """Send as many files as the pace and the connections allow, and return how many are left.

        After a signal, or in an outage, none is sent.
        """
        if self._lanes.halted.is_set() or not self._lanes.sides.are_plain:
            self._unload(len(self._loaded))
        while self._can_start():
            loaded = self._loaded.popleft()
            loaded.sent_at = time.perf_counter()
            self._multiplexer.send(loaded, loaded.head, loaded.body)
        left = len(self._loaded)
        if left and not self._multiplexer.is_ready:
            self._multiplexer.open(self._pace.limit)
        if left < AHEAD // 2:
            with self._lock:
                self._changed.notify()
        return left

    def _staff(self) -> None:
        """Start a reader: the first one, and others as long as there is too little to send, but memory to read into."""
        now = time.monotonic()
        is_fed = self._loaded or self._multiplexer.in_flight > self._pace.limit // 2
        if not self._waiting or is_fed or self._lanes.buffers.is_awaited:
            self._fed_at = now
        elif not self._readers or (now - self._fed_at > STARVED_SECONDS and self._readers < MOST_READERS):
            self._readers, self._fed_at = self._readers + 1, now
            self._start_thread(self._read, "reader")

    def _unload(self, count: int) -> None:
        """Hand back the first files that were read."""
        for _ in range(count):
            loaded = self._loaded.popleft()
            self._lanes.buffers.give(loaded.body)
            self._back(loaded.attempt)

    def _end(self, loaded: _Loaded | None, outcome: Response | OSError) -> None:
        if loaded is None:  # No connection could be opened: the thread that sends a file tells why.
            self._unload(min(1, len(self._loaded)))
            return
        attempt, size = loaded.attempt, loaded.attempt.item.size
        self._spent.sending += time.perf_counter() - loaded.sent_at
        self._lanes.buffers.give(loaded.body)
        self._pace.done(size, bool(self._loaded))
        if self._is_stored(attempt, outcome):
            self._lanes.progress.moved(attempt, size)
            self._ended(attempt)
        else:
            self._back(attempt)

    def _is_stored(self, attempt: Attempt, outcome: Response | OSError) -> bool:
        if isinstance(outcome, OSError):
            return False
        try:
            attempt.etag = self._side.puts.etag(outcome)
        except errors.DumacleError as error:
            if isinstance(error, errors.StoreUnavailable):
                self._pace.slow_down()
            return False
        attempt.is_sent = True
        return transfer.is_proven(attempt)
