"""The master playlist, with everything that FFmpeg's does not tell: measured rates, frame rates, languages."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from dumacle_cli.transcode import chapters, keyframes
from dumacle_cli.transcode.playlists import MEDIA, Segment, average, peak
from dumacle_cli.transcode.tracks import Label, readable

SOUND_CODEC = "mp4a.40.2"
SUBTITLES, CAPTIONS = "subtitles", "captions"
DESCRIBED = "public.accessibility.describes-video"
ALL_THAT_IS_HEARD = "public.accessibility.transcribes-spoken-dialog,public.accessibility.describes-music-and-sound"


@dataclass(frozen=True, slots=True)
class Variant:
    """One size of the pictures, at `folder`, and its key frames alone; `codecs` are as in RFC 6381."""

    folder: str
    width: int
    height: int
    fps: Fraction
    codecs: str
    segments: list[Segment]
    key_frames: list[Segment]


@dataclass(frozen=True, slots=True)
class Sound:
    """One sound of a `group` to choose from, at `folder`; it is `described` if it tells what is to be seen."""

    group: str
    folder: str
    label: Label
    segments: list[Segment]
    channels: int = 2
    described: bool = False


@dataclass(frozen=True, slots=True)
class Subtitles:
    """Subtitles to choose from, at `folder`; `forced`, `default` and `described` are those of their track."""

    folder: str
    label: Label
    segments: list[Segment]
    forced: bool = False
    default: bool = False
    described: bool = False


def master(
    variants: Sequence[Variant],
    sounds: Sequence[Sound],
    texts: Sequence[Subtitles] = (),
    captions: Sequence[str] = (),
    *,
    chaptered: bool = False,
) -> str:
    """Return the master playlist; the first sound of each group is the default, and a variant of its own too.

    `captions` are those in the pictures, by their names in HLS (CC1); it is `chaptered` if there is a file of chapters.
    """
    groups = {sound.group: [each for each in sounds if each.group == sound.group] for sound in sounds}
    shown = next((text for text in texts if text.default), None)
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
    if chaptered:
        lines.append(_tag("SESSION-DATA", {"DATA-ID": quoted(chapters.DATA_ID), "URI": quoted(chapters.NAME)}))
    lines += [_sound(sound, default=sound is members[0]) for members in groups.values() for sound in members]
    lines += [_text(text, default=text is shown) for text in texts]
    lines += [_tag("MEDIA", _caption(number, channel)) for number, channel in enumerate(captions, 1)]
    shared = {"SUBTITLES": quoted(SUBTITLES)} if texts else {}
    shared |= {"CLOSED-CAPTIONS": quoted(CAPTIONS) if captions else "NONE"}
    for variant in variants:
        for members in groups.values() or [[]]:
            lines += [_tag("STREAM-INF", _variant(variant, members, texts) | shared), f"{variant.folder}/{MEDIA}"]
    for members in groups.values():
        lines += [_tag("STREAM-INF", _alone(members, texts) | shared), f"{members[0].folder}/{MEDIA}"]
    lines += [_tag("I-FRAME-STREAM-INF", _key_frames(variant)) for variant in variants]
    return "\n".join([*lines, ""])


def quoted(text: str) -> str:
    """Return a text as the value of an attribute, whatever strangers wrote into it."""
    return f'"{readable(text)}"'


def _sound(sound: Sound, *, default: bool) -> str:
    facts = {"TYPE": "AUDIO", "GROUP-ID": quoted(sound.group), **_label(sound.label, default=default)}
    facts |= {"CHARACTERISTICS": quoted(DESCRIBED)} if sound.described else {}
    return _tag("MEDIA", facts | {"CHANNELS": f'"{sound.channels}"', "URI": quoted(f"{sound.folder}/{MEDIA}")})


def _text(text: Subtitles, *, default: bool) -> str:
    label = replace(text.label, automatic=text.label.automatic or text.forced)
    facts = {"TYPE": "SUBTITLES", "GROUP-ID": quoted(SUBTITLES), **_label(label, default=default)}
    facts |= {"CHARACTERISTICS": quoted(ALL_THAT_IS_HEARD)} if text.described else {}
    return _tag("MEDIA", facts | {"FORCED": _yes(text.forced), "URI": quoted(f"{text.folder}/{MEDIA}")})


def _caption(number: int, channel: str) -> dict[str, str]:
    label = Label("Captions" if number == 1 else f"Captions {number}", automatic=number == 1)
    named = {"TYPE": "CLOSED-CAPTIONS", "GROUP-ID": quoted(CAPTIONS), **_label(label, default=False)}
    return named | {"INSTREAM-ID": quoted(channel)}


def _label(label: Label, *, default: bool) -> dict[str, str]:
    language = {"LANGUAGE": quoted(label.language)} if label.language else {}
    chosen = {"DEFAULT": _yes(default), "AUTOSELECT": _yes(default or label.automatic)}
    return {"NAME": quoted(label.name), **language, **chosen}


def _variant(variant: Variant, sounds: list[Sound], texts: Sequence[Subtitles]) -> dict[str, object]:
    together = ([variant.segments], [sound.segments for sound in sounds], [text.segments for text in texts])
    return {
        **_rates(together),
        "CODECS": quoted(f"{variant.codecs},{SOUND_CODEC}" if sounds else variant.codecs),
        "RESOLUTION": f"{variant.width}x{variant.height}",
        "FRAME-RATE": f"{float(variant.fps):.3f}",
        **({"AUDIO": quoted(sounds[0].group)} if sounds else {}),
    }


def _key_frames(variant: Variant) -> dict[str, object]:
    return {
        **_rates([[variant.key_frames]]),
        "CODECS": quoted(variant.codecs),
        "RESOLUTION": f"{variant.width}x{variant.height}",
        "URI": quoted(f"{variant.folder}/{keyframes.NAME}"),
    }


def _alone(sounds: list[Sound], texts: Sequence[Subtitles]) -> dict[str, object]:
    rates = _rates([[sound.segments for sound in sounds], [text.segments for text in texts]])
    return {**rates, "CODECS": quoted(SOUND_CODEC), "AUDIO": quoted(sounds[0].group)}


def _rates(together: Sequence[list[list[Segment]]]) -> dict[str, int]:
    """Return the bit rates of what is played together, of each the largest that a viewer may choose."""

    def largest(rate: Callable[[list[Segment]], int]) -> int:
        return sum(max(map(rate, choices)) for choices in together if choices)

    return {"BANDWIDTH": largest(peak), "AVERAGE-BANDWIDTH": largest(average)}


def _yes(so: bool) -> str:
    return "YES" if so else "NO"


def _tag(name: str, facts: Mapping[str, object]) -> str:
    return f"#EXT-X-{name}:" + ",".join(f"{attribute}={value}" for attribute, value in facts.items())
