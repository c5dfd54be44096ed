"""Subtitles of an HLS output: the texts of a source as WebVTT, each in a folder with a playlist of its own."""

import math
import threading
from dataclasses import dataclass
from pathlib import Path

from dumacle_cli.transcode import child, tracks, webvtt
from dumacle_cli.transcode.limits import Limits
from dumacle_cli.transcode.playlists import MEDIA
from dumacle_cli.transcode.probe import Media
from dumacle_cli.transcode.tracks import SubtitleTrack

NAME = "00000.vtt"
# Times count from the start of the film, as those of pictures and sound do.
IN_TIME = "X-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:0"


@dataclass(frozen=True, slots=True)
class Written:
    """Subtitles in a folder of the output."""

    folder: str
    track: SubtitleTrack


def write(out: Path, source: Path, media: Media, limits: Limits, stop: threading.Event) -> list[Written]:
    """Write the subtitles of a source that are text into `out`, but none that are empty; raises BadMedia, Stopped."""
    wanted = tracks.texts(media.subtitles)
    if not wanted:
        return []
    job = {"do": "subtitles", "path": str(source.absolute()), "streams": [int(track.stream) for track in wanted]}
    said = child.read(job, limits, stop)["subtitles"]
    found = [(track, cues) for track, texts in zip(wanted, said, strict=True) if (cues := _cues(texts, media.duration))]
    return [_write(out, number, track, cues, media.duration) for number, (track, cues) in enumerate(found, 1)]


def _cues(texts: list[tuple[float, float, str]], duration: float) -> list[webvtt.Cue]:
    made = (webvtt.cue(max(0.0, start), min(end, duration), text) for start, end, text in texts)
    return [cue for cue in made if cue]


def _write(out: Path, number: int, track: SubtitleTrack, cues: list[webvtt.Cue], duration: float) -> Written:
    folder = tracks.folder(tracks.SUBTITLES, number)
    (out / folder).mkdir(exist_ok=True)
    (out / folder / NAME).write_text(webvtt.document(cues, IN_TIME))
    lines = ["#EXTM3U", "#EXT-X-VERSION:3", f"#EXT-X-TARGETDURATION:{math.ceil(duration)}", "#EXT-X-PLAYLIST-TYPE:VOD"]
    lines += ["#EXT-X-MEDIA-SEQUENCE:0", f"#EXTINF:{duration:.6f},", NAME, "#EXT-X-ENDLIST", ""]
    (out / folder / MEDIA).write_text("\n".join(lines))
    return Written(folder, track)
