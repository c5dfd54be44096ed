"""Probing a source: what transcoding needs to know about it."""

import threading
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from dumacle_cli.errors import BadMedia
from dumacle_cli.transcode import child
from dumacle_cli.transcode.limits import Limits

SLOWEST, FASTEST = Fraction(1), Fraction(60)
SMALLEST = 16
USUAL_RATES = [Fraction(rate) for rate in ("24000/1001", "24", "25", "30000/1001", "30", "50", "60000/1001", "60")]


@dataclass(frozen=True, slots=True)
class Media:
    """A source; width and height are as displayed: rotated, in square pixels, 0 without video.

    `frames` is the number of frames at the constant rate `fps`; `hdr` names the transfer function of
    high dynamic range, and is empty without; durations are in seconds.
    """

    duration: float
    audio: str
    channels: int
    sound_seconds: float
    video: str = ""
    width: int = 0
    height: int = 0
    frames: int = 0
    fps: Fraction = Fraction(0)
    pix_fmt: str = ""
    rotation: int = 0
    sar: Fraction = Fraction(1)
    hdr: str = ""
    interlaced: bool = False


def probe(path: Path, limits: Limits, stop: threading.Event | None = None) -> Media:
    """Read a source in its own process; raises BadMedia if it is invalid or exceeds `limits`, or Stopped."""
    try:
        media = _media(child.read({"do": "source", "path": str(path.absolute())}, limits, stop))
    except (KeyError, ValueError, TypeError, ZeroDivisionError):
        raise BadMedia(reason="its metadata is invalid") from None
    _check(media, limits)
    return media


def _media(found: dict[str, Any]) -> Media:
    picture, sound = Fraction(found["picture_seconds"]), Fraction(found["sound_seconds"])
    # An empty audio track counts as none: FFmpeg produces no output for it.
    audio = found["audio"] if sound > 0 else ""
    media = Media(float(max(picture, sound)), audio, found["channels"], float(sound))
    if not found["video"]:
        return media
    fps, rotation, sar = steady(Fraction(found["rate"])), found["rotation"], Fraction(found["sar"])
    width, height = _shown(found["size"], sar, rotation)
    facts = {name: found[name] for name in ("video", "pix_fmt", "hdr", "interlaced", "rotation")}
    frames = max(1, round(picture * fps))
    return replace(media, width=width, height=height, frames=frames, fps=fps, sar=sar, **facts)


def _shown(stored: tuple[int, int], sar: Fraction, rotation: int) -> tuple[int, int]:
    width, height = round(stored[0] * sar), stored[1]
    return (height, width) if rotation % 180 == 90 else (width, height)


def steady(rate: Fraction) -> Fraction:
    """Return the constant frame rate nearest to `rate`: a standard one if near, within 1 to 60 per second."""
    while rate > FASTEST * Fraction(101, 100):
        rate /= 2
    near = min(USUAL_RATES, key=lambda usual: abs(usual - rate))
    if abs(near - rate) < near / 100:
        return near
    return max(SLOWEST, rate).limit_denominator(1001)


def _check(media: Media, limits: Limits) -> None:
    if not media.video and not media.audio:
        raise BadMedia(reason="it has neither video nor audio")
    if not 0 < media.duration <= limits.max_seconds:
        raise BadMedia(reason=f"it lasts {media.duration:.0f} s, and the limit is {limits.max_seconds} s")
    if media.width * media.height > limits.max_pixels:
        raise BadMedia(reason=f"its video is {media.width}x{media.height}, larger than {limits.max_pixels} pixels")
    if media.video and min(media.width, media.height) < SMALLEST:
        raise BadMedia(reason=f"its video is {media.width}x{media.height}, smaller than {SMALLEST} pixels")
