"""Recording results: in sets, one transaction for up to 500 files or 200 ms, told to others only when committed.

The recorder lives longer than a transaction: it opens one for each set, as an operation of its own.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from sqlalchemy.orm import Session

from dumacle_cli.ingest.items import Attempt, Class, Outcome, Progress, Tally
from dumacle_cli.store import uploads
from dumacle_cli.store.database import Database
from dumacle_cli.store.operations import Request

MOST = 500
LONGEST = 0.2
"""Seconds until a result that has arrived is committed."""


class Recorder:
    """Takes attempts that ended and outcomes that need no row, and commits them in sets."""

    def __init__(
        self, database: Database, operation: str, progress: Progress, results: TextIO | None, tally: Tally
    ) -> None:
        self._database, self._operation = database, operation
        self._progress, self._results, self.tally = progress, results, tally
        self._queue: asyncio.Queue[Sequence[Attempt | Outcome] | None] = asyncio.Queue(maxsize=MOST * 4)
        self._left: Counter[int] = Counter()
        self._sets = 0

    def expect(self, attempts: Sequence[Attempt]) -> None:
        """Learn which attempts are under way, so that a lease is closed with its last one."""
        self._left.update(attempt.lease_id for attempt in attempts)

    async def take(self, ended: Sequence[Attempt | Outcome]) -> None:
        """Hand results over; waits while the database is behind."""
        await self._queue.put(ended)

    async def finish(self) -> None:
        """Say that no more results come."""
        await self._queue.put(None)

    async def run(self) -> None:
        """Commit sets until `finish`; raises what the database raises."""
        open_ = True
        while open_:
            batch, open_ = await self._gather()
            attempts = [ended for ended in batch if isinstance(ended, Attempt)]
            if attempts:
                await asyncio.to_thread(self._commit, attempts)
            self._tell(batch)

    async def _gather(self) -> tuple[list[Attempt | Outcome], bool]:
        first = await self._queue.get()
        if first is None:
            return [], False
        batch = list(first)
        deadline = asyncio.get_running_loop().time() + LONGEST
        while len(batch) < MOST:
            try:
                async with asyncio.timeout_at(deadline):
                    more = await self._queue.get()
            except TimeoutError:
                break
            if more is None:
                return batch, False
            batch += more
        return batch, True

    def _commit(self, attempts: list[Attempt]) -> None:
        done = Counter(attempt.lease_id for attempt in attempts)
        finished = [lease for lease, count in done.items() if self._left[lease] == count]
        self._sets += 1
        request = Request(f"{self._operation}:{self._sets}", "files.upload", {})

        def work(session: Session) -> tuple[None, bool]:
            record(session, attempts)
            uploads.close_leases(session, finished)
            return None, True

        self._database.change(request, work)
        self._left -= done

    def _tell(self, batch: Sequence[Attempt | Outcome]) -> None:
        for ended in batch:
            outcome = _outcome(ended) if isinstance(ended, Attempt) else ended
            self.tally.add(outcome)
            self._progress.ended(outcome)
            if self._results:
                self._results.write(_line(outcome))
        if self._results:
            self._results.flush()


def record(session: Session, attempts: Sequence[Attempt]) -> None:
    """Write how these attempts ended, and what they spent of their leases."""
    stored = [attempt for attempt in attempts if attempt.ends is Class.UPLOADED]
    failed = [attempt for attempt in attempts if attempt.ends is not Class.UPLOADED]
    if stored:
        uploads.record_stored(session, _columns(stored, _STORED))
        spent: Counter[int] = Counter()
        for attempt in stored:
            spent[attempt.lease_id] += attempt.item.size
        uploads.record_spent(session, spent)
    if failed:
        uploads.record_failed(session, _columns(failed, _FAILED))


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


def _outcome(attempt: Attempt) -> Outcome:
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
