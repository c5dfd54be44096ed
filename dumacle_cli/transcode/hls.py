"""What an HLS output has besides the media that FFmpeg made: subtitles, key frames, chapters, and the master."""

import threading
from pathlib import Path

from dumacle_cli.services.definitions import Preset
from dumacle_cli.transcode import chapters, keyframes, master, playlists, subtitles, tracks
from dumacle_cli.transcode.limits import Limits
from dumacle_cli.transcode.playlists import MEDIA, Segment
from dumacle_cli.transcode.probe import Media
from dumacle_cli.transcode.subtitles import Written
from dumacle_cli.transcode.verify import Picture, Proof


def finish(
    out: Path, source: Path, media: Media, preset: Preset, proof: Proof, limits: Limits, stop: threading.Event
) -> None:
    """Write into a proven output in `out` what players need besides; raises BadMedia, Stopped."""
    sizes = [_variant(out, picture, media) for picture in proof.pictures]
    texts = _subtitles(out, subtitles.write(out, source, media, limits, stop))
    if media.chapters:
        (out / chapters.NAME).write_text(chapters.document(media.chapters))
    text = master.master(
        sizes, _sounds(out, media, preset), texts, proof.pictures[0].captions, chaptered=bool(media.chapters)
    )
    (out / preset.entry).write_text(text)


def _variant(out: Path, picture: Picture, media: Media) -> master.Variant:
    rung = picture.rung
    frames = keyframes.write(out / rung.name)
    segments = _segments(out, rung.name)
    return master.Variant(rung.name, rung.width, rung.height, media.fps, picture.codec, segments, frames)


def _sounds(out: Path, media: Media, preset: Preset) -> list[master.Sound]:
    """Return the sounds in stereo, and again with those that have more channels, if there are any."""
    made = tracks.sounds(media.sounds, preset)
    stereo = {sound.track: sound for sound in made if sound.channels == 2}
    wide = {sound.track: sound for sound in made if sound.channels > 2}
    groups = [(tracks.SOUND, stereo), *([(tracks.SURROUND, stereo | wide)] if wide else [])]
    labels = tracks.sound_labels(list(stereo))
    return [
        master.Sound(group, sound.folder, label, _segments(out, sound.folder), sound.channels, track.described)
        for group, members in groups
        for (track, sound), label in zip(members.items(), labels, strict=True)
    ]


def _subtitles(out: Path, texts: list[Written]) -> list[master.Subtitles]:
    return [
        master.Subtitles(
            text.folder,
            label,
            _segments(out, text.folder),
            forced=text.track.forced,
            default=text.track.default,
            described=text.track.described,
        )
        for text, label in zip(texts, tracks.subtitle_labels([text.track for text in texts]), strict=True)
    ]


def _segments(out: Path, folder: str) -> list[Segment]:
    return playlists.segments(out / folder / MEDIA)
