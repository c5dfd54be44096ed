"""Programs that read hostile media: confined, in their own process group, which ends with this process."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from dumacle_cli.errors import BadMedia, ToolCrashed, ToolFailed, ToolKilled
from dumacle_cli.transcode.limits import MEBIBYTE, Limits
from dumacle_cli.transcode.scratch import no_room

# By path and not imported: PyAV must not run in this process.
CONFINE = Path(__file__).with_name("confine.py")
READER = Path(__file__).with_name("reader.py")
# Where programs and their libraries are.
SYSTEM = (
    *("/usr", "/lib", "/lib64", "/bin", "/nix/store", "/gnu/store", "/etc/ld.so.cache", "/etc/localtime"),
    *("/dev/null", "/dev/zero", "/dev/urandom", "/sys/devices/system/cpu"),
)
# A line of FFmpeg's with `-v level`: where in FFmpeg it was, how bad, and what.
ERROR = re.compile(rb"^(?:\[[^\]]*\] )*?\[(?:error|fatal)\] (.*)")
EXCEEDED = {signal.SIGXCPU: "time", signal.SIGXFSZ: "space"}
FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}
# FFmpeg ends by itself after SIGTERM and SIGINT.
SIGNALLED, ENDED_BY = 255, re.compile(rb"^\[info\] Exiting normally, received signal (\d+)", re.MULTILINE)
# FFmpeg exits with the last byte of -ENOSPC.
DISK_FULL = 256 - errno.ENOSPC
TICK = 0.1
ANSWER = 64 * MEBIBYTE


class Stopped(Exception):
    """The caller set `stop`; the program and its group are gone."""


@contextmanager
def confined(
    command: Sequence[str],
    folder: Path,
    limits: Mapping[str, int],
    stdout: int | IO[bytes],
    stderr: int | IO[bytes],
    reads: Sequence[Path] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` in `folder` while inside, under `limits` (names of RLIMIT_*); its group is killed at the end.

    It also dies with the calling thread, and so with this process. As far as the system can, it has no network, and no
    files but programs, `folder`, which it may write to, and what it `reads`.
    """
    most = json.dumps({"CORE": 0, "NOFILE": 1024, **limits})
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(CONFINE), str(os.getpid()), most, _paths(command[0], folder, reads), *command],
        cwd=folder,
        # Not our environment: it may hold keys.
        env={"LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.stdout:
            process.stdout.close()


def _paths(program: str, folder: Path, reads: Sequence[Path]) -> str:
    """Return what a program may read and write, for confine.py."""
    home = Path(program).resolve().parent
    homes = [home.parent if home.name == "bin" else home, sys.prefix, sys.base_prefix, READER.parent]
    modules = [entry for entry in sys.path if os.path.isabs(entry)]  # noqa: PTH117 - an entry may be empty
    found = [*SYSTEM, *modules, *map(str, (*homes, *reads))]
    return json.dumps({"reads": found, "writes": [str(folder), "/dev/null"]})


def read(job: dict[str, Any], limits: Limits, stop: threading.Event | None = None) -> dict[str, Any]:
    """Run `job` with the reader in its own process, and return its answer; raises BadMedia, ToolFailed, Stopped."""
    command = [sys.executable, "-I", str(READER), json.dumps({**job, "options": limits.input_options})]
    bounds = {"CPU": limits.read_seconds, "FSIZE": ANSWER, "DATA": limits.memory}
    reads = [Path(job[name]) for name in ("path", "folder") if name in job]
    with (
        tempfile.TemporaryFile() as answer,
        tempfile.TemporaryFile() as said,
        tempfile.TemporaryDirectory() as folder,
    ):
        with confined(command, Path(folder), bounds, answer, said, reads) as process:
            status = _end(process, limits.read_seconds, stop)
        check_alive(status, "the media reader", said)
        if status:
            raise ToolFailed(tool="the media reader", reason=last_line(said))
        return _answer(answer)


def run(
    command: Sequence[str], source: Path, folder: Path, limits: Limits, stop: threading.Event | None = None
) -> bytes:
    """Run FFmpeg in `folder`, and return the beginning of what it says; raises BadMedia if it fails, Stopped."""
    bounds = {"CPU": limits.read_seconds, "FSIZE": ANSWER, "DATA": limits.memory}
    with tempfile.TemporaryFile() as said:
        with confined(command, folder, bounds, subprocess.DEVNULL, said, [source]) as process:
            status = _end(process, limits.read_seconds, stop)
        check_alive(status, "FFmpeg", said)
        if status:
            raise BadMedia(reason=f"FFmpeg cannot read it: {first_error(said)}")
        said.seek(0)
        return said.read(MEBIBYTE)


def check_alive(status: int, tool: str, said: IO[bytes]) -> None:
    """Raise if a signal ended a program: BadMedia for a limit, ToolKilled for one from outside, else ToolCrashed.

    Raises OSError if it found the disk full.
    """
    if status == DISK_FULL or (status > 0 and last_line(said).endswith(f"] {os.strerror(errno.ENOSPC)}")):
        raise no_room()
    if status == SIGNALLED and (found := ENDED_BY.search(_end_of(said))):
        status = -int(found[1])
    if status >= 0:
        return
    number = signal.Signals(-status)
    if number in EXCEEDED:
        raise BadMedia(reason=f"{tool} needs more {EXCEEDED[number]} for it than is allowed")
    if number in FROM_OUTSIDE:
        raise ToolKilled(tool=tool, signal=number.name)
    raise ToolCrashed(tool=tool, signal=number.name, reason=first_error(said))


def oom_kills() -> int:
    """Return how many programs the system has killed because it had no memory left, 0 where it does not say."""
    with suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def first_error(said: IO[bytes]) -> str:
    """Return the first thing that FFmpeg complained of, without where in FFmpeg that was; what follows is due to it."""
    said.seek(0)
    for line in said:
        if (found := ERROR.match(line)) and b"not on whitelist" not in line:
            return found[1].decode(errors="replace").strip()
    return "it said nothing"


def _end_of(said: IO[bytes]) -> bytes:
    said.seek(max(0, said.seek(0, os.SEEK_END) - 4096))
    return said.read()


def last_line(said: IO[bytes]) -> str:
    """Return the last line of a program's output."""
    lines = _end_of(said).decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _end(process: subprocess.Popen[bytes], seconds: float, stop: threading.Event | None) -> int:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return process.wait(TICK)
        except subprocess.TimeoutExpired:
            if stop and stop.is_set():
                raise Stopped from None
            if time.monotonic() > deadline:
                raise BadMedia(reason=f"it could not be read within {seconds:g} s") from None


def _answer(answer: IO[bytes]) -> dict[str, Any]:
    answer.seek(0)
    found: dict[str, Any] = json.load(answer)
    if "refused" in found:
        raise BadMedia(reason=found["refused"])
    return found
