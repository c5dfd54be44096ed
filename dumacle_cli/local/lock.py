"""Locks of a data folder: one command at a time starts or stops its servers, or prepares their database."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dumacle_cli import private
from dumacle_cli.errors import FolderUnreachable

SERVERS = "lock"
READY = "ready.lock"


@contextmanager
def locked(folder: Path, name: str = SERVERS) -> Iterator[None]:
    """Hold a lock of a data folder, waiting until it is free; it is freed when its holder dies."""
    descriptor = _acquire(folder / name)
    try:
        yield
    finally:
        os.close(descriptor)


def _acquire(path: Path) -> int:
    while True:
        descriptor = _open(path)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # `reset` deletes the file while others wait for it: a lock on a deleted file guards nothing.
        if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        return private.open_lock(path)
    except OSError as error:
        raise FolderUnreachable(folder=path.parent, account=f"uid {os.geteuid()}", reason=error.strerror) from None
