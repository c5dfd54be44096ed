"""Playlists of key frames alone: players show their pictures while viewers look for a place in the film."""

import struct
from collections.abc import Iterator
from pathlib import Path

from dumacle_cli.errors import OutputBroken
from dumacle_cli.transcode.playlists import MEDIA, Segment

NAME = "iframes.m3u8"
# Flags of the boxes tfhd and trun: which fields they have.
BASE, DESCRIPTION, DURATION, SIZE = 0x01, 0x02, 0x08, 0x10
OFFSET, FIRST_FLAGS, SAMPLE_DURATION, SAMPLE_SIZE = 0x01, 0x04, 0x100, 0x200


def write(folder: Path) -> list[Segment]:
    """Write the playlist of one size, with the key frame that each segment begins with, and return these frames."""
    lines, made = [], []
    for line in (folder / MEDIA).read_text().splitlines():
        if line.startswith("#EXT-X-PLAYLIST-TYPE"):
            lines.append("#EXT-X-I-FRAMES-ONLY")
        if not line.startswith("#"):
            size = first_frame(folder / line)
            made.append(Segment(size, float(lines[-1].removeprefix("#EXTINF:").rstrip(","))))
            lines.append(f"#EXT-X-BYTERANGE:{size}@0")
        lines.append(line)
    (folder / NAME).write_text("\n".join([*lines, ""]))
    return made


def first_frame(segment: Path) -> int:
    """Return how many bytes of a segment a player needs to show its first picture; raises OutputBroken."""
    content = segment.read_bytes()
    try:
        moof, start, end = next((at, start, end) for kind, at, start, end in _boxes(content) if kind == b"moof")
        traf = next(each for each in _boxes(content, start, end) if each[0] == b"traf")
        fields = {kind: content[start:end] for kind, _, start, end in _boxes(content, *traf[2:])}
        offset, size = _first_sample(fields[b"tfhd"], fields[b"trun"])
    except (StopIteration, KeyError, struct.error):
        raise OutputBroken(reason=f"{segment.name} of {segment.parent.name} has no pictures") from None
    if moof + offset + size > len(content):
        raise OutputBroken(reason=f"{segment.name} of {segment.parent.name} is cut off")
    return moof + offset + size


def _boxes(content: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int, int]]:
    """Yield the boxes of MP4: the kind, where it begins, and where its content begins and ends."""
    last = len(content) if end is None else end
    while start < last:
        size, kind = struct.unpack_from(">I4s", content, start)
        if size < 8 or start + size > last:
            raise struct.error("not the size of a box")
        yield kind, start, start + 8, start + size
        start += size


def _first_sample(tfhd: bytes, trun: bytes) -> tuple[int, int]:
    """Return where the first sample begins after the beginning of its fragment, and its size."""
    _, default = _fields(tfhd, 8, ((BASE, 8), (DESCRIPTION, 4), (DURATION, 4)))
    flags, at = _fields(trun, 8, ((OFFSET, 4), (FIRST_FLAGS, 4), (SAMPLE_DURATION, 4)))
    [offset] = struct.unpack_from(">i", trun, 8)
    [size] = struct.unpack_from(">I", *((trun, at) if flags & SAMPLE_SIZE else (tfhd, default)))
    return offset, size


def _fields(box: bytes, at: int, optional: tuple[tuple[int, int], ...]) -> tuple[int, int]:
    """Return the flags of a box, and where the field after these optional ones is."""
    flags = struct.unpack_from(">I", box)[0] & 0xFFFFFF
    return flags, at + sum(size for flag, size in optional if flags & flag)
