"""Recording: commit results in sets of up to 500 files or 200 ms, and report them only once they are committed.

The recorder spans many transactions: each set is one transaction and one operation.
"""

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TextIO

from sqlalchemy.orm import Session

from dumacle_cli import retry
from dumacle_cli.errors import CommitUnknown, DatabaseUnavailable
from dumacle_cli.ingest.items import Attempt, Outcome, Progress, Result, Tally
from dumacle_cli.services import transcodes
from dumacle_cli.store import uploads
from dumacle_cli.store.database import Database
from dumacle_cli.store.operations import Request

MOST = 500
BEHIND = 4 * MOST
"""The number of uncommitted results at which planning waits."""
MAX_DELAY = 0.2
"""Seconds until a result is committed."""


class Recorder:
    """Commits attempts that ended in sets, and reports outcomes."""

    def __init__(
        self,
        database: Database,
        operation: str,
        progress: Progress,
        results: TextIO | None,
        tally: Tally,
        transcode: transcodes.TranscodeRequest | None = None,
    ) -> None:
        self._database = database
        # An upload repeated with the same --op-id uploads other files, so its sets need other operation ids.
        self._operation = f"{operation}:{uuid.uuid4().hex}"
        self._sets = 0
        self._progress, self._results, self.tally, self._transcode = progress, results, tally, transcode
        self._queue: asyncio.Queue[Attempt | None] = asyncio.Queue()
        self._committed = asyncio.Event()
        self._left: Counter[int] = Counter()

    def expect(self, attempts: Sequence[Attempt]) -> None:
        """Register attempts, so that each lease is closed with its last one."""
        self._left.update(attempt.lease_id for attempt in attempts)

    def take(self, ended: Attempt) -> None:
        """Add an attempt that ended; it is recorded even if the run is cancelled."""
        self._queue.put_nowait(ended)

    def finish(self) -> None:
        """Announce that no more results will come."""
        self._queue.put_nowait(None)

    async def caught_up(self) -> None:
        """Wait while the database is far behind."""
        while self._queue.qsize() > BEHIND:
            self._committed.clear()
            await self._committed.wait()

    async def run(self) -> None:
        """Commit sets until `finish`; raises what the database raises."""
        more = True
        while more:
            attempts, more = await self._gather()
            if attempts:
                done = Counter(attempt.lease_id for attempt in attempts)
                self._left -= done
                await asyncio.to_thread(self._commit, attempts, [lease for lease in done if lease not in self._left])
                self.report([_outcome(attempt, self._transcode) for attempt in attempts])
            self._committed.set()

    async def _gather(self) -> tuple[list[Attempt], bool]:
        ended = await self._queue.get()
        attempts: list[Attempt] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(MAX_DELAY):
                while ended is not None:
                    attempts.append(ended)
                    if len(attempts) == MOST:
                        break
                    ended = await self._queue.get()
        return attempts, ended is not None

    def _commit(self, attempts: list[Attempt], finished: list[int]) -> None:
        self._sets += 1
        request = Request(f"{self._operation}:{self._sets}", "files.upload", {})

        def work(session: Session) -> tuple[None, bool]:
            record(session, attempts, self._transcode)
            uploads.close_leases(session, finished)
            return None, True

        try:
            self._database.change(request, work)
        except CommitUnknown:
            # Repeating the command is safe: it finds the files recorded, or uploads them again.
            raise DatabaseUnavailable(reason="the connection was lost at COMMIT") from None

    def report(self, outcomes: Sequence[Outcome]) -> None:
        """Count and show outcomes that are committed or need no row."""
        for outcome in outcomes:
            self.tally.add(outcome)
            self._progress.ended(outcome)
            if self._results:
                self._results.write(_line(outcome))
        if self._results:
            self._results.flush()


@dataclass(slots=True)
class Journal:
    """Commits what a large attempt is about to do, and keeps its progress in percent."""

    database: Database
    percents: dict[int, int] = field(default_factory=dict)

    def record_parts(self, attempt: Attempt, upload_id: str, part_size: int) -> None:
        """Commit the multipart upload before its first part."""
        self._commit(lambda session: uploads.record_parts(session, attempt.version_id, upload_id, part_size))

    def record_completing(self, attempt: Attempt) -> None:
        """Commit that the upload is about to be completed."""
        self._commit(lambda session: uploads.record_completing(session, attempt.file_id, attempt.version_id))

    def record_percent(self, attempt: Attempt, percent: int) -> None:
        """Note the progress for the next heartbeat."""
        self.percents[attempt.file_id] = percent

    def _commit(self, work: Callable[[Session], None]) -> None:
        def once() -> None:
            with self.database.session() as session:
                work(session)

        retry.on_lock(once)


def record(session: Session, attempts: Sequence[Attempt], transcode: transcodes.TranscodeRequest | None = None) -> None:
    """Write the results of these attempts and what they used of their leases, and submit transcodes."""
    _spend(session, [attempt for attempt in attempts if attempt.result is Result.UPLOADED])
    stored = [attempt for attempt in attempts if attempt.result is Result.UPLOADED]
    failed = [attempt for attempt in attempts if attempt.result is not Result.UPLOADED]
    if stored:
        uploads.record_stored(session, _columns(stored, _STORED))
    if transcode and (media := [each.version_id for each in stored if transcode.takes(each.content_type)]):
        transcodes.arrived(session, media, transcode.preset)
    if failed:
        uploads.record_failed(session, _columns(failed, _FAILED))


def _spend(session: Session, stored: Sequence[Attempt]) -> None:
    """Charge the bytes of attempts to their leases; attempts whose lease was closed meanwhile fail."""
    spent: Counter[int] = Counter()
    for attempt in stored:
        spent[attempt.lease_id] += attempt.item.size
    still_open = uploads.record_spent(session, spent) if spent else set()
    for attempt in stored:
        if attempt.lease_id not in still_open:
            attempt.result, attempt.error = Result.FAILED, "the file's lease expired; run the same command again"


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
_FAILED: dict[str, Callable[[Attempt], Any]] = {
    "file_id": lambda attempt: attempt.file_id,
    "version_id": lambda attempt: attempt.version_id,
    "status": lambda attempt: str(attempt.result),
    "error": lambda attempt: attempt.error,
}


def _columns(attempts: Sequence[Attempt], wanted: dict[str, Callable[[Attempt], Any]]) -> dict[str, list[Any]]:
    return {name: [value(attempt) for attempt in attempts] for name, value in wanted.items()}


def _outcome(attempt: Attempt, transcode: transcodes.TranscodeRequest | None) -> Outcome:
    stored = attempt.result is Result.UPLOADED
    return Outcome(
        attempt.item.path,
        attempt.result,
        attempt.item.size,
        attempt.file_id,
        attempt.key if stored else None,
        attempt.sha256.hex() if stored else None,
        attempt.error or None,
        new_version=attempt.new_version,
        transcode=transcode is not None and transcode.takes(attempt.content_type),
        proven=attempt.item if stored else None,
    )


def _line(outcome: Outcome) -> str:
    line = {
        "path": outcome.path,
        "result": str(outcome.result),
        "size": outcome.size,
        "file": outcome.file_id,
        "key": outcome.key,
        "sha256": outcome.sha256,
        "error": outcome.error,
    }
    return json.dumps(line) + "\n"
