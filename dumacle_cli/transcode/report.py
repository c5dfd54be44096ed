"""Report the quality of published films: each picture size beside its source. It spans several transactions."""

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dumacle_cli.errors import ContentDiffers, DumacleError
from dumacle_cli.services import inventory, presets, versions
from dumacle_cli.services.definitions import Preset
from dumacle_cli.store import transcodes as store
from dumacle_cli.transcode import published, quality
from dumacle_cli.transcode.arguments import paced
from dumacle_cli.transcode.fetch import FetchDeps, fetch
from dumacle_cli.transcode.probe import Media
from dumacle_cli.units import Bytes

if TYPE_CHECKING:
    from dumacle_cli.clients.object_store import ObjectStore
    from dumacle_cli.store.database import Database
    from dumacle_cli.store.files import Content


@dataclass(frozen=True, slots=True)
class Measured:
    """One picture size of a published film, with its bit/s and how much it looks like its source.

    `metric` is VMAF, 0 to 100, or XPSNR in dB where FFmpeg has no VMAF. `mean` is over the `pictures` that were
    compared, and 99 % of them reach `low`. `share` is its bytes as a multiple of the source's. `error` says why it was
    not measured.
    """

    transcode: int
    path: str
    rung: str
    width: int
    height: int
    bitrate: int
    metric: quality.Metric
    mean: float | None = None
    low: float | None = None
    pictures: int | None = None
    size: Bytes | None = None
    share: float | None = None
    error: str | None = None


def run(
    database: "Database", deps: FetchDeps, ids: list[int], chosen: store.TranscodeFilter, rung: str | None
) -> Iterator[Measured]:
    """Measure the films of these transcodes, or of all that a filter selects, of present contents; all sizes or one.

    Raises ToolFailed if FFmpeg does not run.
    """
    by = quality.metric(deps.ffmpeg)
    for stored in published.renditions(database, ids, chosen):
        sizes = [size for size in _sizes(stored, by) if rung in (None, size.rung)]
        if sizes:
            yield from _measured(database, deps, stored, sizes)


def _sizes(stored: store.Stored, by: quality.Metric) -> list[Measured]:
    """Return what is known of the sizes of a film before they are measured; of other renditions nothing is."""
    sizes = stored.rungs or []
    if stored.kind == "mp4" and stored.width and stored.height:
        name = f"{min(stored.width, stored.height)}p"
        sizes = [{"name": name, "width": stored.width, "height": stored.height, "bitrate": stored.bitrate}]
    return [
        Measured(
            stored.transcode_id, stored.path, each["name"], each["width"], each["height"], each["bitrate"], metric=by
        )
        for each in sizes
    ]


def _measured(
    database: "Database", deps: FetchDeps, stored: store.Stored, sizes: Sequence[Measured]
) -> Iterator[Measured]:
    objects = deps.stores(stored.place)
    with tempfile.TemporaryDirectory(dir=deps.scratch) as folder:
        source = Path(folder, "source")
        try:
            content, preset = _origin(database, stored)
            media = paced(fetch(deps, content, source), preset)
            listed = published.listed(objects, stored)
        except DumacleError as error:
            yield from (replace(size, error=str(error)) for size in sizes)
            return
        for size in sizes:
            try:
                yield _score(deps, objects, stored, _parts(stored, listed, size), source, media, size)
            except DumacleError as error:
                yield replace(size, error=str(error))


def _origin(database: "Database", stored: store.Stored) -> tuple["Content", Preset]:
    with database.session(read_only=True) as session:
        content = versions.content(session, stored.file_id, stored.version_id)
        return content, presets.used(session, stored.preset, stored.preset_hash)


def _parts(stored: store.Stored, listed: list[inventory.Listed], size: Measured) -> list[inventory.Listed]:
    """Return the objects that one after the other are a file with the pictures of this size."""
    if stored.kind == "mp4":
        return [each for each in listed if each.name == stored.entry]
    own = [each for each in listed if each.name.startswith(f"{size.rung}/") and each.name.endswith((".mp4", ".m4s"))]
    return sorted(own, key=lambda each: (each.name.endswith(".m4s"), each.name))


def _score(
    deps: FetchDeps,
    objects: "ObjectStore",
    stored: store.Stored,
    parts: list[inventory.Listed],
    source: Path,
    media: Media,
    size: Measured,
) -> Measured:
    with tempfile.TemporaryDirectory(dir=source.parent) as folder:
        output = Path(folder, "film.mp4")
        _read(objects, stored, parts, output)
        scores = quality.measure(deps.ffmpeg, source, media, output, size.metric, deps.limits)
        held = output.stat().st_size
    return replace(
        size,
        mean=round(scores.mean, 2),
        low=round(scores.low, 2),
        pictures=scores.pictures,
        size=held,
        share=round(held / source.stat().st_size, 4),
    )


def _read(objects: "ObjectStore", stored: store.Stored, parts: list[inventory.Listed], output: Path) -> None:
    """Write objects of a rendition to one file; raises ContentDiffers if one is not what was published."""
    with output.open("wb") as file:
        for part in parts:
            digest = hashlib.sha256()
            for chunk in objects.get(stored.prefix + part.name):
                digest.update(chunk)
                file.write(chunk)
            if part.sha256 not in ("", digest.hexdigest()):
                raise ContentDiffers(path=f"{stored.path} ({stored.name})")
