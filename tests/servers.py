"""The embedded servers for tests: real ones, each in a folder of its own that their account can reach."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from dumacle_cli.local import cluster, servers
from dumacle_cli.local.folder import account_of, system_account

MEMORY, ROOM = Path("/dev/shm"), 4 * 1024**3
"""Where servers are kept if as many bytes are free there. Each test copies a database of 600 files and drops it, and
ext4 takes 0.4 s to find inodes that were not dropped just now."""
OTHER = os.environ.get("DUMACLE_TEST_POSTGRES")
"""The folder of the programs of the PostgreSQL that tests run on instead of the wheel's."""


def _use(programs: Path) -> None:
    """Let clusters be made and run by these programs."""
    said = subprocess.run([programs / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    cluster.programs = lambda folder, account: programs
    if int(said.split()[-1].partition(".")[0]) < 17:  # The first that brings a locale of its own.
        cluster.LOCALE = ("--locale=C.UTF-8",)


if OTHER:
    _use(Path(OTHER).resolve(strict=True))


def scratch_folder() -> Path:
    """Return a new empty folder that belongs to whoever runs the servers; pytest's own is closed to root's account."""
    folder = Path(tempfile.mkdtemp(prefix="dumacle-", dir=MEMORY if _is_roomy(MEMORY) else None))
    if os.geteuid() == 0:
        account = system_account()
        os.chown(folder, account.uid, account.gid)
    return folder


def start_servers(folder: Path) -> servers.Servers:
    """Start both servers in a folder from `scratch_folder`, or below it."""
    return servers.start(folder)


def stop_servers(folder: Path) -> None:
    """Stop both servers and delete the folder."""
    servers.stop(folder)
    shutil.rmtree(folder)


def program(up: servers.Servers, name: str) -> Path:
    """Return one of PostgreSQL's own programs, of the version that runs."""
    return cluster.programs(up.folder, account_of(up.folder)) / name


def processes_on(folder: Path) -> list[str]:
    """Return the command lines of servers (not of their children) that name the folder."""
    lines = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            argv = entry.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if Path(argv[0]).name in ("postgres", "rclone") and any(word.startswith(f"{folder}/") for word in argv[1:]):
            lines.append(" ".join(argv))
    return lines


def _is_roomy(place: Path) -> bool:
    if "TMPDIR" in os.environ or not os.access(place, os.W_OK):
        return False
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize >= ROOM and not found.f_flag & os.ST_NOEXEC
