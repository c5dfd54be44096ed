"""Find FFmpeg: the configured one, the wheel's, or the system's."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from dumacle_cli.errors import MissingExtra, ToolFailed

VERSION_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Ffmpeg:
    """An FFmpeg that runs."""

    path: Path
    version: str


def find(configured: str = "") -> Ffmpeg:
    """Return FFmpeg and its version; raises MissingExtra if there is none, ToolFailed if it does not run."""
    path = locate(configured)
    return Ffmpeg(path, _version(path))


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


def _version(path: Path) -> str:
    try:
        done = subprocess.run(
            [str(path), "-version"],
            # An empty environment: ours may hold keys.
            env={"LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=VERSION_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ToolFailed(tool=str(path), reason=str(error)) from None
    words = done.stdout.decode(errors="replace").split()
    if words[:2] != ["ffmpeg", "version"]:
        raise ToolFailed(tool=str(path), reason="it is not FFmpeg")
    return words[2]
