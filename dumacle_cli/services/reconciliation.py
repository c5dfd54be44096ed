"""Reconciliation: events can be missing for ever, so what is mirrored is compared with Stripe itself.

It lives longer than a transaction: nothing is open while Stripe is asked. What differs is applied here and now as an
event would have been, so that no worker is needed.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Literal

from sqlalchemy.orm import Session

from dumacle_cli.clients.billing import Object
from dumacle_cli.errors import NotApplied
from dumacle_cli.services import billing, mirror, users
from dumacle_cli.services.products import tags
from dumacle_cli.store import reconciliation as store
from dumacle_cli.store import stripe

if TYPE_CHECKING:
    from dumacle_cli.clients.billing import Billing
    from dumacle_cli.store.database import Database

BATCH = 100
Finding = Literal["same", "foreign", "missed", "unseen"]
Found = tuple[str, Finding]


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose subscriptions are compared: one user's, with his customer at Stripe where he has one, or everybody's."""

    user_id: int | None = None
    customer: str | None = None


@dataclass(frozen=True, slots=True)
class Synced:
    """What a comparison came to: subscriptions at Stripe, some `missed` here, some another's (`foreign`).

    Those `unseen` are here and were not listed there; `failed` could not be brought up to date.
    """

    seen: int
    foreign: int
    missed: int
    unseen: int
    failed: int


def whose(session: Session, reference: str) -> Whose:
    """Return whose subscriptions are meant: a user's, or with '' everybody's; raises NotFound."""
    if not reference:
        return Whose()
    user = users.get_any(session, reference)
    return Whose(user.id, stripe.customer(session, user.id))


def sync(
    database: "Database", client: "Billing", chosen: Whose, installation: str, *, dry_run: bool
) -> tuple[Synced, dict[str, str]]:
    """Compare all that is mirrored, and unless on a dry run fetch and apply what differs.

    Returns what it came to, and why what failed did so, by the id at Stripe.
    """
    counts: Counter[Finding] = Counter()
    failed: list[str] = []
    for id_, finding in _compared(database, client, chosen, installation):
        counts[finding] += 1
        if finding in ("missed", "unseen") and not dry_run:
            status = billing.refresh(database, client, ("subscription", id_), installation)
            failed += [id_] if status in ("parked", "dead") else []
    with database.session(read_only=True) as session:
        reasons = store.errors(session, failed)
    seen = counts.total() - counts["unseen"]
    return Synced(seen, counts["foreign"], counts["missed"], counts["unseen"], len(failed)), reasons


def _compared(database: "Database", client: "Billing", chosen: Whose, installation: str) -> Iterator[Found]:
    """Yield every subscription at Stripe, and then those here that were not among them."""
    seen: set[str] = set()
    for batch in _batches(_listed(client, chosen)):
        seen.update(found["id"] for found in batch)
        with database.session(read_only=True) as session:
            findings = _compare(session, batch, installation)
        yield from findings
    for id_ in _standing(database, chosen):
        if id_ not in seen:
            yield id_, "unseen"


def _listed(client: "Billing", chosen: Whose) -> Iterable[Object]:
    nobody = chosen.user_id is not None and chosen.customer is None
    return () if nobody else client.subscriptions(chosen.customer)


def _batches(listed: Iterable[Object]) -> Iterator[list[Object]]:
    rest = iter(listed)
    while batch := list(islice(rest, BATCH)):
        yield batch


def _compare(session: Session, batch: list[Object], installation: str) -> list[Found]:
    states = store.states(session, [found["id"] for found in batch])
    customers = store.customers(session, [found["customer"] for found in batch])
    return [(found["id"], _finding(found, states.get(found["id"]), customers, installation)) for found in batch]


def _finding(found: Object, state: Object | None, customers: set[str], installation: str) -> Finding:
    if state is None:
        return "missed" if _is_ours(found, customers, installation) else "foreign"
    try:
        return "same" if mirror.kept(mirror.read(found)) == state else "missed"
    except NotApplied:
        return "missed"


def _is_ours(found: Object, customers: set[str], installation: str) -> bool:
    metadata = found["metadata"]
    if "installation" in metadata:
        return bool(tags(installation).items() <= metadata.items())
    return found["customer"] in customers


def _standing(database: "Database", chosen: Whose) -> Iterator[str]:
    after = 0
    while True:
        with database.session(read_only=True) as session:
            rows = store.standing(session, chosen.user_id, after, BATCH)
        if not rows:
            return
        yield from (stripe_id for _, stripe_id in rows)
        after = rows[-1][0]
