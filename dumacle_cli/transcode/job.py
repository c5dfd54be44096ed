"""One unit from its claim to its publication, or back into the queue.

It lives longer than a transaction: a lease holds the unit, and a separate thread renews it. An attempt that lost its
lease publishes nothing, and removes what it stored.
"""

import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dumacle_cli import errors
from dumacle_cli.errors import DumacleError, Exit
from dumacle_cli.services import placement
from dumacle_cli.store import copies, pieces, queue, work_units
from dumacle_cli.store.work_units import Claimed, Lost
from dumacle_cli.transcode import delivery, outputs
from dumacle_cli.transcode.child import Stopped, oom_kills
from dumacle_cli.transcode.lease import LeaseKeeper, WorkerDeps, retry_transaction
from dumacle_cli.transcode.outputs import Made

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

REST_SECONDS = 5.0
"""How long a worker does nothing after a fault of its machine, so that it does not run through the queue."""
FINAL = (
    errors.BadMedia,
    errors.OutputDiffers,
    errors.BadPreset,
    errors.NotFound,
    errors.QuotaExceeded,
    errors.PodFull,
    errors.ObjectMissing,
)
"""The errors that another attempt would meet again."""
OF_MEDIA = (errors.BadMedia, errors.OutputDiffers)
OF_OUTPUT = (errors.OutputBroken, errors.ToolFailed)
OF_STORE = (errors.StoreFault, errors.NoCredential, errors.CredentialAltered)
"""The errors that other units of the same pod would meet, until the store or its settings are put right."""
OF_WORKER = (OSError, MemoryError, errors.SystemFault, errors.MissingExtra, errors.NoKeys, errors.NotConfigured)
"""The errors that other units would meet on this worker, and this unit on no other."""


@dataclass(frozen=True, slots=True)
class Done:
    """The result of an attempt: `done`, `divided` (a film, into chunks), `made whole` (which it shall be after all),
    `failed`, `set back`, `lost`, `given back`, or `unknown` without the database.

    It was `set back` by a fault that is not the media's. What failed is perhaps tried `again` by itself. `rest` is how
    many seconds this worker better does nothing.
    """

    outcome: str
    error: str | None = None
    rest: float = 0
    again: bool = False


def claim(deps: WorkerDeps) -> Claimed | None:
    """Claim the unit that is next, or return None if none may be claimed now."""
    token = uuid.uuid4()
    while not deps.give_back.is_set():
        with suppress(work_units.Raced):
            return retry_transaction(
                deps.database,
                deps.give_back,
                lambda session: work_units.claim_next(session, deps.worker, deps.lease_seconds, token, deps.codecs),
            )
    return None


def run(deps: WorkerDeps, unit: Claimed) -> Done:
    """Run a claimed unit: make its output, store it, and publish it."""
    prefix = placement.renditions(unit.pod_prefix, unit.content.file_id, unit.transcode_id, unit.token)
    killed = oom_kills()
    with LeaseKeeper(deps, unit) as keeper:
        try:
            made = outputs.make(deps, unit, keeper, prefix)
        except (Stopped, Lost):
            done = _given_back(deps, unit, keeper)
        except errors.ToolKilled as error:
            crashed = oom_kills() > killed
            done = (_crashed if crashed else _set_back)(deps, unit, keeper, error)
        except errors.ToolCrashed as error:
            done = _crashed(deps, unit, keeper, error)
        except Exception as error:  # noqa: BLE001 - an error of one file must not end the worker
            done = (_set_back if _will_be_over(error) else _failed)(deps, unit, keeper, error)
        else:
            done = _made(deps, keeper, made)
        _tidy(deps, unit, done, prefix)
    return done


# Results


def _made(deps: WorkerDeps, keeper: LeaseKeeper, made: Made) -> Done:
    try:
        stands = _retry(deps, keeper, made.record)
    except DumacleError as error:
        return Done("unknown", str(error))
    return Done(made.outcome if stands else "lost")


def _retry(deps: WorkerDeps, keeper: LeaseKeeper, record: "Callable[[Session], bool]") -> bool:
    return retry_transaction(deps.database, keeper.stop, record)


def _will_be_over(error: Exception) -> bool:
    """Whether it is a fault of the store, the database or this machine: it says nothing about the media."""
    if isinstance(error, DumacleError) and error.exit is Exit.TEMPORARY:
        return True
    return isinstance(error, (errors.BrokenOff, *OF_STORE, *OF_WORKER))


def _set_back(deps: WorkerDeps, unit: Claimed, keeper: LeaseKeeper, error: Exception) -> Done:
    if keeper.stop.is_set():  # waiting ended because of that
        return _given_back(deps, unit, keeper)
    rest = REST_SECONDS if isinstance(error, OF_WORKER) else 0
    of_store = isinstance(error, OF_STORE)
    return _recorded(
        deps,
        keeper,
        Done("set back", _sentence(error), rest, again=True),
        lambda s: work_units.set_back(s, unit, _sentence(error), pod=of_store),
    )


def _crashed(deps: WorkerDeps, unit: Claimed, keeper: LeaseKeeper, error: Exception) -> Done:
    done = Done("failed", _sentence(error), again=unit.crashes + 1 < work_units.CRASHES)
    return _recorded(deps, keeper, done, lambda s: work_units.crash(s, unit, _sentence(error)))


def _failed(deps: WorkerDeps, unit: Claimed, keeper: LeaseKeeper, error: Exception) -> Done:
    reason = _sentence(error)
    if _is_due_to_chunks(unit, error):
        return _recorded(deps, keeper, Done("made whole", reason), lambda s: pieces.make_whole(s, unit, reason))
    final = isinstance(error, FINAL)
    done = Done("failed", reason, again=not final and unit.attempt < work_units.ATTEMPTS)
    return _recorded(deps, keeper, done, lambda s: work_units.fail(s, unit, reason, final=final))


def _is_due_to_chunks(unit: Claimed, error: Exception) -> bool:
    """Whether the film might be encoded as a whole although its pieces cannot be made or put together."""
    if unit.kind == "finalize":
        return isinstance(error, OF_MEDIA + OF_OUTPUT)
    repeated = unit.attempt > 1  # by another worker perhaps: it is not due to that one
    return unit.is_piece and isinstance(error, OF_MEDIA + OF_OUTPUT if repeated else OF_MEDIA)


def _recorded(deps: WorkerDeps, keeper: LeaseKeeper, done: Done, record: "Callable[[Session], bool]") -> Done:
    try:
        held = _retry(deps, keeper, record)
    except DumacleError as fault:
        return replace(done, error=f"{done.error}; {fault}")
    return done if held else Done("lost", done.error, done.rest)


def _sentence(error: Exception) -> str:
    if isinstance(error, DumacleError):
        return str(error)
    if isinstance(error, OSError):
        return f"the system refused: {error.strerror or type(error).__name__}"
    return f"an unexpected {type(error).__name__}"


def _given_back(deps: WorkerDeps, unit: Claimed, keeper: LeaseKeeper) -> Done:
    def release(session: "Session") -> bool:
        held = work_units.release(session, unit)
        if held:
            queue.wake_transcode(session, [unit.id])
        return held

    try:
        return Done("given back" if _retry(deps, keeper, release) else "lost")
    except DumacleError as error:
        return Done("lost", str(error))


def _tidy(deps: WorkerDeps, unit: Claimed, done: Done, prefix: str) -> None:
    """Delete unpublished objects of this attempt, and after publication those of attempts whose workers died.

    If it is unknown whether they were published, they stay; a later attempt or the purge deletes them.
    """
    parts = (unit.content.file_id, unit.transcode_id)
    with suppress(DumacleError):
        store = deps.stores(unit.content.place)
        if done.outcome == "done" and not unit.is_piece:
            if unit.attempt > 1 or unit.crashes or unit.setbacks or unit.kind in ("finalize", "whole"):
                delivery.erase(store, placement.renditions(unit.pod_prefix, *parts), but=prefix)
            with deps.database.session() as session:
                pieces.forget(session, [unit.transcode_id])
            _sweep(deps, unit)
        if done.outcome not in ("done", "unknown"):
            delivery.erase(store, prefix)


def _sweep(deps: WorkerDeps, unit: Claimed) -> None:
    """Delete what earlier transcodes of the same content left, which this one supersedes, at both places of the pod."""
    with deps.database.session(read_only=True) as session:
        earlier = work_units.superseded(session, unit)
        second = copies.second_places(session, [unit.content.version_id]) if earlier else {}
    for place in (unit.content.place, *second.values()) if earlier else ():
        for transcode_id in earlier:
            delivery.erase(
                deps.stores(place), placement.renditions(unit.pod_prefix, unit.content.file_id, transcode_id)
            )
