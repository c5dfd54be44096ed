"""Delete source files whose content is proven to be stored, as soon as that is committed."""

import os
import stat
from threading import Lock

from dumacle_cli.ingest.items import Attempt, Item, Outcome, Progress, Result, Tally
from dumacle_cli.ingest.scan import mtime, reason

_UNVERIFIED = "it was uploaded earlier and is not verified yet; run dumacle files verify, then repeat the command"


class Deleting:
    """Passes progress on, deletes each source that is proven to be stored, and counts what was kept."""

    def __init__(self, progress: Progress, tally: Tally) -> None:
        self._progress, self._tally, self._lock = progress, tally, Lock()

    def planned(self, files: int, size: int) -> None:
        """More files will be uploaded."""
        self._progress.planned(files, size)

    def moved(self, attempt: Attempt, size: int) -> None:
        """The store received bytes of an attempt."""
        self._progress.moved(attempt, size)

    def ended(self, outcome: Outcome) -> None:
        """An item ended, and its result is committed: delete its source if its content is proven to be stored."""
        self._progress.ended(outcome)
        if outcome.proven:
            self._count(outcome.path, _delete(outcome.proven))
        elif outcome.result is Result.UNCHANGED or outcome.deduplicated:
            self._count(outcome.path, _UNVERIFIED)

    def say(self, line: str) -> None:
        """The run waits for something, or goes on."""
        self._progress.say(line)

    def _count(self, path: str, kept: str) -> None:
        with self._lock:
            self._tally.sources_deleted += not kept
            self._tally.sources_kept += bool(kept)
            if kept:
                self._tally.first_kept = self._tally.first_kept or f"{path}: {kept}"


def _delete(item: Item) -> str:
    """Delete a source file that did not change since the scan, or return why it is kept."""
    try:
        status = os.lstat(item.source)
        if not item.inode:
            return "it was named by a symbolic link"
        same = (status.st_ino, status.st_size, mtime(status)) == (item.inode, item.size, item.mtime_ns)
        if not (same and stat.S_ISREG(status.st_mode)):
            return "it changed since it was uploaded"
        os.unlink(item.source)  # noqa: PTH108 - a path of bytes
    except OSError as error:
        return reason(error)
    return ""
