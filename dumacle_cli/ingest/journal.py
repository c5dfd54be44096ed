"""The journal of large files: what is about to be done, committed before it is, and which parts the store took."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue

from sqlalchemy.orm import Session

from dumacle_cli import retry
from dumacle_cli.ingest.items import Attempt
from dumacle_cli.store import parts, uploads
from dumacle_cli.store.database import Database
from dumacle_cli.store.parts import Holder, SentPart

LATEST = 0.1
"""Seconds until it is committed that the store took a part: to commit each one by itself takes a tenth of the time of
large files at a store on the same machine."""
TOGETHER = 4
"""Parts that wait for no others: half of those in flight, so that after a kill a store that lists no parts gets no more
again than was in flight."""


@dataclass(slots=True)
class Journal:
    """Commits what large attempts are about to do and what the store took, and keeps their progress in percent.

    `hand` has a thread do something, one thing after the other: all large files share its connection.
    """

    database: Database
    patience: retry.Patience
    hand: Callable[[Callable[[], None]], None]
    percents: dict[int, int] = field(default_factory=dict)
    _sent: SimpleQueue[tuple[Holder, SentPart]] = field(default_factory=SimpleQueue)
    _awaited: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def record_parts(self, attempt: Attempt) -> None:
        """Commit the multipart upload before its first part."""
        held, begun = (attempt.version_id, attempt.lease_id), (attempt.upload_id, attempt.part_size)

        def begin(session: Session) -> None:
            uploads.record_parts(session, *held, *begun)
            parts.begin(session, _holder(attempt))

        self._await(begin)

    def record_part(self, attempt: Attempt, part: SentPart) -> None:
        """Have it committed soon that the store took a part, together with what else it takes until then."""
        self._sent.put((_holder(attempt), part))
        with self._changed:
            self._changed.notify()
        self.hand(self._record_sent)

    def sent(self, attempt: Attempt) -> dict[int, SentPart]:
        """Return the parts of the attempt's multipart upload that the store is known to have taken, by number."""

        def read() -> dict[int, SentPart]:
            with self.database.session(read_only=True) as session:
                return parts.sent(session, _holder(attempt))

        return self.patience.call(read)

    def record_completing(self, attempt: Attempt) -> None:
        """Commit that the upload is about to be completed from its parts, and which parts of others the store took."""
        held, made = (attempt.version_id, attempt.lease_id), (attempt.part_etags, attempt.sha256)
        self._await(lambda session: uploads.record_completing(session, *held, *made))

    def record_percent(self, attempt: Attempt, percent: int) -> None:
        """Note the progress for the next heartbeat."""
        self.percents[attempt.file_id] = percent

    def _await(self, work: Callable[[Session], None]) -> None:
        """Have this committed after all that was handed over before, and wait for it; raises its error."""
        committed: Future[None] = Future()

        def commit() -> None:
            try:
                self._commit(work)
            except BaseException as error:  # noqa: BLE001 - it is raised in the thread of the file
                committed.set_exception(error)
            else:
                committed.set_result(None)

        with self._hurried():
            self.hand(commit)
            committed.result()

    @contextmanager
    def _hurried(self) -> Iterator[None]:
        """Let parts that were taken be committed now, since somebody waits for what comes after them."""
        with self._changed:
            self._awaited += 1
            self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._awaited -= 1

    def _record_sent(self) -> None:
        with self._changed:
            if self._sent.empty():
                return  # They were committed with others.
            self._changed.wait_for(lambda: self._awaited or self._sent.qsize() >= TOGETHER, LATEST)
        sent = [self._sent.get_nowait() for _ in range(self._sent.qsize())]
        self._commit(lambda session: parts.record(session, sent))

    def _commit(self, work: Callable[[Session], None]) -> None:
        def once() -> None:
            with self.database.session() as session:
                work(session)

        self.patience.call(lambda: retry.on_lock(once))


def _holder(attempt: Attempt) -> Holder:
    return Holder(attempt.version_id, attempt.lease_id, attempt.upload_id)
