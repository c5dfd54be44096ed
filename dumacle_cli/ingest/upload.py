"""One upload from start to end: files are scanned, planned, transferred and recorded at the same time.

It lives longer than a transaction: intents, results and heartbeats are committed as they come, so that a kill at any
point is recovered by running the same command again.
"""

import asyncio
import hashlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, TextIO

from dumacle_cli import errors
from dumacle_cli.ingest import items, plan, transfer
from dumacle_cli.ingest.items import Attempt, Class, Progress, Summary, Tally
from dumacle_cli.ingest.record import Recorder
from dumacle_cli.ingest.scan import Found, scan
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

    @property
    def selection(self) -> bytes:
        """What tells this run from another of the same owner, pod and prefix."""
        named = b"\0".join(sorted(os.path.abspath(source) for source in self.sources))
        return hashlib.sha256(named).digest()


@dataclass(frozen=True, slots=True)
class Stores:
    """Ways into the object store, each opened when it is first needed."""

    small: Callable[[], transfer.SmallLane]
    large: "Callable[[], ObjectStore]"
    proves: Callable[[str, str], bool]


def foresee(database: Database, upload: Upload) -> tuple[Summary, Tally]:
    """Tell what an upload would come to, reading the database and writing nothing anywhere."""
    started, tally = time.monotonic(), Tally()
    found = scan(upload.sources, upload.prefix)
    with database.session(read_only=True) as session:
        room = uploads.room(session, upload.place.pod_id, upload.place.owner_id, datetime.now(UTC))
    while batch := list(islice(found, BATCH)):
        with database.session(read_only=True) as session:
            for outcome in plan.foresee(session, upload.place, batch, room):
                tally.add(outcome)
    return items.summarise(tally, None, time.monotonic() - started), tally


def run(
    database: Database, stores: Stores, upload: Upload, progress: Progress, results: TextIO | None = None
) -> tuple[Summary, Tally]:
    """Upload, and return the totals; raises RunBusy, and what broke the run off."""
    started, tally = time.monotonic(), Tally()
    upload = _open(database, upload)
    status = "interrupted"
    try:
        asyncio.run(_Engine(database, stores, upload, progress, results, tally).drive())
        status = "partial" if tally.troubled else "done"
    except errors.DumacleError:
        status = "failed"
        raise
    finally:
        _close(database, upload.place.run, status, tally)
    return items.summarise(tally, upload.place.run, time.monotonic() - started), tally


def _open(database: Database, upload: Upload) -> Upload:
    """Open the run, or take over one whose holder is gone; raises RunBusy where it is alive."""
    host, pid = socket.gethostname(), os.getpid()
    with database.session() as session:
        uploads.reap_leases(session)
        held = uploads.open_run(
            session,
            name=f"{upload.place.owner} to {upload.place.pod}",
            pod=upload.place.pod_id,
            owner=upload.place.owner_id,
            prefix=upload.prefix,
            selection=upload.selection,
            host=host,
            pid=pid,
        )
        if not held.made:
            gone = held.host == host and not _alive(held.pid)
            if held.silent < plan.LEASE_SECONDS and not gone:
                raise errors.RunBusy(run=held.id, host=held.host, pid=held.pid)
            uploads.take_run_over(session, held.id, host, pid)
    return replace(upload, place=replace(upload.place, run=held.id))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid != os.getpid()


def _close(database: Database, run: int, status: str, tally: Tally) -> None:
    """End the run; where the database is gone, too, the next run of the same command will."""
    try:
        with database.session() as session:
            totals = json.dumps(items.totals(tally))
            uploads.close_run(session, run, status, tally.planned, tally.planned_bytes, totals)
    except errors.DatabaseUnavailable:
        if status == "done":
            raise


@dataclass(slots=True)
class _Journal:
    """What large attempts write down, and how far they are."""

    database: Database
    percents: dict[int, int] = field(default_factory=dict)

    def begin_parts(self, attempt: Attempt, upload_id: str, part_size: int) -> None:
        with self.database.session() as session:
            uploads.begin_parts(session, attempt.version_id, upload_id, part_size)

    def begin_completing(self, attempt: Attempt) -> None:
        with self.database.session() as session:
            uploads.begin_completing(session, attempt.file_id, attempt.version_id)

    def percent(self, attempt: Attempt, percent: int) -> None:
        self.percents[attempt.file_id] = percent


class _Engine:
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
        self.recorder = Recorder(database, upload.operation, progress, results, tally)
        self.tally = tally
        self.journal = _Journal(database)
        self.small: asyncio.Queue[Attempt | None] = asyncio.Queue(maxsize=BATCH * AHEAD)
        self.large: asyncio.Queue[Attempt | None] = asyncio.Queue(maxsize=BATCH * AHEAD)
        self.under_way: dict[int, Attempt] = {}
        self.faults = 0

    async def drive(self) -> None:
        """Run all stages; whatever breaks them off, what has ended is recorded first."""
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="upload"))
        recording = asyncio.create_task(self.recorder.run())
        try:
            await self._stages(recording)
        finally:
            await self._settle(recording)

    async def _stages(self, recording: asyncio.Task[None]) -> None:
        lanes = transfer.Lanes(
            self.stores.small(),
            self.stores.large,
            self.stores.proves,
            self.upload.needs_md5,
            self.upload.concurrency,
            transfer.Budget(transfer.IN_FLIGHT),
            self.progress,
            self.journal,
        )
        beating = asyncio.create_task(self._beat())
        working = asyncio.create_task(self._work(lanes))
        try:
            await asyncio.wait({recording, beating, working}, return_when=asyncio.FIRST_COMPLETED)
            for task in (recording, beating, working):
                if task.done():
                    task.result()
        finally:
            await _stop(working, beating)

    async def _work(self, lanes: transfer.Lanes) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._plan())
                for _ in range(READERS):
                    group.create_task(self._read_small(lanes))
                for _ in range(transfer.LARGE_AT_ONCE):
                    group.create_task(self._send_large(lanes))
        except BaseExceptionGroup as broken:
            raise _first(broken) from None

    async def _settle(self, recording: asyncio.Task[None]) -> None:
        """Give up what is still under way, and commit all that has ended."""
        for attempt in self.under_way.values():
            attempt.ends, attempt.error = Class.CANCELLED, "the run was broken off"
        if not recording.done():
            await self.recorder.take(list(self.under_way.values()))
            await self.recorder.finish()
        await recording

    async def _plan(self) -> None:
        found = scan(self.upload.sources, self.upload.prefix)
        while batch := await asyncio.to_thread(_next, found):
            planned = await asyncio.to_thread(self._plan_batch, batch)
            self.recorder.expect(planned.attempts)
            self.under_way.update((attempt.version_id, attempt) for attempt in planned.attempts)
            self.progress.planned(len(planned.attempts), sum(attempt.item.size for attempt in planned.attempts))
            await self.recorder.take(planned.outcomes)
            for attempt in planned.attempts:
                lane = self.large if attempt.item.size >= self.upload.large_file_size else self.small
                await lane.put(attempt)
        for _ in range(READERS):
            await self.small.put(None)
        for _ in range(transfer.LARGE_AT_ONCE):
            await self.large.put(None)

    def _plan_batch(self, batch: Sequence[Found]) -> plan.Planned:
        with self.database.session() as session:
            return plan.plan(session, self.upload.place, batch)

    async def _read_small(self, lanes: transfer.Lanes) -> None:
        async with asyncio.TaskGroup() as puts:
            while attempts := await _some(self.small):
                for attempt in attempts:
                    await lanes.budget.take(lanes.cost(attempt.item.size))
                bodies = await asyncio.to_thread(transfer.read_small, attempts, lanes.needs_md5)
                for attempt, body in zip(attempts, bodies, strict=True):
                    puts.create_task(self._put_small(lanes, attempt, body))
                del bodies, body

    async def _put_small(self, lanes: transfer.Lanes, attempt: Attempt, body: bytes | None) -> None:
        try:
            fault = await transfer.put_small(lanes, attempt, body)
        finally:
            await lanes.budget.give(lanes.cost(attempt.item.size))
        await self._ended(attempt, fault)

    async def _send_large(self, lanes: transfer.Lanes) -> None:
        while attempt := await self.large.get():
            fault = await transfer.put_large(lanes, attempt)
            self.journal.percents.pop(attempt.file_id, None)
            await self._ended(attempt, fault)

    async def _ended(self, attempt: Attempt, fault: errors.DumacleError | None) -> None:
        self.under_way.pop(attempt.version_id)
        await self.recorder.take([attempt])
        self.faults = self.faults + 1 if fault else 0
        if fault and self.faults >= FAULTS_IN_A_ROW:
            raise fault
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
                await asyncio.to_thread(self._pulse, percents)
                beat = 0.0

    def _pulse(self, percents: dict[int, int]) -> None:
        with self.database.session() as session:
            if percents:
                uploads.record_progress(session, percents)
            uploads.heartbeat(session, self.upload.place.run, plan.LEASE_SECONDS)


def _first(broken: BaseExceptionGroup[BaseException]) -> BaseException:
    first = broken.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


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
