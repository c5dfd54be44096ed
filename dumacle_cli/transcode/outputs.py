"""What a unit makes and stores: a whole rendition, a piece of one, or a rendition put together from pieces."""

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from dumacle_cli import errors
from dumacle_cli.services import definitions, downloads, inventory
from dumacle_cli.services.definitions import Film, Preset
from dumacle_cli.store import pieces as store
from dumacle_cli.store import work_units
from dumacle_cli.store.work_units import Claimed, Output
from dumacle_cli.transcode import arguments, charge, chunks, delivery, pieces
from dumacle_cli.transcode.chunks import Chunk
from dumacle_cli.transcode.encode import Encoded, encode
from dumacle_cli.transcode.fetch import PATIENCE, FetchDeps, fetch
from dumacle_cli.transcode.join import join
from dumacle_cli.transcode.lease import LeaseKeeper, WorkerDeps, retry_transaction
from dumacle_cli.transcode.limits import Limits
from dumacle_cli.transcode.probe import Media
from dumacle_cli.transcode.sources import Source

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Made:
    """The `outcome` of an attempt if `record`, in a transaction, finds that the unit is still held."""

    outcome: str
    record: "Callable[[Session], bool]"


class Work:
    """One attempt at a unit: what it is given, and a folder of its own."""

    def __init__(self, deps: WorkerDeps, unit: Claimed, keeper: LeaseKeeper, folder: Path) -> None:
        self.deps, self.unit, self.keeper, self.folder = deps, unit, keeper, folder
        self.preset = _preset(unit)
        self.limits = _limits(deps, unit)
        self.out = folder / "out"
        self.out.mkdir()

    def retry(self, work: "Callable[[Session], T]") -> T:
        """Run a transaction, and retry it while the database is away."""
        return retry_transaction(self.deps.database, self.keeper.stop, work)

    def fetch(self, path: Path) -> Media:
        """Write the source to a path, and say what is in it."""
        deps = self.deps
        fetching = FetchDeps(deps.stores, downloads.patient(PATIENCE), deps.ffmpeg, deps.scratch, self.limits)
        return fetch(fetching, self.unit.content, path, self.keeper.stop)


def make(deps: WorkerDeps, unit: Claimed, keeper: LeaseKeeper, prefix: str) -> Made:
    """Make what a unit is for, and store it below `prefix`."""
    if unit.paused:
        _try_store(deps, unit, keeper, prefix)
    with tempfile.TemporaryDirectory(dir=deps.scratch) as folder:
        work = Work(deps, unit, keeper, Path(folder))
        with deps.sources.held(f"{unit.content.version_id}-{unit.damage}", unit.content.size, work.fetch) as source:
            media = arguments.paced(source.media, work.preset)
            if unit.kind == "chunk" and unit.first is None and (cut := chunks.divide(media, work.preset)):
                source.kept = True
                cuts = [*(chunk.first for chunk in cut), cut[-1].end]
                return Made("divided", lambda session: store.divide(session, unit, cuts, sound=bool(media.sounds)))
            if unit.is_charged:
                work.retry(lambda session: work_units.charge(session, unit, charge.seconds(media, work.preset)))
            if unit.is_piece:
                source.kept = True
                files = _piece(work, source, media)
            else:
                source.kept = False
                encoded = _whole(work, source, media)
                files = encoded.files
        size, proof = _deliver(work, files, prefix)
    if unit.is_piece:
        return Made("done", lambda session: store.complete(session, unit, proof))
    output = replace(_output(unit, encoded, prefix, size), inventory=proof)
    return Made("done", lambda session: work_units.publish(session, unit, [output]))


def _preset(unit: Claimed) -> Preset:
    if unit.definition is None:
        raise errors.NotFound("preset", unit.preset)
    return definitions.parse(unit.definition)


def _limits(deps: WorkerDeps, unit: Claimed) -> Limits:
    # Fewer threads need less memory, and FFmpeg has crashed over this before.
    limits = replace(deps.limits, cores=1) if unit.crashes else deps.limits
    return replace(limits, damage=0) if unit.damage == "refuse" else limits


def _try_store(deps: WorkerDeps, unit: Claimed, keeper: LeaseKeeper, prefix: str) -> None:
    """Find out whether the store of a pod answers again; if so, its other units wait no longer."""
    objects, key = deps.stores(unit.content.place), f"{prefix}tried"
    objects.put(key, key.encode(), hashlib.sha256(key.encode()).hexdigest(), "text/plain")
    objects.delete([key])
    retry_transaction(deps.database, keeper.stop, lambda session: work_units.end_pause(session, unit))


def _piece(work: Work, source: Source, media: Media) -> list[str]:
    deps, keeper, unit = work.deps, work.keeper, work.unit
    assert isinstance(work.preset, Film)  # noqa: S101  no other is divided
    where = (deps.ffmpeg, source.path, media, work.preset)
    if unit.first is None or unit.last is None:
        return chunks.encode_sound(*where, work.out, work.limits, keeper.advance, keeper.stop)
    chunk = Chunk(unit.first, unit.last + 1)
    keeper.begin(chunk.frames)
    return chunks.encode_chunk(*where, chunk, work.out, work.limits, keeper.advance, keeper.stop)


def _whole(work: Work, source: Source, media: Media) -> Encoded:
    deps, keeper = work.deps, work.keeper
    if work.unit.kind == "finalize":
        assert isinstance(work.preset, Film)  # noqa: S101  no other is divided
        found = work.retry(lambda session: store.of(session, work.unit))
        folders = pieces.fetch(deps, work.unit, found, work.folder, keeper.stop)
        cut = [Chunk(each.first, each.last + 1) for each in found if each.first is not None and each.last is not None]
        return join(deps.ffmpeg, source.path, media, work.preset, cut, folders, work.out, work.limits, keeper.stop)
    keeper.begin(media.frames)
    return encode(deps.ffmpeg, source.path, media, work.preset, work.out, work.limits, keeper.advance, keeper.stop)


def _deliver(work: Work, names: list[str], prefix: str) -> tuple[int, str]:
    """Store the files and their inventory, and return the size of all and the hash of the inventory."""
    proof, files = inventory.written(work.out, names), [inventory.NAME, *names]
    size = sum((work.out / name).stat().st_size for name in files)
    work.retry(lambda session: work_units.reserve(session, work.unit, size))
    delivery.deliver(work.deps.stores(work.unit.content.place), work.out, files, prefix, work.keeper.stop)
    return size, proof


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
