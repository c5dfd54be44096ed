"""Probing a source: what transcoding needs to know about it."""

import math
import threading
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from dumacle_cli.errors import BadMedia
from dumacle_cli.transcode import chapters, child, languages
from dumacle_cli.transcode.chapters import Chapter
from dumacle_cli.transcode.limits import Limits
from dumacle_cli.transcode.reference import TILES, Reference, Source
from dumacle_cli.transcode.tracks import SoundTrack, SubtitleTrack

SLOWEST, FASTEST = Fraction(1), Fraction(60)
SMALLEST = 16
# Pictures, from the first to the last.
DRIFT = Fraction(1, 4)
HALF = Fraction(1, 2)
USUAL_RATES = [Fraction(rate) for rate in ("24000/1001", "24", "25", "30000/1001", "30", "50", "60000/1001", "60")]


@dataclass(frozen=True, slots=True)
class Media:
    """A source; width and height are as displayed: rotated, in square pixels, 0 without video; times are in seconds.

    `duration` is that of the longer of picture and first sound, and `frames` the number of frames in it at the constant
    rate `fps`. The last picture stays for `hold`, and `key` is the last key frame in the first tenth;
    `lead` pictures come before the first one and are not shown, as in recordings that begin anywhere. `hdr` names the
    transfer function of high dynamic range, and is empty without. `picture` is FFmpeg's name of the stream, and `alone`
    says that FFmpeg has no other video to choose. The first of the `sounds` is the film's own. `no_video` and
    `no_audio` say why there is none. `damaged` is the share of packets that arrived damaged, 0 to 1, and `bitrate` the
    bit/s of the picture. `keys` are the numbers of the key frames, empty if the video cannot be copied as it is. It can
    be `sought` if the file has an index, and `group` is the longest time from one key frame to the next.
    """

    duration: float
    sounds: tuple[SoundTrack, ...] = ()
    video: str = ""
    width: int = 0
    height: int = 0
    frames: int = 0
    fps: Fraction = Fraction(0)
    pix_fmt: str = ""
    hdr: str = ""
    interlaced: bool = False
    hold: float = 0
    picture: str = "V:0"
    alone: bool = True
    key: Fraction = Fraction(0)
    lead: int = 0
    no_video: str = ""
    no_audio: str = ""
    damaged: float = 0
    bitrate: int = 0
    keys: tuple[int, ...] = ()
    sought: bool = False
    group: float = 0
    subtitles: tuple[SubtitleTrack, ...] = ()
    chapters: tuple[Chapter, ...] = ()

    @property
    def sound_seconds(self) -> float:
        """The length of the film's own sound, 0 without."""
        return self.sounds[0].seconds if self.sounds else 0

    @property
    def mute(self) -> bool:
        """Whether there is sound that cannot be used."""
        return not self.sounds and bool(self.no_audio)


def probe(ffmpeg: Path, path: Path, limits: Limits, stop: threading.Event | None = None) -> Media:
    """Read a source in processes of their own; raises BadMedia if it is invalid or exceeds `limits`, Stopped."""
    try:
        found = child.read({"do": "source", "path": str(path.absolute())}, limits, stop)
        media = _media(found)
    except (KeyError, ValueError, TypeError, ZeroDivisionError):
        raise BadMedia(reason="its metadata is invalid") from None
    if media.video:
        width, height = Reference(ffmpeg, source_of(path, media), limits, stop).size(turned=found["turned"])
        as_coded = found["straight"] and found["coded"] == [width, height]
        media = replace(media, width=width, height=height, keys=media.keys if as_coded else ())
    _check(media, limits)
    return media


def source_of(path: Path, media: Media) -> Source:
    """Return what FFmpeg shall take of a file; of several videos, the one that was chosen."""
    return Source(path, "" if media.alone else media.picture, media.picture == TILES)


def _media(found: dict[str, Any]) -> Media:
    picture = Fraction(found["picture_seconds"])
    # An empty audio track counts as none: FFmpeg produces no output for it.
    sounds = [each for each in found["sounds"] if Fraction(each["seconds"]) > 0]
    total = max(picture, *(Fraction(each["seconds"]) for each in sounds[:1]), Fraction(0))
    common = {name: found[name] for name in ("no_video", "no_audio", "damaged", "alone")}
    subtitles = [SubtitleTrack(**{**each, "language": languages.tag(each["language"])}) for each in found["subtitles"]]
    common |= {"subtitles": tuple(subtitles), "chapters": chapters.of(found["chapters"], total)}
    media = Media(float(total), tuple(_sound(each) for each in sounds), **common)
    if not found["video"]:
        return media
    fps = steady(Fraction(found["rate"]))
    facts = {
        name: found[name] for name in ("video", "picture", "pix_fmt", "hdr", "interlaced", "lead", "sought", "group")
    }
    last = Fraction(found["last_picture"])
    frames = max(1, round(total * fps))
    # The last picture is one of them, too, even if it is shown for less than half of the usual time.
    if (shown := math.floor(last * fps + HALF) + 1) > frames:
        frames, total = shown, shown / fps
    key = max(Fraction(0), Fraction(found["key"]))
    bitrate = round(8 * found["picture_bytes"] / picture)
    facts |= {
        "key": key,
        "bitrate": bitrate,
        "keys": _keys(found, fps, frames),
        "hold": float(max(Fraction(0), total - last)),
    }
    return replace(media, duration=float(total), frames=frames, fps=fps, **facts)


def _sound(found: dict[str, Any]) -> SoundTrack:
    return SoundTrack(
        **{**found, "seconds": float(Fraction(found["seconds"])), "language": languages.tag(found["language"])}
    )


def _keys(found: dict[str, Any], fps: Fraction, frames: int) -> tuple[int, ...]:
    """Return the key frames of a video that every player shows as it is; the reader has looked at its times."""
    usual = (found["video"], found["pix_fmt"]) == ("h264", "yuv420p") and not found["hdr"] and not found["interlaced"]
    drift = abs(Fraction(found["average"]) / fps - 1) * frames
    return tuple(found["keys"]) if usual and drift < DRIFT else ()


def steady(rate: Fraction) -> Fraction:
    """Return the constant frame rate nearest to `rate`: a standard one if near, within 1 to 60 per second."""
    while rate > FASTEST * Fraction(101, 100):
        rate /= 2
    near = min(USUAL_RATES, key=lambda usual: abs(usual - rate))
    if abs(near - rate) < near / 100:
        return near
    return max(SLOWEST, rate).limit_denominator(1001)


def _check(media: Media, limits: Limits) -> None:
    if not media.video and not media.sounds:
        raise BadMedia(reason=_nothing(media))
    if not 0 < media.duration <= limits.max_seconds:
        raise BadMedia(reason=f"it lasts {media.duration:.0f} s, and the limit is {limits.max_seconds} s")
    if media.width * media.height > limits.max_pixels:
        raise BadMedia(reason=f"its video is {media.width}x{media.height}, larger than {limits.max_pixels} pixels")
    if media.video and min(media.width, media.height) < SMALLEST:
        raise BadMedia(reason=f"its video is {media.width}x{media.height}, smaller than {SMALLEST} pixels")


def _nothing(media: Media) -> str:
    reasons = dict.fromkeys(each for each in (media.no_video, media.no_audio) if each)
    return " and ".join(reasons) or "it has neither video nor audio"
