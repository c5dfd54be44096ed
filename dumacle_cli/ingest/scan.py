"""Scanning: walk the sources in constant memory; an unreadable file or folder does not stop the walk.

A source that was named is uploaded or refused with a reason. Only what a walk finds may be skipped.
"""

import errno
import glob
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import IO, TypeAlias

from dumacle_cli import paths
from dumacle_cli.errors import NoSuchSource
from dumacle_cli.ingest import lists
from dumacle_cli.ingest.items import Item, Problem, Result
from dumacle_cli.ingest.selection import EVERYTHING, Filter, Rules, absolute

Found: TypeAlias = Item | Problem
Line: TypeAlias = frozenset[tuple[int, int]]
"""The device and inode of a folder and of all above it."""

LONGEST = 2048
"""The longest path in bytes; PostgreSQL cannot index a longer one."""
_BIGINT = 2**63

_KINDS = {
    stat.S_IFDIR: "a folder is not a file",
    stat.S_IFLNK: "a symbolic link is not followed",
    stat.S_IFSOCK: "a socket is not a file",
    stat.S_IFIFO: "a named pipe is not a file",
    stat.S_IFCHR: "a device is not a file",
    stat.S_IFBLK: "a device is not a file",
}
_ABSENT = "there is no such file"
_CYCLE = "the symbolic link leads to a folder above it"
_DANGLING = "the symbolic link leads to nothing"
_EMPTY = "the folder has no files (is its disk mounted?); --allow-empty accepts that"
_PART = "it is part of a download that did not end"
_RESULTS = "the results of this upload are written to it"
_TAKEN = "another source of this run has the same path"


def scan(
    sources: Sequence[bytes], prefix: str, rules: Rules = EVERYTHING, results: os.stat_result | None = None
) -> Iterator[Found]:
    """Walk files and folders; a file's path is the prefix and its path relative to the source.

    What does not exist is read as a pattern. Files that the rules leave out are not yielded. A folder without files is
    refused, because it may be the mount point of a missing disk. The file that gets the `results` is no source. Raises
    NoSuchSource before the walk if a source does not exist, and InvalidValue for a list that cannot be read.
    """
    for source in sources:
        if not (_exists(source) or _matches(source)):
            raise NoSuchSource("file or folder", paths.encode(source))
    walk = _Walk(prefix, rules, results)
    if rules.listing:
        yield from _distinct(walk.listed(sources, rules.listing))
        return
    several = len(sources) > 1 or rules.flatten or not all(map(_exists, sources))
    found = chain.from_iterable(map(walk.source, chain.from_iterable(map(_expanded, sources))))
    yield from _distinct(found) if several else found


def _exists(source: bytes) -> bool:
    """Return whether a source exists; if that cannot be known, examining it says why."""
    try:
        os.lstat(source)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True


def _matches(source: bytes) -> bool:
    return glob.has_magic(source) and any(True for _ in _expanded(source))


def _expanded(source: bytes) -> Iterable[bytes]:
    return [source] if _exists(source) else glob.iglob(source, recursive=True)  # noqa: PTH207 - bytes


def _distinct(found: Iterable[Found]) -> Iterator[Found]:
    """Refuse items whose path another item has; only hashes are kept, so that a million paths fit into memory."""
    taken: set[int] = set()
    for each in found:
        if isinstance(each, Item):
            path_hash = hash(each.path)
            if path_hash in taken:
                yield Problem(each.path, Result.REFUSED, _TAKEN)
                continue
            taken.add(path_hash)
        yield each


class _Walk:
    """Walks sources by the rules; in its generators None stands for what the rules leave out."""

    def __init__(self, prefix: str, rules: Rules, results: os.stat_result | None) -> None:
        self._prefix, self._rules, self._results = prefix, rules, results
        self._filter = Filter(rules)

    def source(self, named: bytes) -> Iterator[Found]:
        """Walk a folder, or examine a file."""
        source = absolute(named)
        name = os.path.basename(source)  # noqa: PTH119
        if not os.path.isdir(source):  # noqa: PTH112
            path = self._prefix + (self._rules.name or paths.encode(name))
            if found := self._examined(source, name, path, named=True):
                yield found
            return
        below = f"{self._prefix}{paths.encode(name)}/" if self._rules.keep_name and name else self._prefix
        empty = True
        for found in self._folder(source, below, paths.encode(named)):
            empty = False
            if found:
                yield found
        if empty and not self._rules.allow_empty:
            yield Problem(paths.encode(named), Result.REFUSED, _EMPTY)

    def _folder(self, root: bytes, below: str, named: str) -> Iterator[Found | None]:
        """Walk a folder; `named` stands for the folder itself, which has no path in the pod."""
        start = len(root.rstrip(b"/")) + 1
        pending: list[tuple[bytes, str, Line]] = [(root, below, frozenset())]
        while pending:
            folder, below, above = pending.pop()
            try:
                line = self._line(folder, above)
                if line is None:
                    yield Problem(below.rstrip("/"), Result.SKIPPED, _CYCLE)
                    continue
                with os.scandir(folder) as entries:
                    for entry in entries:
                        path = below + paths.encode(entry.name)
                        if not self._is_folder(entry):
                            yield self._examined(entry.path, entry.path[start:], self._placed(path, entry.name))
                        elif self._filter.prunes(entry.path[start:]):
                            yield None
                        else:
                            pending.append((entry.path, path + "/", line))
            except OSError as error:
                yield Problem(named if folder == root else below.rstrip("/"), Result.FAILED, reason(error))

    def _placed(self, path: str, name: bytes) -> str:
        return self._prefix + paths.encode(name) if self._rules.flatten else path

    def _is_folder(self, entry: os.DirEntry[bytes]) -> bool:
        try:
            return entry.is_dir(follow_symlinks=self._rules.follow)
        except OSError:  # links that lead in a circle
            return False

    def _line(self, folder: bytes, above: Line) -> Line | None:
        """Return the folders from the source to this one, or None if it is its own ancestor: only links make that."""
        if not self._rules.follow:
            return above
        status = os.stat(folder)  # noqa: PTH116
        own = (status.st_dev, status.st_ino)
        return None if own in above else above | {own}

    def listed(self, sources: Sequence[bytes], listing: lists.Listing) -> Iterator[Found]:
        """Examine the files of a list, which are relative to the source folder, by default the working directory."""
        base = absolute(sources[0]) if sources else os.getcwdb()  # noqa: PTH109 - bytes
        for entry in lists.entries(listing):
            found = entry if isinstance(entry, Problem) else self._entry(base, entry)
            if found:
                yield found

    def _entry(self, base: bytes, entry: lists.Entry) -> Found | None:
        relative = _below(base, entry.path)
        if relative is None and not entry.key:
            problem = f"it is not below {paths.encode(base)}, and has no key"
            return Problem(paths.encode(entry.path), Result.REFUSED, problem)
        source, name = os.path.join(base, entry.path), relative or entry.path  # noqa: PTH118
        path = self._prefix + (entry.key or paths.encode(os.path.basename(name) if self._rules.flatten else name))  # noqa: PTH119
        found = self._examined(source, name, path, named=True)
        return replace(found, content_type=entry.content_type) if isinstance(found, Item) else found

    def _examined(self, source: bytes, relative: bytes, path: str, *, named: bool = False) -> Found | None:
        """Examine what is not a folder; a symbolic link is followed if it was named, or all are to be followed."""
        if not self._filter.takes_path(relative):
            return None
        follow = named or self._rules.follow
        try:
            status = os.stat(source, follow_symlinks=follow)  # noqa: PTH116
        except (OSError, ValueError) as error:
            return Problem(path, Result.FAILED, _unreadable(source, error, named=named))
        if not stat.S_ISREG(status.st_mode):
            kind = _KINDS.get(stat.S_IFMT(status.st_mode), "it is not a regular file")
            return Problem(path, Result.REFUSED if named else Result.SKIPPED, kind)
        if not self._filter.takes_status(status.st_size, mtime(status)):
            return None
        if why := self._no_media(relative, status):
            return Problem(path, Result.REFUSED if named else Result.SKIPPED, why)
        if len(path.encode()) > LONGEST:
            return Problem(path, Result.REFUSED, f"its path is longer than {LONGEST} bytes")
        # Opening a file follows no link at its end, so that a walk cannot be led elsewhere.
        linked = follow and os.path.islink(source)  # noqa: PTH114
        place, inode = (os.path.realpath(source), 0) if linked else (source, status.st_ino)
        return Item(path, place, status.st_size, mtime(status), inode)

    def _no_media(self, relative: bytes, status: os.stat_result) -> str:
        if self._results and os.path.samestat(self._results, status):
            return _RESULTS
        return _PART if paths.is_part(relative) else ""


def _below(base: bytes, listed: bytes) -> bytes | None:
    """Return a listed path relative to the base, or None if it may lead out of it."""
    inside = listed.removeprefix(base.rstrip(b"/") + b"/")
    parts = [part for part in inside.split(b"/") if part not in (b"", b".")]
    return None if inside.startswith(b"/") or b".." in parts or not parts else b"/".join(parts)


def _unreadable(source: bytes, error: OSError | ValueError, *, named: bool) -> str:
    if isinstance(error, ValueError):
        return "no path contains a NUL; if NULs end the listed paths, give -0"
    if error.errno == errno.ENOENT and os.path.islink(source):  # noqa: PTH114
        return _DANGLING
    return _ABSENT if named and error.errno == errno.ENOENT else reason(error)


def mtime(status: os.stat_result) -> int:
    """Return a file's mtime (ns), limited to the range of a bigint: some clocks say the year 2400."""
    return max(-_BIGINT, min(status.st_mtime_ns, _BIGINT - 1))


def opened(source: bytes) -> IO[bytes]:
    """Open a source file for reading.

    Raises OSError, also if the file was replaced by a link or a pipe since the scan.
    """
    return open(open_plain(source), "rb", buffering=0)


def open_plain(source: bytes) -> int:
    """Open a source file for reading, as `opened` does, and return its descriptor."""
    return os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)


def reason(error: OSError) -> str:
    """Return why the system could not read a source."""
    if error.errno == errno.ENOENT:
        return "it vanished"
    return (error.strerror or type(error).__name__).lower()
