"""A worker's private scratch folder, removed when the worker ends, or by the next worker if it was killed."""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "dumacle-worker-"


@contextmanager
def scratch(parent: Path | None) -> Iterator[Path]:
    """Create a folder in `parent`, or in the system's temporary folder, and remove those of dead workers."""
    base = Path(parent or tempfile.gettempdir())
    for leftover in base.glob(f"{PREFIX}*"):
        with suppress(OSError):
            _remove_if_dead(leftover)
    folder, lock = _make(base)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def check_room(folder: Path, size: int) -> None:
    """Raise OSError if the disk of a folder has less than `size` bytes free."""
    if shutil.disk_usage(folder).free < size:
        raise no_room()


def no_room() -> OSError:
    """Return the error of a disk that is full."""
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _make(base: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        # Until the folder is locked, another worker may remove it as a dead worker's.
        with suppress(OSError):
            return folder, _lock(folder)


def _lock(folder: Path) -> int:
    """Lock a folder until it is closed or this process ends; raises OSError if another process holds it."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(opened)
        raise
    return opened


def _remove_if_dead(folder: Path) -> None:
    if folder.lstat().st_uid != os.geteuid():
        return
    lock = _lock(folder)
    try:
        shutil.rmtree(folder)
    finally:
        os.close(lock)
