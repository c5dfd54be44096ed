"""Recording results: in sets, one transaction for up to 500 files or 200 ms, told to others only when committed.

The recorder lives longer than a transaction: it opens one for each set, as an operation of its own.
"""

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TextIO

from sqlalchemy.orm import Session

from dumacle_cli.errors import CommitUnknown, DatabaseUnavailable
from dumacle_cli.ingest.items import Attempt, Class, Outcome, Progress, Tally
from dumacle_cli.services import transcodes
from dumacle_cli.store import uploads
from dumacle_cli.store.database import Database
from dumacle_cli.store.operations import Request

MOST = 500
BEHIND = 4 * MOST
"""Results not yet committed, from which planning waits."""
LONGEST = 0.2
"""Seconds until a result that has arrived is committed."""


class Recorder:
    """Takes attempts that ended and outcomes that need no row, and commits them in sets."""

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
        # Repeating an upload with the same --op-id moves other files: its sets are operations of their own.
        self._operation = f"{operation}:{uuid.uuid4().hex}"
        self._sets = 0
        self._progress, self._results, self.tally, self._transcode = progress, results, tally, transcode
        self._queue: asyncio.Queue[Attempt | None] = asyncio.Queue()
        self._committed = asyncio.Event()
        self._left: Counter[int] = Counter()

    def expect(self, attempts: Sequence[Attempt]) -> None:
        """Learn which attempts are under way, so that a lease is closed with its last one."""
        self._left.update(attempt.lease_id for attempt in attempts)

    def take(self, ended: Attempt) -> None:
        """Take an attempt that ended; it is never lost, whatever is cancelled meanwhile."""
        self._queue.put_nowait(ended)

    def finish(self) -> None:
        """Say that no more results come."""
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
                self.tell([_outcome(attempt, self._transcode) for attempt in attempts])
            self._committed.set()

    async def _gather(self) -> tuple[list[Attempt], bool]:
        ended = await self._queue.get()
        attempts: list[Attempt] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST):
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
            # Either way the same command may be repeated: it finds the files recorded, or uploads them again.
            raise DatabaseUnavailable(reason="the connection was lost at COMMIT") from None

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Count and show what is committed, or needs no row."""
        for outcome in outcomes:
            self.tally.add(outcome)
            self._progress.ended(outcome)
            if self._results:
                self._results.write(_line(outcome))
        if self._results:
            self._results.flush()


def record(session: Session, attempts: Sequence[Attempt], transcode: transcodes.TranscodeRequest | None = None) -> None:
    """Write how these attempts ended and what they spent of their leases, and have what arrived transcoded."""
    _spend(session, [attempt for attempt in attempts if attempt.ends is Class.UPLOADED])
    stored = [attempt for attempt in attempts if attempt.ends is Class.UPLOADED]
    failed = [attempt for attempt in attempts if attempt.ends is not Class.UPLOADED]
    if stored:
        uploads.record_stored(session, _columns(stored, _STORED))
    if transcode and (media := [each.version_id for each in stored if transcode.takes(each.content_type)]):
        transcodes.arrived(session, media, transcode.preset)
    if failed:
        uploads.record_failed(session, _columns(failed, _FAILED))


def _spend(session: Session, stored: Sequence[Attempt]) -> None:
    """Book the bytes of attempts; those whose lease others closed meanwhile have no room any more, and fail."""
    spent: Counter[int] = Counter()
    for attempt in stored:
        spent[attempt.lease_id] += attempt.item.size
    still_open = uploads.record_spent(session, spent) if spent else set()
    for attempt in stored:
        if attempt.lease_id not in still_open:
            attempt.ends, attempt.error = Class.FAILED, "its lease ran out meanwhile; run the same command again"


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
    "status": lambda attempt: str(attempt.ends),
    "error": lambda attempt: attempt.error,
}


def _columns(attempts: Sequence[Attempt], wanted: dict[str, Callable[[Attempt], Any]]) -> dict[str, list[Any]]:
    return {name: [value(attempt) for attempt in attempts] for name, value in wanted.items()}


def _outcome(attempt: Attempt, transcode: transcodes.TranscodeRequest | None) -> Outcome:
    stored = attempt.ends is Class.UPLOADED
    return Outcome(
        attempt.item.path,
        attempt.ends,
        attempt.item.size,
        attempt.file_id,
        attempt.key if stored else None,
        attempt.sha256.hex() if stored else None,
        attempt.error or None,
        new_version=attempt.new_version,
        transcode=transcode is not None and transcode.takes(attempt.content_type),
    )


def _line(outcome: Outcome) -> str:
    line = {
        "path": outcome.path,
        "class": str(outcome.ends),
        "size": outcome.size,
        "file": outcome.file_id,
        "key": outcome.key,
        "sha256": outcome.sha256,
        "error": outcome.error,
    }
    return json.dumps(line) + "\n"
