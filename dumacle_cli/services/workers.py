"""Workers: which are alive, and what they do."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from dumacle_cli.store import workers as store

ALIVE_SECONDS = 30.0
"""A worker that was not seen for this long is dead, or cut off from the database; it is seen every few seconds."""


@dataclass(frozen=True, slots=True)
class Running:
    """A transcode that a worker works on; progress in percent, `fps` are frames encoded in a second."""

    transcode: int
    preset: str
    path: str
    progress: int
    fps: float | None
    started_at: datetime


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker, its queues, and what it works on; `problem` says why it transcodes nothing."""

    name: str
    status: str
    slots: int
    queues: str
    started_at: datetime
    seen_at: datetime
    problem: str | None
    running: list[Running]


def list_(session: Session) -> list[Worker]:
    """Return the workers of the last day by name."""
    return [
        Worker(
            name=row.name,
            status=_status(alive=row.alive, problem=row.problem, busy=bool(row.units)),
            slots=row.slots,
            queues=row.queues,
            started_at=row.started_at,
            seen_at=row.seen_at,
            problem=row.problem,
            running=[_running(**unit) for unit in row.units],
        )
        for row in store.seen(session, ALIVE_SECONDS)
    ]


def _running(started_at: str, **facts: object) -> Running:
    return Running(started_at=datetime.fromisoformat(started_at), **facts)  # type: ignore[arg-type]


def _status(*, alive: bool, problem: str | None, busy: bool) -> str:
    if not alive:
        return "silent"
    return "unable" if problem else "busy" if busy else "idle"
