"""Recording: commit results in sets of up to 500 files or 200 ms, and report them only once they are committed.

The recorder spans many transactions: each set is one transaction and one operation, so that a set whose COMMIT was
lost is repeated safely.
"""

import json
import os
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, TextIO

from sqlalchemy.orm import Session

from dumacle_cli import retry
from dumacle_cli.ingest.items import Attempt, Outcome, Progress, Result, Tally
from dumacle_cli.ingest.runs import LEASE_SECONDS, Run, this_process
from dumacle_cli.services.transcode_request import TranscodeRequest
from dumacle_cli.store import copies, parts, runs, uploads
from dumacle_cli.store.database import Database
from dumacle_cli.store.operations import Request

MOST = 1000
BEHIND = 4 * MOST
"""The number of uncommitted results at which no more are made."""
MAX_DELAY = 0.2
"""Seconds until a result is committed."""
LEASE_LOST = "its lease expired, and it was taken over or there is no room for it now; run the same command again"


class Recorder:
    """Commits attempts that ended in sets, and reports outcomes; safe to share between threads."""

    def __init__(
        self,
        database: Database,
        run: Run,
        progress: Progress,
        results: TextIO | None,
        tally: Tally,
        patience: retry.Patience,
        reported: Callable[[], None],
    ) -> None:
        self._reported = reported
        self._database, self._run, self._patience = database, run, patience
        self._transcode = run.request.transcode
        # An upload repeated with the same --op-id uploads other files, so its sets need other operation ids.
        self._operation = f"{run.request.operation}:{uuid.uuid4().hex}"
        self._sets = 0
        self._progress, self._results, self.tally = progress, results, tally
        self._queue: SimpleQueue[Attempt] = SimpleQueue()
        self._wake, self._finished = threading.Event(), threading.Event()
        self._reporting, self._room = threading.Lock(), threading.Condition()
        self._left: Counter[int] = Counter()
        self.seconds = 0.0
        """Seconds spent in the database."""

    def results_file(self) -> os.stat_result | None:
        """Return what the system says of the file that the results are written to, if there is one."""
        return os.fstat(self._results.fileno()) if self._results else None

    def expect(self, attempts: Sequence[Attempt]) -> None:
        """Register attempts, so that each lease is closed with its last one."""
        with self._room:
            self._left.update(attempt.lease_id for attempt in attempts)

    def leases(self) -> list[int]:
        """Return the leases that attempts are under way under, or not recorded yet."""
        with self._room:
            return list(self._left)

    def take(self, ended: Attempt) -> None:
        """Add an attempt that ended; it is recorded even if the run is broken off."""
        self._queue.put(ended)
        if self._queue.qsize() >= MOST:
            self._wake.set()

    def finish(self) -> None:
        """Announce that no more results will come."""
        self._finished.set()
        self._wake.set()

    def caught_up(self, halted: threading.Event) -> None:
        """Wait while the database is far behind, unless the run is halted."""
        with self._room:
            while self._queue.qsize() > BEHIND and not halted.is_set():
                self._room.wait(MAX_DELAY)

    def run(self) -> None:
        """Commit sets until `finish`; raises what the database raises when patience is over."""
        while True:
            last = self._finished.is_set()
            attempts = self._gather()
            if attempts:
                self._record(attempts)
            elif last:
                return
            with self._room:
                self._room.notify_all()
            if len(attempts) < MOST and not last:
                self._wake.wait(MAX_DELAY)
                self._wake.clear()

    def _gather(self) -> list[Attempt]:
        attempts: list[Attempt] = []
        while len(attempts) < MOST:
            try:
                attempts.append(self._queue.get_nowait())
            except Empty:
                break
        return attempts

    def _record(self, attempts: list[Attempt]) -> None:
        done = Counter(attempt.lease_id for attempt in attempts)
        with self._room:
            finished = [lease for lease in done if self._left[lease] == done[lease]]
        began = time.monotonic()
        without_room = set(self._commit(attempts, finished))
        self.seconds += time.monotonic() - began
        with self._room:
            self._left -= done
        for attempt in attempts:
            if attempt.version_id in without_room:
                attempt.result, attempt.error = Result.FAILED, LEASE_LOST
        self.report([outcome(attempt, self._transcode) for attempt in attempts])

    def _commit(self, attempts: list[Attempt], finished: list[int]) -> list[int]:
        """Commit one set, and return the versions that found no room."""
        self._sets += 1
        request = Request(f"{self._operation}:{self._sets}", "files.upload", {})

        def work(session: Session) -> tuple[list[int], bool]:
            without_room = record(session, self._run, attempts)
            uploads.close_leases(session, finished)
            return without_room, True

        return list(self._patience.call(lambda: self._database.change(request, work)).data)

    def report(self, outcomes: Sequence[Outcome]) -> None:
        """Count and show outcomes that are committed or need no row."""
        with self._reporting:
            for each in outcomes:
                self.tally.add(each)
                self._progress.ended(each)
                if self._results:
                    self._results.write(_line(each))
            if self._results:
                self._results.flush()
        self._reported()


def record(session: Session, run: Run, attempts: Sequence[Attempt]) -> list[int]:
    """Write the results of these attempts and what they used of their leases, and submit transcodes.

    Attempts whose lease expired get a new one; the versions for which there is no room fail, and are returned.
    """
    arrived = [attempt for attempt in attempts if attempt.result is Result.UPLOADED]
    without_room = _spend(session, run, arrived)
    stored = [attempt for attempt in arrived if attempt.version_id not in without_room]
    if stored:
        _record_copies(session, run, stored)
        uploads.record_stored(session, _columns(stored, _STORED))
    if in_parts := [attempt.version_id for attempt in stored if attempt.upload_id]:
        parts.forget(session, in_parts)
    transcode = run.request.transcode
    if transcode and (media := [each.version_id for each in stored if transcode.takes(each.content_type)]):
        from dumacle_cli.services import transcodes

        transcodes.arrived(session, media, transcode.preset)
    failed = [attempt for attempt in attempts if attempt.result is not Result.UPLOADED and not _goes_on(attempt)]
    ended = [(each, str(each.result), each.error) for each in failed]
    ended += [(each, str(Result.FAILED), LEASE_LOST) for each in arrived if each.version_id in without_room]
    if ended:
        uploads.record_failed(session, _failures(ended))
    return sorted(without_room)


def _record_copies(session: Session, run: Run, stored: Sequence[Attempt]) -> None:
    second = run.target.second
    only = [attempt for attempt in stored if attempt.at_secondary]
    there = {attempt.version_id: attempt.etag for attempt in only}
    there |= {attempt.version_id: attempt.copy_etag for attempt in stored if attempt.copy_etag is not None}
    if second and there:
        copies.record_there(session, second.provider, there)
        copies.await_primary(session, run.target.place.provider, [attempt.version_id for attempt in only])


def _goes_on(attempt: Attempt) -> bool:
    """Whether a later run can continue it: the rows then keep its multipart upload."""
    return attempt.result is Result.CANCELLED and bool(attempt.upload_id)


def _spend(session: Session, run: Run, arrived: Sequence[Attempt]) -> set[int]:
    """Charge the bytes of attempts to their leases, or to a new one, and return the versions without room."""
    spent: Counter[int] = Counter()
    for attempt in arrived:
        spent[attempt.lease_id] += attempt.item.size
    still_open = uploads.record_spent(session, spent) if spent else set()
    expired = [attempt for attempt in arrived if attempt.lease_id not in still_open]
    charged = _charge_anew(session, run, expired) if expired else set()
    return {attempt.version_id for attempt in expired} - charged


def _charge_anew(session: Session, run: Run, expired: Sequence[Attempt]) -> set[int]:
    """Charge attempts whose leases expired to a new lease, as far as there is room, and return their versions.

    Only a process that still holds its run may do so, and only for attempts that nobody gave up meanwhile.
    """
    target = run.target
    if runs.heartbeat(session, run.id, run.first, *this_process(), LEASE_SECONDS) is not False:
        return set()
    unfinished = uploads.lock_unfinished(session, {attempt.version_id: attempt.lease_id for attempt in expired})
    rest = [attempt for attempt in expired if attempt.version_id in unfinished]
    while rest:
        size = sum(attempt.item.size for attempt in rest)
        lease = uploads.take_lease(session, target.pod_id, target.owner_id, run.id, size, size, LEASE_SECONDS)
        if lease.id is not None:
            uploads.record_spent(session, {lease.id: size})
            uploads.close_leases(session, [lease.id])
            break
        rest = _fitting(rest, lease.free)
    return {attempt.version_id for attempt in rest}


def _fitting(attempts: Sequence[Attempt], free: int) -> list[Attempt]:
    """Return the first attempts that fit, at least one fewer than there are."""
    count = size = 0
    for attempt in attempts[:-1]:
        if size + attempt.item.size > free:
            break
        count, size = count + 1, size + attempt.item.size
    return list(attempts[:count])


_STORED: dict[str, Callable[[Attempt], Any]] = {
    "file_id": lambda attempt: attempt.file_id,
    "version_id": lambda attempt: attempt.version_id,
    "size": lambda attempt: attempt.item.size,
    "mtime_ns": lambda attempt: attempt.item.mtime_ns,
    "sha256": lambda attempt: attempt.sha256,
    "md5": lambda attempt: attempt.md5,
    "etag": lambda attempt: attempt.etag,
    "content_type": lambda attempt: attempt.content_type,
}


def _columns(attempts: Sequence[Attempt], wanted: dict[str, Callable[[Attempt], Any]]) -> dict[str, list[Any]]:
    return {name: [value(attempt) for attempt in attempts] for name, value in wanted.items()}


def _failures(ended: Sequence[tuple[Attempt, str, str]]) -> dict[str, list[Any]]:
    return {
        "version_id": [attempt.version_id for attempt, _, _ in ended],
        "lease_id": [attempt.lease_id for attempt, _, _ in ended],
        "status": [status for _, status, _ in ended],
        "error": [error for _, _, error in ended],
    }


def outcome(attempt: Attempt, transcode: TranscodeRequest | None) -> Outcome:
    """Return the result of an attempt that ended; a source is proven stored only if it was sent itself."""
    stored = attempt.result is Result.UPLOADED
    return Outcome(
        attempt.item.path,
        attempt.result,
        attempt.item.size,
        attempt.file_id,
        attempt.key if stored else None,
        attempt.sha256.hex() if stored else None,
        attempt.error or None,
        attempt.fix,
        new_version=attempt.new_version,
        at_secondary=attempt.at_secondary,
        transcode=transcode is not None and transcode.takes(attempt.content_type),
        proven=attempt.item if stored and not attempt.deduplicated else None,
        deduplicated=attempt.deduplicated,
    )


def _line(outcome: Outcome) -> str:
    line = {
        "path": outcome.path,
        "result": str(outcome.result),
        "size": outcome.size,
        "file": outcome.file_id,
        "key": outcome.key,
        "sha256": outcome.sha256,
        "deduplicated": outcome.deduplicated,
        "error": outcome.error,
    }
    return json.dumps(line) + "\n"
