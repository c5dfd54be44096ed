"""The master playlist, with everything that FFmpeg's does not tell: measured rates, frame rates, languages."""

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from dumacle_cli.transcode.playlists import MEDIA, Segment, average, peak
from dumacle_cli.transcode.tracks import Label

SOUND_CODEC = "mp4a.40.2"
LONGEST = 100
DESCRIBED = "public.accessibility.describes-video"


@dataclass(frozen=True, slots=True)
class Variant:
    """One size of the pictures, at `folder`; `codecs` are as in RFC 6381."""

    folder: str
    width: int
    height: int
    fps: Fraction
    codecs: str
    segments: list[Segment]


@dataclass(frozen=True, slots=True)
class Sound:
    """One sound of a `group` to choose from, at `folder`; it is `described` if it tells what is to be seen."""

    group: str
    folder: str
    label: Label
    segments: list[Segment]
    channels: int = 2
    described: bool = False


def master(variants: Iterable[Variant], sounds: Sequence[Sound]) -> str:
    """Return the master playlist; the first sound of each group is the default, and a variant of its own too."""
    groups = {sound.group: [each for each in sounds if each.group == sound.group] for sound in sounds}
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
    lines += [_sound(sound, default=sound is members[0]) for members in groups.values() for sound in members]
    for variant in variants:
        for members in groups.values() or [[]]:
            lines += [_tag("STREAM-INF", _variant(variant, members)), f"{variant.folder}/{MEDIA}"]
    for members in groups.values():
        lines += [_tag("STREAM-INF", _alone(members)), f"{members[0].folder}/{MEDIA}"]
    return "\n".join([*lines, ""])


def quoted(text: str) -> str:
    """Return a text as the value of an attribute, whatever strangers wrote into it."""
    visible = "".join(" " if unicodedata.category(each)[0] in "CZ" else each for each in text)
    return f'"{" ".join(visible.replace(chr(34), chr(39)).split())[:LONGEST]}"'


def _sound(sound: Sound, *, default: bool) -> str:
    facts = {"TYPE": "AUDIO", "GROUP-ID": quoted(sound.group), **_label(sound.label, default=default)}
    facts |= {"CHARACTERISTICS": quoted(DESCRIBED)} if sound.described else {}
    return _tag("MEDIA", facts | {"CHANNELS": f'"{sound.channels}"', "URI": quoted(f"{sound.folder}/{MEDIA}")})


def _label(label: Label, *, default: bool) -> dict[str, str]:
    language = {"LANGUAGE": quoted(label.language)} if label.language else {}
    chosen = {"DEFAULT": _yes(default), "AUTOSELECT": _yes(default or label.automatic)}
    return {"NAME": quoted(label.name), **language, **chosen}


def _variant(variant: Variant, sounds: list[Sound]) -> dict[str, object]:
    return {
        **_rates([[variant.segments], [sound.segments for sound in sounds]]),
        "CODECS": quoted(f"{variant.codecs},{SOUND_CODEC}" if sounds else variant.codecs),
        "RESOLUTION": f"{variant.width}x{variant.height}",
        "FRAME-RATE": f"{float(variant.fps):.3f}",
        **({"AUDIO": quoted(sounds[0].group)} if sounds else {}),
    }


def _alone(sounds: list[Sound]) -> dict[str, object]:
    rates = _rates([[sound.segments for sound in sounds]])
    return {**rates, "CODECS": quoted(SOUND_CODEC), "AUDIO": quoted(sounds[0].group)}


def _rates(together: list[list[list[Segment]]]) -> dict[str, int]:
    """Return the bit rates of what is played together, of each the largest that a viewer may choose."""

    def largest(rate: Callable[[list[Segment]], int]) -> int:
        return sum(max(map(rate, choices)) for choices in together if choices)

    return {"BANDWIDTH": largest(peak), "AVERAGE-BANDWIDTH": largest(average)}


def _yes(so: bool) -> str:
    return "YES" if so else "NO"


def _tag(name: str, facts: Mapping[str, object]) -> str:
    return f"#EXT-X-{name}:" + ",".join(f"{attribute}={value}" for attribute, value in facts.items())
