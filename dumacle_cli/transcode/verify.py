"""Verification of an output: it is read back, because FFmpeg's exit status proves nothing."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from dumacle_cli.errors import BadMedia, OutputBroken
from dumacle_cli.services.definitions import Film, Preset
from dumacle_cli.transcode import child, tracks
from dumacle_cli.transcode.arguments import folders, gop, only_file, rungs
from dumacle_cli.transcode.codecs import called
from dumacle_cli.transcode.ladder import Rung
from dumacle_cli.transcode.limits import Limits
from dumacle_cli.transcode.playlists import MEDIA
from dumacle_cli.transcode.probe import Media

# A time between two pictures may be rounded either way, and AVI does not store the delay of reordered pictures.
FRAMES_TOLERANCE = 2
# Sound comes in blocks of 21 ms; encoders add a few, and decoders drop some.
SOUND_TOLERANCE = 0.25


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture as read back; `bitrate` in bit/s, and how playlists name its codec and its captions."""

    rung: Rung
    frames: int
    seconds: float
    bitrate: int
    codec: str
    captions: list[str]


@dataclass(frozen=True, slots=True)
class Proof:
    """A verified output as it was read back; the bit rate of the first sound is 0 if it has none."""

    pictures: list[Picture]
    sound_seconds: float
    sound_bitrate: int


def verify(out: Path, media: Media, preset: Preset, limits: Limits, stop: threading.Event) -> Proof:
    """Read back the output in `out`; raises OutputBroken if it is not the whole of `media`, Stopped."""
    paths = [f"{folder}/{MEDIA}" for folder in folders(media, preset)] or [only_file(preset)]
    with _broken():
        return _proof(_read(out, paths, limits, stop), media, preset, rungs(media, preset))


def verify_chunk(
    out: Path, media: Media, preset: Film, sizes: list[Rung], limits: Limits, stop: threading.Event, *, last: bool
) -> None:
    """Read back the pictures of a chunk, which has these sizes and is `media`; raises OutputBroken, Stopped.

    Only the `last` chunk may have a few pictures more or less, as a whole film may.
    """
    with _broken():
        streams = _read(out, [f"{rung.name}/{MEDIA}" for rung in sizes], limits, stop)
        for stream, rung in zip(streams, sizes, strict=True):
            _picture(stream, rung, media, preset, ())
            if not last:
                _equal(f"number of frames of {rung.name}", stream["frames"], media.frames)
        _aligned(streams)


def _read(out: Path, paths: list[str], limits: Limits, stop: threading.Event) -> list[dict[str, Any]]:
    found = child.read({"do": "outputs", "folder": str(out.absolute()), "paths": paths}, limits, stop)
    streams: list[dict[str, Any]] = found["streams"]
    return streams


@contextmanager
def _broken() -> Iterator[None]:
    try:
        yield
    except BadMedia as bad:
        raise OutputBroken(reason=bad.facts["reason"]) from None
    except _Wrong as wrong:
        raise OutputBroken(reason=str(wrong)) from None


class _Wrong(Exception):
    """An error in an output."""


def _proof(streams: list[dict[str, Any]], media: Media, preset: Preset, sizes: list[Rung]) -> Proof:
    pictures = [stream for stream in streams if stream["type"] == "video"]
    sounds = [stream for stream in streams if stream["type"] == "audio"]
    heard = tracks.sounds(media.sounds, preset)
    _equal("streams", (len(pictures), len(sounds)), (len(sizes), len(heard)))
    keys = media.keys if sizes and sizes[-1].copied else ()
    proven = [_picture(stream, rung, media, preset, keys) for stream, rung in zip(pictures, sizes, strict=True)]
    _aligned(pictures)
    if not heard:
        return Proof(proven, 0.0, 0)
    length = media.sound_seconds if preset.kind == "audio" else media.duration
    first, *_ = [_sound(stream, each.channels, length) for stream, each in zip(sounds, heard, strict=True)]
    return Proof(proven, *first)


def _picture(stream: dict[str, Any], rung: Rung, media: Media, preset: Preset, keys: tuple[int, ...]) -> Picture:
    seconds = float(Fraction(stream["seconds"]))
    _equal(f"size of {rung.name}", tuple(stream["size"]), (rung.width, rung.height))
    if not isinstance(preset, Film):
        return Picture(rung, 1, 0.0, 0, "", [])
    frames = stream["frames"]
    _equal(
        f"picture of {rung.name}",
        (stream["codec"], stream["pix_fmt"], stream["sar"]),
        (preset.video.codec, "yuv420p", "1"),
    )
    if abs(frames - media.frames) > FRAMES_TOLERANCE:
        raise _Wrong(f"{rung.name} has {frames} frames, and {media.frames} were expected")
    step = 1 / media.fps
    _equal(f"duration of {rung.name}", round(Fraction(stream["seconds"]) / step), frames)
    _equal(
        f"key frames of {rung.name}",
        [round(Fraction(at) / step) for at in stream["keys"]],
        list(keys) or _grid(frames, media),
    )
    codec = called(preset.video.codec, bytes.fromhex(stream["configuration"]))
    return Picture(rung, frames, seconds, round(8 * stream["bytes"] / seconds), codec, stream["captions"])


def _grid(frames: int, media: Media) -> list[int]:
    return list(range(0, frames, gop(media.fps)))


def _aligned(pictures: list[dict[str, Any]]) -> None:
    for stream in pictures[1:]:
        for fact in ("frames", "start", "keys", "segments", "captions"):
            _equal(f"{fact} of {stream['path']}", stream[fact], pictures[0][fact])


def _sound(stream: dict[str, Any], channels: int, expected: float) -> tuple[float, int]:
    _equal("sound", (stream["codec"], stream["channels"], stream["rate"]), ("aac", channels, 48000))
    seconds = float(Fraction(stream["seconds"]))
    if abs(seconds - expected) > SOUND_TOLERANCE:
        raise _Wrong(f"the sound lasts {seconds:.2f} s, and {expected:.2f} s was expected")
    return seconds, round(8 * stream["bytes"] / seconds)


def _equal(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise _Wrong(f"the {what} is {found}, and {wanted} was expected")
