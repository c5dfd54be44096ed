"""Files and folders for the account alone, whatever its umask: written whole, durably, by one command at a time."""

import fcntl
import os
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


def make_folder(folder: Path, mode: int = 0o700) -> None:
    """Make a folder and the missing ones above it, each of this mode at most."""
    for missing in reversed([folder, *folder.parents]):
        with suppress(FileExistsError):
            missing.mkdir(mode)


def write(file: Path, text: str, like: os.stat_result | None = None) -> None:
    """Replace a file so that it is whole after a power cut, with mode 0600 or mode and owner of another."""
    descriptor, draft = tempfile.mkstemp(prefix=f".{file.name}.", suffix=".new", dir=file.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as handle:
            handle.write(text)
            if like:
                _resemble(handle.fileno(), like)
            handle.flush()
            os.fsync(handle.fileno())
        Path(draft).replace(file)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
    sync(file.parent)


def change(file: Path, edit: Callable[[str], str], *, secret: bool) -> None:
    """Change the text of a file while nobody else does; links are followed, mode and owner stay.

    Where the text holds a `secret` from now on, others lose their rights to read it.
    Raises UnwritableConfig, ConfigLocked.
    """
    target = _target(file)
    try:
        with _locked(target):
            before = target.stat() if target.exists() else None
            after = edit(target.read_text("utf-8") if before else "")
            _sweep(target)
            write(target, after, _closed(before) if before and secret else before)
    except OSError as fault:
        raise UnwritableConfig(file=file, reason=fault.strerror or type(fault).__name__) from None


def _target(file: Path) -> Path:
    """Return the file that links lead to, which need not exist; its folder does from now on."""
    target = Path(os.path.realpath(file))
    try:
        if target.is_symlink():
            raise UnwritableConfig(file=file, reason="its links lead in a circle")
        if file.is_symlink() and not target.parent.is_dir():
            raise UnwritableConfig(file=file, reason=f"it is a link to {target}, whose folder does not exist")
        make_folder(target.parent)
        if target.exists() and not stat.S_ISREG(target.stat().st_mode):
            raise UnwritableConfig(file=file, reason="it is no regular file")
        if target.exists() and not os.access(target, os.W_OK, effective_ids=True):
            raise UnwritableConfig(file=file, reason="you may not write to it")
    except OSError as fault:
        raise UnwritableConfig(file=file, reason=fault.strerror or type(fault).__name__) from None
    return target


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Hold the lock of a file, which is freed when its holder dies; raises ConfigLocked after 10 s."""
    lock = file.with_name(f".{file.name}.lock")
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + LOCK_SECONDS
        while not _taken(descriptor):
            if time.monotonic() > deadline:
                raise ConfigLocked(file=file, seconds=LOCK_SECONDS, lock=lock)
            time.sleep(POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sweep(file: Path) -> None:
    """Delete what killed commands left."""
    for draft in file.parent.glob(f".{file.name}.*.new"):
        draft.unlink(missing_ok=True)


def _closed(found: os.stat_result) -> os.stat_result:
    return os.stat_result((found.st_mode & ~OTHERS, *found[1:]))


def _resemble(descriptor: int, like: os.stat_result) -> None:
    if (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(descriptor, like.st_uid, like.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(like.st_mode))


def sync(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
