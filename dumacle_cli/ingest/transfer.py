"""Transfer: send small files whole and large ones in parts; each is hashed as it is read."""

import errno
import hashlib
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import IO

from dumacle_cli import errors
from dumacle_cli.clients.objects import Part
from dumacle_cli.ingest.buffers import Buffers
from dumacle_cli.ingest.content import HEAD, content_type
from dumacle_cli.ingest.interruption import start
from dumacle_cli.ingest.items import Attempt, Progress, Result, Stopwatch
from dumacle_cli.ingest.journal import Journal
from dumacle_cli.ingest.scan import mtime, open_plain, opened, reason
from dumacle_cli.ingest.sides import Copying, Side, Sides
from dumacle_cli.services.limits import Limit, require_type
from dumacle_cli.store.parts import SentPart

MIB = 1024**2
IN_FLIGHT = 48 * MIB
"""Bytes of bodies held in memory at once, in both lanes together."""
PART = 6 * MIB
"""Stores accept 5 MiB at least. Small parts, so that many are under way: each waits for its answer."""
MOST_PARTS = 9_000
PART_SENDERS = IN_FLIGHT // PART
NICENESS = 10
"""How much less the threads of large files get of a busy processor than what sends small ones, and than a database or a
store on this machine: 6 x 128 MiB at such a store take a tenth less time for it."""
_hashing = threading.BoundedSemaphore(len(os.sched_getaffinity(0)))
"""Held to hash a part: more threads at once than there are cores would only take turns with what sends."""
_MD5 = re.compile("[0-9a-f]{32}")
_GONE = (errors.UploadLost, errors.ObjectMissing)
"""What stores answer about a multipart upload that they do not know."""
_NOT_LISTED = (errors.ObjectMissing, errors.NotSupported, errors.AccessRefused)
"""What stores answer that do not list parts, or not to these keys; some say that the object is missing."""
BROKEN_OFF = "the run was broken off"
SETTLED_WITHIN = 5
"""Seconds that a large file waits, before it is completed, for parts that are being sent."""


class Changed(Exception):
    """The file changed since the scan, or while it was read."""


class Halted(Exception):
    """The run is ending, so this attempt was not finished."""


class Crew:
    """Threads that do what is handed to them, started as needed, up to `most`."""

    def __init__(self, most: int, failed: Callable[[BaseException], None]) -> None:
        self._most, self._failed = most, failed
        self._queue: SimpleQueue[tuple[int, Callable[[], None]] | None] = SimpleQueue()
        self._changed = threading.Condition()
        self._handed = 0
        self._undone: set[int] = set()
        self.threads: list[threading.Thread] = []

    def hand(self, work: Callable[[], None]) -> None:
        """Have a thread do this."""
        with self._changed:
            self._handed += 1
            self._undone.add(self._handed)
            self._queue.put((self._handed, work))
            if len(self.threads) < self._most:
                self.threads.append(start(self._run, "part", self._failed))

    def settle(self) -> None:
        """Wait until all that was handed before is done, for some seconds at most."""
        with self._changed:
            last = self._handed
            self._changed.wait_for(lambda: min(self._undone, default=last + 1) > last, SETTLED_WITHIN)

    def close(self) -> None:
        """Let the threads end once they have done all."""
        for _ in self.threads:
            self._queue.put(None)

    def _run(self) -> None:
        while handed := self._queue.get():
            number, work = handed
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - it is raised in the main thread
                self._failed(error)
            with self._changed:
                self._undone.remove(number)
                self._changed.notify_all()


@dataclass(slots=True)
class Lanes:
    """What the small and the large lane share."""

    sides: Sides
    buffers: Buffers
    progress: Progress
    journal: Journal
    crew: Crew
    halted: threading.Event
    limits: Sequence[Limit]
    add: Callable[[Stopwatch], None]
    """Adds what a thread spent to the times of the run."""
    finishing: Callable[[], AbstractContextManager[None]]
    """Entered by a large file of which all is read: another one may begin."""
    large: Callable[[], int]
    """Returns how many large files are being read."""


def put(lanes: Lanes, attempt: Attempt, large: bool, spent: Stopwatch) -> errors.DumacleError | None:
    """Store one file and set the attempt's result; an error of the store is also returned."""
    try:
        _put(lanes, attempt, large, spent)
    except Halted:
        attempt.result, attempt.error = Result.CANCELLED, BROKEN_OFF
    except Changed as error:
        attempt.result, attempt.error = Result.CHANGED, str(error)
    except OSError as error:
        attempt.result, attempt.error = Result.FAILED, reason(error)
    except errors.TypeNotAllowed as error:
        attempt.result, attempt.error, attempt.fix = Result.REFUSED, str(error), error.remedy
    except errors.DumacleError as error:
        # The parts of a large file are kept, so that repeating the command sends the others only.
        goes_on = error.exit is errors.Exit.TEMPORARY and (large or lanes.halted.is_set())
        attempt.result, attempt.error = Result.CANCELLED if goes_on else Result.FAILED, str(error)
        return error
    return None


def _put(lanes: Lanes, attempt: Attempt, large: bool, spent: Stopwatch) -> None:
    """Store one file at the primary provider, or at the secondary if the primary does not answer."""
    side = lanes.sides.chosen(attempt.key)
    try:
        _put_at(lanes, side, attempt, large, spent)
    except errors.StoreUnavailable as error:
        second = lanes.sides.instead(side, error)
        if second is None:
            raise
        _put_at(lanes, second, attempt, large, spent)


def _put_at(lanes: Lanes, side: Side, attempt: Attempt, large: bool, spent: Stopwatch) -> None:
    if large:
        _Large(lanes, side, attempt, spent).put()
    elif attempt.is_sent:
        _prove(side, attempt)
        lanes.progress.moved(attempt, attempt.item.size)
    else:
        _put_small(lanes, side, attempt, spent)
    attempt.at_secondary = not side.is_primary


@contextmanager
def _opened(attempt: Attempt) -> Iterator[IO[bytes]]:
    """Open a source, and check before and after reading that it is unchanged; raises Changed or OSError."""
    with opened(attempt.item.source) as handle:
        _check_unchanged(handle.fileno(), attempt)
        yield handle
        _check_unchanged(handle.fileno(), attempt)


def read_whole(attempt: Attempt, body: memoryview) -> None:
    """Read a small file, and check that it is still what was scanned; raises Changed or OSError."""
    handle = open_plain(attempt.item.source)
    try:
        _fill(body, handle)
        if not body and os.read(handle, 1):  # as in /proc
            raise OSError(errno.EINVAL, "its size is said to be 0, but it has content: use --stdin-name")
        _check_unchanged(handle, attempt)
    finally:
        os.close(handle)


def _check_unchanged(handle: int, attempt: Attempt) -> None:
    status = os.fstat(handle)
    if (status.st_size, mtime(status)) != (attempt.item.size, attempt.item.mtime_ns):
        raise Changed("it changed while it was read; run the same command again")


def _fill(body: memoryview, handle: int) -> None:
    """Read so many bytes from where a file stands."""
    done = 0
    while done < len(body):
        read = os.readv(handle, [body[done:]])
        if not read:
            raise Changed("it became shorter while it was read; run the same command again")
        done += read


def _md5(body: memoryview) -> bytes:
    return hashlib.md5(body, usedforsecurity=False).digest()


def find_type(lanes: Lanes, attempt: Attempt, body: memoryview) -> None:
    """Set the media type of an attempt by its first bytes.

    Raises TypeNotAllowed if the pod or the owner's plan does not take it.
    """
    attempt.content_type = attempt.item.content_type or content_type(attempt.item.path, bytes(body[:HEAD]))
    require_type(lanes.limits, attempt.item.path, attempt.content_type)


def hash_whole(side: Side, attempt: Attempt, body: memoryview) -> None:
    """Hash a small file, as the provider's proof needs it."""
    attempt.sha256 = hashlib.sha256(body).digest()
    attempt.md5 = _md5(body) if side.needs_md5 else None


def is_proven(attempt: Attempt) -> bool:
    """Return whether the store's answer proves that it holds the bytes: it checked them, or the ETag is their MD5."""
    return attempt.md5 is None or attempt.etag == attempt.md5.hex()


def _prove(side: Side, attempt: Attempt, *, reads_back: bool = False) -> None:
    """Check that the store holds the bytes, if need be by reading them back."""
    if is_proven(attempt) and not reads_back:
        return
    if not side.patiently(lambda: side.store.holds(attempt.key, attempt.sha256.hex())):
        raise errors.ContentDiffers(path=attempt.item.path)


# The small lane


def _put_small(lanes: Lanes, side: Side, attempt: Attempt, spent: Stopwatch) -> None:
    size = attempt.item.size
    body = lanes.buffers.take(size)
    spent.start()
    try:
        read_whole(attempt, body)
        spent.read()
        find_type(lanes, attempt, body)
        hash_whole(side, attempt, body)
        spent.hashed()
        digest = attempt.sha256.hex()
        attempt.etag = side.patiently(lambda: side.puts.put(attempt.key, body, digest, attempt.content_type))
        if second := lanes.sides.copying(side):
            attempt.copy_etag = Copying(lanes.sides, second, attempt.key, attempt.content_type).put(body, digest)
    finally:
        spent.sent()
        lanes.buffers.give(body)
    _prove(side, attempt)
    lanes.progress.moved(attempt, size)


# The large lane


def size_of_parts(size: int) -> int:
    """Return a part size in whole MiB that needs at most 9,000 parts; providers allow 10,000."""
    return max(PART, -(-size // MOST_PARTS // MIB) * MIB)


def _give_way() -> None:
    """Let others run before this thread; where threads have no priority of their own, do nothing."""
    if sys.platform == "linux":
        of_process = os.getpriority(os.PRIO_PROCESS, os.getpid())
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(19, of_process + NICENESS))


class _Large:
    """One large file: its thread reads it and hashes the whole, the crew hashes and sends its parts.

    The multipart upload is aborted only if it can never be completed: the source changed, or the store refused it. At
    the secondary provider, where it cannot be continued, it is also aborted if it is not completed.
    """

    def __init__(self, lanes: Lanes, side: Side, attempt: Attempt, spent: Stopwatch) -> None:
        self.lanes, self.side, self.attempt, self.spent = lanes, side, attempt, spent
        if not side.is_primary:
            attempt.upload_id, attempt.part_etags = "", ()
        self._copying = Copying(lanes.sides, None, attempt.key, attempt.content_type)
        self._changed = threading.Condition()
        self._under_way = self._moved = 0
        self._error: BaseException | None = None
        self._there: dict[int, Part] = {}
        self._users: dict[int, int] = {}
        self._sent: dict[int, SentPart] = {}
        self._completed = self._reads_back = False
        self._is_begun = True

    def put(self) -> None:
        """Send all parts that the store does not have, complete the upload, and prove it."""
        with opened(self.attempt.item.source) as handle:
            find_type(self.lanes, self.attempt, memoryview(handle.read(HEAD)))
        try:
            self._put_parts()
        except errors.UploadLost:
            self._begin_again()
            self.attempt.upload_id, self.attempt.part_etags, self._error = "", (), None
            self._there, self._sent = {}, {}
            self._put_parts()
        except (errors.StoreRefused, errors.ContentDiffers, Changed, OSError):
            self._abort()
            raise
        except BaseException:
            self._begin_again()
            if not self.side.is_primary:
                self._abort()
            raise

    def _begin_again(self) -> None:
        """Take back the progress that was shown, and the copy that was begun."""
        self._copying.abort()
        self.lanes.progress.moved(self.attempt, -self._moved)
        self._moved = 0

    def _abort(self) -> None:
        self._copying.abort()
        if self.attempt.upload_id:
            with suppress(errors.DumacleError):
                self.side.store.abort_multipart(self.attempt.key, self.attempt.upload_id)

    def _put_parts(self) -> None:
        self._begin()
        self._send()
        with self.lanes.finishing():
            self._await_parts()
            self._finish()

    def _finish(self) -> None:
        """Complete the upload, of which the store has all parts, and prove it."""
        if self.attempt.part_etags and self.attempt.sha256 != self.attempt.stored_sha256:
            raise Changed("it changed since its parts were sent; run the same command again")
        if not self._completed:
            self.attempt.part_etags = tuple(part.etag for _, part in sorted(self._there.items()))
            if self.side.is_primary:
                # If this is killed then, nothing of other large files has to be sent again: neither what is being sent
                # now, nor what waited for the memory.
                self.lanes.crew.settle()
                self.lanes.crew.settle()
                self.lanes.journal.record_completing(self.attempt)
            self._complete()
        head = self.side.patiently(lambda: self.side.puts.head(self.attempt.key))
        self.attempt.etag = head.etag
        if head.size != self.attempt.item.size:
            raise errors.ContentDiffers(path=self.attempt.item.path)
        _prove(self.side, self.attempt, reads_back=self._reads_back)
        self.attempt.copy_etag = self._copying.complete(self.attempt.sha256.hex())

    def _begin(self) -> None:
        """Continue the multipart upload of an earlier attempt, or have one created."""
        attempt = self.attempt
        if attempt.upload_id and attempt.part_etags:
            self._there = {number: Part(number, etag, 0) for number, etag in enumerate(attempt.part_etags, 1)}
            return
        if attempt.upload_id and self._continue():
            return
        attempt.part_size = size_of_parts(attempt.item.size)
        self._is_begun, self._under_way = False, 1
        self.lanes.crew.hand(self._create)

    def _create(self) -> None:
        """Create the multipart upload, in a thread of the crew, while the first parts are read and hashed."""
        attempt, side = self.attempt, self.side
        try:
            attempt.upload_id = side.patiently(lambda: side.puts.create_multipart(attempt.key, attempt.content_type))
            if side.is_primary:
                self.lanes.journal.record_parts(attempt)
            if second := self.lanes.sides.copying(side):
                self._copying = Copying(self.lanes.sides, second, attempt.key, attempt.content_type)
                self._copying.begin()
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread of the file
            self._error = error
        with self._changed:
            self._is_begun = True
        self._end_one()

    def _continue(self) -> bool:
        """Learn which parts the store has: those it lists, or, if it lists none, those it is known to have taken.

        A part that it does not list is gone. Returns whether the multipart upload goes on, or was completed.
        """
        attempt, store = self.attempt, self.side.store
        self._sent = self.lanes.journal.sent(attempt)
        try:
            listed = self.side.patiently(lambda: list(store.list_parts(attempt.key, attempt.upload_id)))
        except errors.UploadLost:
            self._completed = self._is_there()
            return self._completed
        except _NOT_LISTED as error:
            self._completed = isinstance(error, errors.ObjectMissing) and self._is_there()
            listed = [Part(part.number, part.etag, part.size) for part in self._sent.values()]
            self._there = {part.number: part for part in listed}
            return self._completed or bool(listed)
        self._there = {part.number: part for part in listed}
        return True

    def _send(self) -> None:
        _give_way()
        size, part_size = self.attempt.item.size, self.attempt.part_size
        whole, whole_md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        try:
            with _opened(self.attempt) as handle:
                with suppress(AttributeError):
                    os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
                for number, start_at in enumerate(range(0, size, part_size), 1):
                    body = self._read(handle.fileno(), min(part_size, size - start_at))
                    self._users[number] = 2  # This thread and that of the crew use it at the same time.
                    self.lanes.crew.hand(partial(self._send_part, number, body))
                    with _hashing:
                        whole.update(body)
                    if self.side.needs_md5:
                        whole_md5.update(body)
                    self._let_go(number, body)
                    self.spent.hashed()
        except BaseException:
            self._await_parts()
            raise
        self.attempt.sha256 = whole.digest()
        self.attempt.md5 = whole_md5.digest() if self.side.needs_md5 else None

    def _read(self, handle: int, size: int) -> memoryview:
        """Read the next part; its memory is given back when it was sent."""
        self._await_turn()
        body = self.lanes.buffers.take(size)
        self.spent.start()
        try:
            self._check()
            _fill(body, handle)
        except BaseException:
            self.lanes.buffers.give(body)
            raise
        self.spent.read()
        with self._changed:
            self._under_way += 1
        return body

    def _await_turn(self) -> None:
        """Wait while this file has its share of the senders under way: large files advance together."""
        with self._changed:
            while self._under_way * self.lanes.large() >= PART_SENDERS:
                self._changed.wait()

    def _check(self) -> None:
        if self.lanes.halted.is_set():
            raise Halted
        if self._error:
            raise self._error

    def _send_part(self, number: int, body: memoryview) -> None:
        """Send a part in a thread of the crew."""
        _give_way()
        spent = Stopwatch()
        try:
            self._put_part(number, body, spent)
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread of the file
            self._error = self._error or error
        self._let_go(number, body)
        self.lanes.add(spent)
        self._end_one()

    def _end_one(self) -> None:
        with self._changed:
            self._under_way -= 1
            self._changed.notify_all()

    def _let_go(self, number: int, body: memoryview) -> None:
        """Give the memory of a part back once nobody uses it."""
        with self._changed:
            self._users[number] -= 1
            is_unused = not self._users[number]
        if is_unused:
            self.lanes.buffers.give(body)

    def _put_part(self, number: int, body: memoryview, spent: Stopwatch) -> None:
        # If all parts are there, the hash of the whole file says whether they are from this content.
        if not (self._completed or self.attempt.part_etags):
            spent.start()
            with _hashing:
                sha256 = hashlib.sha256(body).digest()
            spent.hashed()
            if not self._has(number, body, sha256):
                self._send_body(number, body, sha256)
                spent.sent()
        self._progress(len(body))

    def _send_body(self, number: int, body: memoryview, sha256: bytes) -> None:
        attempt, digest = self.attempt, sha256.hex()
        with self._changed:
            self._changed.wait_for(lambda: self._is_begun)
        self._check()

        def put() -> str:
            if isinstance(self._error, errors.UploadLost):
                raise self._error  # This part would be tried in vain.
            return self.side.puts.put_part(attempt.key, attempt.upload_id, number, body, digest)

        etag = self.side.patiently(put)
        self._there[number] = Part(number, etag, len(body))
        if self.side.is_primary:
            self.lanes.journal.record_part(attempt, SentPart(number, len(body), etag, sha256))
        self._copying.put_part(number, body, digest)

    def _has(self, number: int, body: memoryview, sha256: bytes) -> bool:
        """Whether the store holds this part already: what it is known to have taken, else by its size and MD5.

        Where the ETags of parts cannot be MD5s, its size must do, and the object is read back when it is complete.
        """
        part, sent = self._there.get(number), self._sent.get(number)
        if part is None or part.size != len(body):
            return False
        if sent and sent.etag == part.etag:
            return sent.sha256 == sha256
        if part.etag == _md5(body).hex():
            return True
        if _MD5.fullmatch(part.etag):
            return False
        self._reads_back = True
        return True

    def _progress(self, size: int) -> None:
        with self._changed:
            self._moved += size
            percent = min(99, self._moved * 100 // self.attempt.item.size)
        self.lanes.progress.moved(self.attempt, size)
        self.lanes.journal.record_percent(self.attempt, percent)

    def _await_parts(self) -> None:
        with self._changed:
            while self._under_way:
                self._changed.wait()
        if self._error:
            raise self._error

    def _complete(self) -> None:
        """Complete the upload; if the store no longer knows it, an earlier answer was lost, or the parts were."""
        attempt, puts, parts = self.attempt, self.side.puts, self._there.values()
        try:
            self.side.patiently(lambda: puts.complete_multipart(attempt.key, attempt.upload_id, parts))
        except _GONE:
            if not self._is_there():
                raise errors.UploadLost(key=attempt.key, provider=puts.location.provider) from None

    def _is_there(self) -> bool:
        """Whether the object is there: its key is written once, by this upload, and only as a whole."""
        try:
            head = self.side.patiently(lambda: self.side.puts.head(self.attempt.key))
        except errors.ObjectMissing:
            return False
        return head.size == self.attempt.item.size
