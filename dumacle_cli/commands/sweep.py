"""What a worker does every few seconds: say that it lives, take back work of dead workers, add jobs for what waits."""

import os
import socket
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dumacle_cli.errors import DumacleError
from dumacle_cli.store import copies, hook_calls, pieces, queue, stripe, work_units, workers

if TYPE_CHECKING:
    from dumacle_cli.store.database import Database

AWAY_SECONDS = 15.0
"""When there was no sweep for this long, the database was away, for others as well: they must renew first."""
BOOT = Path("/proc/sys/kernel/random/boot_id")


def own_name() -> str:
    """Return the name of this worker."""
    return f"{socket.gethostname()}:{os.getpid()}"


def _machine() -> str | None:
    with suppress(OSError):
        return BOOT.read_text().strip()
    return None


class Sweep:
    """Sweeps for the tasks of a worker; returns whether jobs wait."""

    def __init__(
        self, database: "Database", tasks: Collection[str], slots: int, problem: str | None, codecs: Sequence[str]
    ) -> None:
        self._database, self._tasks, self._codecs = database, tasks, codecs
        self._facts = (slots, ", ".join(queue.QUEUES[task] for task in tasks), problem, _machine())
        self._last: float | None = None

    def __call__(self) -> bool:
        """Sweep once."""
        with self._database.session() as session:
            if self._last is None:
                # Another one of this name ended before: containers give each of theirs the same.
                workers.forget(session, own_name())
            workers.note(session, own_name(), *self._facts)
            queue.forget_dead(session)
            if queue.LIGHT in self._tasks:
                if self._last is None or time.monotonic() - self._last < AWAY_SECONDS:
                    work_units.reap(session)
                queue.wake_waiting_units(session, self._codecs)
                if pieces.ended(session):
                    queue.wake_sweep(session)
            if queue.COPY in self._tasks:
                queue.wake_copies(session, copies.due_pods(session))
            hook_calls.forget_old(session)
            if queue.HOOK in self._tasks and hook_calls.are_due(session):
                queue.wake_hook(session)
            if queue.STRIPE in self._tasks:
                queue.wake_stripe(session, stripe.due(session, queue.BATCH))
            waiting = queue.has_jobs(session, self._tasks)
        self._last = time.monotonic()
        return waiting

    def forget(self) -> None:
        """Forget this worker, which ends."""
        with suppress(DumacleError), self._database.session() as session:  # else it is forgotten after a day
            workers.forget(session, own_name())
