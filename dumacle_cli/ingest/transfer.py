"""Transfer: send small files by the hundreds and large ones in parts; each is hashed as it is read."""

import asyncio
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from dumacle_cli import errors
from dumacle_cli.clients.object_store import ObjectStore, Part
from dumacle_cli.ingest.content import HEAD, content_type
from dumacle_cli.ingest.items import Attempt, Progress, Result
from dumacle_cli.ingest.record import Journal
from dumacle_cli.ingest.scan import mtime, opened, reason

if TYPE_CHECKING:
    from dumacle_cli.clients.puts import Puts

MIB = 1024**2
IN_FLIGHT = 64 * MIB
"""Bytes of bodies held in memory at once, in both lanes together."""
PART = 16 * MIB
MOST_PARTS = 9_000
READ_TOGETHER = 2 * MIB
LARGE_AT_ONCE = 4


class Changed(Exception):
    """The file changed since the scan, or while it was read."""


class Budget:
    """The memory for bodies in flight, in bytes, shared by both lanes."""

    def __init__(self, size: int) -> None:
        self._size = self._free = size
        self._turn = asyncio.Lock()
        self._given = asyncio.Event()

    async def take(self, size: int) -> None:
        """Wait in line for memory and take it; a size above the whole budget waits until all of it is free."""
        size = min(size, self._size)
        async with self._turn:
            while self._free < size:
                self._given.clear()
                await self._given.wait()
            self._free -= size

    def give(self, size: int) -> None:
        """Give memory back."""
        self._free = min(self._size, self._free + size)
        self._given.set()


@dataclass(slots=True)
class Lanes:
    """What the small and the large lane share."""

    puts: "Puts"
    store: ObjectStore
    concurrency: int
    budget: Budget
    progress: Progress
    journal: Journal

    @property
    def needs_md5(self) -> bool:
        """Whether the MD5 of a body is needed to prove its upload."""
        return self.store.location.proof == "md5-etag"

    def cost(self, size: int) -> int:
        """Return what a body takes of the budget (bytes), with a minimum that limits the number of bodies."""
        return max(size, IN_FLIGHT // (2 * self.concurrency))


@contextmanager
def _opened(attempt: Attempt) -> Iterator[IO[bytes]]:
    """Open a source, and check before and after reading that it is unchanged; raises Changed or OSError."""
    with opened(attempt.item.source) as handle:
        _check_unchanged(handle, attempt)
        with suppress(AttributeError):
            os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        yield handle
        _check_unchanged(handle, attempt)


def _check_unchanged(handle: IO[bytes], attempt: Attempt) -> None:
    status = os.fstat(handle.fileno())
    if (status.st_size, mtime(status)) != (attempt.item.size, attempt.item.mtime_ns):
        raise Changed("it changed while it was read; run the same command again")


def _read_exactly(handle: IO[bytes], size: int) -> bytes:
    body = handle.read(size)
    while len(body) < size:
        more = handle.read(size - len(body))
        if not more:
            raise Changed("it became shorter while it was read; run the same command again")
        body += more
    return body


def _end(attempt: Attempt, error: Exception) -> None:
    changed = isinstance(error, Changed)
    attempt.result = Result.CHANGED if changed else Result.FAILED
    attempt.error = reason(error) if isinstance(error, OSError) else str(error)


def first(broken: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error of a group of tasks."""
    cause = broken.exceptions[0]
    return first(cause) if isinstance(cause, BaseExceptionGroup) else cause


def _hasher(wanted: bool) -> Any:
    return hashlib.md5(usedforsecurity=False) if wanted else None


# The small lane


def read_small(attempts: list[Attempt], needs_md5: bool) -> list[bytes | None]:
    """Read and hash whole files; if one cannot be read, its attempt ends and its body is None."""
    return [_read_small(attempt, needs_md5) for attempt in attempts]


def _read_small(attempt: Attempt, needs_md5: bool) -> bytes | None:
    try:
        with _opened(attempt) as handle:
            body = _read_exactly(handle, attempt.item.size)
    except (OSError, Changed) as error:
        _end(attempt, error)
        return None
    attempt.content_type = content_type(attempt.item.path, body[:HEAD])
    attempt.sha256 = hashlib.sha256(body).digest()
    if digest := _hasher(needs_md5):
        digest.update(body)
        attempt.md5 = digest.digest()
    return body


async def put_small(lanes: Lanes, attempt: Attempt, body: bytes | None) -> errors.DumacleError | None:
    """Store one small body and set the attempt's result; an error of the store is also returned."""
    if body is None:
        return None
    try:
        attempt.etag = await lanes.puts.put(attempt.key, body, attempt.sha256.hex(), attempt.content_type)
    except errors.DumacleError as error:
        _end(attempt, error)
        return error
    try:
        await _prove(lanes, attempt, attempt.etag)
    except errors.DumacleError as error:
        _end(attempt, error)
        return error
    lanes.progress.moved(attempt, attempt.item.size)
    return None


async def _prove(lanes: Lanes, attempt: Attempt, etag: str) -> None:
    """Check that the store holds the bytes: by an ETag that is their MD5, or by reading them back."""
    if attempt.md5 is None or etag == attempt.md5.hex():
        return
    if not await asyncio.to_thread(lanes.store.holds, attempt.key, attempt.sha256.hex()):
        raise errors.ContentDiffers(path=attempt.item.path)


# The large lane


async def put_large(lanes: Lanes, attempt: Attempt) -> errors.DumacleError | None:
    """Store one large file in parts and set the attempt's result; an error of the store is also returned."""
    try:
        await _in_parts(lanes, attempt)
    except (OSError, Changed) as error:
        _end(attempt, error)
    except errors.DumacleError as error:
        _end(attempt, error)
        return error
    return None


async def _in_parts(lanes: Lanes, attempt: Attempt) -> None:
    store, part_size = lanes.store, size_of_parts(attempt.item.size)
    with opened(attempt.item.source) as handle:
        attempt.content_type = content_type(attempt.item.path, handle.read(HEAD))
    upload_id = await asyncio.to_thread(store.create_multipart, attempt.key, attempt.content_type)
    await asyncio.to_thread(lanes.journal.record_parts, attempt, upload_id, part_size)
    try:
        parts = await _send(lanes, attempt, upload_id, part_size)
        await asyncio.to_thread(lanes.journal.record_completing, attempt)
        await asyncio.to_thread(store.complete_multipart, attempt.key, upload_id, parts)
    except BaseException:
        with suppress(errors.DumacleError):
            await asyncio.shield(asyncio.to_thread(store.abort_multipart, attempt.key, upload_id))
        raise
    head = await asyncio.to_thread(store.head, attempt.key)
    attempt.etag = head.etag
    if head.size != attempt.item.size:
        raise errors.ContentDiffers(path=attempt.item.path)
    await _prove(lanes, attempt, head.etag)


def size_of_parts(size: int) -> int:
    """Return a part size in whole MiB that needs at most 9,000 parts; providers allow 10,000."""
    return max(PART, -(-size // MOST_PARTS // MIB) * MIB)


async def _send(lanes: Lanes, attempt: Attempt, upload_id: str, part_size: int) -> list[Part]:
    whole, whole_md5 = hashlib.sha256(), _hasher(lanes.needs_md5)
    moved = 0

    async def send(number: int, body: bytes, digest: str) -> Part:
        nonlocal moved
        size = len(body)
        try:
            etag = await lanes.puts.put_part(attempt.key, upload_id, number, body, digest)
        finally:
            del body  # before its memory is given to another
            lanes.budget.give(part_size)
        moved += size
        lanes.progress.moved(attempt, size)
        lanes.journal.record_percent(attempt, min(99, moved * 100 // attempt.item.size))
        return Part(number, etag, size)

    def read(handle: IO[bytes], size: int) -> tuple[bytes, str]:
        body = _read_exactly(handle, size)
        whole.update(body)
        if whole_md5:
            whole_md5.update(body)
        return body, hashlib.sha256(body).hexdigest()

    async def read_next(handle: IO[bytes], size: int) -> tuple[bytes, str]:
        await lanes.budget.take(part_size)
        try:
            return await asyncio.to_thread(read, handle, size)
        except BaseException:
            lanes.budget.give(part_size)
            raise

    try:
        async with asyncio.TaskGroup() as group:
            with _opened(attempt) as handle:
                sent = [
                    group.create_task(send(number, *await read_next(handle, min(part_size, attempt.item.size - start))))
                    for number, start in enumerate(range(0, attempt.item.size, part_size), 1)
                ]
    except BaseExceptionGroup as broken:
        raise first(broken) from None
    attempt.sha256 = whole.digest()
    attempt.md5 = whole_md5.digest() if whole_md5 else None
    return [task.result() for task in sent]
