"""Part files: what a download has received lies beside its target until it is complete, and is continued later.

There is one for each target, and only one process writes it.
"""

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from dumacle_cli.errors import Conflict, ContentDiffers, DownloadBusy, ObjectMissing
from dumacle_cli.escapes import visible

CHUNK = 1024**2
OVERLAP = 64 * 1024
"""The last bytes of a part file are fetched again: they may be of another content, or torn by a power failure."""

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
_NO_FILE = (errno.ELOOP, errno.EISDIR, errno.ENXIO)


class OtherContent(Exception):
    """The part file holds the beginning of another content."""


class PartFile:
    """A part file that this process holds; `size` is how much of it counts, in bytes."""

    def __init__(self, folder: int, name: str, descriptor: int) -> None:
        self._folder, self.name = folder, name
        self._file = os.fdopen(descriptor, "r+b")
        self._expected = b""
        self._digest = hashlib.sha256()
        self.size = 0

    def resume(self, most: int) -> bool:
        """Continue what is there, without the last 64 KiB; returns false if it is too little, or more than `most`."""
        there = os.fstat(self._file.fileno()).st_size
        if not OVERLAP < there <= most:
            self.restart()
            return False
        left = self.size = there - OVERLAP
        while left:
            chunk = self._file.read(min(CHUNK, left))
            self._digest.update(chunk)
            left -= len(chunk)
        self._expected = self._file.read()
        self._file.seek(self.size)
        return True

    def restart(self) -> None:
        """Drop what is there."""
        self._file.seek(0)
        self._file.truncate()
        self._expected, self._digest, self.size = b"", hashlib.sha256(), 0

    def write(self, chunk: bytes) -> None:
        """Append bytes; raises OtherContent where they differ from what was there."""
        expected, self._expected = self._expected[: len(chunk)], self._expected[len(chunk) :]
        if not chunk.startswith(expected):
            raise OtherContent
        self._file.write(chunk)
        self._digest.update(chunk)
        self.size += len(chunk)

    @property
    def sha256(self) -> bytes:
        """The SHA-256 of what counts."""
        return self._digest.digest()

    def finish(self, target: bytes, mtime_ns: int | None) -> None:
        """Make it durable, then the target; with this modification time, if it is known and can be kept."""
        self._file.flush()
        if mtime_ns is not None:
            with suppress(OSError):
                os.utime(self._file.fileno(), ns=(mtime_ns, mtime_ns))
        os.fsync(self._file.fileno())
        os.rename(self.name, target, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        os.fsync(self._folder)

    def close(self) -> None:
        """Let go of it; what does not fit on the disk is lost."""
        with suppress(OSError):
            self._file.close()

    def remove(self) -> None:
        """Remove it."""
        with suppress(FileNotFoundError):
            os.unlink(self.name, dir_fd=self._folder)


@contextmanager
def opened(folder: int, target: bytes) -> Iterator[PartFile]:
    """Hold the part file of a target in a folder, and remove it if nothing can be gained by continuing it.

    Raises DownloadBusy if another download holds it, and Conflict if something else has its name.
    """
    name = f".dumacle-{hashlib.sha256(target).hexdigest()[:16]}.part"
    part = PartFile(folder, name, _held(folder, name))
    try:
        yield part
    except (Conflict, ContentDiffers, ObjectMissing):
        part.remove()
        raise
    except BaseException:
        if not part.size:
            part.remove()
        raise
    finally:
        part.close()


def _held(folder: int, name: str) -> int:
    """Open and lock the file that has the name now, not one that another download finished meanwhile."""
    while True:
        descriptor = _open(folder, name)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, folder, name):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise DownloadBusy(part=name) from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _open(folder: int, name: str) -> int:
    try:
        descriptor = os.open(name, _FLAGS, 0o666, dir_fd=folder)
    except OSError as error:
        if error.errno in _NO_FILE:
            raise _in_the_way(name) from None
        raise
    found = os.fstat(descriptor)
    # A file of somebody else's, or one with another name, would be overwritten, or could be changed afterwards.
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink > 1:
        os.close(descriptor)
        raise _in_the_way(name)
    return descriptor


def _in_the_way(name: str) -> Conflict:
    reason = f"{visible(name)} is not a part file of this user's downloads"
    return Conflict(reason=reason, advice="remove it, or download to another place with --to")


def _is_at(descriptor: int, folder: int, name: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(name, dir_fd=folder, follow_symlinks=False))
    except FileNotFoundError:
        return False
