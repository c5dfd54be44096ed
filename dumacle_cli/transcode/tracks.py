"""The sounds of a source, and what a preset makes of each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dumacle_cli.services.definitions import Preset
from dumacle_cli.transcode import languages

SOUND = "audio"


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
class SoundOutput:
    """One sound of an output: its folder if it is HLS, the track that it is made of, and its channels."""

    folder: str
    track: SoundTrack
    channels: int = 2


@dataclass(frozen=True, slots=True)
class Label:
    """What viewers read of a track; its language, and whether players may choose it for that by themselves."""

    name: str
    language: str = ""
    automatic: bool = True


def sounds(tracks: Sequence[SoundTrack], preset: Preset) -> list[SoundOutput]:
    """Return the sounds of a preset's output: HLS has each to choose from, a single file the first."""
    if not preset.takes_sound:
        return []
    if preset.kind != "hls":
        return [SoundOutput("", track) for track in tracks[:1]]
    return [SoundOutput(SOUND if number == 1 else f"{SOUND}-{number}", track) for number, track in enumerate(tracks, 1)]


def sound_labels(tracks: Sequence[SoundTrack]) -> list[Label]:
    """Return what viewers read of sounds; players never choose a comment by themselves."""
    made = _labels(((track.title, track.language, (track.spoken, track.described)) for track in tracks), "Sound")
    return [
        Label(label.name, label.language, label.automatic and (track.described or not track.spoken))
        for label, track in zip(made, tracks, strict=True)
    ]


def _labels(tracks: Iterable[tuple[str, str, object]], noun: str) -> list[Label]:
    """Return what viewers read of tracks, given as title, language, and what they are for; no two have one name.

    Players choose only the first of one language for the same purpose by themselves.
    """
    made: list[Label] = []
    names: set[str] = set()
    chosen: set[tuple[str, object]] = set()
    for title, language, purpose in tracks:
        name = base = " ".join(title.split()) or languages.name(language) or noun
        number = 1
        while name in names:
            number += 1
            name = f"{base} {number}"
        made.append(Label(name, language, (language, purpose) not in chosen))
        names.add(name)
        chosen.add((language, purpose))
    return made
