"""Sources that FFmpeg makes from its own test pictures, and short ways to probe and encode them."""

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from dumacle_cli.local import ffmpeg
from dumacle_cli.transcode.encode import Encoded, encode
from dumacle_cli.transcode.limits import Limits
from dumacle_cli.transcode.probe import probe
from tests.presets import defined

LIMITS = Limits()
Make = Callable[..., Path]
Transcode = Callable[[Path, str], tuple[Encoded, Path]]


def run_ffmpeg(*arguments: str) -> bytes:
    command = [str(ffmpeg.locate()), "-hide_banner", "-nostdin", "-y", "-v", "error", *arguments]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """`make(name, argument...)`: a source, from 2 s of moving picture and a tone unless inputs are given."""

    def make(name: str, *arguments: str, inputs: tuple[str, ...] | None = None) -> Path:
        sources = inputs if inputs is not None else ("testsrc2=size=320x240:rate=25:duration=2", "sine=duration=2")
        opened = [word for source in sources for word in ("-f", "lavfi", "-i", source)]
        run_ffmpeg(*opened, *arguments, str(tmp_path / name))
        return tmp_path / name

    return make


@pytest.fixture
def transcode(tmp_path: Path) -> Transcode:
    """`transcode(source, preset)`: what came out, and the folder it is in."""

    def transcode(source: Path, preset: str) -> tuple[Encoded, Path]:
        out = tmp_path / f"out-{preset}"
        out.mkdir()
        media = probe(ffmpeg.locate(), source, LIMITS)
        stop = threading.Event()
        return encode(ffmpeg.locate(), source, media, defined(preset), out, LIMITS, lambda _percent: None, stop), out

    return transcode
