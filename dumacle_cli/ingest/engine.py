"""The upload engine: threads that scan, that decide, that read, hash and send, and that record, all at the same time.

Small files take the express lane; large ones, and what did not go well there, are sent by threads of their own. The
main thread only waits, so that it can act on signals. The engine spans many transactions; each stage commits its own.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from queue import Empty, Full, Queue
from typing import TextIO, TypeVar

from dumacle_cli import errors, retry
from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.puts import Puts
from dumacle_cli.ingest import decide, dedupe, runs, transfer
from dumacle_cli.ingest.buffers import Buffers
from dumacle_cli.ingest.express import Express
from dumacle_cli.ingest.hashing import Hashed
from dumacle_cli.ingest.interruption import LOOK, join, start
from dumacle_cli.ingest.items import Attempt, Item, Progress, Result, Stopwatch, Tally, Times
from dumacle_cli.ingest.journal import Journal
from dumacle_cli.ingest.pace import MOST, Bandwidth, Pace, affordable
from dumacle_cli.ingest.record import Recorder
from dumacle_cli.ingest.scan import Found, scan
from dumacle_cli.ingest.sides import FAILOVER_SECONDS, Side, Sides
from dumacle_cli.store import copies, uploads
from dumacle_cli.store.database import Database

T = TypeVar("T")
BATCH = 1000
"""Items planned in one transaction, and leased for in one statement."""
LEAST_BATCH = 64
"""Items planned first, so that sending begins."""
BATCH_GROWTH = 4
"""How many times larger each batch is, so that there is something to send while the next one is planned."""
FOUND_AHEAD = 4
"""Batches that are scanned before they are planned."""
BATCH_PER_SENDER = 4
"""Items planned in one transaction for each request at once, so that a process leaves work to others that join."""
HELD_PAUSES = (0.1, 1.0)
"""Seconds until what is held is looked at again: at first, and at most."""
LARGE_AT_ONCE = 4
HEARTBEAT = 5.0
"""Seconds between heartbeats."""
FAULTS_IN_A_ROW = 64
"""Consecutive refusals of the store after which the run gives up."""
GRACE = 7.0
"""Seconds for which requests in flight may still end after a signal or an error."""
LAST_RECORDS = 2.0
"""Seconds for which the last results may then be recorded."""


@dataclass(slots=True)
class _Lane:
    """Files that wait to be sent, the number of threads that send them, and how many of those have a file.

    A thread that has read all of its large file, and waits for the store, makes place for another one (`finishing`).
    """

    large: bool
    most: Callable[[], int]
    waiting: deque[Attempt] = field(default_factory=deque)
    senders: int = 0
    busy: int = 0
    finishing: int = 0


class Engine:
    """Drives an open run; its totals are in the tally."""

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        second: Callable[[], ObjectStore] | None,
        run: runs.Run,
        progress: Progress,
        results: TextIO | None,
        tally: Tally,
        patience: retry.Patience,
    ) -> None:
        self.database, self.run, self.progress, self.tally, self.patience = database, run, progress, tally, patience
        self.halted = patience.halted
        request = self.request = run.request
        self.recorder = Recorder(database, run, progress, results, tally, patience, self._stop_after)
        self.journaling = transfer.Crew(1, self._fail)
        self.journal = Journal(database, patience, self.journaling.hand)
        self.batch = min(BATCH, max(LEAST_BATCH, BATCH_PER_SENDER * (request.concurrency or MOST)))
        self.pace = Pace(affordable(request.concurrency or MOST))
        self.bandwidth = Bandwidth(request.bandwidth, self.halted)
        self.sides = self._sides(store, second)
        self.lanes = self._lanes()
        # A body that is not sent in parts must fit the buffers; an empty file has no parts.
        self.large_from = min(max(1, request.large_file_size), transfer.IN_FLIGHT)
        self.small, self.large = _Lane(False, lambda: self.pace.limit), _Lane(True, self._most_large)
        self.express = self._express()
        self.found: Queue[list[Found]] = Queue(FOUND_AHEAD)
        self.under_way: dict[int, Attempt] = {}
        self.spent = Stopwatch()
        self.hasher = dedupe.Hasher(run, self.halted.is_set)
        self._planning = 0.0
        self._lock = threading.Lock()
        self._more, self._room = threading.Condition(self._lock), threading.Condition(self._lock)
        self._planned_all = self._recorded = False
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._error: BaseException | None = None
        self._faults = 0
        self._fault: errors.DumacleError | None = None

    def _sides(self, store: ObjectStore, second: Callable[[], ObjectStore] | None) -> Sides:
        def side(store: ObjectStore, outage: float | None, *, is_primary: bool) -> Side:
            where = store.location
            name = f"the store {where.provider} at {where.endpoint or 'AWS'}"
            patience = retry.Patience(
                name, self.request.patience, _is_outage, self.progress.say, self.halted, outage=outage
            )
            puts = Puts(where, self.bandwidth.take if self.request.bandwidth else None)
            return Side(puts, store, patience, self.pace, is_primary)

        return Sides(
            side(store, FAILOVER_SECONDS if second else None, is_primary=True),
            partial(lambda opened: side(opened(), None, is_primary=False), second) if second else None,
            self._note_outage,
            self.progress.say,
            away=bool(second) and self._is_away(),
            copies=self.run.target.copies_during_uploads,
        )

    def _is_away(self) -> bool:
        with self.database.session(read_only=True) as session:
            return copies.is_away(session, self.run.target.place)

    def _note_outage(self, error: errors.DumacleError | None) -> None:
        """Record that the primary provider does not answer, which operators see, or that it does again."""
        pod, provider = self.run.target.pod_id, self.run.target.place.provider

        def note() -> None:
            with self.database.session() as session:
                if error:
                    copies.note_outage(session, pod, provider, str(error))
                else:
                    copies.end_outages(session, pod, [provider])

        self.patience.call(partial(retry.on_lock, note))

    def _lanes(self) -> transfer.Lanes:
        return transfer.Lanes(
            self.sides,
            Buffers(transfer.IN_FLIGHT),
            self.progress,
            self.journal,
            transfer.Crew(transfer.PART_SENDERS, self._fail),
            self.halted,
            self.run.target.limits,
            self._add,
            self._finishing,
            lambda: self.large.busy - self.large.finishing,
        )

    def _express(self) -> Express | None:
        multiplexer = self.sides.primary.puts.multiplexer() if self.sides.are_plain else None
        if multiplexer is None:
            return None
        return Express(self.lanes, multiplexer, self.pace, self._start, self._end, self._hand_back, self._make_room)

    def drive(self) -> Times:
        """Run all stages and return their times; results are recorded even if an error or a signal breaks them off."""
        recording = start(self._record, "recorder", self._fail)
        heartbeat = start(self._beat, "heartbeat", self._fail)
        try:
            if self.express:
                self._start(self.express.send, "sender")
            start(self._scan, "scanner", self._fail)  # Nobody waits for its end: it may read a list that never comes.
            self._start(self._plan, "planner")
            self._await(self._is_all_sent)
            self.recorder.finish()
            self._await(lambda: self._recorded)
        except BaseException:
            self._break_off(recording)
            raise
        finally:
            self._over.set()
            if self.express:
                self.express.close()
            self.lanes.crew.close()
            self.journaling.close()
            # Whoever has a connection after the others were closed leaves it open.
            join([*self.journaling.threads, heartbeat], LAST_RECORDS)
            self.sides.close()
        if self._fault and not self.tally.counts[Result.UPLOADED]:
            raise self._fault
        return self._times()

    def _times(self) -> Times:
        waiting = self.sides.waited + self.bandwidth.waited
        return Times(
            reading=self.spent.reading,
            hashing=self.spent.hashing,
            network=max(0.0, self.spent.sending - waiting),
            database=self._planning + self.recorder.seconds,
            waiting=waiting + self.patience.waited,
        )

    def _start(self, work: Callable[[], None], name: str) -> None:
        self._threads.append(start(work, name, self._fail))

    def _await(self, is_done: Callable[[], bool]) -> None:
        """Wait for the other threads; raises the first error of any of them, and what a signal raises."""
        with self._lock:
            while not (is_done() or self._error):
                self._more.wait(LOOK)
        if self._error:
            raise self._error

    def _record(self) -> None:
        try:
            self.recorder.run()
        finally:
            with self._lock:
                self._recorded = True
                self._more.notify_all()

    def _break_off(self, recording: threading.Thread) -> None:
        """Let what is in flight end, cancel what does not end in time, and commit all results."""
        self.halted.set()
        with self._lock:
            self._more.notify_all()
            self._room.notify_all()
        if self.express:
            self.express.close()
        join(self._threads, GRACE)
        while self.under_way:
            _, attempt = self.under_way.popitem()
            # A copy: its thread may hang in a request, and change the attempt later.
            self.recorder.take(replace(attempt, result=Result.CANCELLED, error=transfer.BROKEN_OFF))
        self.recorder.finish()
        join([recording], LAST_RECORDS)

    def _fail(self, error: BaseException) -> None:
        self._error = self._error or error
        self.halted.set()
        with self._lock:
            self._more.notify_all()

    def _stop_after(self) -> None:
        if self.request.stop_after and self.tally.failures >= self.request.stop_after:
            self._fail(errors.StoppedAfter(count=self.tally.failures, first=self.tally.first_error))

    # Scanning and planning

    def _scan(self) -> None:
        """Hand batches of what is found to the planner, small ones first, and an empty one at the end."""
        found = scan(self.request.sources, self.request.prefix, self.request.rules, self.recorder.results_file())
        size = LEAST_BATCH
        while batch := list(islice(found, size)):
            if not self._hand_over(batch):
                return
            size = min(BATCH_GROWTH * size, self.batch)
        self._hand_over([])

    def _hand_over(self, batch: list[Found]) -> bool:
        """Wait for room in the queue; false if the run was halted."""
        while not self.halted.is_set():
            with suppress(Full):
                self.found.put(batch, timeout=LOOK)
                return True
        return False

    def _next_batch(self) -> list[Found]:
        while not self.halted.is_set():
            with suppress(Empty):
                return self.found.get(timeout=LOOK)
        return []

    def _plan(self) -> None:
        held: list[Item] = []
        while batch := self._next_batch():
            held += self._plan_and_begin(batch)
        # What other processes of the run were uploading: it has ended when they have, or they are silent. And twins of
        # what is uploaded.
        pause, longest = HELD_PAUSES
        while held and not self.halted.wait(pause):
            held = held[BATCH:] + self._plan_and_begin(held[:BATCH])
            pause = min(2 * pause, longest)
        with self._lock:
            self._planned_all = True
            self._more.notify_all()

    def _plan_and_begin(self, batch: Sequence[Found]) -> list[Item]:
        """Plan a batch, queue its attempts, and return what is held."""
        planned = self._plan_batch(batch)
        self._begin(planned.attempts)
        if shared := sum(outcome.deduplicated for outcome in planned.outcomes):
            self.progress.planned(shared, 0)
        self.recorder.report(planned.outcomes)
        self.recorder.caught_up(self.halted)
        return planned.held

    def _plan_batch(self, batch: Sequence[Found]) -> decide.Planned:
        def read() -> dict[str, uploads.Known]:
            with self.database.session(read_only=True) as session:
                return decide.known(session, self.run, batch)

        def write() -> decide.Planned:
            with self.database.session() as session:
                return decide.plan(session, self.run, compared, self.recorder.leases())

        known = self._timed(lambda: self.patience.call(read))
        compared = decide.compare(self.run, batch, known, self.halted.is_set)
        if not (compared.wanted or compared.touched):
            return decide.Planned(outcomes=compared.outcomes, held=compared.held)
        if self.request.dedupe:
            compared.hashed = self._hash([item for item, _ in compared.wanted])
        planned = self._timed(lambda: self.patience.call(lambda: retry.on_lock(write)))
        self.hasher.keep(planned.held)
        return planned

    def _hash(self, items: Sequence[Item]) -> dict[Item, Hashed]:
        """Hash the items whose content may be stored already, by their sizes."""

        def read() -> set[int]:
            with self.database.session(read_only=True) as session:
                return dedupe.sizes(session, self.run, items)

        sizes = self._timed(lambda: self.patience.call(read))
        began = time.monotonic()
        hashed = self.hasher.hash(items, sizes)
        self._add(Stopwatch(hashing=time.monotonic() - began))
        return hashed

    def _timed(self, work: Callable[[], T]) -> T:
        began = time.monotonic()
        try:
            return work()
        finally:
            self._planning += time.monotonic() - began

    def _begin(self, attempts: Sequence[Attempt]) -> None:
        self.recorder.expect(attempts)
        self.under_way.update((attempt.version_id, attempt) for attempt in attempts)
        self.progress.planned(len(attempts), sum(attempt.item.size for attempt in attempts))
        in_parts = {each.version_id for each in attempts if each.item.size >= self.large_from or each.upload_id}
        small = [each for each in attempts if each.version_id not in in_parts]
        if self.express and self.sides.are_plain:
            self.express.add(small)
        else:
            self._add_to(self.small, small)
        self._add_to(self.large, [each for each in attempts if each.version_id in in_parts])
        with self._lock:
            while self._waiting() > 2 * self.batch and not self.halted.is_set():
                self._room.wait(LOOK)

    def _waiting(self) -> int:
        return len(self.small.waiting) + len(self.large.waiting) + (self.express.waiting if self.express else 0)

    def _make_room(self) -> None:
        with self._lock:
            self._room.notify()

    def _add_to(self, lane: _Lane, attempts: Sequence[Attempt]) -> None:
        with self._lock:
            lane.waiting.extend(attempts)
            self._staff(lane)
            self._more.notify_all()

    def _hand_back(self, attempt: Attempt) -> None:
        """Have a thread of its own send a file, unless the run is ending."""
        if not self.halted.is_set():
            self._add_to(self.small, [attempt])

    # Sending

    def _staff(self, lane: _Lane) -> None:
        """Start senders, as many as there is work for and the pace allows; the caller holds the lock."""
        while lane.senders < lane.most() and lane.senders - lane.busy < len(lane.waiting):
            lane.senders += 1
            self._start(partial(self._send, lane), "sender")

    def _send(self, lane: _Lane) -> None:
        spent = Stopwatch()
        while attempt := self._take(lane):
            fault = transfer.put(self.lanes, attempt, lane.large, spent)
            with self._lock:
                lane.busy -= 1
            self.pace.done(attempt.item.size, bool(lane.waiting))
            self._end(attempt, fault)
        self._add(spent)

    def _most_large(self) -> int:
        return LARGE_AT_ONCE + min(LARGE_AT_ONCE, self.large.finishing)

    @contextmanager
    def _finishing(self) -> Iterator[None]:
        """Make place for another large file while one, of which all is read, waits for the store."""
        with self._lock:
            self.large.finishing += 1
            self._staff(self.large)
        try:
            yield
        finally:
            with self._lock:
                self.large.finishing -= 1

    def _add(self, spent: Stopwatch) -> None:
        with self._lock:
            self.spent.add(spent)

    def _take(self, lane: _Lane) -> Attempt | None:
        """Wait for a file and take it; if there are none any more, or too many senders, this one ends."""
        with self._lock:
            while not (lane.waiting or self._planned_all or self.halted.is_set()):
                self._more.wait()
            if self.halted.is_set() or not lane.waiting or lane.senders > lane.most():
                lane.senders -= 1
                return None
            attempt = lane.waiting.popleft()
            lane.busy += 1
            self._staff(lane)
            self._room.notify()
            return attempt

    def _is_all_sent(self) -> bool:
        return self._planned_all and not self.under_way

    def _end(self, attempt: Attempt, fault: errors.DumacleError | None = None) -> None:
        self.journal.percents.pop(attempt.file_id, None)
        if self.under_way.pop(attempt.version_id, None) is None:
            return  # It was cancelled meanwhile.
        self.recorder.take(attempt)
        if self._is_all_sent():
            with self._lock:
                self._more.notify_all()
        if attempt.result is Result.UPLOADED:
            self._faults = 0
        elif fault and not self.halted.is_set():
            self._faults, self._fault = self._faults + 1, fault
            patience_is_over = self.request.patience > 0 and self.sides.are_out and _is_outage(fault)
            if patience_is_over or self._faults >= FAULTS_IN_A_ROW:
                self._fail(fault)

    # Heartbeats

    def _beat(self) -> None:
        """Keep the run and its leases alive, and publish the progress of large files."""
        beat = 0.0
        while not (self._over.wait(1) or self.halted.is_set()):
            percents = dict(self.journal.percents)
            beat += 1
            if percents or beat >= HEARTBEAT:
                keep_alive = partial(runs.keep_alive, self.database, self.run, percents)
                self.patience.call(partial(retry.on_lock, keep_alive))
                beat = 0.0


def _is_outage(error: errors.DumacleError) -> bool:
    return isinstance(error, errors.StoreUnavailable)
