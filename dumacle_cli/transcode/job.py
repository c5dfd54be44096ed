"""One unit from its claim to its publication, or back into the queue.

It lives longer than a transaction: what holds the unit is a lease, renewed from a thread of its own. Whoever lost it
publishes nothing, and takes away what he had stored.
"""

import itertools
import math
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from dumacle_cli import errors, retry
from dumacle_cli.errors import DumacleError, Exit
from dumacle_cli.services import downloads, placement
from dumacle_cli.store import queue, units
from dumacle_cli.store.units import Claimed, Lost, Output
from dumacle_cli.transcode import delivery, presets
from dumacle_cli.transcode.child import Stopped
from dumacle_cli.transcode.encode import Encoded, encode
from dumacle_cli.transcode.limits import Limits
from dumacle_cli.transcode.probe import probe

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dumacle_cli.clients.object_store import ObjectStore
    from dumacle_cli.store.database import Database
    from dumacle_cli.store.places import Place

RENEW_SECONDS = 2.0
"""How often a lease is renewed at least; a cancelled encoder ends within this time."""
TRIES = 3
FINAL = (
    errors.BadMedia,
    errors.NotFound,
    errors.QuotaExceeded,
    errors.PodFull,
    errors.ContentDiffers,
    errors.ObjectMissing,
)
"""What another attempt would meet again."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Means:
    """What a worker works with; when `give_back` is set, it lets go of what it holds."""

    database: "Database"
    stores: "Callable[[Place], ObjectStore]"
    ffmpeg: Path
    scratch: Path
    limits: Limits
    lease_seconds: float
    worker: str
    give_back: threading.Event


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a unit: `done`, `failed`, `lost`, `given back`, or `unknown` where the database did not answer."""

    outcome: str
    error: str | None = None


class Hold:
    """Keeps the lease of a unit; `stop` is set when the work on it shall end."""

    def __init__(self, means: Means, unit: Claimed) -> None:
        self._means, self._unit = means, unit
        self.stop = threading.Event()
        self.progress = 0
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

    def advance(self, percent: int) -> None:
        """Say how far the work is; the next renewal tells the database."""
        self.progress = percent

    def _keep(self) -> None:
        while not self._ended.wait(min(self._means.lease_seconds / 4, RENEW_SECONDS)):
            if self._means.give_back.is_set():
                self.stop.set()
            # While the database is away nobody else can take the unit either: it may be ours when it is back.
            with suppress(DumacleError):
                if not self._renew():
                    self.stop.set()
                    return

    def _renew(self) -> bool:
        unit, seconds = self._unit, self._means.lease_seconds
        with self._means.database.session() as session:
            return units.renew(session, unit.id, unit.token, seconds, self.progress)


def retry_transaction(database: "Database", stop: threading.Event, work: "Callable[[Session], T]") -> T:
    """Run a transaction; repeat it while the database is away or busy, until `stop` is set and TRIES were made."""

    def once() -> T:
        with database.session() as session:
            return work(session)

    return retry.call(once, lambda error: error.exit is Exit.TEMPORARY, _pauses(stop))


def _pauses(stop: threading.Event) -> Iterator[float]:
    for tries in itertools.count(1):
        if stop.is_set() and tries >= TRIES:
            return
        yield min(1.0, 0.1 * tries)  # an outage takes seconds, a lost connection none


def claim(means: Means, unit_id: int) -> Claimed | None:
    """Take a unit, or None where there is nothing to take (any more)."""
    if means.give_back.is_set():
        return None
    token = uuid.uuid4()
    seconds = means.lease_seconds
    return retry_transaction(
        means.database, means.give_back, lambda s: units.claim(s, unit_id, means.worker, seconds, token)
    )


def run(means: Means, unit: Claimed) -> Done:
    """Do a unit that is held: make its output, store it, and publish it."""
    prefix = placement.renditions(unit.pod_prefix, unit.content.file_id, unit.transcode_id, unit.token)
    with Hold(means, unit) as hold:
        try:
            output = _make(means, unit, hold, prefix)
        except (Stopped, Lost):
            done = _given_back(means, unit, hold)
        except Exception as error:  # noqa: BLE001 - whatever one file does to us, it is that file's failure
            done = _failed(means, unit, hold, error)
        else:
            done = _published(means, unit, hold, output)
        _tidy(means, unit, done, prefix)
    return done


def _make(means: Means, unit: Claimed, hold: Hold, prefix: str) -> Output:
    preset = presets.get(unit.preset)
    with tempfile.TemporaryDirectory(dir=means.scratch) as folder:
        source, out = Path(folder, "source"), Path(folder, "out")
        out.mkdir()
        _download(means, unit, source, hold)
        media = probe(source, means.limits, hold.stop)
        _ask(means, hold, lambda session: units.charge(session, unit, math.ceil(media.duration)))
        encoded = encode(means.ffmpeg, source, media, preset, out, means.limits, hold.advance, hold.stop)
        source.unlink()
        size = sum((out / name).stat().st_size for name in encoded.files)
        _ask(means, hold, lambda session: units.reserve(session, unit, size))
        store = means.stores(unit.content.place)
        delivery.deliver(store, out, encoded.files, prefix, hold.stop)
    return _output(unit, encoded, prefix, size)


def _download(means: Means, unit: Claimed, target: Path, hold: Hold) -> None:
    with target.open("wb") as file:
        for chunk in downloads.checked(means.stores, unit.content):
            if hold.stop.is_set():
                raise Stopped
            file.write(chunk)


def _output(unit: Claimed, encoded: Encoded, prefix: str, size: int) -> Output:
    return Output(
        name=unit.preset,
        kind=encoded.kind,
        prefix=prefix,
        entry=encoded.entry,
        size=size,
        width=encoded.width or None,
        height=encoded.height or None,
        bitrate=encoded.bitrate or None,
        duration_ms=encoded.duration_ms,
        frames=encoded.frames or None,
        rungs=encoded.rungs or None,
    )


def _ask(means: Means, hold: Hold, work: "Callable[[Session], T]") -> T:
    return retry_transaction(means.database, hold.stop, work)


# How it ends


def _published(means: Means, unit: Claimed, hold: Hold, output: Output) -> Done:
    try:
        stands = _ask(means, hold, lambda session: units.publish(session, unit, [output]))
    except DumacleError as error:
        return Done("unknown", str(error))
    return Done("done" if stands else "lost")


def _failed(means: Means, unit: Claimed, hold: Hold, error: Exception) -> Done:
    reason = _sentence(error)
    try:
        held = _ask(means, hold, lambda s: units.fail(s, unit, reason, final=isinstance(error, FINAL)))
    except DumacleError as fault:
        return Done("failed", f"{reason}; {fault}")
    return Done("failed" if held else "lost", reason)


def _sentence(error: Exception) -> str:
    if isinstance(error, DumacleError):
        return str(error)
    if isinstance(error, OSError):
        return f"the system refused: {error.strerror or type(error).__name__}"
    return f"an unexpected {type(error).__name__}"


def _given_back(means: Means, unit: Claimed, hold: Hold) -> Done:
    def release(session: "Session") -> bool:
        held = units.release(session, unit)
        if held:
            queue.wake_transcode(session, [unit.id])
        return held

    try:
        return Done("given back" if _ask(means, hold, release) else "lost")
    except DumacleError as error:
        return Done("lost", str(error))


def _tidy(means: Means, unit: Claimed, done: Done, prefix: str) -> None:
    """Take away what was stored for nothing: by this attempt, and once published by those whose workers died.

    Where it is unknown whether it was published, it stays; a later attempt or the purge takes it away.
    """
    parts = (unit.content.file_id, unit.transcode_id)
    with suppress(DumacleError):
        store = means.stores(unit.content.place)
        if done.outcome == "done" and unit.crashes:
            delivery.erase(store, placement.renditions(unit.pod_prefix, *parts), but=prefix)
        elif done.outcome not in ("done", "unknown"):
            delivery.erase(store, prefix)
