"""What passes through the engine: items found, the attempts made of them, and the class in which each ends."""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from dumacle_cli.units import Bytes


class Class(StrEnum):
    """How a planned item ended; every one ends in exactly one class."""

    UPLOADED = "uploaded"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"
    CHANGED = "changed"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    FAILED = "failed"


TROUBLE = (Class.CHANGED, Class.REFUSED, Class.CANCELLED, Class.FAILED)


@dataclass(frozen=True, slots=True)
class Item:
    """A regular file at the source: its path as stored, its path on this machine, size (bytes), mtime (ns)."""

    path: str
    source: bytes
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Problem:
    """Something at the source that is no file to upload, or cannot be read."""

    path: str
    ends: Class
    reason: str


@dataclass(slots=True)
class Attempt:
    """An item with its intent recorded: row, key and lease."""

    item: Item
    file_id: int
    version_id: int
    lease_id: int
    key: str
    new_version: bool
    content_type: str = ""
    sha256: bytes = b""
    md5: bytes | None = None
    etag: str = ""
    error: str = ""
    ends: Class = Class.UPLOADED


@dataclass(frozen=True, slots=True)
class Outcome:
    """One line of `--results`: what became of one planned item."""

    path: str
    ends: Class
    size: int = 0
    file_id: int | None = None
    key: str | None = None
    sha256: str | None = None
    error: str | None = None
    limit: bool = False
    new_version: bool = False
    transcode: bool = False


@dataclass(slots=True)
class Tally:
    """The totals of a run; they add up to what was planned."""

    counts: Counter[Class] = field(default_factory=Counter)
    planned_bytes: int = 0
    uploaded_bytes: int = 0
    new_versions: int = 0
    transcodes: int = 0
    limits: int = 0
    first_limited: int = 0
    """Bytes of the first file that a limit refused."""
    first_error: str = ""

    @property
    def planned(self) -> int:
        """How many items ended in a class."""
        return self.counts.total()

    @property
    def troubled(self) -> int:
        """How many items ended in a class that needs somebody's attention."""
        return sum(self.counts[kind] for kind in TROUBLE)

    def add(self, outcome: Outcome) -> None:
        """Count one outcome."""
        self.counts[outcome.ends] += 1
        self.planned_bytes += outcome.size
        if outcome.limit:
            self.first_limited = self.first_limited if self.limits else outcome.size
            self.limits += 1
        if outcome.ends is Class.UPLOADED:
            self.uploaded_bytes += outcome.size
            self.new_versions += outcome.new_version
            self.transcodes += outcome.transcode
        elif outcome.ends in TROUBLE and not self.first_error:
            self.first_error = f"{outcome.path}: {outcome.error}"


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run came to; the classes add up to `planned`, and `transcodes` of the uploaded are to be transcoded."""

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
    transcodes: int
    seconds: float


def summarise(tally: Tally, run: int | None, seconds: float) -> Summary:
    """Turn the totals into what commands show."""
    counts = {str(kind): tally.counts[kind] for kind in Class}
    return Summary(
        run=run,
        planned=tally.planned,
        new_versions=tally.new_versions,
        planned_size=tally.planned_bytes,
        uploaded_size=tally.uploaded_bytes,
        transcodes=tally.transcodes,
        seconds=round(seconds, 3),
        **counts,
    )


def totals(tally: Tally) -> dict[str, int]:
    """Return the counts by class, for the run's row."""
    return {str(kind): tally.counts[kind] for kind in Class}


class Progress(Protocol):
    """Who watches a run; called often, from the loop's thread."""

    def planned(self, files: int, size: int) -> None:
        """More files with so many bytes are to be uploaded."""

    def moved(self, attempt: Attempt, size: int) -> None:
        """So many bytes of an attempt reached the store."""

    def ended(self, outcome: Outcome) -> None:
        """An item ended, and that is committed."""


class Silent:
    """Nobody watches."""

    def planned(self, files: int, size: int) -> None:
        """Ignore it."""

    def moved(self, attempt: Attempt, size: int) -> None:
        """Ignore it."""

    def ended(self, outcome: Outcome) -> None:
        """Ignore it."""
