"""The sounds and subtitles of a source, what a preset makes of each, and what viewers read of it."""

import unicodedata
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

from dumacle_cli.services.definitions import Film, Preset, Sound
from dumacle_cli.transcode import languages

SOUND, SURROUND, SUBTITLES = "audio", "surround", "subtitles"
# Channels of 5.1, and how many times the bits of stereo they need.
FIVE_ONE, MORE_BITS = 6, 2.5
MOST_SOUNDS, MOST_SUBTITLES = 8, 32
# Characters of a title.
LONGEST = 100


@dataclass(frozen=True, slots=True)
class SoundTrack:
    """One sound of a source: FFmpeg's name of the stream, its codec, and its length in seconds.

    `language` is as in RFC 5646, or empty. It is `spoken` if it is a comment on the film, and `described` if it tells
    what is to be seen. What its `title` says comes from strangers.
    """

    stream: str
    codec: str
    channels: int
    seconds: float
    language: str = ""
    title: str = ""
    spoken: bool = False
    described: bool = False


@dataclass(frozen=True, slots=True)
class SubtitleTrack:
    """One track of subtitles of a source; `fault` says why they cannot be used, and is empty if they can.

    They are `forced` if everyone needs them, as of a foreign language in the film, `default` if they are shown unless
    viewers choose otherwise, and `described` if they tell what is to be heard.
    """

    stream: str
    language: str = ""
    title: str = ""
    forced: bool = False
    default: bool = False
    described: bool = False
    fault: str = ""


@dataclass(frozen=True, slots=True)
class SoundOutput:
    """One sound of an output: its folder if it is HLS, the track that it is made of, its channels, and its bit/s."""

    folder: str
    track: SoundTrack
    bitrate: int
    channels: int = 2


@dataclass(frozen=True, slots=True)
class Label:
    """What viewers read of a track; its language, and whether players may choose it for that by themselves."""

    name: str
    language: str = ""
    automatic: bool = True


def sounds(tracks: Sequence[SoundTrack], preset: Preset) -> list[SoundOutput]:
    """Return the sounds of a preset's output: HLS has each to choose from, a single file the first."""
    if not isinstance(preset, Film | Sound):
        return []
    bits = preset.audio.bitrate
    if preset.kind != "hls":
        return [SoundOutput("", track, bits) for track in tracks[:1]]
    found = [(number, track) for number, track in enumerate(tracks[:MOST_SOUNDS], 1)]
    stereo = [SoundOutput(folder(SOUND, number), track, bits) for number, track in found]
    wide = [(number, track) for number, track in found if preset.audio.surround and track.channels >= FIVE_ONE]
    more = round(bits * MORE_BITS)
    return stereo + [SoundOutput(folder(SURROUND, number), track, more, FIVE_ONE) for number, track in wide]


def sounds_in_segments(tracks: Sequence[SoundTrack], preset: Preset) -> list[SoundOutput]:
    """Return the sounds of a film with a folder for each, also if they become part of a single file later."""
    return [replace(sound, folder=sound.folder or SOUND) for sound in sounds(tracks, preset)]


def texts(tracks: Iterable[SubtitleTrack]) -> list[SubtitleTrack]:
    """Return the subtitles that HLS may have."""
    return [track for track in tracks if not track.fault][:MOST_SUBTITLES]


def planned(
    heard: Sequence[SoundTrack], read: Sequence[SubtitleTrack], preset: Preset
) -> list[tuple[str, str, str, str | None]]:
    """Return all tracks of a film or a sound: the kind, the name, the language, and why it is left out, if so."""
    if not preset.takes_sound:
        return []
    single = None if preset.kind == "hls" else f"{preset.entry} has one sound and no subtitles; hls has all"
    most_sounds = MOST_SOUNDS if preset.kind == "hls" else 1
    usable = texts(read)
    found: list[tuple[str, str, str, str | None]] = [
        ("sound", label.name, label.language, None if number < most_sounds else single or _too_many(MOST_SOUNDS))
        for number, label in enumerate(sound_labels(heard))
    ]
    for track, label in zip(read, subtitle_labels(read), strict=True):
        fault = single or track.fault or (None if track in usable else _too_many(MOST_SUBTITLES))
        found.append(("subtitles", label.name, label.language, fault))
    return found


def _too_many(most: int) -> str:
    return f"there are more than {most}"


def folder(noun: str, number: int) -> str:
    """Return the folder of the track with this number, from 1."""
    return noun if number == 1 else f"{noun}-{number}"


def sound_labels(tracks: Sequence[SoundTrack]) -> list[Label]:
    """Return what viewers read of sounds; players never choose a comment by themselves."""
    made = _labels(((track.title, track.language, (track.spoken, track.described)) for track in tracks), "Sound")
    return [
        Label(label.name, label.language, label.automatic and (track.described or not track.spoken))
        for label, track in zip(made, tracks, strict=True)
    ]


def subtitle_labels(tracks: Sequence[SubtitleTrack]) -> list[Label]:
    """Return what viewers read of subtitles."""
    return _labels(((track.title, track.language, (track.forced, track.described)) for track in tracks), "Subtitles")


def readable(text: str) -> str:
    """Return a text of strangers in one line, without quotes and what is not seen: it goes into playlists."""
    seen = "".join(" " if unicodedata.category(each)[0] in "CZ" else each for each in text)
    return " ".join(seen.replace('"', "'").split())


def _labels(tracks: Iterable[tuple[str, str, Hashable]], noun: str) -> list[Label]:
    """Return what viewers read of tracks, given as title, language, and what they are for; no two have one name.

    Players choose only the first of one language for the same purpose by themselves.
    """
    made: list[Label] = []
    names: set[str] = set()
    chosen: set[tuple[str, Hashable]] = set()
    for title, language, purpose in tracks:
        name = base = readable(title)[:LONGEST].strip() or languages.name(language) or noun
        number = 1
        while name in names:
            number += 1
            name = f"{base} {number}"
        made.append(Label(name, language, (language, purpose) not in chosen))
        names.add(name)
        chosen.add((language, purpose))
    return made
