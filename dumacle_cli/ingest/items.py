"""What passes through the engine: the items found, the attempts to upload them, and the result of each."""

import time
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from dumacle_cli.units import Bytes


class Result(StrEnum):
    """How an item ended; every item has exactly one result."""

    UPLOADED = "uploaded"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"
    CHANGED = "changed"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    FAILED = "failed"


FAILURES = (Result.CHANGED, Result.REFUSED, Result.CANCELLED, Result.FAILED)


@dataclass(frozen=True, slots=True)
class Item:
    """A file to upload: its path in the pod, its path on this machine, size (bytes) and mtime (ns).

    The inode is 0 if a symbolic link leads there; the content type is empty unless it was given.
    """

    path: str
    source: bytes
    size: int
    mtime_ns: int
    inode: int = 0
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something at the source that is not a regular file or cannot be read."""

    path: str
    result: Result
    reason: str


@dataclass(slots=True)
class Attempt:
    """An item with its committed row, key and lease; with an upload id if it continues an earlier upload in parts.

    `part_etags` are known if all parts were stored, and `stored_sha256` is then what they were made from.
    """

    item: Item
    file_id: int
    version_id: int
    lease_id: int
    key: str
    new_version: bool
    upload_id: str = ""
    """The multipart upload to continue, with parts of `part_size` bytes; or the one that was begun."""
    part_size: int = 0
    content_type: str = ""
    sha256: bytes = b""
    md5: bytes | None = None
    etag: str = ""
    error: str = ""
    fix: str = ""
    result: Result = Result.UPLOADED
    part_etags: tuple[str, ...] = ()
    stored_sha256: bytes = b""
    is_sent: bool = False
    """Whether the store took it, so that only the proof is missing."""
    at_secondary: bool = False
    """Whether it is stored at the secondary provider only, because the primary does not answer."""
    copy_etag: str | None = None
    """The ETag of a copy at the secondary provider, if it was made at once."""
    deduplicated: bool = False
    """Whether it shares an object that was stored already."""


@dataclass(slots=True)
class Stopwatch:
    """The seconds that one thread spent in each stage; `start` begins a stage, the others end it and begin the next."""

    reading: float = 0.0
    hashing: float = 0.0
    sending: float = 0.0
    _at: float = 0.0

    def start(self) -> None:
        """Begin a stage now."""
        self._at = time.perf_counter()

    def read(self) -> None:
        """The stage that ends was reading."""
        self.reading += self._lap()

    def hashed(self) -> None:
        """The stage that ends was hashing."""
        self.hashing += self._lap()

    def sent(self) -> None:
        """The stage that ends was sending."""
        self.sending += self._lap()

    def add(self, other: "Stopwatch") -> None:
        """Add the times of another one."""
        self.reading += other.reading
        self.hashing += other.hashing
        self.sending += other.sending

    def _lap(self) -> float:
        before, self._at = self._at, time.perf_counter()
        return self._at - before


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one item, as in a line of `--results`.

    If a limit refused the item, `fix` is the command that explains the limit. `proven` is the item if its content is
    proven to be stored.
    """

    path: str
    result: Result
    size: int = 0
    file_id: int | None = None
    key: str | None = None
    sha256: str | None = None
    error: str | None = None
    fix: str = ""
    new_version: bool = False
    transcode: bool = False
    proven: Item | None = None
    at_secondary: bool = False
    deduplicated: bool = False


@dataclass(slots=True)
class Tally:
    """The totals of a run."""

    counts: Counter[Result] = field(default_factory=Counter)
    planned_bytes: int = 0
    uploaded_bytes: int = 0
    new_versions: int = 0
    at_secondary: int = 0
    """Files that were stored at the secondary provider only."""
    deduplicated: int = 0
    """Files that share an object that was stored already."""
    transcodes: int = 0
    limits: int = 0
    """Files that a limit refused."""
    first_fix: str = ""
    first_error: str = ""
    sources_deleted: int = 0
    sources_kept: int = 0
    first_kept: str = ""
    """The first source that should have been deleted and was kept, with the reason."""

    @property
    def planned(self) -> int:
        """The number of items with a result."""
        return self.counts.total()

    @property
    def failures(self) -> int:
        """The number of items that were not uploaded and need attention."""
        return sum(self.counts[result] for result in FAILURES)

    def add(self, outcome: Outcome) -> None:
        """Count one outcome."""
        self.counts[outcome.result] += 1
        self.planned_bytes += outcome.size
        if outcome.fix:
            self.first_fix = self.first_fix or outcome.fix
            self.limits += 1
        if outcome.result is Result.UPLOADED:
            self.uploaded_bytes += outcome.size
            self.new_versions += outcome.new_version
            self.transcodes += outcome.transcode
            self.at_secondary += outcome.at_secondary
            self.deduplicated += outcome.deduplicated
        elif outcome.result in FAILURES and not self.first_error:
            self.first_error = f"{outcome.path}: {outcome.error}"


@dataclass(frozen=True, slots=True)
class Times:
    """Where the time of a run went, in seconds, summed over its threads: together they exceed the time that passed."""

    reading: float = 0.0
    hashing: float = 0.0
    network: float = 0.0
    database: float = 0.0
    waiting: float = 0.0
    """Waited for a service that was away, or for the bandwidth that was set."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The totals of a run; the results add up to `planned`, and `transcodes` of the uploaded files were queued.

    `at_secondary` of the uploaded files are stored at the secondary provider only, until a worker copies them, and
    `deduplicated` of them were not sent, because their content was stored already.

    The seconds of the stages are summed over all threads, so together they exceed `seconds`.
    """

    run: int | None
    planned: int
    uploaded: int
    new_versions: int
    unchanged: int
    skipped: int
    changed: int
    refused: int
    cancelled: int
    failed: int
    planned_size: Bytes
    uploaded_size: Bytes
    deduplicated: int
    at_secondary: int
    transcodes: int
    sources_deleted: int
    sources_kept: int
    seconds: float
    reading_seconds: float
    hashing_seconds: float
    network_seconds: float
    database_seconds: float
    waiting_seconds: float


def summarise(tally: Tally, run: int | None, seconds: float, times: Times) -> Summary:
    """Return the totals as commands show them; `run` is None for a preview."""
    return Summary(
        run=run,
        planned=tally.planned,
        new_versions=tally.new_versions,
        planned_size=tally.planned_bytes,
        uploaded_size=tally.uploaded_bytes,
        deduplicated=tally.deduplicated,
        at_secondary=tally.at_secondary,
        transcodes=tally.transcodes,
        sources_deleted=tally.sources_deleted,
        sources_kept=tally.sources_kept,
        seconds=round(seconds, 3),
        reading_seconds=round(times.reading, 3),
        hashing_seconds=round(times.hashing, 3),
        network_seconds=round(times.network, 3),
        database_seconds=round(times.database, 3),
        waiting_seconds=round(times.waiting, 3),
        **totals(tally),
    )


def totals(tally: Tally) -> dict[str, int]:
    """Return the number of items by result."""
    return {str(result): tally.counts[result] for result in Result}


class Progress(Protocol):
    """Receives the progress of a run; called often, from several threads at once."""

    def planned(self, files: int, size: int) -> None:
        """More files, with `size` bytes in total, will be uploaded."""

    def moved(self, attempt: Attempt, size: int) -> None:
        """The store received `size` more bytes of an attempt."""

    def ended(self, outcome: Outcome) -> None:
        """An item ended, and its result is committed."""

    def say(self, line: str) -> None:
        """The run waits for something, or goes on."""


class NoProgress:
    """Ignores the progress of a run."""

    def planned(self, files: int, size: int) -> None:
        """Ignore it."""

    def moved(self, attempt: Attempt, size: int) -> None:
        """Ignore it."""

    def ended(self, outcome: Outcome) -> None:
        """Ignore it."""

    def say(self, line: str) -> None:
        """Ignore it."""
