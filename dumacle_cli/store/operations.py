"""Operations: one mutation with an id that takes effect once."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from dumacle_cli.errors import OperationReused
from dumacle_cli.plain import plain
from dumacle_cli.store import functions

RESULT_BYTES = 16 * 1024**2
"""The longest result that is stored for a repeat; longer ones are not stored."""
_OWN = "id = :id AND user_id = COALESCE(app.actor(), 0)"


@dataclass(frozen=True, slots=True)
class Request:
    """A mutation that is about to run: its id, command and parameters."""

    id: str
    command: str
    parameters: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """A SHA-256 of command and parameters, which distinguishes a repeat from a reuse of the id."""
        asked = json.dumps([self.command, plain(self.parameters)], sort_keys=True, default=str)
        return hashlib.sha256(asked.encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True, slots=True)
class Earlier:
    """The result of an operation that took effect earlier."""

    result: Any


def begin(session: Session, request: Request) -> Earlier | None:
    """Record the operation, or return its earlier result; waits while another runs it; raises OperationReused.

    The audit log names it in the changes of this transaction.
    """
    recorded = session.execute(
        text(
            "WITH recorded AS (INSERT INTO app.operations (id, command, fingerprint) "
            "VALUES (:id, :command, :fingerprint) ON CONFLICT (id, user_id) DO NOTHING RETURNING id) "
            "SELECT set_config('dumacle.operation', id, true) FROM recorded"
        ),
        {"id": request.id, "command": request.command, "fingerprint": request.fingerprint},
    ).first()
    if recorded:
        return None
    found = session.execute(
        text(f"SELECT command, fingerprint, result FROM app.operations WHERE {_OWN}"),  # noqa: S608
        {"id": request.id},
    ).one()
    if found.fingerprint != request.fingerprint:
        raise OperationReused(operation=request.id, command=found.command)
    return Earlier(found.result)


def finish(session: Session, request: Request, result: object) -> None:
    """Store the result without secrets for a repeat of the operation, unless it is too long."""
    document = json.dumps(plain(result, keep_secrets=False), default=str)
    session.execute(
        text(f"UPDATE app.operations SET result = CAST(:result AS jsonb) WHERE {_OWN}"),  # noqa: S608
        {"id": request.id, "result": document if len(document) <= RESULT_BYTES else None},
    )


def count_old(session: Session) -> int:
    """Return how many operations are old enough to be pruned."""
    if not functions.is_there(session, "app.old_operations()"):
        return 0
    return int(session.scalars(text("SELECT app.old_operations()")).one())


def prune(session: Session, batch: int) -> int:
    """Delete old operations, at most `batch` and in parallel with other callers; returns how many."""
    if not functions.is_there(session, "app.prune_operations(integer)"):
        return 0
    return int(session.scalars(text("SELECT app.prune_operations(:batch)"), {"batch": batch}).one())
