"""Long films in chunks: several workers encode one, each from its own place on; `join.py` puts them together.

A chunk is a whole number of segments, cut by the number of the picture. FFmpeg seeks a key frame before it, and counts
from the beginning of the film all the same. That it found the right place is proven by its first pictures: the worker
of the chunk before decodes them as well, and both must have seen the same.
"""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from dumacle_cli.local import ffmpeg_graphs as graphs
from dumacle_cli.services.definitions import Film, Preset
from dumacle_cli.transcode import arguments, loudness, tracks
from dumacle_cli.transcode.encode import run, written
from dumacle_cli.transcode.ladder import Rung
from dumacle_cli.transcode.likeness import compare_sounds
from dumacle_cli.transcode.limits import Limits
from dumacle_cli.transcode.probe import Media, source_of
from dumacle_cli.transcode.reference import Reference
from dumacle_cli.transcode.verify import verify_chunk
from dumacle_cli.transcode.watch import ENCODED, Watch

LEAST_SEGMENTS = 5
"""A chunk of half a minute: in shorter ones, starting and seeking cost too much."""
LEAST, MOST = 6, 64
"""With fewer chunks a film stays whole; with more the queue has too many units of it."""
LONGEST_GROUP = 15.0
"""Seconds from one key frame to the next: as much may be decoded before a chunk begins."""
OVERLAP = 12
"""How many pictures of the next chunk a worker decodes as well."""
SEEK_EARLY = 1
"""Seconds: pictures are stored in another order than they are shown in."""
# Not shifted to where the seeking ended.
FROM_THE_BEGINNING = ("-copyts", "-start_at_zero")
SEEN, NOTES = "seen.txt", "notes.json"


@dataclass(frozen=True, slots=True)
class Chunk:
    """The pictures of a film from number `first` until before `end`, at its constant rate."""

    first: int
    end: int

    @property
    def frames(self) -> int:
        """How many pictures it has."""
        return self.end - self.first


@dataclass(frozen=True, slots=True)
class Notes:
    """What is known of a piece of a film beside its media.

    `damaged` is the share of the source that was, 0 to 1; `seen` has hashes of decoded pictures by their number.
    """

    damaged: float
    seen: dict[int, str]

    def write(self, folder: Path) -> None:
        """Write them into a folder, beside the media."""
        facts = {"damaged": self.damaged, "seen": self.seen}
        (folder / NOTES).write_text(json.dumps(facts))


def notes(folder: Path) -> Notes:
    """Return the notes in a folder."""
    found = json.loads((folder / NOTES).read_text())
    return Notes(found["damaged"], {int(number): digest for number, digest in found["seen"].items()})


def segment_frames(media: Media) -> int:
    """Return how many pictures a segment has."""
    return arguments.KEY_FRAMES_PER_SEGMENT * arguments.gop(media.fps)


def divide(media: Media, preset: Preset) -> list[Chunk]:
    """Return the chunks of a film, none if it is better encoded as a whole: if it is short, copied or badly sought."""
    if not isinstance(preset, Film) or not media.sought or media.group > LONGEST_GROUP:
        return []
    # Chapters come from the source, which is no input of what puts a single file together.
    if any(rung.copied for rung in arguments.rungs(media, preset)) or (preset.kind == "mp4" and media.chapters):
        return []
    size = segment_frames(media)
    segments = -(-media.frames // size)
    count = min(MOST, segments // LEAST_SEGMENTS)
    if count < LEAST:
        return []
    cuts = [min(media.frames, segments * number // count * size) for number in range(count + 1)]
    return [Chunk(first, end) for first, end in pairwise(cuts)]


def encode_chunk(
    ffmpeg: Path,
    source: Path,
    media: Media,
    preset: Film,
    chunk: Chunk,
    out: Path,
    limits: Limits,
    progress: Callable[[int], None],
    stop: threading.Event,
) -> list[str]:
    """Encode the pictures of a chunk into the empty folder `out`, verify them, and return the files.

    Raises as `encode.encode` does.
    """
    sizes = arguments.rungs(media, preset)
    part = replace(media, frames=chunk.frames, duration=float(chunk.frames / media.fps))
    for rung in sizes:
        (out / rung.name).mkdir()
    command = _command(ffmpeg, source, media, preset, chunk, sizes, limits)
    watch = Watch(part, True, limits, progress)
    watch.tell(0)
    damaged = run(command, source, out, part, limits, watch, stop)
    watch.tell(ENCODED)
    verify_chunk(out, part, preset, sizes, limits, stop, last=chunk.end == media.frames)
    Notes(damaged, _seen(out / SEEN)).write(out)
    (out / SEEN).unlink()
    watch.tell(99)
    return written(out)


def encode_sound(
    ffmpeg: Path,
    source: Path,
    media: Media,
    preset: Film,
    out: Path,
    limits: Limits,
    progress: Callable[[int], None],
    stop: threading.Event,
) -> list[str]:
    """Encode all sounds of a film, each as a whole, into the empty folder `out`, compare them, and return the files.

    At once, because sound that is encoded in chunks has a gap at each cut. Raises as `encode.encode` does.
    """
    louder = loudness.gains(ffmpeg, source, media, preset, limits, stop)
    sounds = tracks.sounds_in_segments(media.sounds, preset)
    for sound in sounds:
        (out / sound.folder).mkdir()
    inputs = graphs.read(source, limits.input_options)
    filters = {stream: gain.filters for stream, gain in louder.items()}
    command = graphs.command(ffmpeg, arguments.FLAGS, arguments.sounds(inputs, media, preset, filters))
    watch = Watch(media, False, limits, progress)
    watch.tell(0)
    damaged = run(command, source, out, media, limits, watch, stop)
    reference = Reference(ffmpeg, source_of(source, media), limits, stop)
    compare_sounds(reference, out, media, preset, sounds, louder)
    watch.tell(99)
    Notes(damaged, {}).write(out)
    return written(out)


def _command(
    ffmpeg: Path, source: Path, media: Media, preset: Film, chunk: Chunk, sizes: list[Rung], limits: Limits
) -> list[str]:
    part = replace(media, frames=chunk.frames)
    inputs = graphs.read(source, {**limits.input_options, **_sought(media, chunk)})
    cut = arguments.constant_rate(inputs[media.picture], media).filter(
        "trim", start_frame=chunk.first, end_frame=chunk.end + OVERLAP
    )
    own, more = graphs.split(cut, 2)
    number = chunk.first // segment_frames(media)
    numbered: graphs.Options = {
        "start_number": number,
        # Times go on where the chunk before ended, and so do the numbers of fragments.
        "hls_segment_options": f"movflags=+frag_discont:fragment_index={number + 1}",
    }
    outputs = arguments.pictures(own.filter("trim", end_frame=chunk.frames), part, preset, sizes, numbered)
    looked_at = more.filter("select", expr=f"lt(n,{OVERLAP})+gte(n,{chunk.frames})")
    seen = graphs.write(SEEN, [looked_at], {"f": "framemd5", "fps_mode": "passthrough"})
    return graphs.command(ffmpeg, (*arguments.FLAGS, *FROM_THE_BEGINNING), [*outputs, seen])


def _sought(media: Media, chunk: Chunk) -> graphs.Options:
    at = chunk.first / media.fps - SEEK_EARLY
    # From the key frame on: the picture that is shown when the chunk begins may be older than that.
    return {"noaccurate_seek": None, "ss": f"{float(at):.6f}"} if at > 0 else {}


def _seen(path: Path) -> dict[int, str]:
    lines = [line.split(",") for line in path.read_text().splitlines() if not line.startswith("#")]
    return {int(time): digest.strip() for _, _, time, _, _, digest in lines}
