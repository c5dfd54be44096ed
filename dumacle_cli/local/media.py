"""A small library of real media, which FFmpeg makes from its own test sources; the one module that runs it."""

import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from dumacle_cli.errors import ToolFailed
from dumacle_cli.local import ffmpeg_graphs as graphs
from dumacle_cli.local.ffmpeg_graphs import Options, OutputFile
from dumacle_cli.local.lock import locked

FOLDER = "demo"
UNFINISHED = "demo.part"

FLAGS = ("-hide_banner", "-v", "error", "-nostdin")
H264: Options = {"c:v": "libx264", "preset": "ultrafast", "pix_fmt": "yuv420p", "movflags": "+faststart", "c:a": "aac"}
CHORD = "aevalsrc=exprs=0.2*sin(2*PI*220*t)+0.2*sin(2*PI*277*t)+0.2*sin(2*PI*330*t)"


@dataclass(frozen=True, slots=True)
class Work:
    """Where a work of the library goes, what it is made from, and how; with `noise` it does not compress well."""

    name: str
    sources: tuple[str, ...]
    options: Options
    noise: Options = field(default_factory=dict)


WORKS = (
    # Large enough to go up in parts.
    Work(
        "videos/film.mp4",
        ("testsrc2=size=1280x720:rate=25", "sine=frequency=330:beep_factor=4"),
        {**H264, "b:v": "40M", "t": 4},
        noise={"alls": 8, "allf": "t"},
    ),
    Work("videos/fractal.mp4", ("mandelbrot=size=640x360:rate=25", "sine=frequency=440"), {**H264, "t": 6}),
    Work(
        "videos/colours.mp4",
        ("gradients=size=640x360:rate=25:c0=navy:c1=orange:seed=7:speed=0.05", CHORD),
        {**H264, "t": 6},
    ),
    Work("photos/fractal-%02d.jpg", ("mandelbrot=size=1600x1200:rate=1",), {"frames:v": 8, "q:v": 3}),
    Work(
        "photos/colours-%02d.jpg",
        ("gradients=size=1600x1200:rate=1:c0=teal:c1=gold:seed=3:speed=0.3",),
        {"frames:v": 8, "q:v": 3},
    ),
    Work("thumbnails/%03d.jpg", ("testsrc2=size=192x108:rate=10",), {"frames:v": 300, "q:v": 4}),
    Work("audio/chord.mp3", (CHORD,), {"t": 20, "c:a": "libmp3lame"}),
    Work("audio/tone.m4a", ("sine=frequency=262:beep_factor=2",), {"t": 20, "c:a": "aac"}),
    Work("audio/noise.flac", ("anoisesrc=seed=5:color=pink:amplitude=0.2",), {"t": 4, "c:a": "flac"}),
)


def library(folder: Path, ffmpeg: Path) -> tuple[Path, bool]:
    """Return the library in a data folder and whether it was made just now, which takes some seconds.

    An interrupted making leaves nothing that would be taken for a library. Raises ToolFailed.
    """
    with locked(folder):
        place = folder / FOLDER
        if place.exists():
            return place, False
        unfinished = folder / UNFINISHED
        shutil.rmtree(unfinished, ignore_errors=True)
        for work in WORKS:
            _make(ffmpeg, work, unfinished)
        unfinished.rename(place)
    return place, True


def _make(ffmpeg: Path, work: Work, folder: Path) -> None:
    (folder / work.name).parent.mkdir(parents=True, exist_ok=True)
    command = graphs.command(ffmpeg, FLAGS, [_output(work)])
    try:
        # Nothing of ours: the environment may hold keys.
        subprocess.run(
            command, cwd=folder, env={"LC_ALL": "C"}, stdin=subprocess.DEVNULL, capture_output=True, check=True
        )
    except subprocess.CalledProcessError as failed:
        said = failed.stderr.decode(errors="replace").strip().splitlines()
        raise ToolFailed(tool="FFmpeg", reason=said[-1] if said else f"exit {failed.returncode}") from None
    except OSError as error:
        raise ToolFailed(tool=str(ffmpeg), reason=error.strerror) from None


def _output(work: Work) -> OutputFile:
    first, *others = [graphs.generate(source) for source in work.sources]
    if work.noise:
        first = first.filter("noise", **work.noise)
    # Without `bitexact` each making would differ by the encoder's version and the time in it.
    return graphs.write(work.name, [first, *others], {**work.options, "bitexact": None})
