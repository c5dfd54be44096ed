"""Sync: compare our subscriptions with Stripe, because a delivery may be lost for good, and apply the differences.

It lives longer than a transaction: none is open during a request to Stripe. Differences are applied in this process,
so no worker is needed.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from sqlalchemy.orm import Session

from dumacle_cli.clients.stripe import Object
from dumacle_cli.errors import NotApplied
from dumacle_cli.services import users
from dumacle_cli.services.billing import BillingContext, apply, objects
from dumacle_cli.store import stripe, subscriptions

BATCH = 100
Difference = Literal["same", "foreign", "missed", "unseen"]
Compared = tuple[str, Difference]
"""The id of a subscription at Stripe, and how it compares."""


@dataclass(frozen=True, slots=True)
class SyncScope:
    """The subscriptions to compare: those of one user, with their customer at Stripe if there is one, or all."""

    user_id: int | None = None
    customer: str | None = None


@dataclass(frozen=True, slots=True)
class SyncResult:
    """The number of subscriptions: at Stripe (`seen`), of other applications, and different from or missing here.

    `unseen` ones are here and were not listed by Stripe; `failed` ones could not be updated. `moved` counts customers
    whose new e-mail address Stripe was given, `findings` what a person has to look at.
    """

    seen: int
    foreign: int
    missed: int
    unseen: int
    failed: int
    moved: int
    findings: int = 0


def scope(session: Session, reference: str) -> SyncScope:
    """Return the scope of one user, or of all if the reference is empty; raises NotFound."""
    if not reference:
        return SyncScope()
    user = users.get_any(session, reference)
    return SyncScope(user.id, stripe.customer_of(session, user.id))


def sync(context: BillingContext, chosen: SyncScope, *, dry_run: bool) -> tuple[SyncResult, dict[str, str]]:
    """Compare subscriptions with Stripe, and unless on a dry run apply the differences.

    Returns the result, and the error of each failed subscription by its id at Stripe.
    """
    counts: Counter[Difference] = Counter()
    failed: list[str] = []
    for id_, difference in _compare(context, chosen):
        counts[difference] += 1
        if difference in ("missed", "unseen") and not dry_run:
            status = apply.refresh(context, ("subscription", id_))
            failed += [id_] if status in ("parked", "dead") else []
    moved = _sync_customers(context, chosen, dry_run=dry_run)
    with context.database.session(read_only=True) as session:
        errors = stripe.errors(session, failed)
    seen = counts.total() - counts["unseen"]
    return SyncResult(seen, counts["foreign"], counts["missed"], counts["unseen"], len(failed), moved), errors


def _sync_customers(context: BillingContext, chosen: SyncScope, *, dry_run: bool) -> int:
    """Give Stripe the e-mail addresses that were changed here, forget deleted customers; return how many changed."""
    moved, after = 0, 0
    while True:
        with context.database.session(read_only=True) as session:
            rows = stripe.moved_customers(session, chosen.user_id, after, BATCH)
        if not rows:
            return moved
        for after, customer in rows:  # noqa: B007 - the last one is where the next batch begins
            moved += 1
            if not dry_run:
                apply.refresh(context, ("customer", customer))


def _compare(context: BillingContext, chosen: SyncScope) -> Iterator[Compared]:
    """Yield every subscription at Stripe, then the open ones here that Stripe did not list."""
    seen: set[str] = set()
    for batch in _batches(_at_stripe(context, chosen)):
        seen.update(found["id"] for found in batch)
        with context.database.session(read_only=True) as session:
            findings = _compare_batch(session, batch, context.installation)
        yield from findings
    for id_ in _open_here(context, chosen):
        if id_ not in seen:
            yield id_, "unseen"


def _at_stripe(context: BillingContext, chosen: SyncScope) -> Iterable[Object]:
    gone = chosen.customer is not None and context.stripe.fetch("customer", chosen.customer) is None
    if gone or (chosen.user_id is not None and chosen.customer is None):
        return ()
    return context.stripe.subscriptions(chosen.customer)


def _batches(listed: Iterable[Object]) -> Iterator[list[Object]]:
    rest = iter(listed)
    while batch := list(islice(rest, BATCH)):
        yield batch


def _compare_batch(session: Session, batch: list[Object], installation: str) -> list[Compared]:
    states = stripe.states(session, [found["id"] for found in batch])
    customers = stripe.known_customers(session, [found["customer"] for found in batch])
    return [(found["id"], _difference(found, states.get(found["id"]), customers, installation)) for found in batch]


def _difference(found: Object, state: Object | None, customers: set[str], installation: str) -> Difference:
    if state is None:
        return "missed" if _is_ours(found, customers, installation) else "foreign"
    try:
        return "same" if objects.subscription_state(found).stored() == state else "missed"
    except NotApplied:
        return "missed"


def _is_ours(found: Object, customers: set[str], installation: str) -> bool:
    metadata = found["metadata"]
    if "installation" in metadata:
        return bool(objects.tags(installation).items() <= metadata.items())
    return found["customer"] in customers


def _open_here(context: BillingContext, chosen: SyncScope) -> Iterator[str]:
    after = 0
    while True:
        with context.database.session(read_only=True) as session:
            rows = subscriptions.open_at_stripe(session, chosen.user_id, after, BATCH)
        if not rows:
            return
        yield from (stripe_id for _, stripe_id in rows)
        after = rows[-1][0]
