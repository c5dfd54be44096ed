"""Downloads: presigned links, and files written completely or not at all. They span several transactions."""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from dumacle_cli import paths
from dumacle_cli.errors import (
    Conflict,
    ContentDiffers,
    DownloadIncomplete,
    DumacleError,
    Exit,
    InvalidValue,
    ObjectMissing,
    OutputFailed,
    StoreUnavailable,
)
from dumacle_cli.retry import Patience
from dumacle_cli.services import part_files
from dumacle_cli.services.part_files import OtherContent, PartFile
from dumacle_cli.services.side_by_side import in_order
from dumacle_cli.store import files as store
from dumacle_cli.units import Bytes, Url, show_size

if TYPE_CHECKING:
    from dumacle_cli.clients.object_store import ObjectStore
    from dumacle_cli.store.database import Database
    from dumacle_cli.store.places import Place

    Stores = Callable[[Place], ObjectStore]

AT_ONCE = 16
AHEAD = PAGE = 500
PATIENCE = 300.0
LONGEST_LINK = 604_800
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
Result = Literal["downloaded", "unchanged", "refused", "differs", "failed"]


@dataclass(frozen=True, slots=True)
class Link:
    """A presigned URL of a file or a rendition, until it expires."""

    id: int
    path: str
    url: Url
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Downloaded:
    """The result for one file; `refused` if something else is in the way or its path would leave the folder."""

    id: int
    path: str
    size: Bytes
    result: Result
    target: str
    error: str | None = None


class Cancelled(Exception):
    """The other downloads were cancelled."""


def expiry(seconds: int) -> datetime:
    """Return when a link signed now expires; raises InvalidValue for less than 1 s or more than 7 days."""
    if not 1 <= seconds <= LONGEST_LINK:
        raise InvalidValue(name="--expires", value=f"{seconds}s", reason="a link can be valid for 1 s to 7 days")
    return datetime.now(UTC) + timedelta(seconds=seconds)


def link(stores: "Stores", wanted: store.Content, seconds: int, *, download: bool = False) -> Link:
    """Presign a URL that is valid for 1 s to 7 days; media is shown unless it is a `download`, the rest is saved.

    Raises InvalidValue, ForeignObject.
    """
    expires_at = expiry(seconds)
    objects = stores(wanted.place)
    name = file_name(wanted.path)
    url = objects.presign_get(wanted.own_key(), seconds, name, wanted.content_type, download=download)
    return Link(wanted.file_id, wanted.path, url, expires_at)


def file_name(path: str) -> str:
    """Return the name under which a file with this stored path is saved."""
    return os.fsdecode(paths.decode(path)).rsplit("/", 1)[-1]


# Bytes


def patient(seconds: float | None = None, tell: Callable[[str], None] = lambda _: None) -> Patience:
    """Return how a command waits out the outages of its stores: for this long, by default five minutes."""
    budget = PATIENCE if seconds is None else seconds
    return Patience("the store", budget, lambda error: isinstance(error, StoreUnavailable), tell)


def checked(stores: "Stores", wanted: store.Content, patience: Patience | None = None) -> Iterator[bytes]:
    """Yield the bytes of a version; raises ContentDiffers at the end, or as soon as there are too many.

    A response that breaks off is continued. Raises ForeignObject before the first byte, and StoreUnavailable if the
    store is away for too long.
    """
    digest, size = hashlib.sha256(), 0
    for chunk in _arriving(stores, wanted, 0, patience or patient()):
        size += len(chunk)
        if size > wanted.size:
            break
        digest.update(chunk)
        yield chunk
    _compare(wanted, size, digest.digest())


def _arriving(stores: "Stores", wanted: store.Content, start: int, patience: Patience) -> Iterator[bytes]:
    """Yield the bytes from `start` on; after a temporary fault, continue where it stopped."""
    position, response = start, None

    def more() -> bytes:
        nonlocal response
        try:
            if response is None:
                response = stores(wanted.place).get(wanted.own_key(), position)
            return next(response, b"")
        except StoreUnavailable:
            response = None
            if start < position == wanted.size:
                return b""
            raise

    while chunk := patience.call(more):
        position += len(chunk)
        yield chunk


def _compare(wanted: store.Content, size: int, sha256: bytes) -> None:
    if size != wanted.size or (wanted.sha256 and sha256 != wanted.sha256):
        raise ContentDiffers(path=wanted.path)


def to_stream(
    stores: "Stores", wanted: store.Content, stream: BinaryIO, patience: Patience | None = None
) -> Downloaded:
    """Write a version to a stream; raises ContentDiffers after wrong bytes were written."""
    for chunk in checked(stores, wanted, patience):
        stream.write(chunk)
    stream.flush()
    return Downloaded(wanted.file_id, wanted.path, wanted.size, "downloaded", "-")


def to_file(
    stores: "Stores", wanted: store.Content, target: Path | None, *, force: bool, patience: Patience | None = None
) -> Downloaded:
    """Write a version to the target file, or under its own name to the target folder or the working directory.

    A target that is a link is followed, and a pipe or character device is written to. Raises OutputFailed if the reader
    of a pipe leaves, ContentDiffers, DownloadBusy, DownloadIncomplete, InvalidValue if there is no such folder, and
    Conflict if something else is in the way: a regular file with other content is replaced with `force`, anything else
    never.
    """
    file = target or Path()
    if file.is_dir():
        file /= os.fsdecode(_parts(wanted.path)[-1])
    elif file.is_fifo() or file.is_char_device():
        return _to_pipe(stores, wanted, file, patience)
    elif file.exists():
        file = Path(os.path.realpath(file))
    folder = _opened(file.parent)
    try:
        return _save(stores, wanted, folder, os.fsencode(file.name), str(file), force, patience or patient())
    finally:
        os.close(folder)


def _to_pipe(stores: "Stores", wanted: store.Content, file: Path, patience: Patience | None) -> Downloaded:
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_NOCTTY), "wb") as stream:
            if stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise _in_the_way(str(file), "no longer a pipe or device")
            to_stream(stores, wanted, stream, patience)
    except BrokenPipeError:  # also when closing
        reason = f"the reader of {paths.encode(str(file))} left"
        raise OutputFailed(reason=reason, outcome="the download is incomplete") from None
    return Downloaded(wanted.file_id, wanted.path, wanted.size, "downloaded", str(file))


def to_folder(
    database: "Database",
    stores: "Stores",
    chosen: store.Selection,
    folder: Path,
    *,
    force: bool,
    patience: Patience | None = None,
) -> Iterator[Downloaded]:
    """Write the selected files below a folder, several at once, and yield their results.

    Nothing is written outside of the folder, whatever the paths or symbolic links in it, and only regular files are
    replaced.
    """
    made(folder)
    waiting = patience or patient()

    def one(wanted: store.Content) -> Downloaded:
        return _reported(stores, wanted, folder, force, waiting)

    return in_order(one, contents(database, chosen), threads=AT_ONCE, ahead=AHEAD, stop=waiting.halted.set)


def made(folder: Path) -> Path:
    """Return a folder that files are to be written to, made if there is none; raises InvalidValue."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InvalidValue(name="--to", value=repr(str(folder)), reason="that is no folder") from None
    return folder


def _opened(folder: Path) -> int:
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        reason, advice = f"there is no folder {paths.encode(str(folder))}", "make that folder, or correct --to"
        raise InvalidValue(name="--to", reason=reason, advice=advice) from None


def contents(database: "Database", chosen: store.Selection) -> Iterator[store.Content]:
    """Yield the current versions of the selected files, sorted by path, without a transaction in between."""
    after: str | None = None
    while True:
        with database.session(read_only=True) as session:
            found = store.contents_page(session, chosen, after=after, limit=PAGE)
        yield from found.items
        after = found.after
        if after is None:
            return


def _reported(stores: "Stores", wanted: store.Content, folder: Path, force: bool, patience: Patience) -> Downloaded:
    """Save one of many files; an error becomes its result and does not stop the others."""
    target = str(folder / os.fsdecode(paths.decode(wanted.path)).lstrip("/"))
    try:
        *parents, name = _parts(wanted.path)
        with _below(folder, parents) as inside:
            return _save(stores, wanted, inside, name, target, force, patience)
    except (Conflict, InvalidValue) as error:
        result: Result = "refused"
        reason = str(error)
    except (ContentDiffers, ObjectMissing) as error:
        result, reason = "differs", str(error)
    except DumacleError as error:
        result, reason = "failed", str(error)
    except OSError as error:
        result, reason = "failed", error.strerror or type(error).__name__
    return Downloaded(wanted.file_id, wanted.path, wanted.size, result, target, reason)


def _parts(path: str) -> list[bytes]:
    """Split a stored path into names; raises InvalidValue for a path that could leave the folder."""
    parts = paths.decode(path).split(b"/")
    if any(part in (b"", b".", b"..") or b"\0" in part for part in parts):
        raise InvalidValue(name="path", value=path, reason="it could leave the folder")
    return parts


@contextmanager
def _below(base: Path, names: list[bytes]) -> Iterator[int]:
    """Open the folder below `base`, creating it if needed, without following symbolic links."""
    here = os.open(base, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in names:
            with suppress(FileExistsError):
                os.mkdir(name, dir_fd=here)
            try:
                deeper = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            except NotADirectoryError:  # also for a link
                reason = f"{paths.encode(name)} on its way is no folder, and no link is followed there"
                raise Conflict(reason=reason, advice="remove it, or download to another place with --to") from None
            os.close(here)
            here = deeper
        yield here
    finally:
        os.close(here)


def _save(
    stores: "Stores", wanted: store.Content, folder: int, name: bytes, target: str, force: bool, patience: Patience
) -> Downloaded:
    """Write to a part file, make it durable, and only then rename it."""
    if _same(folder, name, wanted, force):
        return Downloaded(wanted.file_id, wanted.path, wanted.size, "unchanged", target)
    _check_target(folder, name, target, force)
    with part_files.opened(folder, name) as part:
        try:
            _fetch(stores, wanted, part, patience)
        except StoreUnavailable as error:
            if not part.size:
                raise
            raise _incomplete(part, wanted, str(error), Exit.TEMPORARY) from error
        except OSError as error:
            if not part.size:
                raise
            raise _incomplete(part, wanted, error.strerror or type(error).__name__, Exit.FAILED) from error
        _check_target(folder, name, target, force)
        part.finish(name, wanted.mtime_ns)
    return Downloaded(wanted.file_id, wanted.path, wanted.size, "downloaded", target)


def _incomplete(part: PartFile, wanted: store.Content, reason: str, exit_: Exit) -> DownloadIncomplete:
    kept, size = show_size(part.size), show_size(wanted.size)
    return DownloadIncomplete(exit_, path=wanted.path, reason=reason, kept=kept, size=size, part=part.name)


def _fetch(stores: "Stores", wanted: store.Content, part: PartFile, patience: Patience) -> None:
    """Continue a part file to its end; start over if it turns out to be of another content."""
    if wanted.sha256 and part.resume(wanted.size):
        try:
            return _receive(stores, wanted, part, patience)
        except (ContentDiffers, OtherContent):
            part.restart()
    else:
        part.restart()
    return _receive(stores, wanted, part, patience)


def _receive(stores: "Stores", wanted: store.Content, part: PartFile, patience: Patience) -> None:
    for chunk in _arriving(stores, wanted, part.size, patience):
        if patience.halted.is_set():
            raise Cancelled
        part.write(chunk)
        if part.size > wanted.size:
            break
    _compare(wanted, part.size, part.sha256)


def _check_target(folder: int, name: bytes, target: str, force: bool) -> None:
    """Raise Conflict unless nothing is in the way, or with `force` a regular file."""
    try:
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise _in_the_way(target, KINDS.get(stat.S_IFMT(mode), "not a regular file"))
    if not force:
        raise Conflict(reason=f"{paths.encode(target)} exists with other content", advice="overwrite it with --force")


def _in_the_way(target: str, kind: str) -> Conflict:
    reason = f"{paths.encode(target)} is {kind}, and only regular files are replaced"
    return Conflict(reason=reason, advice="remove it, or download to another place with --to")


def _set_time(descriptor: int, mtime_ns: int | None) -> None:
    """Set the modification time, if it is known and the file system can keep it."""
    if mtime_ns is not None:
        with suppress(OSError):
            os.utime(descriptor, ns=(mtime_ns, mtime_ns))


def _same(folder: int, name: bytes, wanted: store.Content, force: bool) -> bool:
    """Return whether the file already has the wanted content; with `force` it also gets its time."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(found.st_mode) or found.st_size != wanted.size or wanted.sha256 is None:
        return False
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    with os.fdopen(os.open(name, flags, dir_fd=folder), "rb") as file:
        same = hashlib.file_digest(file, "sha256").digest() == wanted.sha256
        if same and force:
            _set_time(file.fileno(), wanted.mtime_ns)
    return same
