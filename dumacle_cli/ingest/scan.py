"""Scanning: walk the sources in constant memory; an unreadable file or folder does not stop the walk.

A source that was named is uploaded or refused with a reason. Only what a walk finds may be skipped.
"""

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
_DANGLING = "the symbolic link leads to nothing"
_EMPTY = "the folder has no files (is its disk mounted?); --allow-empty accepts that"


def scan(sources: Sequence[bytes], prefix: str, *, allow_empty: bool = False) -> Iterator[Found]:
    """Walk files and folders; a file's path is the prefix and its path relative to the source.

    A folder without files is refused, because it may be the mount point of a missing disk, unless `allow_empty` is set.
    Raises NoSuchSource before the walk if a source does not exist.
    """
    for source in sources:
        if not _exists(source):
            raise NoSuchSource("file or folder", paths.encode(source))
    several = len(sources) > 1
    taken: set[int] = set()
    for source in sources:
        for found in _source(source, prefix, allow_empty):
            if several and isinstance(found, Item):
                path_hash = hash(found.path)
                if path_hash in taken:
                    yield Problem(found.path, Result.REFUSED, "another source of this run has the same path")
                    continue
                taken.add(path_hash)
            yield found


def _exists(source: bytes) -> bool:
    """Return whether a source exists; if that cannot be known, examining it says why."""
    try:
        os.lstat(source)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True


def _source(named: bytes, prefix: str, allow_empty: bool) -> Iterator[Found]:
    source = os.path.abspath(named)  # noqa: PTH100 - a path of bytes
    if not os.path.isdir(source):  # noqa: PTH112
        yield _examined(source, prefix + paths.encode(os.path.basename(source)), named=True)  # noqa: PTH119
        return
    empty = True
    for found in _folder(source, prefix, paths.encode(named)):
        empty = False
        yield found
    if empty and not allow_empty:
        yield Problem(paths.encode(named), Result.REFUSED, _EMPTY)


def _folder(root: bytes, prefix: str, named: str) -> Iterator[Found]:
    """Walk a folder; `named` stands for the folder itself, which has no path in the pod."""
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
            path = named if folder == root else below.rstrip("/")
            yield Problem(path, Result.FAILED, reason(error))


def _examined(source: bytes, path: str, *, named: bool = False) -> Found:
    """Examine what is not a folder; a symbolic link is followed if it was named."""
    try:
        status = os.stat(source, follow_symlinks=named)  # noqa: PTH116
    except OSError as error:
        dangling = named and error.errno == errno.ENOENT and os.path.islink(source)  # noqa: PTH114
        return Problem(path, Result.FAILED, _DANGLING if dangling else reason(error))
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "it is not a regular file")
        return Problem(path, Result.REFUSED if named else Result.SKIPPED, kind)
    if len(path.encode()) > LONGEST:
        return Problem(path, Result.REFUSED, f"its path is longer than {LONGEST} bytes")
    # Opening a file follows no link at its end, so that a walk cannot be led elsewhere.
    return Item(path, os.path.realpath(source) if named else source, status.st_size, mtime(status))


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
