"""Files and folders for one account only, whatever the umask: written whole and durably, by one command at a time."""

import fcntl
import os
import pwd
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dumacle_cli.errors import ConfigLocked, UnwritableConfig

LOCK_SECONDS = 10.0
POLL_SECONDS = 0.02
OTHERS = 0o077
IRREGULAR = "it is not a regular file"

Owner = tuple[int, int]
"""The uid and gid that a file belongs to."""


def make_folder(folder: Path, mode: int = 0o700) -> None:
    """Make a folder and the missing ones above it, each with this mode at most."""
    for missing in reversed([folder, *folder.parents]):
        with suppress(FileExistsError):
            missing.mkdir(mode)


def read(file: Path) -> str:
    """Return the text of a regular file or /dev/null; raises OSError for anything else, and never waits for a pipe."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, encoding="utf-8") as handle:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode) and file != Path(os.devnull):
            raise OSError(None, IRREGULAR)
        return handle.read()


def create(file: Path, text: str, mode: int = 0o600) -> None:
    """Make a file that is durable when this returns; raises FileExistsError rather than replace one."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        _fill(descriptor, text, mode=mode)
    except BaseException:
        file.unlink()
        raise
    sync(file.parent)


def write(file: Path, text: str, *, owner: Owner | None = None, mode: int = 0o600) -> None:
    """Replace a file so that it is whole after a power cut, with this owner (by default our account) and mode."""
    descriptor, draft = tempfile.mkstemp(prefix=f".{file.name}.", suffix=".new", dir=file.parent)
    try:
        _fill(descriptor, text, owner, mode)
        Path(draft).replace(file)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
    sync(file.parent)


def sweep(file: Path) -> None:
    """Delete the drafts of a file that killed commands left; to be called under the lock of its writers."""
    for draft in file.parent.glob(f".{file.name}.*.new"):
        draft.unlink(missing_ok=True)


def change(file: Path, edit: Callable[[str], str], *, secret: bool) -> None:
    """Change the text of a file under its lock; links are followed, and mode and owner stay.

    If the text holds a `secret` from now on, other accounts lose their rights to the file.
    Raises UnwritableConfig, ConfigLocked.
    """
    target = _target(file)
    try:
        before = target.stat() if target.exists() else None
        with _locked(target, _owner(before)):
            before = target.stat() if target.exists() else None
            after = edit(read(target) if before else "")
            mode = stat.S_IMODE(before.st_mode) if before else 0o600
            sweep(target)
            write(target, after, owner=_owner(before), mode=mode & ~OTHERS if secret else mode)
    except OSError as fault:
        raise UnwritableConfig(file=file, reason=fault.strerror or type(fault).__name__) from None


def refuse_foreign(file: Path) -> None:
    """Raise UnwritableConfig where root would make a file in another account's folder, which that account cannot use.

    Where the file exists, changing it keeps its owner.
    """
    if os.geteuid() != 0 or file.exists():
        return
    folder = next(parent for parent in Path(os.path.realpath(file)).parents if parent.exists())
    uid = folder.stat().st_uid
    if uid != 0:
        name = _name(uid)
        raise UnwritableConfig(file=file, reason=f"{folder} belongs to {name}; run this as {name}, not as root")


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _target(file: Path) -> Path:
    """Return the file that links lead to, which may be missing; make its folder."""
    target = Path(os.path.realpath(file))
    try:
        if target.is_symlink():
            raise UnwritableConfig(file=file, reason="its links lead in a circle")
        if file.is_symlink() and not target.parent.is_dir():
            raise UnwritableConfig(file=file, reason=f"it is a link to {target}, whose folder does not exist")
        refuse_foreign(file)
        make_folder(target.parent)
        if target.exists() and not stat.S_ISREG(target.stat().st_mode):
            raise UnwritableConfig(file=file, reason=IRREGULAR)
        if target.exists() and not os.access(target, os.W_OK, effective_ids=True):
            raise UnwritableConfig(file=file, reason="you may not write to it")
    except OSError as fault:
        raise UnwritableConfig(file=file, reason=fault.strerror or type(fault).__name__) from None
    return target


def open_lock(file: Path, owner: Owner | None = None) -> int:
    """Open a lock file, made for this owner if it is missing, and return its descriptor."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(file, flags | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        with suppress(FileNotFoundError):
            return os.open(file, flags)
        return open_lock(file, owner)  # it was deleted in between
    _give(descriptor, owner)  # only a file that was made just now: another could be a hard link to anything
    return descriptor


def open_log(file: Path, owner: Owner) -> int:
    """Open a log to append to, made for this owner if it is missing, and return its descriptor."""
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if os.geteuid() == 0:
        _give(descriptor, owner)
    return descriptor


@contextmanager
def _locked(file: Path, owner: Owner | None = None) -> Iterator[None]:
    """Hold the lock of a file, which is freed when its holder dies; raises ConfigLocked after 10 s."""
    lock = file.with_name(f".{file.name}.lock")
    descriptor = open_lock(lock, owner)
    try:
        deadline = time.monotonic() + LOCK_SECONDS
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                raise ConfigLocked(file=file, seconds=LOCK_SECONDS, lock=lock)
            time.sleep(POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner(found: os.stat_result | None) -> Owner | None:
    return (found.st_uid, found.st_gid) if found else None


def _give(descriptor: int, owner: Owner | None) -> None:
    if owner and owner != (os.geteuid(), os.getegid()):
        os.fchown(descriptor, *owner)


def _fill(descriptor: int, text: str, owner: Owner | None = None, mode: int = 0o600) -> None:
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as handle:
        _give(descriptor, owner)
        os.fchmod(descriptor, mode)
        handle.write(text)
        handle.flush()
        os.fsync(descriptor)


def sync(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
