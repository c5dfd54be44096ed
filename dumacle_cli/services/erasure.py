"""Purging a user: hide them, delete the bytes of their files, then all rows; a repeat continues where it stopped.

It lives longer than a transaction.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dumacle_cli.errors import Conflict
from dumacle_cli.escapes import quoted
from dumacle_cli.services import users
from dumacle_cli.store import users as users_store
from dumacle_cli.units import Bytes

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dumacle_cli.clients.object_store import ObjectStore
    from dumacle_cli.store.database import Database
    from dumacle_cli.store.places import Place

BATCH = 10_000
KEPT = (
    "the audit log says who did what, when and to which id, without e-mail, names and paths; "
    "beyond reach: what Stripe keeps, logs of servers, backups"
)


@dataclass(frozen=True, slots=True)
class Erased:
    """A purged user, with how many files and bytes, and what is kept about them."""

    id: int
    email: str
    files: int
    bytes: Bytes
    kept: str = KEPT


def plan(session: "Session", reference: str) -> Erased:
    """Preview what purging a user, deleted or not, removes; raises NotFound, or Conflict if Stripe bills them.

    Where they bought at an account that was left, only a deleted user is purged: nothing else says whom it may bill.
    """
    from dumacle_cli.services.billing import subscriptions
    from dumacle_cli.store import accounts
    from dumacle_cli.store import erasure as store

    user = users.get_any(session, reference)
    if billed := subscriptions.billed(session, user.id):
        advice = f"dumacle plans cancel {quoted(user.email if len(billed) == 1 else billed[0])} --now"
        raise Conflict(reason=f"Stripe bills the subscription of {user.email}", advice=advice)
    if user.deleted_at is None and (left := accounts.left_behind(session, user.id)):
        subscription, account = left[0]
        advice = f"cancel it there, then: dumacle users delete {quoted(user.email)}, and repeat the command"
        raise Conflict(reason=f"{user.email} bought {subscription} at {account}, which was left", advice=advice)
    return Erased(user.id, user.email, *store.stored(session, user.id))


def begin(session: "Session", reference: str) -> tuple[Erased, bool]:
    """Disable and hide the user; raises NotFound, or Conflict for the last superadmin."""
    erased = plan(session, reference)
    users.delete(session, str(erased.id))
    return erased, True


def finish(database: "Database", stores: "Callable[[Place], ObjectStore]", user_id: int) -> None:
    """Purge a deleted user and their files; does nothing to one who is not deleted.

    Raises Conflict while the user has open uploads, and the errors of the stores; what was done is kept.
    """
    from dumacle_cli.services import purge
    from dumacle_cli.store import erasure as store

    while _delete_files(database, user_id):
        pass
    purge.run(database, stores, owner_id=user_id)
    with database.session() as session:
        user = users_store.find(session, str(user_id), deleted=True, lock=True)
        if user and store.stored(session, user_id)[0]:
            reason = f"uploads of {user.email} are still open"
            raise Conflict(reason=reason, advice=f"repeat it when they ended: dumacle users purge {user_id}")
        if user:
            store.erase(session, user_id)


def _delete_files(database: "Database", user_id: int) -> bool:
    from dumacle_cli.store import erasure as store

    with database.session() as session:
        return store.delete_files(session, user_id, BATCH)
