"""HLS playlists as they are read, measured, and signed."""

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

MEDIA = "index.m3u8"
PLAYLIST = ".m3u8"
INDEX = ".vtt"
_LENGTH = re.compile(r"^#EXTINF:([0-9.]+)", re.MULTILINE)
# Attributes that viewers read may have the same letters between their quotes.
_ATTRIBUTE = re.compile(r'(?P<name>[A-Z0-9-]+=)"(?P<value>[^"]*)"')
_PART = re.compile(r"^[^\s#]+(?=#xywh=)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Segment:
    """One piece of a rendition: its size in bytes and its duration in seconds."""

    size: int
    seconds: float


def segments(playlist: Path) -> list[Segment]:
    """Return the segments in a media playlist."""
    lines = playlist.read_text().splitlines()
    return [
        Segment((playlist.parent / name).stat().st_size, float(info.removeprefix("#EXTINF:").split(",")[0]))
        for info, name in pairwise(lines)
        if info.startswith("#EXTINF:")
    ]


def signed(files: Mapping[str, str], entry: str, sign: Callable[[str], str]) -> dict[str, str]:
    """Return playlists, or the index of a sprite, with `sign(path)` for every URI in them; the entry is last.

    `files` are the playlists' texts by path; the paths that `sign` is given are relative to the same folder.
    """
    ordered = sorted(files, key=lambda path: (path == entry, path))
    return {path: _signed(files[path], path, sign) for path in ordered}


def addresses(text: str) -> list[str]:
    """Return every URI in a playlist once."""
    lines = [line.strip() for line in text.splitlines()]
    named = [each["value"] for each in _ATTRIBUTE.finditer(text) if each["name"] == "URI="]
    found = named + [line for line in lines if line and not line.startswith("#")]
    return list(dict.fromkeys(found))


def lengths(text: str) -> list[float]:
    """Return how long each segment of a media playlist lasts, in seconds."""
    return [float(length) for length in _LENGTH.findall(text)]


def average(pieces: list[Segment]) -> int:
    """Return the average bit rate in bit/s."""
    return round(8 * sum(piece.size for piece in pieces) / sum(piece.seconds for piece in pieces))


def peak(pieces: list[Segment]) -> int:
    """Return the peak segment bit rate in bit/s, as RFC 8216 defines it.

    It is the largest of any run of segments that lasts half to one and a half times the target duration.
    """
    target = max(1, *(round(piece.seconds) for piece in pieces))
    runs = [run for start in range(len(pieces)) for run in _runs(islice(pieces, start, None), 1.5 * target)]
    counted = [run for run in runs if run.seconds >= 0.5 * target] or runs
    return max(round(8 * run.size / run.seconds) for run in counted)


def _runs(pieces: Iterable[Segment], longest: float) -> Iterator[Segment]:
    size, seconds = 0, 0.0
    for piece in pieces:
        size, seconds = size + piece.size, seconds + piece.seconds
        if seconds > longest:
            return
        yield Segment(size, seconds)


def _signed(text: str, path: str, sign: Callable[[str], str]) -> str:
    def link(uri: str) -> str:
        return sign(posixpath.normpath(posixpath.join(posixpath.dirname(path), uri)))

    if path.endswith(INDEX):
        links: dict[str, str] = {}
        return _PART.sub(lambda found: links.get(found[0]) or links.setdefault(found[0], link(found[0])), text)

    def attribute(found: re.Match[str]) -> str:
        return f'URI="{link(found["value"])}"' if found["name"] == "URI=" else found[0]

    return "".join(
        _ATTRIBUTE.sub(attribute, line) if line.startswith("#") else link(line.strip()) + "\n"
        for line in text.splitlines(keepends=True)
        if line.strip()
    )
