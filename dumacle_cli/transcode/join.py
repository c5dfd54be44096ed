"""The chunks and the sound of a film put together: what comes out is what one FFmpeg would have made."""

import shutil
import threading
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from dumacle_cli.errors import OutputBroken
from dumacle_cli.local import ffmpeg_graphs as graphs
from dumacle_cli.services.definitions import Film
from dumacle_cli.transcode import arguments, tracks
from dumacle_cli.transcode.chunks import OVERLAP, Chunk, Notes, notes
from dumacle_cli.transcode.encode import Encoded, finish, run
from dumacle_cli.transcode.ladder import Rung
from dumacle_cli.transcode.limits import Limits
from dumacle_cli.transcode.playlists import MEDIA
from dumacle_cli.transcode.probe import Media
from dumacle_cli.transcode.watch import Watch

INIT, END = "init.mp4", "#EXT-X-ENDLIST\n"


def join(
    ffmpeg: Path,
    source: Path,
    media: Media,
    preset: Film,
    chunks: Sequence[Chunk],
    pieces: Sequence[Path],
    out: Path,
    limits: Limits,
    stop: threading.Event,
) -> Encoded:
    """Put a film together in the empty folder `out`, and verify it.

    `pieces` are the folders of its chunks, and of its sounds if it has any. Raises OutputBroken if they do not belong
    together, OutputDiffers, BadMedia, ToolFailed, and Stopped.
    """
    told = [notes(folder) for folder in pieces]
    for (_, before), (chunk, after) in pairwise(zip(chunks, told, strict=False)):
        _check_seam(chunk, before, after)
    sizes = arguments.rungs(media, preset)
    for rung in sizes:
        _join_size([folder / rung.name for folder in pieces[: len(chunks)]], out / rung.name)
    for sound in tracks.sounds_in_segments(media.sounds, preset):
        shutil.move(pieces[-1] / sound.folder, out / sound.folder)
    if preset.kind == "mp4":
        _one_file(ffmpeg, source, media, preset, sizes[0], out, limits, stop)
    damaged = max(_share(chunks, told), told[-1].damaged if media.sounds else 0)
    limits.check_damage(damaged, media.frames)
    return finish(ffmpeg, source, media, preset, out, limits, damaged, stop)


def _share(chunks: Sequence[Chunk], told: Sequence[Notes]) -> float:
    return sum(chunk.frames * each.damaged for chunk, each in zip(chunks, told, strict=False)) / chunks[-1].end


def _check_seam(chunk: Chunk, before: Notes, after: Notes) -> None:
    for number in range(chunk.first, min(chunk.first + OVERLAP, chunk.end)):
        # The last pictures of a film may be missing, to both.
        if chunk.first not in after.seen or after.seen.get(number) != before.seen.get(number):
            raise OutputBroken(reason=f"at picture {number}, where the film was cut, seeking found another one")


def _join_size(folders: list[Path], out: Path) -> None:
    inits = {(folder / INIT).read_bytes() for folder in folders}
    if len(inits) > 1:
        raise OutputBroken(reason=f"the chunks of {out.name} were encoded in different ways")
    out.mkdir()
    (out / INIT).write_bytes(inits.pop())
    lists = [(folder / MEDIA).read_text() for folder in folders]
    head = lists[0][: lists[0].index("#EXTINF")]
    bodies = [text[text.index("#EXTINF") : text.index(END)] for text in lists]
    (out / MEDIA).write_text("".join([head, *bodies, END]))
    for folder in folders:
        for segment in folder.glob("*.m4s"):
            segment.rename(out / segment.name)


def _one_file(
    ffmpeg: Path, source: Path, media: Media, preset: Film, rung: Rung, out: Path, limits: Limits, stop: threading.Event
) -> None:
    """Make one file of the segments in `out`, which are removed."""
    sounds = tracks.sounds_in_segments(media.sounds, preset)
    folders = [out / rung.name, *(out / sound.folder for sound in sounds)]
    streams = []
    for folder in folders:
        whole = out / f"{folder.name}.mp4"
        with whole.open("wb") as file:
            for part in (folder / INIT, *sorted(folder.glob("*.m4s"))):
                file.write(part.read_bytes())
        shutil.rmtree(folder)
        streams.append(graphs.read(whole, limits.input_options))
    options = {**arguments.NO_METADATA, "c": "copy", "movflags": "+faststart"}
    made = graphs.write(preset.entry, streams, options)
    watch = Watch(media, True, limits, lambda _percent: None)
    run(graphs.command(ffmpeg, arguments.FLAGS, [made]), source, out, media, limits, watch, stop)
    for folder in folders:
        (out / f"{folder.name}.mp4").unlink()
