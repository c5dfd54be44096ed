"""Run as a program, `reader.py JOB`: reads media and prints what it found as one JSON document.

It is confined, started by its path, and imports nothing of Dumacle: an exploited decoder finds no secrets here.
"""

import io
import json
import statistics
import sys
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import av
from av.container import InputContainer
from av.stream import Disposition, Stream

HDR_TRANSFERS = {16: "smpte2084", 18: "arib-std-b67"}
# These formats do not store a duration: FFmpeg estimates it from the bit rate.
ESTIMATED_DURATION = {"mp3", "aac", "mpegts", "mpeg"}


class Refused(Exception):
    """The input is not usable."""


class Chain:
    """Files that are read one after the other as one stream."""

    def __init__(self, paths: list[Path]) -> None:
        self._left = paths
        self._open: IO[bytes] = io.BytesIO()

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes, none at the end of the last file."""
        while not (data := self._open.read(size)) and self._left:
            opened = self._left[0].open("rb")
            self._open.close()
            self._open = opened
            del self._left[0]
        return data


class Timeline:
    """The timestamps of the packets of one stream, in units of `time_base` seconds."""

    def __init__(self, stream: Stream) -> None:
        self.time_base = stream.time_base or Fraction(1, 1000)
        self.timestamps: list[int] = []
        self.keys: list[int] = []
        self.end = 0
        self.size = 0

    def add(self, packet: "av.Packet[Any]") -> None:
        """Add one packet."""
        timestamp = packet.dts if packet.pts is None else packet.pts
        if timestamp is None or packet.is_discard:
            return
        self.timestamps.append(timestamp)
        self.size += packet.size
        self.end = max(self.end, timestamp + (packet.duration or 0))
        if packet.is_keyframe:
            self.keys.append(timestamp)

    def rate(self, declared: Fraction | None) -> Fraction:
        """Return frames per second: as declared if the packets confirm it, else by the average or the median gap."""
        timestamps = sorted(set(self.timestamps))
        if len(timestamps) < 2:
            return Fraction(25)
        average = (len(timestamps) - 1) / ((timestamps[-1] - timestamps[0]) * self.time_base)
        median = 1 / (statistics.median_low(b - a for a, b in pairwise(timestamps)) * self.time_base)
        if declared and any(abs(declared - found) < found / 100 for found in (average, median)):
            return declared
        return average if abs(average - median) < average / 20 else median


def source(job: dict[str, Any]) -> dict[str, Any]:
    """Describe an input: its first frame and its audio as decoded, and the timestamps of all packets."""
    path, options = f"file:{job['path']}", job["options"]
    with av.open(path, options=options) as container:
        video, audio = _main_streams(container)
        found = {**_video(container, video, options), **_audio(audio, options)}
    with av.open(path, options=options) as container:
        return found | _times(container)


def outputs(job: dict[str, Any]) -> dict[str, Any]:
    """Describe each stream of each path (media files and HLS media playlists) below a folder."""
    folder = Path(job["folder"])
    return {"streams": [stream for path in job["paths"] for stream in _streams(folder / path, path)]}


def _main_streams(container: InputContainer) -> tuple[Stream | None, Stream | None]:
    thumbnails = Disposition.attached_pic | Disposition.timed_thumbnails
    video = next((stream for stream in container.streams.video if not stream.disposition & thumbnails), None)
    return video, next(iter(container.streams.audio), None)


def _video(container: InputContainer, video: Any, options: dict[str, str]) -> dict[str, Any]:
    if video is None:
        return {"video": ""}
    _check_codec(video, options, "video")
    frame = next(container.decode(video), None)
    if frame is None:
        raise Refused("its video cannot be decoded")
    shape = video.sample_aspect_ratio or Fraction(1)
    return {
        "video": video.codec_context.codec.canonical_name,
        "size": (frame.width, frame.height),
        "sar": str(shape if shape > 0 else Fraction(1)),
        "rotation": int(frame.rotation) % 360,
        "pix_fmt": frame.format.name,
        "interlaced": bool(frame.interlaced_frame),
        "hdr": HDR_TRANSFERS.get(int(frame.color_trc), ""),
    }


def _audio(audio: Any, options: dict[str, str]) -> dict[str, Any]:
    if audio is None:
        return {"audio": "", "channels": 0}
    _check_codec(audio, options, "audio")
    return {"audio": audio.codec_context.codec.canonical_name, "channels": audio.codec_context.channels}


def _check_codec(stream: Any, options: dict[str, str], noun: str) -> None:
    if stream.codec_context is None:
        raise Refused(f"there is no decoder for its {noun}")
    name = stream.codec_context.codec.name
    if name not in options["codec_whitelist"].split(","):
        raise Refused(f"its {noun} codec, {name}, is not supported")


def _times(container: InputContainer) -> dict[str, Any]:
    video, audio = _main_streams(container)
    lines = {stream.index: Timeline(stream) for stream in container.streams if stream.type != "data"}
    for packet in container.demux():
        if packet.is_corrupt:
            raise Refused("it is damaged")
        if packet.size and packet.stream_index in lines:
            lines[packet.stream_index].add(packet)
    start = Fraction(container.start_time or 0, av.time_base)
    ends = {index: line.end * line.time_base - start for index, line in lines.items() if line.timestamps}
    _check_complete(container, float(max(ends.values(), default=Fraction(0))))
    return {
        "rate": str(lines[video.index].rate(video.guessed_rate)) if video else "",
        "picture_seconds": str(ends.get(video.index, 0)) if video else "0",
        "sound_seconds": str(ends.get(audio.index, 0)) if audio else "0",
    }


def _check_complete(container: InputContainer, found: float) -> None:
    declared = (container.duration or 0) / av.time_base
    if container.format.name not in ESTIMATED_DURATION and declared - found > max(1, declared / 50):
        raise Refused(f"it is truncated: it ends after {found:.1f} s of {declared:.1f} s")


def _streams(path: Path, name: str) -> Iterator[dict[str, Any]]:
    paths, segments = _playlist(path) if path.suffix == ".m3u8" else ([path], [])
    with av.open(Chain(paths), "r") as container:
        lines = {stream.index: Timeline(stream) for stream in container.streams}
        for packet in container.demux():
            if packet.size:
                lines[packet.stream_index].add(packet)
        for stream in container.streams:
            yield {"path": name, "segments": segments, **_measured(lines[stream.index]), **_shape(stream)}


def _playlist(path: Path) -> tuple[list[Path], list[str]]:
    lines = path.read_text().splitlines()
    start = next(line for line in lines if line.startswith("#EXT-X-MAP:")).split('"')[1]
    names = [start, *(line for line in lines if line and not line.startswith("#"))]
    return [path.parent / name for name in names], [line for line in lines if line.startswith("#EXTINF:")]


def _measured(line: Timeline) -> dict[str, Any]:
    start = min(line.timestamps, default=0)
    return {
        "frames": len(line.timestamps),
        "start": str(start * line.time_base),
        "seconds": str((line.end - start) * line.time_base),
        "keys": [str((key - start) * line.time_base) for key in line.keys],
        "bytes": line.size,
    }


def _shape(stream: Any) -> dict[str, Any]:
    context = stream.codec_context
    if stream.type == "audio":
        return {"type": "audio", "codec": context.name, "channels": context.channels, "rate": context.sample_rate}
    return {
        "type": stream.type,
        "codec": context.name,
        "size": (context.width, context.height),
        "pix_fmt": context.pix_fmt,
        "sar": str(stream.sample_aspect_ratio or 1),
        "profile": (context.extradata or b"")[1:4].hex(),
    }


def main(job: dict[str, Any]) -> None:
    """Run the job and print its result, or the reason why the input is refused."""
    try:
        found = {"source": source, "outputs": outputs}[job["do"]](job)
    except Refused as refused:
        found = {"refused": str(refused)}
    except (av.FFmpegError, OSError) as error:
        found = {"refused": f"reading it failed: {error.strerror}"}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
