"""The picture sizes and bit rates for HLS: Apple's for H.264, never larger than the source."""

from dataclasses import dataclass
from itertools import pairwise

# Shorter side in pixels, average bit/s: HLS Authoring Specification for Apple devices.
APPLE = ((234, 145_000), (360, 365_000), (432, 730_000), (540, 2_000_000), (720, 3_000_000), (1080, 6_000_000))
LARGEST = APPLE[-1][0]
# A source less than a tenth larger than a rung gains nothing from another rung at its own size.
WORTH = 1.1


@dataclass(frozen=True, slots=True)
class Rung:
    """One size of the ladder; `bitrate` is the target average, in bit/s."""

    name: str
    width: int
    height: int
    bitrate: int


def ladder(width: int, height: int) -> list[Rung]:
    """Return the rungs for a picture, smallest first; their sides are even."""
    short = min(width, height)
    sides = [side for side, _ in APPLE if side <= short]
    if short < LARGEST and (not sides or short >= WORTH * sides[-1]):
        sides.append(even(short))
    return [_rung(width, height, side) for side in sides]


def largest(width: int, height: int) -> Rung:
    """Return the only size of a single-size output: the source's, or the ladder's largest."""
    return _rung(width, height, even(min(width, height, LARGEST)))


def even(pixels: int) -> int:
    """Round down to an even number, which 4:2:0 needs."""
    return max(2, pixels // 2 * 2)


def _rung(width: int, height: int, side: int) -> Rung:
    long = even(max(width, height) * side // min(width, height))
    size = (side, long) if width < height else (long, side)
    return Rung(f"{side}p", *size, _bitrate(side))


def _bitrate(side: int) -> int:
    # Between two of Apple's sizes, the bit rate is interpolated by area.
    for (low, least), (high, most) in pairwise(((0, 0), *APPLE)):
        if side <= high:
            return round(least + (most - least) * (side**2 - low**2) / (high**2 - low**2))
    return APPLE[-1][1]
