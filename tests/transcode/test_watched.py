"""FFmpeg under watch: it tells how far it is, stops when told, and never outlives whom it works for."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dumacle_cli.errors import ToolFailed
from dumacle_cli.local import ffmpeg
from dumacle_cli.transcode import child
from dumacle_cli.transcode.child import Stopped
from dumacle_cli.transcode.encode import encode
from dumacle_cli.transcode.limits import Limits
from dumacle_cli.transcode.probe import probe
from tests.presets import defined
from tests.transcode.conftest import LIMITS, Make

pytestmark = pytest.mark.integration
FAST = ("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac")
LONG = ("testsrc2=size=640x360:rate=25:duration=120",)
TOP = Path(__file__).parent.parent.parent
WORKER = """
import sys, threading
from pathlib import Path
from dumacle_cli.transcode.encode import encode
from dumacle_cli.transcode.limits import Limits
from dumacle_cli.transcode.probe import probe
from tests.presets import defined
ffmpeg, source, out = map(Path, sys.argv[1:])
told = lambda percent: print(percent, flush=True)
work = lambda: encode(
    ffmpeg, source, probe(ffmpeg, source, Limits()), defined("hls"), out, Limits(), told, threading.Event()
)
threading.Thread(target=work).start()
"""


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(word) for task in tasks for word in (task / "children").read_text().split()]


def gone(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    stat = Path(f"/proc/{pid}/stat")
    while time.monotonic() < deadline:
        try:
            if stat.read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.01)
    return False


def run(source: Path, out: Path, limits: Limits, stop: threading.Event, told: list[int], preset: str = "hls") -> None:
    out.mkdir()
    encode(
        ffmpeg.locate(),
        source,
        probe(ffmpeg.locate(), source, LIMITS),
        defined(preset),
        out,
        limits,
        told.append,
        stop,
    )


@pytest.mark.parametrize("preset", ["hls", "mp4", "audio", "poster", "sprite"])
def test_progress_rises_from_0_to_99(make: Make, tmp_path: Path, preset: str) -> None:
    told: list[int] = []
    run(make("film.mp4", *FAST), tmp_path / "out", LIMITS, threading.Event(), told, preset)
    assert told[0] == 0
    assert told[-1] == 99
    assert told == sorted(set(told))


def test_stopping_is_soon_and_leaves_nothing(make: Make, tmp_path: Path) -> None:
    before = set(children(os.getpid()))
    source, stop, told, out = make("film.mp4", *FAST, inputs=LONG), threading.Event(), [], tmp_path / "out"
    out.mkdir()
    media = probe(ffmpeg.locate(), source, LIMITS)
    stopped_at = []

    def progress(percent: int) -> None:
        told.append(percent)
        if percent > 0 and not stop.is_set():
            assert set(children(os.getpid())) - before
            stopped_at.append(time.monotonic())
            stop.set()

    with pytest.raises(Stopped):
        encode(ffmpeg.locate(), source, media, defined("hls"), out, LIMITS, progress, stop)
    assert time.monotonic() - stopped_at[0] < 2
    assert set(children(os.getpid())) <= before
    assert told[-1] < 97


def test_standing_still_is_noticed(make: Make, tmp_path: Path) -> None:
    before, limits = set(children(os.getpid())), replace(LIMITS, stall_seconds=0.0)
    with pytest.raises(ToolFailed, match="no progress"):
        run(make("film.mp4", *FAST), tmp_path / "out", limits, threading.Event(), [])
    assert set(children(os.getpid())) <= before


def test_taking_too_long_is_noticed(make: Make, tmp_path: Path) -> None:
    limits = replace(LIMITS, wall_factor=-1000.0)
    with pytest.raises(ToolFailed, match="not finished within"):
        run(make("film.mp4", *FAST), tmp_path / "out", limits, threading.Event(), [])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a process to its parent")
def test_ffmpeg_dies_with_a_killed_worker(make: Make, tmp_path: Path) -> None:
    source, out = make("film.mp4", *FAST, inputs=LONG), tmp_path / "out"
    out.mkdir()
    command = [sys.executable, "-c", WORKER, str(ffmpeg.locate()), str(source), str(out)]
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=TOP)
    with worker:
        assert worker.stdout
        while int(worker.stdout.readline()) == 0:
            pass
        (encoder,) = children(worker.pid)
        worker.send_signal(signal.SIGKILL)
        assert gone(encoder, 5)


def test_a_child_holds_no_secret_and_has_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUMACLE_SECRET", "hunter2")
    look = (
        "import json, os, resource as r; print(json.dumps([dict(os.environ), os.getpgid(0) == os.getpid(), os.getcwd(),"
        "[r.getrlimit(x) for x in (r.RLIMIT_CORE, r.RLIMIT_FSIZE, r.RLIMIT_DATA, r.RLIMIT_CPU)]]))"
    )
    bounds = {"CPU": 7, "FSIZE": 1_000_000, "DATA": 2**30}
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as errors:
        with child.confined([sys.executable, "-c", look], tmp_path, bounds, said, errors) as process:
            assert process.wait(20) == 0
        said.seek(0)
        environment, alone, folder, limits = json.load(said)
    assert "hunter2" not in environment.values()
    assert alone
    assert folder == str(tmp_path)
    assert limits == [[0, 0], [1_000_000, 1_000_000], [2**30, 2**30], [7, 8]]


def test_too_little_memory_fails_and_does_not_hang(make: Make, tmp_path: Path) -> None:
    with pytest.raises(ToolFailed):
        run(make("film.mp4", *FAST), tmp_path / "out", replace(LIMITS, memory=10 * 2**20), threading.Event(), [])
