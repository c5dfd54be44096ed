"""Workers as processes of their own, and the encoders that they run."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from dumacle_cli.local.process import wait
from tests.films import SECONDS
from tests.processes import Begin, Process

LEASE = 2
LAPSED = "SELECT id FROM app.units WHERE status = 'running' AND lease_until < now()"


@pytest.fixture
def begin(configured: None, environment: Callable[..., None], tmp_path: Path, program: Begin) -> Begin:
    """Start workers as processes of their own."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment(DUMACLE_LEASE_SECONDS=str(LEASE), DUMACLE_SCRATCH_DIR=str(scratch))
    return lambda *arguments: program("worker", *arguments)


def stop(process: Process) -> str:
    """Let a worker drain, and return what it said."""
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=SECONDS)[1]
    assert process.returncode == 0, said
    assert "Traceback" not in said
    return said


def encoders(process: Process) -> list[int]:
    """Return the FFmpegs that a worker started to encode; others only look at the source, for moments."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == process.pid and b"ffmpeg" in words[0].rpartition(b"/")[2] and b"-progress" in words:
                found.append(int(entry.name))
    return found


def await_encoder(process: Process) -> int:
    """Wait until a worker encodes, and return the FFmpeg that does it."""
    wait(lambda: bool(encoders(process)) or process.poll() is not None, SECONDS)
    assert process.poll() is None, "it ended before it could be disturbed"
    return encoders(process)[0]


def is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
