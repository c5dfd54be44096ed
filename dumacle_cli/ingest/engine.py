"""The engine of an upload: files are scanned, planned, transferred and recorded at the same time, in one loop.

It lives longer than a transaction; each stage commits on its own.
"""

import asyncio
import hashlib
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, TextIO

from sqlalchemy.orm import Session

from dumacle_cli import errors, retry
from dumacle_cli.ingest import plan, transfer
from dumacle_cli.ingest.interruption import cancelling
from dumacle_cli.ingest.items import Attempt, Class, Progress, Tally
from dumacle_cli.ingest.pace import Pace
from dumacle_cli.ingest.record import Recorder
from dumacle_cli.ingest.scan import Found, scan
from dumacle_cli.services.transcodes import TranscodeRequest
from dumacle_cli.store import uploads
from dumacle_cli.store.database import Database

if TYPE_CHECKING:
    from dumacle_cli.clients.object_store import ObjectStore

BATCH = 1000
"""Items planned in one transaction, and leased for in one statement."""
AHEAD = 2
"""Batches that may be planned before their files are read."""
READERS = 2
READ_MOST = 32
HEARTBEAT = 5.0
FAULTS_IN_A_ROW = 64
"""Faults of the store, with no success between them, after which the run gives up."""
THREADS = 24


@dataclass(frozen=True, slots=True)
class Upload:
    """What is to be uploaded where; `place.run` is filled in when the run is open."""

    sources: Sequence[bytes]
    prefix: str
    place: plan.Place
    operation: str
    large_file_size: int
    concurrency: int
    needs_md5: bool
    stop_after: int = 0
    transcode: TranscodeRequest | None = None

    @property
    def selection(self) -> bytes:
        """What tells this run from another of the same owner, pod and prefix."""
        named = b"\0".join(sorted(os.path.abspath(source) for source in self.sources))  # noqa: PTH100 - bytes
        return hashlib.sha256(named).digest()


@dataclass(frozen=True, slots=True)
class Stores:
    """Ways into the object store, each opened when it is first needed."""

    puts: Callable[[], AbstractAsyncContextManager[transfer.Puts]]
    store: "Callable[[], ObjectStore]"
    proves: Callable[[str, str], bool]


def me() -> tuple[str, int]:
    """Return the host and the pid by which a run knows its holder."""
    return socket.gethostname(), os.getpid()


class Engine:
    """Drives one run that is open; what it comes to is in the tally."""

    def __init__(
        self,
        database: Database,
        stores: Stores,
        upload: Upload,
        progress: Progress,
        results: TextIO | None,
        tally: Tally,
    ) -> None:
        self.database, self.stores, self.upload, self.progress = database, stores, upload, progress
        self.recorder = Recorder(database, upload.operation, progress, results, tally, upload.transcode)
        self.tally = tally
        self.journal = _Journal(database)
        self.small: asyncio.Queue[Attempt | None] = asyncio.Queue(maxsize=BATCH * AHEAD)
        self.large: asyncio.Queue[Attempt | None] = asyncio.Queue(maxsize=BATCH * AHEAD)
        # A body that is not sent in parts must fit the budget; a file of no bytes has no parts.
        self.large_from = min(max(1, upload.large_file_size), transfer.IN_FLIGHT)
        self.pace = Pace(upload.concurrency)
        self.under_way: dict[int, Attempt] = {}
        self.halted = threading.Event()
        self.faults = 0

    async def drive(self) -> None:
        """Run all stages; whatever breaks them off, what has ended is recorded first."""
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="upload"))
        with cancelling():
            recording = asyncio.create_task(self.recorder.run())
            try:
                await self._stages(recording)
            finally:
                await self._settle(recording)
        self._stop_after()

    async def _stages(self, recording: asyncio.Task[None]) -> None:
        beating = asyncio.create_task(self._beat())
        working = asyncio.create_task(self._work())
        try:
            await asyncio.wait({recording, beating, working}, return_when=asyncio.FIRST_COMPLETED)
            for task in (recording, beating, working):
                if task.done():
                    task.result()
        finally:
            self.halted.set()
            await _stop(working, beating)

    async def _work(self) -> None:
        try:
            async with self.stores.puts() as puts, asyncio.TaskGroup() as group:
                lanes = self._lanes(puts)
                group.create_task(self._plan())
                for _ in range(READERS):
                    group.create_task(self._read_small(lanes))
                for _ in range(transfer.LARGE_AT_ONCE):
                    group.create_task(self._send_large(lanes))
        except BaseExceptionGroup as broken:
            raise transfer.first(broken) from None

    def _lanes(self, puts: transfer.Puts) -> transfer.Lanes:
        return transfer.Lanes(
            puts,
            self.stores.store,
            self.stores.proves,
            self.upload.needs_md5,
            self.upload.concurrency,
            transfer.Budget(transfer.IN_FLIGHT),
            self.progress,
            self.journal,
        )

    async def _settle(self, recording: asyncio.Task[None]) -> None:
        """Give up what is still under way, and commit all that has ended."""
        for attempt in self.under_way.values():
            attempt.ends, attempt.error = Class.CANCELLED, "the run was broken off"
            self.recorder.take(attempt)
        self.recorder.finish()
        await recording

    async def _plan(self) -> None:
        found = scan(self.upload.sources, self.upload.prefix)
        while batch := await asyncio.to_thread(_next, found):
            attempts = await self._planned(batch)
            for attempt in attempts:
                lane = self.large if attempt.item.size >= self.large_from else self.small
                await lane.put(attempt)
            await self.recorder.caught_up()
        for _ in range(READERS):
            await self.small.put(None)
        for _ in range(transfer.LARGE_AT_ONCE):
            await self.large.put(None)

    async def _planned(self, batch: Sequence[Found]) -> list[Attempt]:
        """Plan in a thread, which is waited for also when cancelled: what it commits is under way."""
        planning = asyncio.create_task(asyncio.to_thread(self._plan_batch, batch))
        try:
            planned = await asyncio.shield(planning)
        finally:
            await asyncio.wait([planning])
            if not planning.exception():
                self._begin(planning.result().attempts)
        self.recorder.tell(planned.outcomes)
        return planned.attempts

    def _begin(self, attempts: Sequence[Attempt]) -> None:
        self.recorder.expect(attempts)
        self.under_way.update((attempt.version_id, attempt) for attempt in attempts)
        self.progress.planned(len(attempts), sum(attempt.item.size for attempt in attempts))

    def _plan_batch(self, batch: Sequence[Found]) -> plan.Planned:
        place = self.upload.place
        with self.database.session(read_only=True) as session:
            held = plan.held(session, place, batch)
        compared = plan.compare(place, batch, held, self.halted.is_set)
        if not (compared.wanted or compared.touched):
            return plan.Planned(outcomes=compared.outcomes)

        def write() -> plan.Planned:
            with self.database.session() as session:
                return plan.plan(session, place, compared)

        return retry.on_lock(write)

    async def _read_small(self, lanes: transfer.Lanes) -> None:
        async with asyncio.TaskGroup() as puts:
            while attempts := await _some(self.small):
                await lanes.budget.take(sum(lanes.cost(attempt.item.size) for attempt in attempts))
                bodies = await asyncio.to_thread(transfer.read_small, attempts, lanes.needs_md5)
                for attempt, body in zip(attempts, bodies, strict=True):
                    puts.create_task(self._put_small(lanes, attempt, body))
                del bodies, body

    async def _put_small(self, lanes: transfer.Lanes, attempt: Attempt, body: bytes | None) -> None:
        try:
            async with self.pace.slot(attempt.item.size):
                fault = await transfer.put_small(lanes, attempt, body)
        finally:
            lanes.budget.give(lanes.cost(attempt.item.size))
        self._ended(attempt, fault)

    async def _send_large(self, lanes: transfer.Lanes) -> None:
        while attempt := await self.large.get():
            fault = await transfer.put_large(lanes, attempt)
            self.journal.percents.pop(attempt.file_id, None)
            self._ended(attempt, fault)

    def _ended(self, attempt: Attempt, fault: errors.DumacleError | None) -> None:
        del self.under_way[attempt.version_id]
        self.recorder.take(attempt)
        if attempt.ends is Class.UPLOADED:
            self.faults = 0
        elif fault:
            self.faults += 1
            if self.faults >= FAULTS_IN_A_ROW:
                raise fault
        self._stop_after()

    def _stop_after(self) -> None:
        if self.upload.stop_after and self.tally.troubled >= self.upload.stop_after:
            raise errors.StoppedAfter(count=self.tally.troubled, first=self.tally.first_error)

    async def _beat(self) -> None:
        """Keep the run and its leases alive, and let others see how far large files are."""
        beat = 0.0
        while True:
            await asyncio.sleep(1)
            percents = dict(self.journal.percents)
            beat += 1
            if percents or beat >= HEARTBEAT:
                await asyncio.to_thread(retry.on_lock, partial(self._pulse, percents))
                beat = 0.0

    def _pulse(self, percents: dict[int, int]) -> None:
        run, (host, pid) = self.upload.place.run, me()
        with self.database.session() as session:
            if percents:
                uploads.record_progress(session, percents)
            if not uploads.heartbeat(session, run, host, pid, plan.LEASE_SECONDS):
                holder = uploads.holder(session, run)
                raise errors.RunBusy(run=run, host=holder.host, pid=holder.pid)


@dataclass(slots=True)
class _Journal:
    """What large attempts write down, and how far they are."""

    database: Database
    percents: dict[int, int] = field(default_factory=dict)

    def begin_parts(self, attempt: Attempt, upload_id: str, part_size: int) -> None:
        self._commit(lambda session: uploads.begin_parts(session, attempt.version_id, upload_id, part_size))

    def begin_completing(self, attempt: Attempt) -> None:
        self._commit(lambda session: uploads.begin_completing(session, attempt.file_id, attempt.version_id))

    def percent(self, attempt: Attempt, percent: int) -> None:
        self.percents[attempt.file_id] = percent

    def _commit(self, work: Callable[[Session], None]) -> None:
        def once() -> None:
            with self.database.session() as session:
                work(session)

        retry.on_lock(once)


def _next(found: Iterator[Found]) -> list[Found]:
    return list(islice(found, BATCH))


async def _some(queue: asyncio.Queue[Attempt | None]) -> list[Attempt]:
    """Take what is there, up to a readable set; an empty list is the end."""
    first = await queue.get()
    if first is None:
        return []
    attempts, size = [first], first.item.size
    while len(attempts) < READ_MOST and size < transfer.READ_TOGETHER and not queue.empty():
        attempt = queue.get_nowait()
        if attempt is None:
            queue.put_nowait(None)
            break
        attempts.append(attempt)
        size += attempt.item.size
    return attempts


async def _stop(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
