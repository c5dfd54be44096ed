"""What a preset would make of a source, and what that costs: planned from a probe, without encoding."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dumacle_cli.errors import BadMedia
from dumacle_cli.services.definitions import Film, Poster, Preset, Sprite
from dumacle_cli.transcode import charge, tracks
from dumacle_cli.transcode.arguments import paced, rungs, source_size
from dumacle_cli.transcode.chunks import divide
from dumacle_cli.transcode.codecs import effort
from dumacle_cli.transcode.fetch import FetchDeps, fetch
from dumacle_cli.transcode.ladder import Rung, dropped
from dumacle_cli.transcode.probe import Media
from dumacle_cli.units import Bytes, Seconds

if TYPE_CHECKING:
    from dumacle_cli.store.files import Content

# Measured with x264's preset veryfast: CPU seconds for a million pixels that are read or written, and for a second of
# sound; an HLS ladder of 1280x720 and one of 854x480 are within a tenth of it.
MEGAPIXEL_SECONDS, SOUND_SECONDS = 0.014, 0.01
# A photo of a film: mostly starting FFmpeg.
POSTER_SECONDS = 1
POSTER_BYTES_PER_PIXEL = 0.5
CONTAINER = 1.05


@dataclass(frozen=True, slots=True)
class PlannedRung:
    """One picture size, with at most `bitrate` bit/s on average; `copied` if it is the source's own video."""

    name: str
    width: int
    height: int
    bitrate: int
    copied: bool


@dataclass(frozen=True, slots=True)
class Dropped:
    """A size of the ladder that is not made, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class PlannedTrack:
    """A sound or subtitles of the source (`kind`), as viewers read it; `left_out` says why it is not in the output."""

    kind: str
    name: str
    language: str
    left_out: str | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a preset would make of a file: at most `size` bytes, for `seconds` of the owner's quota.

    `cpu_seconds` is an estimate from the number of pixels, and as many workers as it has `chunks` can share them.
    `error` says why it cannot be made.
    """

    file: int
    path: str
    preset: str
    seconds: Seconds | None
    size: Bytes | None
    cpu_seconds: int | None
    chunks: int | None
    rungs: list[PlannedRung]
    dropped: list[Dropped]
    tracks: list[PlannedTrack]
    error: str | None


def plan(deps: FetchDeps, content: "Content", preset: Preset) -> Plan:
    """Fetch a content, and plan its transcode."""
    try:
        media = paced(_probed(deps, content), preset)
        sizes = rungs(media, preset)
    except BadMedia as bad:
        return Plan(
            content.file_id, content.path, preset.name, None, None, None, None, [], [], [], str(bad.facts["reason"])
        )
    return Plan(
        file=content.file_id,
        path=content.path,
        preset=preset.name,
        seconds=charge.seconds(media, preset),
        size=_bytes(media, preset, sizes),
        cpu_seconds=round(_cpu_seconds(media, preset, sizes)),
        chunks=len(divide(media, preset)) or 1,
        rungs=[PlannedRung(rung.name, rung.width, rung.height, rung.bitrate, rung.copied) for rung in sizes],
        dropped=[Dropped(*each) for each in dropped(source_size(media, preset))]
        if isinstance(preset, Film) and preset.kind == "hls"
        else [],
        tracks=[PlannedTrack(*each) for each in tracks.planned(media.sounds, media.subtitles, preset)],
        error=None,
    )


def _probed(deps: FetchDeps, content: "Content") -> Media:
    with tempfile.TemporaryDirectory(dir=deps.scratch) as folder:
        return fetch(deps, content, Path(folder, "source"))


def _bytes(media: Media, preset: Preset, sizes: list[Rung]) -> int:
    """Return the most that the output takes: the average of each rung, once more its buffer, and the sound."""
    if isinstance(preset, Poster | Sprite):
        return round(sum(rung.width * rung.height for rung in sizes) * POSTER_BYTES_PER_PIXEL)
    pictures = sum(rung.bitrate * media.duration + rung.buffer for rung in sizes)
    sound = sum(sound.bitrate for sound in tracks.sounds(media.sounds, preset)) * media.duration
    return round(CONTAINER * (pictures + sound) / 8)


def _cpu_seconds(media: Media, preset: Preset, sizes: list[Rung]) -> float:
    if preset.kind == "poster":
        return POSTER_SECONDS
    if isinstance(preset, Sprite):
        return MEGAPIXEL_SECONDS * media.width * media.height * media.frames / 1e6
    sound = SOUND_SECONDS * sum(sound.track.seconds for sound in tracks.sounds(media.sounds, preset))
    if not isinstance(preset, Film):
        return sound
    made = [rung for rung in sizes if not rung.copied]
    written = sum(effort(preset.video.codec, rung) * rung.width * rung.height for rung in made)
    return sound + MEGAPIXEL_SECONDS * (media.width * media.height + written) * media.frames / 1e6
