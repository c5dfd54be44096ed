"""One command at a time may start or stop the servers of a data folder, or make their database ready."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dumacle_cli.errors import FolderUnreachable

SERVERS = "lock"
READY = "ready.lock"


@contextmanager
def locked(folder: Path, name: str = SERVERS) -> Iterator[None]:
    """Hold a lock of a data folder; waits for whoever holds it, and is freed when its holder dies."""
    descriptor = _acquire(folder / name)
    try:
        yield
    finally:
        os.close(descriptor)


def _acquire(path: Path) -> int:
    while True:
        descriptor = _open(path)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # `reset` deletes the file while others wait for it; their lock would guard nothing.
        if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise FolderUnreachable(folder=path.parent, account=f"uid {os.geteuid()}", reason=error.strerror) from None
