"""The upload engine: scans, decides, transfers and records at the same time, in one event loop.

It spans many transactions; each stage commits its own.
"""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import TextIO

from dumacle_cli import errors, retry
from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.puts import Puts
from dumacle_cli.ingest import decide, runs, transfer
from dumacle_cli.ingest.interruption import cancelling
from dumacle_cli.ingest.items import Attempt, Progress, Result, Tally
from dumacle_cli.ingest.pace import Pace
from dumacle_cli.ingest.record import Journal, Recorder
from dumacle_cli.ingest.scan import Found, scan
from dumacle_cli.store.database import Database

BATCH = 1000
"""Items planned in one transaction, and leased for in one statement."""
AHEAD = 2
"""Batches that are planned before their files are read."""
READERS = 2
READ_MOST = 32
HEARTBEAT = 5.0
"""Seconds between heartbeats."""
FAULTS_IN_A_ROW = 64
"""Consecutive store errors after which the run gives up."""
THREADS = 24


class Engine:
    """Drives an open run; its totals are in the tally."""

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        run: runs.Run,
        progress: Progress,
        results: TextIO | None,
        tally: Tally,
    ) -> None:
        self.database, self.store, self.run, self.progress, self.tally = database, store, run, progress, tally
        request = self.request = run.request
        self.recorder = Recorder(database, request.operation, progress, results, tally, request.transcode)
        self.journal = Journal(database)
        self.small: asyncio.Queue[Attempt | None] = asyncio.Queue(maxsize=BATCH * AHEAD)
        self.large: asyncio.Queue[Attempt | None] = asyncio.Queue(maxsize=BATCH * AHEAD)
        # A body that is not sent in parts must fit the budget; an empty file has no parts.
        self.large_from = min(max(1, request.large_file_size), transfer.IN_FLIGHT)
        self.pace = Pace(request.concurrency)
        self.under_way: dict[int, Attempt] = {}
        self.halted = threading.Event()
        self.faults = 0

    async def drive(self) -> None:
        """Run all stages; results are recorded even if an error or a signal breaks them off."""
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="upload"))
        with cancelling():
            recording = asyncio.create_task(self.recorder.run())
            try:
                await self._stages(recording)
            finally:
                await self._finish(recording)
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
            async with Puts(self.store.location, self.request.concurrency) as puts, asyncio.TaskGroup() as group:
                lanes = self._lanes(puts)
                group.create_task(self._plan())
                for _ in range(READERS):
                    group.create_task(self._read_small(lanes))
                for _ in range(transfer.LARGE_AT_ONCE):
                    group.create_task(self._send_large(lanes))
        except BaseExceptionGroup as broken:
            raise transfer.first(broken) from None

    def _lanes(self, puts: Puts) -> transfer.Lanes:
        return transfer.Lanes(
            puts,
            self.store,
            self.request.concurrency,
            transfer.Budget(transfer.IN_FLIGHT),
            self.progress,
            self.journal,
        )

    async def _finish(self, recording: asyncio.Task[None]) -> None:
        """Cancel what is still under way, and commit all results."""
        for attempt in self.under_way.values():
            attempt.result, attempt.error = Result.CANCELLED, "the run was broken off"
            self.recorder.take(attempt)
        self.recorder.finish()
        await recording

    async def _plan(self) -> None:
        found = scan(self.request.sources, self.request.prefix, self.request.rules)
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
        """Plan in a thread and wait for it even if cancelled, because what it commits is under way."""
        planning = asyncio.create_task(asyncio.to_thread(self._plan_batch, batch))
        try:
            planned = await asyncio.shield(planning)
        finally:
            await asyncio.wait([planning])
            if not planning.exception():
                self._begin(planning.result().attempts)
        self.recorder.report(planned.outcomes)
        return planned.attempts

    def _begin(self, attempts: Sequence[Attempt]) -> None:
        self.recorder.expect(attempts)
        self.under_way.update((attempt.version_id, attempt) for attempt in attempts)
        self.progress.planned(len(attempts), sum(attempt.item.size for attempt in attempts))

    def _plan_batch(self, batch: Sequence[Found]) -> decide.Planned:
        with self.database.session(read_only=True) as session:
            known = decide.known(session, self.run, batch)
        compared = decide.compare(self.run, batch, known, self.halted.is_set)
        if not (compared.wanted or compared.touched):
            return decide.Planned(outcomes=compared.outcomes)

        def write() -> decide.Planned:
            with self.database.session() as session:
                return decide.plan(session, self.run, compared)

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
        if attempt.result is Result.UPLOADED:
            self.faults = 0
        elif fault:
            self.faults += 1
            if self.faults >= FAULTS_IN_A_ROW:
                raise fault
        self._stop_after()

    def _stop_after(self) -> None:
        if self.request.stop_after and self.tally.failures >= self.request.stop_after:
            raise errors.StoppedAfter(count=self.tally.failures, first=self.tally.first_error)

    async def _beat(self) -> None:
        """Keep the run and its leases alive, and publish the progress of large files."""
        beat = 0.0
        while True:
            await asyncio.sleep(1)
            percents = dict(self.journal.percents)
            beat += 1
            if percents or beat >= HEARTBEAT:
                await asyncio.to_thread(retry.on_lock, partial(runs.keep_alive, self.database, self.run, percents))
                beat = 0.0


def _next(found: Iterator[Found]) -> list[Found]:
    return list(islice(found, BATCH))


async def _some(queue: asyncio.Queue[Attempt | None]) -> list[Attempt]:
    """Take the attempts that are queued, up to what is read together; an empty list is the end."""
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
