"""Scanning: walk the sources in constant memory; an unreadable file or folder does not stop the walk."""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from typing import IO, TypeAlias

from dumacle_cli import paths
from dumacle_cli.errors import NoSuchSource
from dumacle_cli.ingest.items import Item, Problem, Result

Found: TypeAlias = Item | Problem

LONGEST = 2048
"""The longest path in bytes; PostgreSQL cannot index a longer one."""
_BIGINT = 2**63

_KINDS = {
    stat.S_IFLNK: "a symbolic link is not followed",
    stat.S_IFSOCK: "a socket is not a file",
    stat.S_IFIFO: "a named pipe is not a file",
    stat.S_IFCHR: "a device is not a file",
    stat.S_IFBLK: "a device is not a file",
}


def scan(sources: Sequence[bytes], prefix: str) -> Iterator[Found]:
    """Walk files and folders; a file's path is the prefix and its path relative to the source.

    Raises NoSuchSource before the walk if a source does not exist.
    """
    for source in sources:
        if not os.path.lexists(source):
            raise NoSuchSource("file or folder", paths.encode(source))
    several = len(sources) > 1
    taken: set[int] = set()
    for source in sources:
        for found in _source(source, prefix):
            path_hash = hash(found.path)
            if several and path_hash in taken:
                yield Problem(found.path, Result.REFUSED, "another source of this run has the same path")
                continue
            if several:
                taken.add(path_hash)
            yield found


def _source(source: bytes, prefix: str) -> Iterator[Found]:
    source = os.path.abspath(source)  # noqa: PTH100 - a path of bytes
    if os.path.isdir(source):  # noqa: PTH112
        yield from _folder(source, prefix)
    else:
        yield _examined(source, prefix + paths.encode(os.path.basename(source)))  # noqa: PTH119


def _folder(root: bytes, prefix: str) -> Iterator[Found]:
    pending = [(root, prefix)]
    while pending:
        folder, below = pending.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    name = below + paths.encode(entry.name)
                    if entry.is_dir(follow_symlinks=False):
                        pending.append((entry.path, name + "/"))
                    else:
                        yield _examined(entry.path, name)
        except OSError as error:
            yield Problem(below.rstrip("/") or ".", Result.FAILED, reason(error))


def _examined(source: bytes, path: str) -> Found:
    try:
        status = os.lstat(source)
    except OSError as error:
        return Problem(path, Result.FAILED, reason(error))
    if not stat.S_ISREG(status.st_mode):
        return Problem(path, Result.SKIPPED, _KINDS.get(stat.S_IFMT(status.st_mode), "it is not a regular file"))
    if len(path.encode()) > LONGEST:
        return Problem(path, Result.REFUSED, f"its path is longer than {LONGEST} bytes")
    return Item(path, source, status.st_size, mtime(status))


def mtime(status: os.stat_result) -> int:
    """Return a file's mtime (ns), limited to the range of a bigint: some clocks say the year 2400."""
    return max(-_BIGINT, min(status.st_mtime_ns, _BIGINT - 1))


def opened(source: bytes) -> IO[bytes]:
    """Open a source file for reading.

    Raises OSError, also if the file was replaced by a link or a pipe since the scan.
    """
    return open(source, "rb", buffering=0, opener=_open_plain)


def _open_plain(source: str, flags: int) -> int:
    return os.open(source, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def reason(error: OSError) -> str:
    """Return why the system could not read a source."""
    if error.errno == errno.ENOENT:
        return "it vanished"
    return (error.strerror or type(error).__name__).lower()
