"""The picture sizes and bit rates of outputs: Apple's, and never more than the source has."""

from dataclasses import dataclass
from itertools import pairwise
from math import sqrt

# Sides of 16:9 pictures in pixels, and bit/s for H.264: HLS Authoring Specification for Apple devices. It has the last
# two for HEVC only; here they are larger by as much as at 1920x1080.
APPLE = (
    *((416, 234, 145_000), (640, 360, 365_000), (768, 432, 730_000)),
    *((960, 540, 2_000_000), (1280, 720, 3_000_000), (1920, 1080, 6_000_000)),
    *((2560, 1440, 10_800_000), (3840, 2160, 15_500_000)),
)
# A source less than a tenth larger than a rung gains nothing from another rung at its own size.
WORTH = 1.1
SMALLEST = 16
# Pictures of a quarter of the area need half of the bits.
DETAIL = 0.5
# Of Apple's rate: sources that hardly change have fewer key frames than players need.
LEAST_SHARE = 16
# Of Apple's rate: below it, CPU time makes up for bits. So it does in the smallest pictures, where it costs little, and
# where Apple gives the fewest bits to a pixel.
LEAN_SHARE = 0.75
# Seconds that may share what easier ones leave over: of Apple's rate, and of a source's rate.
BURST, LONG_BURST = 2, 8


@dataclass(frozen=True, slots=True)
class Source:
    """The displayed size of a source in pixels, the bit/s of its picture (0: unknown), and its length in seconds.

    The outputs are at most as large as a 16:9 picture whose shorter side is `largest`, and their codec takes a `share`
    of H.264's bits.
    """

    width: int
    height: int
    bitrate: int = 0
    seconds: float = 0
    largest: int = APPLE[-1][1]
    share: float = 1


@dataclass(frozen=True, slots=True)
class Rung:
    """One size of the ladder: at most `bitrate` bit/s on average, and `buffer` bits more for what is difficult.

    It is `lean` if that is much less than is usual for its size, or if it is as small as Apple's smallest. The largest
    may be `copied`: it is the source's own video.
    """

    name: str
    width: int
    height: int
    bitrate: int = 0
    buffer: int = 0
    lean: bool = False
    copied: bool = False


def ladder(source: Source) -> list[Rung]:
    """Return the rungs for a picture, smallest first; their sides are even, and none is enlarged."""
    scales = [(side, _scale(source, wide, side)) for wide, side, _ in APPLE if side <= source.largest]
    fitting = [(side, scale) for side, scale in scales if scale <= 1 and _short(source) * scale >= SMALLEST]
    rungs = [_rung(source, f"{side}p", scale) for side, scale in fitting]
    if not fitting or (scales[-1][1] > 1 and fitting[-1][1] * WORTH <= 1):
        own = _own(source, 1)
        rungs = [*(rung for rung in rungs if rung.name != own.name), own]
    return rungs


def dropped(source: Source) -> list[tuple[str, str]]:
    """Return the sizes that the ladder of a source lacks, and why."""
    made = {rung.name for rung in ladder(source)}
    return [
        (f"{side}p", _why_dropped(source, _scale(source, wide, side)))
        for wide, side, _ in APPLE
        if side <= source.largest and f"{side}p" not in made
    ]


def _why_dropped(source: Source, scale: float) -> str:
    if scale > 1:
        return f"the source has only {source.width}x{source.height}, and is not enlarged"
    return f"a side would have fewer than {SMALLEST} pixels"


def largest(source: Source) -> Rung:
    """Return the only size of a single-size output: the source's, or the ladder's largest."""
    wide = next(wide for wide, side, _ in APPLE if side == source.largest)
    scale = min(1.0, _scale(source, wide, source.largest))
    return _own(source, scale if _short(source) * scale >= SMALLEST else 1)


def even(pixels: int) -> int:
    """Round down to an even number, which 4:2:0 needs."""
    return max(2, pixels // 2 * 2)


def _short(source: Source) -> int:
    return min(source.width, source.height)


def _scale(source: Source, wide: int, side: int) -> float:
    return min(side / _short(source), wide / max(source.width, source.height))


def _own(source: Source, scale: float) -> Rung:
    return _rung(source, f"{_scaled(_short(source), scale)}p", scale)


def _rung(source: Source, name: str, scale: float) -> Rung:
    width, height = _scaled(source.width, scale), _scaled(source.height, scale)
    most = source.share * _apple(width * height)
    share = (width * height / (source.width * source.height)) ** DETAIL
    enough = max(source.bitrate * share, most / LEAST_SHARE) if source.bitrate else most
    bitrate = min(most, enough)
    burst = min(LONG_BURST, max(BURST, source.seconds / 4))
    buffer = round(min(BURST * most, burst * bitrate))
    lean = bitrate < LEAN_SHARE * most or width * height <= APPLE[0][0] * APPLE[0][1]
    return Rung(name, width, height, round(bitrate), buffer, lean=lean)


def _scaled(pixels: int, scale: float) -> int:
    return min(even(pixels), max(2, 2 * round(pixels * scale / 2)))


def _apple(area: int) -> float:
    """Return Apple's bit rate for a picture of this area, in between by area, and below the smallest by its root."""
    sizes = [(wide * side, rate) for wide, side, rate in APPLE]
    for (small, least), (large, most) in pairwise(sizes):
        if small <= area <= large:
            return least + (most - least) * (area - small) / (large - small)
    smallest, least = sizes[0]
    return least * sqrt(area / smallest) if area < smallest else sizes[-1][1]
