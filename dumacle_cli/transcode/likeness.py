"""Whether an output shows and sounds like its source, which is decoded again for that, at several instants."""

import math
import statistics
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import zip_longest
from pathlib import Path

from dumacle_cli.errors import BadMedia, OutputDiffers
from dumacle_cli.services.definitions import Preset, Sprite
from dumacle_cli.transcode import child
from dumacle_cli.transcode.arguments import poster_time
from dumacle_cli.transcode.ladder import Rung
from dumacle_cli.transcode.limits import Limits
from dumacle_cli.transcode.loudness import Gain
from dumacle_cli.transcode.playlists import MEDIA
from dumacle_cli.transcode.probe import Media
from dumacle_cli.transcode.reference import SILENCE, Picture, Reference
from dumacle_cli.transcode.sprites import IMAGE, Grid, grid
from dumacle_cli.transcode.tracks import SoundOutput

# Where in the video it is compared, as shares of its length.
INSTANTS = tuple(Fraction(part, 100) for part in (3, 35, 65, 95))
CANVAS = 64
BLOCK = 8
# Of structural similarity: real footage keeps 0.9 and more, test pictures at the lowest bit rates 0.6; another picture
# or another shape has less than 0.4 somewhere.
LEAST_ALIKE = 0.5
CONTRAST = (0.03 * 255) ** 2
# Of the shape and of the average brightness, 0 to 255.
SHAPE_TOLERANCE, BRIGHTNESS_TOLERANCE = 0.03, 48
# In dB. Mixing down and up changes levels by up to 6, of all sound alike.
AUDIBLE, LEVEL_TOLERANCE, SHIFT_TOLERANCE = -50.0, 20.0, 9.0
SECONDS_LOST = 2


class _Doubt(Exception):
    """A difference between an output and its source."""


def compare_pictures(
    reference: Reference,
    out: Path,
    media: Media,
    preset: Preset,
    sizes: list[Rung],
    limits: Limits,
    stop: threading.Event,
) -> None:
    """Compare the pictures in `out`, which have these sizes, with their source; raises OutputDiffers, Stopped."""
    with _differs():
        if isinstance(preset, Sprite):
            _compare_sprite(reference, out, media, grid(media, preset), limits, stop)
        elif sizes:
            _compare_pictures(reference, out, media, preset, sizes, limits, stop)


def compare_sounds(
    reference: Reference,
    out: Path,
    media: Media,
    preset: Preset,
    sounds: Sequence[SoundOutput],
    louder: Mapping[str, Gain],
) -> None:
    """Compare sounds in `out` with their source, some of which were made louder; raises OutputDiffers, Stopped."""
    with _differs():
        for sound in sounds:
            gain = louder.get(sound.track.stream)
            levels = [level + (gain.decibels if gain else 0) for level in reference.levels(sound.track.stream)]
            _compare_levels(levels[: math.ceil(media.duration)], _levels(reference, out, preset, sound))


@contextmanager
def _differs() -> Iterator[None]:
    try:
        yield
    except (_Doubt, BadMedia) as doubt:
        raise OutputDiffers(reason=str(doubt)) from None


# Pictures


def _compare_pictures(
    reference: Reference,
    out: Path,
    media: Media,
    preset: Preset,
    sizes: list[Rung],
    limits: Limits,
    stop: threading.Event,
) -> None:
    canvas = _canvas(sizes[-1])
    paths = [f"{rung.name}/{MEDIA}" for rung in sizes] if preset.kind == "hls" else [preset.entry]
    job = {"do": "pictures", "folder": str(out.absolute()), "paths": paths, "canvas": canvas}

    def check(*, seek: bool) -> None:
        wanted = [reference.picture(at, canvas, seek=seek) for at in _instants(media, preset)]
        times = [0.0 if preset.kind == "poster" else float(picture.at) for picture in wanted]
        shown = child.read({**job, "times": times}, limits, stop)["pictures"]
        for rung, pictures in zip(sizes, shown, strict=True):
            for picture, near in zip(wanted, pictures, strict=True):
                _check_picture(picture, [bytes.fromhex(each) for each in near], rung, media, canvas[0])

    try:
        check(seek=True)
    except (_Doubt, BadMedia):
        check(seek=False)


def _compare_sprite(
    reference: Reference, out: Path, media: Media, made: Grid, limits: Limits, stop: threading.Event
) -> None:
    tile = Rung("the sprite", made.width, made.height)
    wide, high = _canvas(tile)
    job = {"do": "pictures", "folder": str(out.absolute()), "paths": [IMAGE], "times": [0.0]}
    canvas = (wide * made.columns, high * made.rows)
    [[[image, *_]]] = child.read({**job, "canvas": canvas}, limits, stop)["pictures"]
    grey = bytes.fromhex(image)

    def shown(number: int) -> bytes:
        column, row = made.place(number)
        starts = [(row * high + line) * canvas[0] + column * wide for line in range(high)]
        return b"".join(grey[start : start + wide] for start in starts)

    for number in {made.count * part // 4 for part in range(4)} | {made.count - 1}:
        # Half a picture early, so that rounding does not miss it.
        at = max(Fraction(0), made.time(number) - Fraction(1, 2) / media.fps)
        last = Fraction(media.duration) - Fraction(media.hold) - Fraction(1, 2) / media.fps
        wanted = reference.picture(max(Fraction(0), min(at, last)), (wide, high))
        _check_picture(wanted, [shown(number)], tile, media, wide)


def _instants(media: Media, preset: Preset) -> list[Fraction]:
    if preset.kind == "poster":
        return [poster_time(media)]
    last = max(Fraction(0), Fraction(media.duration) - Fraction(media.hold) - Fraction(1, 2) / media.fps)
    return list(dict.fromkeys(part * last for part in INSTANTS))


def _canvas(rung: Rung) -> tuple[int, int]:
    scale = CANVAS / max(rung.width, rung.height)
    return max(BLOCK, round(rung.width * scale)), max(BLOCK, round(rung.height * scale))


def _check_picture(wanted: Picture, near: list[bytes], rung: Rung, media: Media, width: int) -> None:
    where = f"at {float(wanted.at):.2f} s the picture of {rung.name}"
    shape, published = float(wanted.shape), rung.width / rung.height
    # Sides are rounded down to even numbers.
    if abs(published / shape - 1) > SHAPE_TOLERANCE + 2 / min(rung.width, rung.height):
        raise _Doubt(f"{where} has the shape {published:.2f}:1, and {shape:.2f}:1 was expected")
    alike = max((similarity(wanted.luma, each, width) for each in near), default=0.0)
    if alike < LEAST_ALIKE:
        raise _Doubt(f"{where} differs from the source (similarity {alike:.2f} of 1)")
    darker = statistics.fmean(wanted.luma) - statistics.fmean(near[0])
    if not media.hdr and abs(darker) > BRIGHTNESS_TOLERANCE:
        raise _Doubt(f"{where} is {abs(darker):.0f} of 255 {'darker' if darker > 0 else 'brighter'} than the source")


def similarity(one: bytes, other: bytes, width: int) -> float:
    """Return the structural similarity (SSIM) of two small grey pictures, up to 1, regardless of their brightness."""
    if len(one) != len(other):
        return 0.0
    rows = len(one) // width
    values = []
    for top in range(0, rows - BLOCK + 1, BLOCK // 2):
        for left in range(0, width - BLOCK + 1, BLOCK // 2):
            starts = [(top + row) * width + left for row in range(BLOCK)]
            values.append(_alike(*(b"".join(each[at : at + BLOCK] for at in starts) for each in (one, other))))
    return statistics.fmean(values)


def _alike(one: bytes, other: bytes) -> float:
    count = len(one)
    mean, mean_other = sum(one) / count, sum(other) / count
    spread = sum(value * value for value in one) / count - mean * mean
    spread_other = sum(value * value for value in other) / count - mean_other * mean_other
    common = sum(a * b for a, b in zip(one, other, strict=True)) / count - mean * mean_other
    return (2 * common + CONTRAST) / (spread + spread_other + CONTRAST)


# Sound


def _levels(reference: Reference, out: Path, preset: Preset, sound: SoundOutput) -> list[float]:
    if not sound.folder:
        return reference.levels("a:0", out / preset.entry)
    folder, joined = out / sound.folder, out.with_name("sound.mp4")
    with joined.open("wb") as file:
        for part in (folder / "init.mp4", *sorted(folder.glob("*.m4s"))):
            file.write(part.read_bytes())
    try:
        return reference.levels("a:0", joined)
    finally:
        joined.unlink()


def _compare_levels(wanted: list[float], found: list[float]) -> None:
    whole = wanted[:-1] or wanted  # the last second is seldom whole, and may be longer or shorter by a block
    heard = [index for index, level in enumerate(whole) if level > AUDIBLE]
    pairs = list(zip_longest(wanted, found, fillvalue=SILENCE))
    changes = {index: pairs[index][1] - pairs[index][0] for index in heard}
    if not changes:
        return
    # Of all sound alike, and not of a part that is missing.
    shift = sorted(changes.values())[len(changes) * 3 // 4]
    if abs(shift) > SHIFT_TOLERANCE:
        raise _Doubt(f"the sound is {abs(shift):.0f} dB {'louder' if shift > 0 else 'quieter'} than in the source")
    lost = [index for index, change in changes.items() if change < shift - LEVEL_TOLERANCE]
    if len(lost) >= SECONDS_LOST:
        raise _Doubt(f"the sound is missing from {lost[0]} s on, for {len(lost)} s in all")
