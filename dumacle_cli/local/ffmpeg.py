"""Find FFmpeg: the configured one, the wheel's, or the system's."""

import os
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from dumacle_cli.errors import MissingExtra, ToolFailed

VERSION_SECONDS = 30
ENCODERS = {"h264": "libx264", "hevc": "libx265", "av1": "libsvtav1"}
"""FFmpeg's encoder of each codec; the first is needed."""


@dataclass(frozen=True, slots=True)
class Ffmpeg:
    """An FFmpeg that runs."""

    path: Path
    version: str


def find(configured: str = "") -> Ffmpeg:
    """Return FFmpeg and its version; raises MissingExtra if there is none, ToolFailed if it does not run."""
    path = locate(configured)
    return Ffmpeg(path, _version(path))


def check_encoders(path: Path) -> list[str]:
    """Encode a picture and a tone as presets do, and return the codecs that work; raises ToolFailed without H.264."""
    needed, *others = ENCODERS
    _encode(path, ENCODERS[needed])
    found = [needed]
    for codec in others:
        with suppress(ToolFailed):
            _encode(path, ENCODERS[codec])
            found.append(codec)
    return found


def _encode(path: Path, encoder: str) -> None:
    picture, tone = "testsrc2=size=64x64:rate=25:duration=0.2", "sine=duration=0.2"
    sources = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", tone]
    wanted = ["-c:v", encoder, "-pix_fmt", "yuv420p", "-c:a", "aac", "-f", "mp4", "-movflags", "frag_keyframe"]
    command = [str(path), "-v", "error", "-nostdin", *sources, *wanted, "pipe:1"]
    try:
        done = subprocess.run(
            command,
            env={"LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=VERSION_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ToolFailed(tool=str(path), reason=str(error)) from None
    if done.returncode or b"ftyp" not in done.stdout[:16]:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise ToolFailed(tool=str(path), reason=f"it cannot encode with {encoder} and AAC: {lines[0]}")


def locate(configured: str = "") -> Path:
    """Return the path of FFmpeg without running it; raises MissingExtra if there is none."""
    found = configured or _in_wheel() or shutil.which("ffmpeg")
    if not found:
        raise MissingExtra(what="FFmpeg", extra="embedded")
    # Absolute, because it runs in other folders.
    return Path(shutil.which(found) or found).absolute()


def _in_wheel() -> Path | None:
    # Found, not imported: importing the package costs 60 ms.
    spec = find_spec("imageio_ffmpeg")
    if spec is None or spec.origin is None:
        return None
    binaries = (Path(spec.origin).parent / "binaries").glob("ffmpeg-*")
    return next((path for path in sorted(binaries) if os.access(path, os.X_OK)), None)


def has_filter(path: Path, name: str) -> bool:
    """Return whether FFmpeg was built with a filter; raises ToolFailed."""
    return any(line.split()[1:2] == [name] for line in _ask(path, "-filters").splitlines())


def _version(path: Path) -> str:
    words = _ask(path, "-version").split()
    if words[:2] != ["ffmpeg", "version"]:
        raise ToolFailed(tool=str(path), reason="it is not FFmpeg")
    return words[2]


def _ask(path: Path, *question: str) -> str:
    try:
        done = subprocess.run(
            [str(path), *question],
            # An empty environment: ours may hold keys.
            env={"LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=VERSION_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ToolFailed(tool=str(path), reason=str(error)) from None
    return done.stdout.decode(errors="replace")
