"""Chapters of a film: kept in a single file, and told to players of HLS in a file of their own."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from dumacle_cli.transcode.tracks import LONGEST, readable

NAME = "chapters.json"
DATA_ID = "com.apple.hls.chapters"
# Seconds by which a chapter may end after the film.
LATE = 1


@dataclass(frozen=True, slots=True)
class Chapter:
    """A part of a film from `start` to `end`, in seconds, and its title, which is empty if it has none."""

    start: float
    end: float
    title: str


def of(found: Sequence[dict[str, Any]], duration: Fraction) -> tuple[Chapter, ...]:
    """Return the chapters that a source tells of, in their order; none if one is not within the film."""
    times = [(Fraction(each["start"]), Fraction(each["end"]), each["title"]) for each in found]
    if any(not 0 <= start < end <= duration + LATE for start, end, _ in times):
        return ()
    return tuple(
        Chapter(float(start), float(min(end, duration)), readable(title)[:LONGEST].strip())
        for start, end, title in sorted(times)
    )


def document(chapters: Sequence[Chapter]) -> str:
    """Return the chapters as Apple's players read them; the language of titles is not known."""
    told = [
        {
            "start-time": chapter.start,
            "duration": round(chapter.end - chapter.start, 3),
            **({"titles": [{"language": "und", "title": chapter.title}]} if chapter.title else {}),
        }
        for chapter in chapters
    ]
    return json.dumps(told)
