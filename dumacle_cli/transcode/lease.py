"""What a worker works with, and the lease of the unit that it works on, which a thread of its own renews."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from dumacle_cli import retry
from dumacle_cli.errors import DumacleError, Exit
from dumacle_cli.store import work_units
from dumacle_cli.store.work_units import Claimed
from dumacle_cli.transcode.child import TICK
from dumacle_cli.transcode.limits import Limits
from dumacle_cli.transcode.sources import Sources
from dumacle_cli.transcode.watch import ENCODED

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dumacle_cli.clients.object_store import ObjectStore
    from dumacle_cli.store.database import Database
    from dumacle_cli.store.places import Place

RENEW_SECONDS = 2.0
"""The longest time between renewals of a lease; a cancelled encoder ends within this time."""
TRIES = 3
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WorkerDeps:
    """What a worker needs to run a unit; it encodes `codecs`, and releases its units when `give_back` is set."""

    database: "Database"
    stores: "Callable[[Place], ObjectStore]"
    ffmpeg: Path
    codecs: Sequence[str]
    scratch: Path
    sources: Sources
    limits: Limits
    lease_seconds: float
    worker: str
    give_back: threading.Event


class LeaseKeeper:
    """Renews the lease of a unit; sets `stop` when the work on it must end."""

    def __init__(self, deps: WorkerDeps, unit: Claimed) -> None:
        self._deps, self._unit = deps, unit
        self.stop = threading.Event()
        self.progress = 0
        self._frames, self._began = 0, 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease of unit {unit.id}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def begin(self, frames: int) -> None:
        """Note that the encoder begins with so many frames."""
        self._frames, self._began = frames, time.monotonic()

    def advance(self, percent: int) -> None:
        """Set the progress; the next renewal writes it to the database."""
        self.progress = percent

    def _keep(self) -> None:
        pause = min(self._deps.lease_seconds / 4, RENEW_SECONDS)
        due = time.monotonic() + pause
        while not self._ended.wait(TICK):
            if self._deps.give_back.is_set():
                self.stop.set()
            if time.monotonic() < due:
                continue
            # While the database is down no other worker can claim the unit: it may still be ours when it is back.
            with suppress(DumacleError):
                if not self._renew():
                    self.stop.set()
                    return
            due = time.monotonic() + pause

    def _renew(self) -> bool:
        unit, seconds = self._unit, self._deps.lease_seconds
        with self._deps.database.session() as session:
            return work_units.renew(session, unit.id, unit.token, seconds, self.progress, self._fps())

    def _fps(self) -> float | None:
        if not self._frames or self.progress >= ENCODED:
            return None
        return round(self._frames * self.progress / ENCODED / (time.monotonic() - self._began), 1)


def retry_transaction(database: "Database", stop: threading.Event, work: "Callable[[Session], T]") -> T:
    """Run a transaction, and retry while the database is down or busy; after `stop` is set, at most `TRIES` times."""

    def once() -> T:
        with database.session() as session:
            return work(session)

    return retry.call(once, lambda error: error.exit is Exit.TEMPORARY, _pauses(stop))


def _pauses(stop: threading.Event) -> Iterator[float]:
    for tries in itertools.count(1):
        if stop.is_set() and tries >= TRIES:
            return
        yield min(1.0, 0.1 * tries)  # an outage takes seconds, a lost connection none
