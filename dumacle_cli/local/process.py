"""The processes of the embedded servers: recognized by their folder, started in their own session, ended by pid."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dumacle_cli import private
from dumacle_cli.local.folder import Account

POLL = 0.01
LOG_SIZE = 10 * 1024**2
# References are kept: Popen warns if it is garbage-collected while its program runs, and the servers outlive us.
_started: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True, slots=True)
class Identity:
    """What distinguishes the processes of a server: a pid alone may belong to another program by now.

    `title` is the prefix of the command lines of the server's children, empty if it has no children.
    """

    program: str
    folder: Path
    title: str = ""

    def runs_as(self, pid: int) -> bool:
        """Return whether `pid` is alive (not a zombie) and is this server."""
        if sys.platform != "linux":
            return _is_alive(pid)
        if not self.runs_program(pid):
            return False
        return os.fsencode(self.folder) in _command_line(pid).split(b"\0") or self._runs_in_folder(pid)

    def runs_program(self, pid: int) -> bool:
        """Return whether `pid` is alive and runs the same program, on this folder or another."""
        if sys.platform != "linux":
            return _is_alive(pid)
        return Path(os.fsdecode(_command_line(pid).split(b"\0")[0])).name == self.program

    def leftovers(self) -> list[int]:
        """Return the processes of this server that still run (on Linux only)."""
        return [pid for pid in _pids() if self.runs_as(pid) or self._is_child(pid)]

    def _is_child(self, pid: int) -> bool:
        return bool(self.title) and _command_line(pid).startswith(self.title.encode())

    def _runs_in_folder(self, pid: int) -> bool:
        # For a folder that was moved while its server runs. Not the only check: root in a container may not read this.
        try:
            return Path(f"/proc/{pid}/cwd").samefile(self.folder)
        except OSError:
            return False


def rotate(log: Path) -> None:
    """Keep the last 10 MiB of a longer log as `<log>.1`, and empty the log while its server continues to write."""
    try:
        descriptor = os.open(log, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return
    with os.fdopen(descriptor, "r+b") as file:
        if (size := os.fstat(file.fileno()).st_size) <= LOG_SIZE:
            return
        file.seek(size - LOG_SIZE)
        found = os.fstat(descriptor)
        text = file.read(LOG_SIZE).decode(errors="replace")
        private.write(log.with_name(f"{log.name}.1"), text, owner=(found.st_uid, found.st_gid))
        file.truncate(0)  # the server opened it to append, so it continues at the new end


def launch(
    program: Path,
    arguments: Sequence[str],
    account: Account,
    *,
    folder: Path,
    log: Path,
    environment: Mapping[str, str],
) -> subprocess.Popen[bytes]:
    """Start a server that outlives this process, as `account`, with its output appended to `log`."""
    descriptor = os.open(program, os.O_RDONLY)
    output = private.open_log(log, (account.uid, account.gid))
    try:
        process = subprocess.Popen(
            [str(program), *arguments],
            # By descriptor: the account may have no access to the folder of the program.
            executable=f"/proc/self/fd/{descriptor}" if sys.platform == "linux" else str(program),
            pass_fds=[descriptor],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            env=dict(environment),
            start_new_session=True,
            umask=0o077,
            **run_as(account),
        )
    finally:
        os.close(descriptor)
        os.close(output)
    _started.append(process)
    return process


def run_as(account: Account) -> dict[str, Any]:
    """Return the arguments of subprocess that make a child of root run as `account`."""
    if os.geteuid() != 0:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def end(identity: Identity, pid: int, steps: Sequence[tuple[signal.Signals, float]]) -> bool:
    """Send the signals in order, wait up to the given seconds after each, and return whether the server ended."""
    for signal_, seconds in steps:
        try:
            os.kill(pid, signal_)
        except ProcessLookupError:
            return True
        if wait(lambda: not identity.runs_as(pid), seconds):
            return True
    return False


def wait(done: Callable[[], bool], seconds: float) -> bool:
    """Poll `done` for at most `seconds`; return whether it became true."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)
    return True


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _pids() -> Iterator[int]:
    proc = Path("/proc")
    return (int(entry.name) for entry in proc.iterdir() if entry.name.isdigit()) if proc.exists() else iter(())


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
