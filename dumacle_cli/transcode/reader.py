"""Run as a program, `reader.py JOB`: reads media and prints what it found as one JSON document.

It is confined, started by its path, and imports nothing of Dumacle: an exploited decoder finds no secrets here.
"""

import io
import json
import re
import statistics
import sys
from bisect import bisect
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import accumulate, islice, pairwise
from pathlib import Path
from typing import IO, Any

import av
from av.container import InputContainer
from av.stream import Disposition, Stream

HDR_TRANSFERS = {16: "smpte2084", 18: "arib-std-b67"}
# These formats do not store a duration: FFmpeg estimates it from the bit rate.
ESTIMATED_DURATION = {
    *("mp3", "aac", "loas", "ac3", "eac3", "dts", "truehd", "mpegts", "mpeg"),
    *("h264", "hevc", "obu", "vc1", "m4v", "mpegvideo", "mjpeg"),
}
# These have an index, or nearly always: FFmpeg finds a picture without reading what is before it.
SOUGHT = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}
# They contain no media, but name other files.
PLAYLISTS = {"hls", "dash", "concat", "sdp", "webm_dash_manifest", "imf", "image2", "rtsp"}
NO_MEDIA = "which contains no media and names other files; upload the media itself"
SMALL = 1024 * 1024
WHOLE = "upload the whole file"
# Formats may declare a few pictures that they do not have.
MOST_DECLARED, ONE_SECOND = 1.02, 25
CONVERT = "convert it to MP4 or Matroska, and upload that"
# What FFmpeg adds to the area of a video stream that is marked as the default.
PREFERRED = 5_000_000
TILE = 100 * PREFERRED
# Sound that is not the film's own.
DESCRIBED = Disposition.visual_impaired | Disposition.descriptions
COMMENTS = Disposition.comment | DESCRIBED
COMMENTARY = re.compile(r"comment|kommentar|descripti", re.IGNORECASE)
MOST_CHAPTERS = 1000
# Bytes of all subtitles of a film in the answer, twice as many as thirty talkative ones in Chinese have, and those of
# the times of each text.
MOST_TEXT, TIMES = 32 * SMALL, 40
# Characters of a title, of which viewers read a hundred.
LONGEST_TITLE = 1000
# Seconds that a text is shown if it does not say.
NO_END = 4
# Pictures to look at: the first of an interlaced film may be progressive.
LOOK = 12
# Blocks of each sound to listen to.
LISTEN = 100
TENTH = Fraction(1, 10)
# Pictures of an output that one of the source may have become.
NEAR = 3
# Bytes of a codec's configuration that say which profile and level it has.
CONFIGURATION = 16
# What broadcasters put before captions in a picture (ATSC A/53), and how many bytes follow at most.
CAPTIONS = re.compile(rb"\xb5\x00\x31GA94\x03")
MOST_CAPTIONS = 2 + 31 * 3 * 3 // 2
# Pictures: less is only how a format rounds times.
SLIGHT = 0.2
# How playlists say how long a segment is, in seconds.
LENGTH = "#EXTINF:"
# Seconds, far less than a picture lasts.
ROUNDING = 0.005


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
        self.packets = 0
        self.lead = 0
        self.corrupt = 0
        self.plain = True
        self.timed = True

    def add(self, packet: "av.Packet[Any]") -> None:
        """Add one packet; one without a timestamp, as in raw streams, follows the one before."""
        self.packets += 1
        self.lead += not self.keys and not packet.is_keyframe
        self.corrupt += packet.is_corrupt
        timestamp = packet.dts if packet.pts is None else packet.pts
        if timestamp is None:
            timestamp, self.timed = self.end, False
        # Pictures that are not shown, or are shown before the key frame that they follow, go with another one's help.
        self.plain &= not packet.is_discard and not (self.keys and timestamp < self.keys[-1])
        if packet.is_discard:
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

    def longest_gap(self) -> Fraction:
        """Return the longest time from one packet to the next, in seconds."""
        timestamps = sorted(self.timestamps)
        return self.time_base * max((b - a for a, b in pairwise(timestamps)), default=0)

    def longest_group(self) -> Fraction:
        """Return the longest time from one key frame to the next, or to the end, in seconds."""
        times = [*sorted(self.keys), self.end]
        return self.time_base * max((b - a for a, b in pairwise(times)), default=self.end)

    def key_before(self, at: Fraction) -> Fraction:
        """Return the time of the last key frame until `at`, else of the first picture, in seconds."""
        times = [key * self.time_base for key in self.keys]
        return max((time for time in times if time <= at), default=min(self.timestamps, default=0) * self.time_base)

    def unevenness(self) -> float:
        """Return the longest time that a picture is away from where it would be at the average rate, in pictures."""
        stamps = sorted(self.timestamps)
        step = (stamps[-1] - stamps[0]) / max(1, len(stamps) - 1) or 1
        return max(abs(stamp - stamps[0] - number * step) for number, stamp in enumerate(stamps)) / step

    def key_numbers(self) -> list[int]:
        """Return which pictures are key frames, in the order in which they are shown."""
        numbers = {stamp: number for number, stamp in enumerate(sorted(self.timestamps))}
        return sorted(numbers[key] for key in self.keys)

    @property
    def last(self) -> Fraction:
        """The last timestamp, in seconds."""
        return max(self.timestamps, default=0) * self.time_base

    @property
    def damaged(self) -> Fraction:
        """The share of the packets that arrived damaged."""
        return Fraction(self.corrupt, max(1, self.packets))


def source(job: dict[str, Any]) -> dict[str, Any]:
    """Describe an input: its first pictures and its sound as decoded, and the timestamps of all packets."""
    path, options = f"file:{job['path']}", job["options"]
    accepted = options["codec_whitelist"].split(",")
    with av.open(path, options=options, metadata_errors="replace") as container:
        if len(container.streams) >= int(options["max_streams"]):  # there may be more, which FFmpeg does not open
            raise Refused(f"it has {len(container.streams)} streams or more; leave some out, and upload that")
        video, sounds, faults = _chosen(container, accepted)
        found = {**faults, **_video(container, video, int(options["max_pixels"]))}
        numbers = [stream.index for stream in sounds]
    mute = _mute(path, options, numbers) if len(numbers) > 1 else set()
    with av.open(path, options=options, metadata_errors="replace") as container:
        video, sounds, _ = _chosen(container, accepted)
        start = Fraction(container.start_time or 0, av.time_base)
        found["chapters"] = [_chapter(each, start) for each in container.chapters()[:MOST_CHAPTERS]]
        found["subtitles"] = [_subtitles(stream, accepted) for stream in container.streams.subtitles]
        return found | _times(container, video, [stream for stream in sounds if stream.index not in mute] or sounds)


def subtitles(job: dict[str, Any]) -> dict[str, Any]:
    """Return the texts of each stream: from when to when, in seconds, and as FFmpeg has them, with their codes."""
    found: dict[int, list[tuple[float, float, str]]] = {stream: [] for stream in job["streams"]}
    size = 0
    with av.open(f"file:{job['path']}", options=job["options"], metadata_errors="replace") as container:
        start = Fraction(container.start_time or 0, av.time_base)
        with suppress(av.error.InvalidDataError):
            for packet in container.demux(*(container.streams[stream] for stream in found)):
                text = _text(packet)
                size += len(json.dumps(text)) + TIMES
                if text and packet.pts is not None and size < MOST_TEXT:
                    at, lasting = packet.pts * packet.time_base - start, (packet.duration or 0) * packet.time_base
                    found[packet.stream_index].append((float(at), float(at + (lasting or NO_END)), text))
    return {"subtitles": list(found.values())}


def outputs(job: dict[str, Any]) -> dict[str, Any]:
    """Describe each stream of each path (media files and HLS media playlists) below a folder."""
    folder = Path(job["folder"])
    return {"streams": [stream for path in job["paths"] for stream in _streams(folder / path, path)]}


def pictures(job: dict[str, Any]) -> dict[str, Any]:
    """Return for each path and each time the three nearest pictures, grey and scaled to the canvas, in hexadecimal."""
    folder = Path(job["folder"])
    return {"pictures": [_near(folder / path, job["times"], job["canvas"]) for path in job["paths"]]}


# The choice of streams


def _chosen(container: InputContainer, accepted: list[str]) -> tuple[Any, list[Any], dict[str, Any]]:
    """Return the video, as FFmpeg itself would choose it, all sounds, and why there is none of one of them."""
    covers = Disposition.attached_pic | Disposition.timed_thumbnails
    films = [stream for stream in container.streams.video if not stream.disposition & covers]
    videos, no_video = _usable(sorted(films, key=_size, reverse=True), accepted, "video")
    sounds, no_audio = _usable(sorted(container.streams.audio, key=_aside), accepted, "sound")
    video = next(iter(videos), None)
    tiled = bool(video and video.disposition & Disposition.dependent)
    return video, sounds, {"no_video": no_video, "no_audio": no_audio, "alone": tiled or len(films) == 1}


def _size(stream: Any) -> int:
    context = stream.codec_context
    area = context.width * context.height if context else 0
    default, tile = stream.disposition & Disposition.default, stream.disposition & Disposition.dependent
    return area + PREFERRED * bool(default) + TILE * bool(tile)


def _aside(stream: Stream) -> tuple[bool, bool]:
    return _spoken(stream), not stream.disposition & Disposition.default


def _spoken(stream: Stream) -> bool:
    return bool(stream.disposition & COMMENTS) or bool(COMMENTARY.search(stream.metadata.get("title", "")))


def _usable(streams: list[Any], accepted: list[str], noun: str) -> tuple[list[Any], str]:
    """Return the streams that are accepted, or why the first is not if none is."""
    faults = [_fault(stream, accepted, noun) for stream in streams]
    usable = [stream for stream, fault in zip(streams, faults, strict=True) if not fault]
    return usable, "" if usable else next(iter(faults), "")


def _fault(stream: Any, accepted: list[str], noun: str) -> str:
    if stream.codec_context is None:
        return f"its {noun} is in a format that FFmpeg does not know"
    codec = stream.codec_context.codec
    return "" if codec.name in accepted else f"its {noun} is {codec.long_name}, which is not accepted"


# What is in the streams


def _video(container: InputContainer, video: Any, most: int) -> dict[str, Any]:
    if video is None:
        return {"video": ""}
    if video.codec_context.width * video.codec_context.height > most:
        size = f"{video.codec_context.width}x{video.codec_context.height}"
        raise Refused(f"its video is {size}, larger than {most} pixels; make it smaller, and upload that")
    frames = list(islice(_decoded(container, video), LOOK))
    if not frames:
        raise Refused("its video cannot be decoded")
    return {
        "video": video.codec_context.codec.canonical_name,
        # The tiles of one photo: FFmpeg joins the streams of the group.
        "picture": "g:0" if video.disposition & Disposition.dependent else str(video.index),
        "pix_fmt": frames[0].format.name,
        "turned": frames[0].rotation % 180 != 0,
        "interlaced": any(frame.interlaced_frame for frame in frames),
        "coded": [frames[0].width, frames[0].height],
        "straight": frames[0].rotation == 0 and (video.sample_aspect_ratio or 1) == 1,
        "hdr": HDR_TRANSFERS.get(int(frames[0].color_trc), ""),
    }


def _mute(path: str, options: dict[str, str], sounds: list[int]) -> set[int]:
    """Return which of several sounds cannot be decoded, by their beginnings."""
    right, wrong = Counter[int](), Counter[int]()
    with av.open(path, options=options, metadata_errors="replace") as container:
        for packet in islice(container.demux(*(container.streams[sound] for sound in sounds)), LISTEN * len(sounds)):
            try:
                right[packet.stream_index] += len(packet.decode())
            except av.FFmpegError:
                wrong[packet.stream_index] += 1
    return {sound for sound in sounds if wrong[sound] > right[sound]}


def _decoded(container: InputContainer, stream: Any) -> Iterator[Any]:
    for packet in container.demux(stream):
        with suppress(av.error.InvalidDataError):
            yield from packet.decode()


def _sound(stream: Any, seconds: Fraction) -> dict[str, Any]:
    context = stream.codec_context
    return {
        "stream": str(stream.index),
        "codec": context.codec.canonical_name,
        "channels": context.channels,
        "seconds": str(seconds),
        "language": stream.metadata.get("language", ""),
        "title": stream.metadata.get("title", "")[:LONGEST_TITLE],
        "spoken": _spoken(stream),
        "described": bool(stream.disposition & DESCRIBED),
    }


def _subtitles(stream: Any, accepted: list[str]) -> dict[str, Any]:
    disposition = stream.disposition
    return {
        "stream": str(stream.index),
        "language": stream.metadata.get("language", ""),
        "title": stream.metadata.get("title", "")[:LONGEST_TITLE],
        "forced": bool(disposition & Disposition.forced),
        "default": bool(disposition & Disposition.default),
        "described": bool(disposition & Disposition.hearing_impaired),
        "fault": _no_text(stream, accepted),
    }


def _chapter(chapter: Any, start: Fraction) -> dict[str, str]:
    first, last = (max(Fraction(0), chapter[side] * chapter["time_base"] - start) for side in ("start", "end"))
    return {"start": str(first), "end": str(last), "title": chapter["metadata"].get("title", "")[:LONGEST_TITLE]}


def _no_text(stream: Any, accepted: list[str]) -> str:
    if stream.codec_context is None:
        return "they are in a format that FFmpeg does not know"
    codec = stream.codec_context.codec
    if codec.bitmap_sub:
        return f"they are pictures ({codec.long_name})"
    return "" if codec.name in accepted else f"they are {codec.long_name}, which is not accepted"


def _text(packet: "av.Packet[Any]") -> str:
    """Return what the subtitles in a packet say, in lines."""
    try:
        rectangles: list[Any] = packet.decode()
    except av.error.InvalidDataError:
        return ""
    return "\n".join(each.dialogue.decode(errors="replace") for each in rectangles if each.type == b"ass")


def _times(container: InputContainer, video: Any, sounds: list[Any]) -> dict[str, Any]:
    lines = {stream.index: Timeline(stream) for stream in container.streams if stream.type != "data"}
    with suppress(av.error.InvalidDataError):  # what is missing then is judged below
        for packet in container.demux():
            if packet.size and packet.stream_index in lines:
                lines[packet.stream_index].add(packet)
    start = Fraction(container.start_time or 0, av.time_base)
    ends = {index: line.end * line.time_base - start for index, line in lines.items() if line.timestamps}
    heard = [stream for stream in sounds if stream.index in ends] or sounds
    used = [lines[stream.index] for stream in (video, *heard[:1]) if stream]
    _check_complete(container, used, max(ends.values(), default=Fraction(0)), start)
    found = {
        "picture_seconds": str(ends.get(video.index, 0)) if video else "0",
        "sounds": [_sound(stream, ends.get(stream.index, Fraction(0))) for stream in sounds],
        "damaged": float(max((line.damaged for line in used), default=0)),
    }
    if not video:
        return found
    # What has no time is not found by it.
    sought = container.format.name in SOUGHT and lines[video.index].timed
    return found | _pictures_of(lines[video.index], video, start) | {"sought": sought}


def _pictures_of(line: Timeline, video: Any, start: Fraction) -> dict[str, Any]:
    if video.frames > line.packets * MOST_DECLARED + ONE_SECOND:
        raise Refused(f"it is truncated: {line.packets} of {video.frames} pictures are there; {WHOLE}")
    end = line.end * line.time_base
    return {
        "rate": str(line.rate(video.guessed_rate)),
        "last_picture": str(line.last - start),
        "key": str(line.key_before(start + TENTH * (end - start)) - start),
        "group": float(line.longest_group()),
        "lead": line.lead if line.keys else 0,
        **_regular(line, start),
        "picture_bytes": line.size,
    }


def _regular(line: Timeline, start: Fraction) -> dict[str, Any]:
    """Return where the key frames are, if the stream can be cut there and its pictures have regular times."""
    shown = len(line.timestamps)
    if not line.plain or line.lead or line.corrupt or shown < 2 or line.unevenness() > SLIGHT:
        return {"keys": [], "average": "0"}
    first = min(line.timestamps) * line.time_base
    rate = (shown - 1) / (line.last - first)
    return {"keys": line.key_numbers() if (first - start) * rate <= SLIGHT else [], "average": str(rate)}


def _check_complete(container: InputContainer, used: list[Timeline], found: Fraction, start: Fraction) -> None:
    declared = Fraction(container.duration or 0, av.time_base)
    # Some formats count from the first timestamp, others from 0; the last of slow slides has no end of its own.
    missing = declared - max(found, found + start)
    allowed = max([Fraction(1), declared / 50, *(line.longest_gap() for line in used)])
    if container.format.name not in ESTIMATED_DURATION and missing > allowed:
        raise Refused(f"it is truncated: it ends after {float(found):.1f} s of {float(declared):.1f} s; {WHOLE}")


# Outputs


def _streams(path: Path, name: str) -> Iterator[dict[str, Any]]:
    paths, segments = _playlist(path) if path.suffix == ".m3u8" else ([path], [])
    with av.open(Chain(paths), "r") as container:
        streams: list[Any] = [*container.streams.video, *container.streams.audio]
        lines = {stream.index: Timeline(stream) for stream in streams}
        captions: dict[int, set[str]] = {stream.index: set() for stream in streams}
        for packet in container.demux(*streams):
            if packet.size:
                lines[packet.stream_index].add(packet)
                captions[packet.stream_index] |= _captions(bytes(packet))
        for stream in streams:
            found = {"path": name, "segments": segments, "captions": sorted(captions[stream.index])}
            yield {**found, **_measured(lines[stream.index]), **_shape(stream)}


def _captions(packet: bytes) -> set[str]:
    """Return which captions (CEA-608 and 708) a picture carries, by the names that HLS has for them."""
    channels: set[str] = set()
    for found in CAPTIONS.finditer(packet):
        # Encoders put a 3 where three bytes would look like the start of a picture.
        body = packet[found.end() : found.end() + MOST_CAPTIONS].replace(b"\0\0\3", b"\0\0")
        for at in range(2, 2 + 3 * (body[0] & 31 if body else 0), 3):
            channels |= _channel(body[at : at + 3])
    return channels


def _channel(triple: bytes) -> set[str]:
    if len(triple) < 3 or not triple[0] & 4:
        return set()
    field, code = triple[0] & 3, triple[1] & 0x7F
    if field > 1:
        return {"SERVICE1"}
    # Only what begins a text says whose it is; the other bytes may be fill, or facts about the programme.
    return {f"CC{1 + 2 * field + (code >> 3 & 1)}"} if 0x10 <= code < 0x20 else set()


def _near(path: Path, times: list[float], canvas: tuple[int, int]) -> list[list[str]]:
    """Return what `pictures` does for one path; only the groups of pictures around these times are decoded."""
    paths = _around(path, times) if path.suffix == ".m3u8" else [path]
    found: list[list[str]] = [[] for _ in times]
    with av.open(Chain(paths), "r") as container:
        video = container.streams.video[0]
        base = float(video.time_base or 0)
        start: int | None = None
        for group, is_last in _groups(container.demux(video)):
            stamps = [packet.pts or 0 for packet in group]
            start = min(stamps) if start is None else start
            end = (max(stamps) - start) * base
            wanted = [index for index, at in enumerate(times) if not found[index] and (is_last or at < end + ROUNDING)]
            frames = _decoded_group(video, group) if wanted else []
            for index in wanted:
                found[index] = [_grey(frame, canvas) for frame in _nearest(frames, times[index] / (base or 1) + start)]
    return found


def _around(path: Path, times: list[float]) -> list[Path]:
    """Return the first files of a playlist, from which times count, and the segments at these times and after them."""
    (start, *segments), lines = _playlist(path)
    ends = list(accumulate(float(line.removeprefix(LENGTH).rstrip(",")) for line in lines))
    found = [min(bisect(ends, at), len(ends) - 1) for at in times]
    wanted = {0, *found, *(number + 1 for number in found)}
    return [start, *(segment for number, segment in enumerate(segments) if number in wanted)]


def _groups(packets: Iterator[Any]) -> Iterator[tuple[list[Any], bool]]:
    """Yield the packets from each key frame to the next, and whether they are the last."""
    group: list[Any] = []
    for packet in packets:
        if packet.is_keyframe and group:
            yield group, False
            group = []
        if packet.size:
            group.append(packet)
    yield group, True


def _nearest(frames: list[Any], at: float) -> list[Any]:
    return sorted(frames, key=lambda frame: abs((frame.pts or 0) - at))[:NEAR]


def _decoded_group(video: Any, group: list[Any]) -> list[Any]:
    frames: list[Any] = [frame for packet in group for frame in packet.decode()]
    frames += video.codec_context.decode(None)
    video.codec_context.flush_buffers()
    return frames


def _grey(frame: Any, canvas: tuple[int, int]) -> str:
    plane = frame.reformat(*canvas, format="gray", interpolation="AREA").planes[0]
    rows = (memoryview(plane)[at : at + canvas[0]] for at in range(0, plane.line_size * canvas[1], plane.line_size))
    return b"".join(rows).hex()


def _playlist(path: Path) -> tuple[list[Path], list[str]]:
    lines = path.read_text().splitlines()
    start = next(line for line in lines if line.startswith("#EXT-X-MAP:")).split('"')[1]
    names = [start, *(line for line in lines if line and not line.startswith("#"))]
    return [path.parent / name for name in names], [line for line in lines if line.startswith(LENGTH)]


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
    if context is None:
        raise Refused("its format is unknown")
    if stream.type == "audio":
        return {"type": "audio", "codec": context.name, "channels": context.channels, "rate": context.sample_rate}
    return {
        "type": stream.type,
        "codec": context.codec.canonical_name,
        "size": (context.width, context.height),
        "pix_fmt": context.pix_fmt,
        "sar": str(stream.sample_aspect_ratio or 1),
        "configuration": (context.extradata or b"")[:CONFIGURATION].hex(),
    }


def _why(error: Exception, path: Path) -> str:
    head = path.read_bytes()[:7] if path.is_file() and path.stat().st_size < SMALL else None
    if head == b"":
        return "it is empty; upload the whole file"
    if head == b"#EXTM3U":
        return f"it is a playlist (hls), {NO_MEDIA}"
    _, name, said = getattr(error, "log", None) or (0, "", "")
    if said.startswith("Format not on whitelist"):
        kind = f"it is {av.format.ContainerFormat(name, 'r').long_name} ({name})"
        if name in PLAYLISTS:
            return f"{kind}, {NO_MEDIA}"
        return f"{kind}, which is not accepted; {CONVERT}"
    if said.startswith("moov atom not found"):
        return "it is an MP4 or MOV file without its index (moov), as if it was cut off; upload the whole file"
    if isinstance(error, av.error.InvalidDataError):
        return f"it is not media that FFmpeg knows, or its beginning is damaged ({said.strip() or 'no known format'})"
    return f"reading it failed: {said.strip() or getattr(error, 'strerror', '')}"


def main(job: dict[str, Any]) -> None:
    """Run the job and print its result, or the reason why the input is refused."""
    av.logging.set_level(av.logging.ERROR)
    try:
        found = {"source": source, "outputs": outputs, "pictures": pictures, "subtitles": subtitles}[job["do"]](job)
    except Refused as refused:
        found = {"refused": str(refused)}
    except (av.FFmpegError, OSError) as error:
        found = {"refused": _why(error, Path(job.get("path", "")))}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
