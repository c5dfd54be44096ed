"""A small library of real media, which FFmpeg makes from its own test sources; the one module that runs it."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from dumacle_cli.errors import ToolFailed
from dumacle_cli.local.lock import locked

FOLDER = "demo"
UNFINISHED = "demo.part"

QUIET = ("-hide_banner", "-v", "error", "-nostdin")
VIDEO = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-c:a", "aac")
CHORD = "aevalsrc=exprs=0.2*sin(2*PI*220*t)+0.2*sin(2*PI*277*t)+0.2*sin(2*PI*330*t)"
# Where it goes, what it is made from, and how. The film is large enough to go up in parts.
WORKS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    (
        "videos/film.mp4",
        ("testsrc2=size=1280x720:rate=25", "sine=frequency=330:beep_factor=4"),
        ("-vf", "noise=alls=8:allf=t", *VIDEO, "-b:v", "40M", "-t", "4"),
    ),
    ("videos/fractal.mp4", ("mandelbrot=size=640x360:rate=25", "sine=frequency=440"), (*VIDEO, "-t", "6")),
    (
        "videos/colours.mp4",
        ("gradients=size=640x360:rate=25:c0=navy:c1=orange:seed=7:speed=0.05", CHORD),
        (*VIDEO, "-t", "6"),
    ),
    ("photos/fractal-%02d.jpg", ("mandelbrot=size=1600x1200:rate=1",), ("-frames:v", "8", "-q:v", "3")),
    (
        "photos/colours-%02d.jpg",
        ("gradients=size=1600x1200:rate=1:c0=teal:c1=gold:seed=3:speed=0.3",),
        ("-frames:v", "8", "-q:v", "3"),
    ),
    ("thumbnails/%03d.jpg", ("testsrc2=size=192x108:rate=10",), ("-frames:v", "300", "-q:v", "4")),
    ("audio/chord.mp3", (CHORD,), ("-t", "20", "-c:a", "libmp3lame")),
    ("audio/tone.m4a", ("sine=frequency=262:beep_factor=2",), ("-t", "20", "-c:a", "aac")),
    ("audio/noise.flac", ("anoisesrc=seed=5:color=pink:amplitude=0.2",), ("-t", "4", "-c:a", "flac")),
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
        for name, sources, options in WORKS:
            _make(ffmpeg, sources, options, unfinished / name)
        unfinished.rename(place)
    return place, True


def _make(ffmpeg: Path, sources: Sequence[str], options: Sequence[str], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    inputs = [word for source in sources for word in ("-f", "lavfi", "-i", source)]
    # Without `bitexact` each making would differ by the encoder's version and the time in it.
    command = [str(ffmpeg), *QUIET, *inputs, *options, "-bitexact", str(target)]
    try:
        # Nothing of ours: the environment may hold keys.
        subprocess.run(command, env={"LC_ALL": "C"}, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    except subprocess.CalledProcessError as failed:
        said = failed.stderr.decode(errors="replace").strip().splitlines()
        raise ToolFailed(tool="FFmpeg", reason=said[-1] if said else f"exit {failed.returncode}") from None
    except OSError as error:
        raise ToolFailed(tool=str(ffmpeg), reason=error.strerror) from None
