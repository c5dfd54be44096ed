"""What the demo uploads: a folder of the user's, or a small library of real media that FFmpeg makes."""

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from dumacle_cli.errors import InvalidValue, ToolFailed
from dumacle_cli.ingest.content import content_type
from dumacle_cli.ingest.items import Item
from dumacle_cli.ingest.scan import scan
from dumacle_cli.local import ffmpeg_graphs as graphs
from dumacle_cli.local.ffmpeg_graphs import Options, OutputFile
from dumacle_cli.local.folder import DEMO_MEDIA, DEMO_MEDIA_UNFINISHED
from dumacle_cli.local.lock import locked

FLAGS = ("-hide_banner", "-v", "error", "-nostdin")
H264: Options = {"c:v": "libx264", "preset": "ultrafast", "pix_fmt": "yuv420p", "movflags": "+faststart", "c:a": "aac"}
CHORD = "aevalsrc=exprs=0.2*sin(2*PI*220*t)+0.2*sin(2*PI*277*t)+0.2*sin(2*PI*330*t)"


@dataclass(frozen=True, slots=True)
class Recipe:
    """Where files of the library go, what they are made from, and how; `noise` keeps them from compressing well."""

    name: str
    sources: tuple[str, ...]
    options: Options
    noise: Options = field(default_factory=dict)


RECIPES = (
    # Large enough for a multipart upload.
    Recipe(
        "videos/film.mp4",
        ("testsrc2=size=1280x720:rate=25", "sine=frequency=330:beep_factor=4"),
        {**H264, "b:v": "40M", "t": 4},
        noise={"alls": 8, "allf": "t"},
    ),
    Recipe("videos/fractal.mp4", ("mandelbrot=size=640x360:rate=25", "sine=frequency=440"), {**H264, "t": 6}),
    Recipe(
        "videos/colours.mp4",
        ("gradients=size=640x360:rate=25:c0=navy:c1=orange:seed=7:speed=0.05", CHORD),
        {**H264, "t": 6},
    ),
    Recipe("photos/fractal-%02d.jpg", ("mandelbrot=size=1600x1200:rate=1",), {"frames:v": 8, "q:v": 3}),
    Recipe(
        "photos/colours-%02d.jpg",
        ("gradients=size=1600x1200:rate=1:c0=teal:c1=gold:seed=3:speed=0.3",),
        {"frames:v": 8, "q:v": 3},
    ),
    Recipe("thumbnails/%03d.jpg", ("testsrc2=size=192x108:rate=10",), {"frames:v": 300, "q:v": 4}),
    Recipe("audio/chord.mp3", (CHORD,), {"t": 20, "c:a": "libmp3lame"}),
    Recipe("audio/tone.m4a", ("sine=frequency=262:beep_factor=2",), {"t": 20, "c:a": "aac"}),
    Recipe("audio/noise.flac", ("anoisesrc=seed=5:color=pink:amplitude=0.2",), {"t": 4, "c:a": "flac"}),
)


@dataclass(frozen=True, slots=True)
class Source:
    """The readable files of a folder: how many, their size in bytes, the largest one, and the largest video."""

    folder: Path
    files: int
    size: int
    film: Item
    video: Item | None
    made: bool = False
    """Whether the library was made just now."""


def survey(folder: Path, *, made: bool = False) -> Source:
    """Count the readable files of a folder, in constant memory; raises NotFound, or InvalidValue without any."""
    files, size, film, video = 0, 0, None, None
    for item in scan([os.fsencode(folder)], ""):
        if isinstance(item, Item) and os.access(item.source, os.R_OK):
            files, size, film = files + 1, size + item.size, _larger(item, film)
            video = _larger(item, video) if content_type(item.path, b"").startswith("video/") else video
    if film is None:
        raise InvalidValue(name="FOLDER", value=str(folder), reason="it holds no file that can be read")
    return Source(folder, files, size, film, video, made)


def _larger(item: Item, other: Item | None) -> Item:
    return item if other is None or item.size > other.size else other


def library(folder: Path, ffmpeg: Path) -> Source:
    """Return the library in a data folder, making it on first use, which takes some seconds; raises ToolFailed."""
    target, unfinished = folder / DEMO_MEDIA, folder / DEMO_MEDIA_UNFINISHED
    with locked(folder):
        missing = not target.exists()
        if missing:
            shutil.rmtree(unfinished, ignore_errors=True)
            for recipe in RECIPES:
                _make(ffmpeg, recipe, unfinished)
            unfinished.rename(target)  # so that an interrupted run leaves no half-made library
    return survey(target, made=missing)


def _make(ffmpeg: Path, recipe: Recipe, folder: Path) -> None:
    (folder / recipe.name).parent.mkdir(parents=True, exist_ok=True)
    command = graphs.command(ffmpeg, FLAGS, [_output(recipe)])
    try:
        # An empty environment: ours may hold keys.
        subprocess.run(
            command, cwd=folder, env={"LC_ALL": "C"}, stdin=subprocess.DEVNULL, capture_output=True, check=True
        )
    except subprocess.CalledProcessError as failed:
        lines = failed.stderr.decode(errors="replace").strip().splitlines()
        raise ToolFailed(tool="FFmpeg", reason=lines[-1] if lines else f"exit {failed.returncode}") from None
    except OSError as error:
        raise ToolFailed(tool=str(ffmpeg), reason=error.strerror) from None


def _output(recipe: Recipe) -> OutputFile:
    first, *others = [graphs.generate(source) for source in recipe.sources]
    if recipe.noise:
        first = first.filter("noise", **recipe.noise)
    # Without `bitexact` the files would hold the encoder's version and the time, and differ from run to run.
    return graphs.write(recipe.name, [first, *others], {**recipe.options, "bitexact": None})
