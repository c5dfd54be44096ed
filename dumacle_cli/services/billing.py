"""Billing: an event is only a hint, so what is wanted is fetched as it is now at Stripe, and applied once.

`apply_object` lives longer than a transaction: nothing is open while Stripe is asked. A lease fences it: what was
fetched before another claimed the object is never applied. A kill at any point lets the lease run out, and what is
applied again changes nothing.
"""

from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from dumacle_cli.errors import DumacleError, Exit, NotApplied
from dumacle_cli.services import mirror
from dumacle_cli.services.mirror import Applied
from dumacle_cli.store import stripe as store
from dumacle_cli.store.stripe import Claim, Target

if TYPE_CHECKING:
    from dumacle_cli.clients.billing import Billing, Object
    from dumacle_cli.store.database import Database

# Longer than the client waits for two answers of Stripe, with its repeats: a sale asks first and then charges.
LEASE_S = 180
BACKOFF_S = (60, 300, 1800, 7200, 43_200)


def refresh(database: "Database", billing: "Billing", target: Target, installation: str) -> str | None:
    """Fetch and apply an object that was just changed at Stripe; None where a worker is at it, and will do it again."""
    with database.session() as session:
        mirror.want(session, [target], billing.livemode)
    return apply_object(database, billing, target[1], installation)


def apply_object(database: "Database", billing: "Billing", object_id: str, installation: str) -> str | None:
    """Bring an object up to date as often as it is wanted meanwhile; returns what it came to last.

    That is `applied`, `ignored`, `foreign`, `parked` (tried again later) or `dead` (given up), or None where there was
    nothing to do or another has it. What goes wrong is kept with the object, but for a fault of the database.
    """
    status = None
    while claimed := _claim(database, object_id):
        status = _apply_claimed(database, billing, claimed, installation)
    return status


def _claim(database: "Database", object_id: str) -> Claim | None:
    with database.session() as session:
        return store.claim(session, object_id, LEASE_S)


def _apply_claimed(database: "Database", billing: "Billing", claimed: Claim, installation: str) -> str:
    try:
        found = _fetch(billing, claimed)
        with database.session() as session:
            return apply(session, claimed, found, installation)
    except DumacleError as error:
        with database.session() as session:
            return postpone(session, claimed, error)


def _fetch(billing: "Billing", claimed: Claim) -> "Object | None":
    if claimed.livemode not in (None, billing.livemode):
        modes = ("test", "live")
        reason = f"it is of {modes[not billing.livemode]} mode, and the key of {modes[billing.livemode]} mode"
        raise NotApplied(reason=reason)
    return billing.fetch(claimed.kind, claimed.id)


def apply(session: Session, claimed: Claim, found: "Object | None", installation: str) -> str:
    """Apply an object that was fetched after it was claimed; None is one that Stripe does not have.

    Returns `applied`, `ignored` or `foreign`; raises NotApplied, also where another has claimed it by now.
    """
    done = _applied(session, claimed, found, installation)
    if not store.settle(session, claimed, done.status, done.finding, done.state):
        raise NotApplied(reason="another has claimed it meanwhile")
    return done.status


def _applied(session: Session, claimed: Claim, found: "Object | None", installation: str) -> Applied:
    if claimed.kind == "subscription":
        return mirror.apply_subscription(session, claimed.id, found, installation)
    if claimed.kind == "customer":
        return mirror.apply_customer(session, claimed.id, found, installation)
    return mirror.apply_pointer(session, claimed.kind, found)


def postpone(session: Session, claimed: Claim, error: DumacleError) -> str:
    """Try an object again later, or give it up where that did not help; returns `parked` or `dead`."""
    # What is no fault of the object, as when Stripe is down or the key is wrong, is never given up.
    final = error.exit is Exit.FAILED and claimed.attempts >= len(BACKOFF_S)
    seconds = None if final else BACKOFF_S[min(claimed.attempts, len(BACKOFF_S) - 1)]
    store.postpone(session, claimed, str(error), seconds)
    return "dead" if final else "parked"
