"""Sync: compare what is mirrored with Stripe, because a delivery may be lost for good, and apply the differences.

It lives longer than a transaction: none is open during a request to Stripe. Differences are applied in this process,
so no worker is needed: those of one page of Stripe's list before the next one is read. What was applied stays applied,
so a run that was killed is simply repeated: it reads the list again, and applies the rest.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Literal

from sqlalchemy.orm import Session

from dumacle_cli.clients.stripe import Object, id_of
from dumacle_cli.errors import DumacleError, Exit, NotApplied
from dumacle_cli.services import users
from dumacle_cli.services.billing import BillingContext, apply, catalog, inbox, objects, review
from dumacle_cli.services.billing.findings import ACCOUNT, Finding, Found, list_
from dumacle_cli.store import findings, models, plans, stripe, subscriptions
from dumacle_cli.store.stripe import Target

BATCH = 100
MAY_END, MAY_VANISH, SHARE = 10, 1, 10
"""So many subscriptions, or one in SHARE of the open ones, may end in one sync without --max.

At Stripe a subscription is canceled, and does not vanish: that more than one does is a sign of something else.
"""
Comparison = Literal["same", "foreign", "missed", "unseen"]
Outcome = Literal["applied", "failed", "skipped"]
Act = Callable[[list[Target]], None]


@dataclass(frozen=True, slots=True)
class SyncScope:
    """What to compare: all, or what belongs to one user or customer, or what changed `since` a time."""

    user_id: int | None = None
    customer: str | None = None
    since: datetime | None = None
    full: bool = False

    @property
    def is_all(self) -> bool:
        """Whether every subscription is compared."""
        return self.user_id is None and self.customer is None and self.since is None


@dataclass(frozen=True, slots=True)
class SyncResult:
    """The number of subscriptions: at Stripe (`seen`), of other applications, and different from or missing here.

    `unseen` ones are here and were not listed by Stripe. Of these, `failed` ones could not be updated, `held` ones are
    claimed by a worker, and `refused` ones would have ended, which the guard did not allow. `moved` counts customers
    whose new e-mail address Stripe was given, `applied` all that were updated here, `findings` what is wrong after
    the sync.
    """

    seen: int
    foreign: int
    missed: int
    unseen: int
    failed: int
    held: int
    refused: int
    moved: int
    applied: int
    findings: int


@dataclass(slots=True)
class Differences:
    """What a comparison found: how many of each, the objects to apply, and the subscriptions that would end.

    `strangers` are subscriptions that pay for a plan and belong to no user here.
    """

    counts: Counter[Comparison] = field(default_factory=Counter)
    targets: list[Target] = field(default_factory=list)
    ending: list[Target] = field(default_factory=list)
    vanished: int = 0
    strangers: list[str] = field(default_factory=list)
    open: int = 0

    def note(self, target: Target, comparison: Comparison, *, ends: bool = False) -> None:
        """Count a compared subscription, and keep it if it differs."""
        self.counts[comparison] += 1
        self.vanished += ends and comparison == "unseen"
        if comparison in ("missed", "unseen"):
            (self.ending if ends else self.targets).append(target)

    def guarded(self, maximum: int | None) -> list[Target]:
        """Return the subscriptions that would end, if they are more than may end in one sync."""
        if maximum is not None:
            return self.ending if len(self.ending) > maximum else []
        share = self.open // SHARE
        too_many = len(self.ending) > max(MAY_END, share) or self.vanished > max(MAY_VANISH, share)
        return self.ending if too_many else []


def scope(session: Session, user: str, customer: str, since: datetime | None, *, full: bool) -> SyncScope:
    """Return the scope of a user (e-mail or id), a customer at Stripe, or of all; raises NotFound."""
    if customer:
        return SyncScope(stripe.user_of_customer(session, customer), customer)
    if not user:
        return SyncScope(since=since, full=full)
    found = users.get_any(session, user)
    return SyncScope(found.id, stripe.customer_of(session, found.id))


# Comparing


def compare(context: BillingContext, chosen: SyncScope, apply_all: Act = lambda _: None) -> Differences:
    """Compare subscriptions, and on a full run customers, with Stripe; what would not end is applied on the way."""
    found, seen = Differences(), set[str]()
    for batch in _batches(_at_stripe(context, chosen)):
        seen.update(each["id"] for each in batch)
        before = len(found.targets)
        with context.database.session(read_only=True) as session:
            _compare_batch(session, batch, context.installation, found)
        apply_all(found.targets[before:])
    before = len(found.targets)
    if chosen.since is None:
        _compare_open(context, chosen, seen, found)
    if chosen.full:
        found.targets += _missing_customers(context)
    if chosen.is_all:
        found.targets += _not_applied(context, {id_ for _, id_ in (*found.targets, *found.ending)})
    apply_all(found.targets[before:])
    return found


def _at_stripe(context: BillingContext, chosen: SyncScope) -> Iterable[Object]:
    if chosen.since is not None:
        return _changed(context, int(chosen.since.timestamp()))
    gone = chosen.customer is not None and context.stripe.fetch("customer", chosen.customer) is None
    if gone or (chosen.user_id is not None and chosen.customer is None):
        return ()
    return context.stripe.subscriptions(chosen.customer)


def _changed(context: BillingContext, since: int) -> Iterator[Object]:
    """Yield the present state of subscriptions that events since a time speak of, each once."""
    known: set[str] = set()
    for event in context.stripe.events(inbox.DELIVERED, since):
        for kind, id_ in inbox.targets_of(event):
            if kind == "subscription" and id_ not in known:
                known.add(id_)
                # Of one that is gone, its id is enough.
                yield context.stripe.fetch(kind, id_) or {"id": id_, "gone": True}


def _batches(listed: Iterable[Object]) -> Iterator[list[Object]]:
    rest = iter(listed)
    while batch := list(islice(rest, BATCH)):
        yield batch


def _compare_batch(session: Session, batch: list[Object], installation: str, into: Differences) -> None:
    ids = [found["id"] for found in batch]
    states = stripe.states(session, ids)
    is_open = subscriptions.open_of(session, ids)
    into.open += len(is_open)
    customers = stripe.known_customers(session, [id_ for found in batch if (id_ := id_of(found.get("customer")))])
    sold = plans.sold_prices(session, [price for found in batch for price in _prices(found)])
    for found in batch:
        compared = _comparison(found, states.get(found["id"]), customers, installation)
        ends = found["id"] in is_open and (found.get("status") in models.plans.FINAL_STATUSES or "gone" in found)
        into.note(("subscription", found["id"]), compared, ends=ends)
        is_stranger = compared == "foreign" and "installation" not in (found.get("metadata") or {})
        if is_stranger and found.get("status") in models.plans.ENTITLED_STATUSES and sold & set(_prices(found)):
            into.strangers.append(found["id"])


def _prices(found: Object) -> list[str]:
    """Return the prices of a subscription as Stripe returned it; none of one that is not as documented."""
    try:
        return [str(item["price"]["id"]) for item in found["items"]["data"]]
    except (LookupError, TypeError):
        return []


def _comparison(found: Object, state: Object | None, customers: set[str], installation: str) -> Comparison:
    if "gone" in found:
        return "unseen" if state else "foreign"
    if state is None:
        return "missed" if _is_ours(found, customers, installation) else "foreign"
    try:
        return "same" if objects.subscription_state(found).stored() == state else "missed"
    except NotApplied:
        return "missed"


def _is_ours(found: Object, customers: set[str], installation: str) -> bool:
    metadata = found.get("metadata") or {}
    if "installation" in metadata:
        return bool(objects.tags(installation).items() <= metadata.items())
    return id_of(found.get("customer")) in customers


def _compare_open(context: BillingContext, chosen: SyncScope, seen: set[str], into: Differences) -> None:
    """Note the open subscriptions here that Stripe did not list."""
    if chosen.customer and chosen.user_id is None:
        return
    for id_ in _open_here(context, chosen):
        if id_ not in seen:
            into.open += 1
            into.note(("subscription", id_), "unseen", ends=True)


def _open_here(context: BillingContext, chosen: SyncScope) -> Iterator[str]:
    after = 0
    while True:
        with context.database.session(read_only=True) as session:
            rows = subscriptions.open_at_stripe(session, chosen.user_id, after, BATCH)
        if not rows:
            return
        yield from (stripe_id for _, stripe_id in rows)
        after = rows[-1][0]


def _missing_customers(context: BillingContext) -> list[Target]:
    """Return the customers here that Stripe does not list: they were deleted there."""
    listed = {found["id"] for found in context.stripe.customers()}
    with context.database.session(read_only=True) as session:
        return [("customer", id_) for id_ in stripe.all_customers(session) if id_ not in listed]


def _not_applied(context: BillingContext, compared: set[str]) -> list[Target]:
    """Return what could not be applied before, of any kind, to be tried again."""
    with context.database.session(read_only=True) as session:
        return [target for target in stripe.not_applied(session) if target[1] not in compared]


# Applying


def sync(
    context: BillingContext, chosen: SyncScope, *, apply_differences: bool, maximum: int | None = None
) -> tuple[SyncResult, list[Finding]]:
    """Compare with Stripe and apply the differences, unless too many subscriptions would end.

    Returns the result, and what is wrong after it. One object that cannot be applied stops no other.
    """
    outcomes = Counter[Outcome]()

    def apply_all(targets: list[Target]) -> None:
        outcomes.update(_apply(context, target) if apply_differences else "applied" for target in targets)

    moved = list(_moved(context, chosen))
    found = compare(context, chosen, apply_all)
    guarded = found.guarded(maximum)
    ending = [] if guarded else found.ending
    apply_all([*ending, *moved])
    targets, held = [*found.targets, *ending], list[str]()
    if apply_differences:
        others = Counter(_apply(context, target) for target in _woken(context, chosen, targets))
        outcomes["failed"] += others["failed"]
        held = _held(context, [id_ for _, id_ in targets])
        _note(context, chosen, found, guarded)
        with context.database.session() as session:
            review.save(session, chosen.user_id)
    with context.database.session(read_only=True) as session:
        left = list_(session, user_id=chosen.user_id)
    return _result(found, outcomes, held, guarded, len(moved), len(left)), left


def _result(
    found: Differences, outcomes: Counter[Outcome], held: list[str], guarded: list[Target], moved: int, left: int
) -> SyncResult:
    counts = found.counts
    return SyncResult(
        seen=counts.total() - counts["unseen"],
        foreign=counts["foreign"],
        missed=counts["missed"],
        unseen=counts["unseen"],
        failed=outcomes["failed"],
        held=len(held),
        refused=len(guarded),
        moved=moved,
        applied=outcomes["applied"],
        findings=left,
    )


def _moved(context: BillingContext, chosen: SyncScope) -> Iterator[Target]:
    """Yield the customers to whose users Stripe has to be given another e-mail address."""
    after = 0
    while chosen.user_id is not None or chosen.customer is None:
        with context.database.session(read_only=True) as session:
            rows = stripe.moved_customers(session, chosen.user_id, after, BATCH)
        yield from (("customer", customer) for _, customer in rows)
        if not rows:
            return
        after = rows[-1][0]


def _apply(context: BillingContext, target: Target) -> Outcome:
    """Apply one object; what is wrong with it is saved as a finding. Raises what would stop every object."""
    try:
        status = apply.refresh(context, target)
    except DumacleError as error:
        if error.exit in (Exit.TEMPORARY, Exit.LOGIN, Exit.FORBIDDEN):
            raise
        with context.database.session() as session:
            findings.add(session, target[1], [Found("not-applied", f"{target[1]}: {error}", "dumacle plans sync")])
        return "failed"
    return "failed" if status in ("parked", "dead") else "applied" if status == "applied" else "skipped"


def _woken(context: BillingContext, chosen: SyncScope, targets: list[Target]) -> list[Target]:
    """Return the subscriptions that have to be applied again, now that these objects were.

    They are others of the same users, and those whose invoices were applied.
    """
    ids = [id_ for kind, id_ in targets if kind == "subscription"]
    with context.database.session(read_only=True) as session:
        siblings = subscriptions.siblings_due(session, ids)
        wanted = stripe.wanted_subscriptions(session) if chosen.is_all else []
    return [("subscription", id_) for id_ in dict.fromkeys([*siblings, *wanted])]


def _held(context: BillingContext, ids: list[str]) -> list[str]:
    """Save a finding for each object that another worker has claimed, and return them; its lease ends by itself."""
    with context.database.session() as session:
        held = stripe.held(session, ids)
        findings.settle(session, "held", [id_ for id_ in ids if id_ not in held])
        for id_, until in held.items():
            sentence = f"{id_} is claimed by another worker until {until:%Y-%m-%d %H:%M:%S} UTC, so it was not applied"
            findings.add(session, id_, [Found("held", sentence, "dumacle plans sync", "warning")])
    return list(held)


def _note(context: BillingContext, chosen: SyncScope, found: Differences, guarded: list[Target]) -> None:
    """Save as findings what the guard refused, who pays and belongs to nobody, and how the catalog differs."""
    if not chosen.is_all:
        return
    with context.database.session() as session:
        findings.keep_only(session, "would-end", [ACCOUNT] if guarded else [])
        if guarded:
            sentence = f"a sync would end {len(guarded)} of {found.open} subscriptions, such as {guarded[0][1]}"
            fix = f"check the key and Stripe; to end them: dumacle plans sync --max {len(guarded)}"
            findings.add(session, ACCOUNT, [Found("would-end", sentence, fix)])
        findings.keep_only(session, "stranger", found.strangers)
        for id_ in found.strangers:
            sentence = f"{id_} pays for a plan and belongs to no user here"
            fix = "adopt it: dumacle plans adopt; or cancel it at Stripe"
            findings.add(session, id_, [Found("stranger", sentence, fix)])
    for name, differs in catalog.every_difference(context).items():
        with context.database.session() as session:
            findings.replace(session, name, differs)
