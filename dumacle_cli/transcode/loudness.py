"""How loud the sound of a source is (EBU R 128), and the filter that brings it to the loudness that a preset wants."""

import re
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from dumacle_cli.local import ffmpeg_graphs as graphs
from dumacle_cli.services.definitions import Film, Preset, Sound
from dumacle_cli.transcode import arguments, child, tracks
from dumacle_cli.transcode.limits import Limits
from dumacle_cli.transcode.probe import Media
from dumacle_cli.transcode.tracks import SoundTrack

FLAGS = ("-hide_banner", "-nostdin", "-v", "level+info", "-nostats")
SUMMARY = re.compile(rb"I:\s+(-?[\d.]+) LUFS.*?Peak:\s+(-?[\d.]+|-inf) dBFS", re.DOTALL)
# In dB: noise is not made louder than this, and no peak is cut by more than a converter to analogue can take.
MOST_GAIN, PEAK = 20.0, -1.0
# The loudness that is measured of silence, in LUFS.
SILENT = -70.0


@dataclass(frozen=True, slots=True)
class Gain:
    """How much louder a sound becomes, in dB, and the filter that does it."""

    decibels: float
    filters: str


def gains(
    ffmpeg: Path, source: Path, media: Media, preset: Preset, limits: Limits, stop: threading.Event
) -> dict[str, Gain]:
    """Measure each sound as a whole, and return by stream what brings it to the loudness of a preset.

    All of a sound changes alike. Only where a peak would be cut off, it is made quieter for that moment. Raises
    BadMedia, Stopped.
    """
    wanted = preset.audio.loudness if isinstance(preset, Film | Sound) else None
    if wanted is None:
        return {}
    used = dict.fromkeys(sound.track for sound in tracks.sounds(media.sounds, preset))
    measured = {track.stream: _measured(ffmpeg, source, track, limits, stop) for track in used}
    return {stream: _gain(wanted, loudness, peak) for stream, (loudness, peak) in measured.items() if loudness > SILENT}


def _gain(wanted: float, loudness: float, peak: float) -> Gain:
    change = min(MOST_GAIN, wanted - loudness)
    limiter = f",alimiter=limit={10 ** ((PEAK - 0.5) / 20):.4f}:level=0" if peak + change > PEAK else ""
    return Gain(change, f"volume={change:.2f}dB{limiter}")


def _measured(
    ffmpeg: Path, source: Path, track: SoundTrack, limits: Limits, stop: threading.Event
) -> tuple[float, float]:
    """Return the loudness in LUFS and the true peak in dB."""
    opened = graphs.read(source, limits.input_options)
    heard = f"{arguments.stereo(track)},aformat=channel_layouts=stereo,ebur128=peak=true:framelog=quiet"
    command = graphs.command(
        ffmpeg, FLAGS, [graphs.write("nothing", [opened[track.stream]], {"af": heard, "f": "null"})]
    )
    with tempfile.TemporaryDirectory() as folder:
        found = SUMMARY.search(child.run(command, source, Path(folder), limits, stop))
    return (float(found[1]), float(found[2])) if found else (SILENT, 0.0)
