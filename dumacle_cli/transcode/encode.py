"""Encode one source with one preset: run FFmpeg under watch, and verify its output."""

import os
import select
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, cast

from dumacle_cli.errors import BadMedia, OutputBroken, OutputDiffers, ToolFailed
from dumacle_cli.services.definitions import Preset, Sprite
from dumacle_cli.transcode import arguments, child, damage, hls, loudness, sprites, tracks
from dumacle_cli.transcode.child import Stopped
from dumacle_cli.transcode.likeness import compare_pictures, compare_sounds
from dumacle_cli.transcode.limits import MEBIBYTE, Limits
from dumacle_cli.transcode.playlists import PLAYLIST
from dumacle_cli.transcode.probe import Media, source_of
from dumacle_cli.transcode.reference import Reference
from dumacle_cli.transcode.scratch import check_room
from dumacle_cli.transcode.verify import Picture, Proof, verify
from dumacle_cli.transcode.watch import ENCODED, Watch

NO_MEMORY = "Cannot allocate memory"
# FFmpeg's exit statuses for a bad input: most could not be decoded, AVERROR_INVALIDDATA, and EIO if its end is missing.
INPUT_AT_FAULT = {69, 183, 251}


@dataclass(frozen=True, slots=True)
class Encoded:
    """A verified output in a folder; `files` are relative to it, in the order to publish them; players open `entry`.

    `bitrate` is in bit/s; `damaged` is the share of the source that was damaged, 0 to 1;
    width, height and frames are 0 and `rungs` empty without a picture.
    """

    kind: str
    entry: str
    width: int
    height: int
    bitrate: int
    frames: int
    duration_ms: int
    rungs: list[dict[str, Any]]
    files: list[str]
    damaged: float


def encode(
    ffmpeg: Path,
    source: Path,
    media: Media,
    preset: Preset,
    out: Path,
    limits: Limits,
    progress: Callable[[int], None],
    stop: threading.Event,
) -> Encoded:
    """Encode `source` into the empty folder `out`, and verify the result; blocks until then.

    `progress` is called in this thread with increasing values, 0 to 99. Raises BadMedia, OutputBroken, OutputDiffers,
    ToolFailed, and Stopped soon after `stop` is set; no process is left in any case.
    """
    try:
        return _encode(ffmpeg, source, media, preset, out, limits, progress, stop)
    except (OutputBroken, OutputDiffers, ToolFailed) as error:
        starved = isinstance(error, OutputDiffers) and arguments.has_few_bits(media, preset)
        if not (media.keys or starved):
            raise
    # What cannot be copied is encoded, whatever there is about it; and what differs gets as many bits as usual.
    for found in list(out.iterdir()):
        shutil.rmtree(found) if found.is_dir() and not found.is_symlink() else found.unlink()
    again = replace(media, keys=(), bitrate=0 if starved else media.bitrate)
    return _encode(ffmpeg, source, again, preset, out, limits, progress, stop)


def _encode(
    ffmpeg: Path,
    source: Path,
    media: Media,
    preset: Preset,
    out: Path,
    limits: Limits,
    progress: Callable[[int], None],
    stop: threading.Event,
) -> Encoded:
    progress(0)
    louder = loudness.gains(ffmpeg, source, media, preset, limits, stop)
    filters = {stream: gain.filters for stream, gain in louder.items()}
    commands = arguments.commands(ffmpeg, source, media, preset, limits, filters)
    for folder in arguments.folders(media, preset):
        (out / folder).mkdir()
    damaged = 0.0
    for number, command in enumerate(commands):
        watch = Watch(media, preset.requires_video, limits, _part(progress, number, len(commands)))
        damaged = max(damaged, run(command, source, out, media, limits, watch, stop))
        watch.tell(ENCODED)
    found = finish(ffmpeg, source, media, preset, out, limits, damaged, stop)
    reference = Reference(ffmpeg, source_of(source, media), limits, stop)
    compare_sounds(reference, out, media, preset, tracks.sounds(media.sounds, preset), louder)
    progress(99)
    return found


def _part(progress: Callable[[int], None], number: int, count: int) -> Callable[[int], None]:
    """Return what tells the progress of all runs by that of one of them."""
    return lambda percent: progress((number * ENCODED + percent) // count)


def finish(
    ffmpeg: Path,
    source: Path,
    media: Media,
    preset: Preset,
    out: Path,
    limits: Limits,
    damaged: float,
    stop: threading.Event,
) -> Encoded:
    """Verify what FFmpeg wrote to `out`, but for how it sounds, and add what FFmpeg did not.

    Raises BadMedia, OutputBroken, OutputDiffers, Stopped.
    """
    written(out, preset.entry)
    proof = verify(out, media, preset, limits, stop)
    if damaged and proof.pictures and proof.pictures[-1].rung.copied:
        raise OutputBroken(reason="the video that was copied is damaged")
    reference = Reference(ffmpeg, source_of(source, media), limits, stop)
    sizes = [picture.rung for picture in proof.pictures]
    compare_pictures(reference, out, media, preset, sizes, limits, stop)
    if preset.kind == "hls":
        hls.finish(out, source, media, preset, proof, limits, stop)
    if isinstance(preset, Sprite):
        (out / preset.entry).write_text(sprites.index(sprites.grid(media, preset), media.duration))
    return _encoded(preset, proof, written(out, preset.entry), damaged)


def run(
    command: list[str], source: Path, out: Path, media: Media, limits: Limits, watch: Watch, stop: threading.Event
) -> float:
    """Run FFmpeg in `out`, and return which share of the source was damaged; raises BadMedia, ToolFailed, Stopped."""
    bounds = {
        "CPU": round(limits.wall_seconds(media.duration) * (os.cpu_count() or 1)),
        "FSIZE": round((64 + 2 * media.duration) * MEBIBYTE),
        "DATA": limits.memory,
        **({"CORES": limits.cores} if limits.cores else {}),
    }
    with tempfile.TemporaryFile() as said:
        with child.confined(command, out, bounds, subprocess.PIPE, said, [source]) as process:
            _follow(cast(IO[bytes], process.stdout), watch, out, stop)
            status = process.wait()
        child.check_alive(status, "FFmpeg", said)
        error = child.first_error(said)
        # Not the input's fault, whatever the status.
        if NO_MEMORY in error or status not in {0, *INPUT_AT_FAULT}:
            raise ToolFailed(tool="FFmpeg", reason=f"exit {status}: {error}")
        if status:
            raise BadMedia(reason=f"FFmpeg cannot decode it: {error}")
        damaged = max(media.damaged, damage.measure(said, media.lead))
    limits.check_damage(damaged, media.frames)
    return damaged


def _follow(reports: IO[bytes], watch: Watch, out: Path, stop: threading.Event) -> None:
    while True:
        # Some of FFmpeg's formats say nothing of a full disk.
        check_room(out, MEBIBYTE)
        ready, _, _ = select.select([reports], [], [], child.TICK)
        if stop.is_set():
            raise Stopped
        if ready:
            report = os.read(reports.fileno(), 65536)
            if not report:
                return
            watch.take(report)
        watch.check()


def written(out: Path, entry: str = "") -> list[str]:
    """Return the files of an output in the order of publication; raises OutputBroken if there is anything else."""
    found = [path for path in out.rglob("*") if path.is_symlink() or not path.is_dir()]
    # A compromised FFmpeg could create a link, which publishing would follow.
    if any(path.is_symlink() or not path.is_file() for path in found):
        raise OutputBroken(reason="there is something in it that is no file")
    names = [path.relative_to(out).as_posix() for path in found]
    return sorted(names, key=lambda name: (name == entry, name.endswith(PLAYLIST), name))


def _encoded(preset: Preset, proof: Proof, files: list[str], damaged: float) -> Encoded:
    top = proof.pictures[-1] if proof.pictures else None
    seconds = top.seconds if top else proof.sound_seconds
    return Encoded(
        kind=preset.kind,
        entry=preset.entry,
        width=top.rung.width if top else 0,
        height=top.rung.height if top else 0,
        bitrate=(top.bitrate if top else 0) + proof.sound_bitrate,
        frames=top.frames if top else 0,
        duration_ms=round(seconds * 1000),
        rungs=[_rung(picture) for picture in proof.pictures] if preset.kind == "hls" else [],
        files=files,
        damaged=damaged,
    )


def _rung(picture: Picture) -> dict[str, Any]:
    return {
        "name": picture.rung.name,
        "width": picture.rung.width,
        "height": picture.rung.height,
        "bitrate": picture.bitrate,
        "frames": picture.frames,
    }
