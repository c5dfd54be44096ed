"""The address of PostgreSQL's unix socket, also if its path is longer than the system allows for sockets."""

import hashlib
import os
import sys
from pathlib import Path

from dumacle_cli.errors import FolderUnreachable

PORT = "5432"
SOCKET = f".s.PGSQL.{PORT}"
MAX_BYTES = 107
_held: dict[Path, int] = {}


def socket_folder(data: Path) -> Path:
    """Return the folder of the socket of the cluster in `data`: `data` itself, or a short one if it is too long.

    On Linux it is always `data`. Raises FolderUnreachable if the short folder belongs to another account.
    """
    if sys.platform == "linux" or _fits(data):
        return data
    short = Path("/tmp") / f"dumacle-{data.stat().st_uid}-{hashlib.sha256(os.fsencode(data)).hexdigest()[:12]}"  # noqa: S108
    short.mkdir(mode=0o700, exist_ok=True)
    found = short.lstat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o77:
        raise FolderUnreachable(folder=short, account=f"uid {os.geteuid()}", reason="it belongs to another account")
    return short


def host(data: Path) -> str:
    """Return libpq's `host` for this process: a folder, or a descriptor of one whose path is too long for a socket."""
    folder = socket_folder(data)
    return str(folder) if _fits(folder) else f"/proc/self/fd/{_hold(folder)}"


def shared_host(data: Path) -> str | None:
    """Return libpq's `host` for any process, or None if the path is too long for a socket."""
    folder = socket_folder(data)
    return str(folder) if _fits(folder) else None


def _fits(folder: Path) -> bool:
    # libpq reads a comma as the end of the first host.
    return len(os.fsencode(folder / SOCKET)) <= MAX_BYTES and "," not in str(folder)


def _hold(folder: Path) -> int:
    held = _held.get(folder)
    if held is not None:
        if os.path.samestat(os.fstat(held), folder.stat()):
            return held
        os.close(held)
    _held[folder] = os.open(folder, getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY)
    return _held[folder]
