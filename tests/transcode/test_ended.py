"""What the end of a program says: a limit of the media, a crash over it, or something from outside."""

import errno
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from dumacle_cli.errors import BadMedia, DumacleError, Exit, ToolCrashed, ToolKilled
from dumacle_cli.local import ffmpeg
from dumacle_cli.transcode import child
from tests.transcode.conftest import run_ffmpeg

pytestmark = pytest.mark.unit


def ended(*command: str, folder: Path, by: signal.Signals | None = None, **limits: int) -> tuple[int, str]:
    """Run a program, perhaps send it a signal, and return its status and what it is taken for."""
    with tempfile.TemporaryFile() as said:
        with child.confined(command, folder, limits, subprocess.DEVNULL, said) as process:
            if by:
                time.sleep(1)
                process.send_signal(by)
            status = process.wait(30)
        try:
            child.check_alive(status, "FFmpeg", said)
        except (DumacleError, OSError) as error:
            return status, type(error).__name__
    return status, ""


@pytest.mark.parametrize(
    ("number", "kind"),
    [("KILL", ToolKilled), ("TERM", ToolKilled), ("SEGV", ToolCrashed), ("ABRT", ToolCrashed), ("XFSZ", BadMedia)],
)
def test_a_signal(number: str, kind: type[DumacleError], tmp_path: Path) -> None:
    code = f"import os, signal; signal.signal(signal.SIG{number}, 0) if {number!r} != 'KILL' else 0; "
    code += f"os.kill(os.getpid(), signal.SIG{number})"
    assert ended(sys.executable, "-c", code, folder=tmp_path)[1] == kind.__name__


def test_only_what_came_from_outside_is_temporary() -> None:
    facts = {"tool": "FFmpeg", "signal": "SIGKILL", "reason": "it said nothing"}
    assert ToolKilled(**facts).exit is Exit.TEMPORARY
    assert ToolCrashed(**facts).exit is Exit.FAILED


def test_too_much_time_is_the_medias_fault(tmp_path: Path) -> None:
    assert ended(sys.executable, "-c", "while True: pass", folder=tmp_path, CPU=1)[1] == "BadMedia"


ENDLESS = ("-v", "repeat+level+verbose", "-nostdin", "-re", "-f", "lavfi", "-i", "sine", "-f", "null", "-")


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL])
def test_ffmpeg_is_ended_from_outside(by: signal.Signals, tmp_path: Path) -> None:
    status, taken_for = ended(str(ffmpeg.locate()), *ENDLESS, folder=tmp_path, by=by)
    assert (status, taken_for) == (255 if by is signal.SIGTERM else -9, "ToolKilled")


def test_a_name_that_speaks_of_signals_is_no_signal(tmp_path: Path) -> None:
    liar = "Exiting normally, received signal 15.mp4"
    run_ffmpeg("-f", "lavfi", "-i", "sine=duration=1", str(tmp_path / liar))
    status, taken_for = ended(str(ffmpeg.locate()), "-i", liar, "-f", "nothing", "-", folder=tmp_path)
    assert status > 0
    assert taken_for == ""


def test_a_full_disk_is_no_fault_of_the_media(tmp_path: Path) -> None:
    code = f"raise OSError({errno.ENOSPC}, 'No space left on device')"
    assert ended(sys.executable, "-c", code, folder=tmp_path)[1] == "OSError"
    assert ended(sys.executable, "-c", f"raise SystemExit({256 - errno.ENOSPC})", folder=tmp_path)[1] == "OSError"


def test_fewer_processors_after_a_crash(tmp_path: Path) -> None:
    look = "import os; raise SystemExit(len(os.sched_getaffinity(0)))"
    assert ended(sys.executable, "-c", look, folder=tmp_path, CORES=1)[0] == 1
