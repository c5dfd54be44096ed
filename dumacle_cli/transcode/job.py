"""One unit from its claim to its publication, or back into the queue.

It lives longer than a transaction: a lease holds the unit, and a separate thread renews it. An attempt that lost its
lease publishes nothing, and removes what it stored.
"""

import hashlib
import itertools
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from dumacle_cli import errors, retry
from dumacle_cli.errors import DumacleError, Exit
from dumacle_cli.services import definitions, downloads, inventory, placement
from dumacle_cli.services.definitions import Preset
from dumacle_cli.store import copies, queue, work_units
from dumacle_cli.store.work_units import Claimed, Lost, Output
from dumacle_cli.transcode import arguments, charge, delivery
from dumacle_cli.transcode.child import TICK, Stopped, oom_kills
from dumacle_cli.transcode.encode import Encoded, encode
from dumacle_cli.transcode.limits import Limits
from dumacle_cli.transcode.probe import probe
from dumacle_cli.transcode.scratch import check_room
from dumacle_cli.transcode.watch import ENCODED

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dumacle_cli.clients.object_store import ObjectStore
    from dumacle_cli.store.database import Database
    from dumacle_cli.store.places import Place

RENEW_SECONDS = 2.0
"""The longest time between renewals of a lease; a cancelled encoder ends within this time."""
TRIES = 3
REST_SECONDS = 5.0
"""How long a worker does nothing after a fault of its machine, so that it does not run through the queue."""
PATIENCE = 10.0
"""How many seconds a source's store may be away before the unit goes back into the queue."""
FINAL = (
    errors.BadMedia,
    errors.OutputDiffers,
    errors.BadPreset,
    errors.NotFound,
    errors.QuotaExceeded,
    errors.PodFull,
    errors.ObjectMissing,
)
"""The errors that another attempt would meet again."""
OF_STORE = (errors.StoreFault, errors.NoCredential, errors.CredentialAltered)
"""The errors that other units of the same pod would meet, until the store or its settings are put right."""
OF_WORKER = (OSError, MemoryError, errors.SystemFault, errors.MissingExtra, errors.NoKeys, errors.NotConfigured)
"""The errors that other units would meet on this worker, and this unit on no other."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WorkerDeps:
    """What a worker needs to run a unit; it encodes `codecs`, and releases its units when `give_back` is set."""

    database: "Database"
    stores: "Callable[[Place], ObjectStore]"
    ffmpeg: Path
    codecs: Sequence[str]
    scratch: Path
    limits: Limits
    lease_seconds: float
    worker: str
    give_back: threading.Event


@dataclass(frozen=True, slots=True)
class Done:
    """The result of an attempt: `done`, `failed`, `set back`, `lost`, `given back`, or `unknown` without the database.

    It was `set back` by a fault that is not the media's; `rest` is how many seconds this worker better does nothing.
    """

    outcome: str
    error: str | None = None
    rest: float = 0


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


def claim(deps: WorkerDeps) -> Claimed | None:
    """Claim the unit that is next, or return None if none may be claimed now."""
    token = uuid.uuid4()
    while not deps.give_back.is_set():
        with suppress(work_units.Raced):
            return retry_transaction(
                deps.database,
                deps.give_back,
                lambda session: work_units.claim_next(session, deps.worker, deps.lease_seconds, token, deps.codecs),
            )
    return None


def run(deps: WorkerDeps, unit: Claimed) -> Done:
    """Run a claimed unit: make its output, store it, and publish it."""
    prefix = placement.renditions(unit.pod_prefix, unit.content.file_id, unit.transcode_id, unit.token)
    killed = oom_kills()
    with LeaseKeeper(deps, unit) as keeper:
        try:
            output = _make(deps, unit, keeper, prefix)
        except (Stopped, Lost):
            done = _given_back(deps, unit, keeper)
        except errors.ToolKilled as error:
            crashed = oom_kills() > killed
            done = (_crashed if crashed else _set_back)(deps, unit, keeper, error)
        except errors.ToolCrashed as error:
            done = _crashed(deps, unit, keeper, error)
        except Exception as error:  # noqa: BLE001 - an error of one file must not end the worker
            done = (_set_back if _will_be_over(error) else _failed)(deps, unit, keeper, error)
        else:
            done = _published(deps, unit, keeper, output)
        _tidy(deps, unit, done, prefix)
    return done


def _make(deps: WorkerDeps, unit: Claimed, keeper: LeaseKeeper, prefix: str) -> Output:
    preset = _preset(unit)
    # Fewer threads need less memory, and FFmpeg has crashed over this before.
    limits = replace(deps.limits, cores=1) if unit.crashes else deps.limits
    if unit.damage == "refuse":
        limits = replace(limits, damage=0)
    if unit.paused:
        _try_store(deps, unit, keeper, prefix)
    check_room(deps.scratch, unit.content.size)
    with tempfile.TemporaryDirectory(dir=deps.scratch) as folder:
        source, out = Path(folder, "source"), Path(folder, "out")
        out.mkdir()
        _download(deps, unit, source, keeper)
        media = arguments.paced(probe(deps.ffmpeg, source, limits, keeper.stop), preset)
        _retry(deps, keeper, lambda session: work_units.charge(session, unit, charge.seconds(media, preset)))
        keeper.begin(media.frames)
        encoded = encode(deps.ffmpeg, source, media, preset, out, limits, keeper.advance, keeper.stop)
        source.unlink()
        proof, files = inventory.written(out, encoded.files), [inventory.NAME, *encoded.files]
        size = sum((out / name).stat().st_size for name in files)
        _retry(deps, keeper, lambda session: work_units.reserve(session, unit, size))
        store = deps.stores(unit.content.place)
        delivery.deliver(store, out, files, prefix, keeper.stop)
    return replace(_output(unit, encoded, prefix, size), inventory=proof)


def _preset(unit: Claimed) -> Preset:
    if unit.definition is None:
        raise errors.NotFound("preset", unit.preset)
    return definitions.parse(unit.definition)


def _try_store(deps: WorkerDeps, unit: Claimed, keeper: LeaseKeeper, prefix: str) -> None:
    """Find out whether the store of a pod answers again; if so, its other units wait no longer."""
    store, key = deps.stores(unit.content.place), f"{prefix}tried"
    store.put(key, key.encode(), hashlib.sha256(key.encode()).hexdigest(), "text/plain")
    store.delete([key])
    _retry(deps, keeper, lambda session: work_units.end_pause(session, unit))


def _download(deps: WorkerDeps, unit: Claimed, target: Path, keeper: LeaseKeeper) -> None:
    with target.open("wb") as file:
        for chunk in downloads.checked(deps.stores, unit.content, downloads.patient(PATIENCE)):
            if keeper.stop.is_set():
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
        damaged=encoded.damaged,
    )


def _retry(deps: WorkerDeps, keeper: LeaseKeeper, work: "Callable[[Session], T]") -> T:
    return retry_transaction(deps.database, keeper.stop, work)


# Results


def _published(deps: WorkerDeps, unit: Claimed, keeper: LeaseKeeper, output: Output) -> Done:
    try:
        stands = _retry(deps, keeper, lambda session: work_units.publish(session, unit, [output]))
    except DumacleError as error:
        return Done("unknown", str(error))
    return Done("done" if stands else "lost")


def _will_be_over(error: Exception) -> bool:
    """Whether it is a fault of the store, the database or this machine: it says nothing about the media."""
    if isinstance(error, DumacleError) and error.exit is Exit.TEMPORARY:
        return True
    return isinstance(error, (errors.BrokenOff, *OF_STORE, *OF_WORKER))


def _set_back(deps: WorkerDeps, unit: Claimed, keeper: LeaseKeeper, error: Exception) -> Done:
    if keeper.stop.is_set():  # waiting ended because of that
        return _given_back(deps, unit, keeper)
    rest = REST_SECONDS if isinstance(error, OF_WORKER) else 0
    of_store = isinstance(error, OF_STORE)
    return _recorded(
        deps, keeper, "set back", error, lambda s: work_units.set_back(s, unit, _sentence(error), pod=of_store), rest
    )


def _crashed(deps: WorkerDeps, unit: Claimed, keeper: LeaseKeeper, error: Exception) -> Done:
    return _recorded(deps, keeper, "failed", error, lambda s: work_units.crash(s, unit, _sentence(error)))


def _failed(deps: WorkerDeps, unit: Claimed, keeper: LeaseKeeper, error: Exception) -> Done:
    final = isinstance(error, FINAL)
    return _recorded(deps, keeper, "failed", error, lambda s: work_units.fail(s, unit, _sentence(error), final=final))


def _recorded(
    deps: WorkerDeps,
    keeper: LeaseKeeper,
    outcome: str,
    error: Exception,
    record: "Callable[[Session], bool]",
    rest: float = 0,
) -> Done:
    reason = _sentence(error)
    try:
        held = _retry(deps, keeper, record)
    except DumacleError as fault:
        return Done(outcome, f"{reason}; {fault}", rest)
    return Done(outcome if held else "lost", reason, rest)


def _sentence(error: Exception) -> str:
    if isinstance(error, DumacleError):
        return str(error)
    if isinstance(error, OSError):
        return f"the system refused: {error.strerror or type(error).__name__}"
    return f"an unexpected {type(error).__name__}"


def _given_back(deps: WorkerDeps, unit: Claimed, keeper: LeaseKeeper) -> Done:
    def release(session: "Session") -> bool:
        held = work_units.release(session, unit)
        if held:
            queue.wake_transcode(session, [unit.id])
        return held

    try:
        return Done("given back" if _retry(deps, keeper, release) else "lost")
    except DumacleError as error:
        return Done("lost", str(error))


def _tidy(deps: WorkerDeps, unit: Claimed, done: Done, prefix: str) -> None:
    """Delete unpublished objects of this attempt, and after publication those of attempts whose workers died.

    If it is unknown whether they were published, they stay; a later attempt or the purge deletes them.
    """
    parts = (unit.content.file_id, unit.transcode_id)
    with suppress(DumacleError):
        store = deps.stores(unit.content.place)
        if done.outcome == "done" and (unit.attempt > 1 or unit.crashes or unit.setbacks):
            delivery.erase(store, placement.renditions(unit.pod_prefix, *parts), but=prefix)
        if done.outcome == "done":
            _sweep(deps, unit)
        if done.outcome not in ("done", "unknown"):
            delivery.erase(store, prefix)


def _sweep(deps: WorkerDeps, unit: Claimed) -> None:
    """Delete what earlier transcodes of the same content left, which this one supersedes, at both places of the pod."""
    with deps.database.session(read_only=True) as session:
        earlier = work_units.superseded(session, unit)
        second = copies.second_places(session, [unit.content.version_id]) if earlier else {}
    for place in (unit.content.place, *second.values()) if earlier else ():
        for transcode_id in earlier:
            delivery.erase(
                deps.stores(place), placement.renditions(unit.pod_prefix, unit.content.file_id, transcode_id)
            )
