"""Adoption: take over customers, prices and subscriptions that an earlier system made at Stripe.

Nothing is changed at Stripe: a customer becomes that of a user here, a price one of a plan's, and then a subscription
is applied like any other. What is not clear is reported and left alone. It lives longer than a transaction.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Literal

from sqlalchemy.orm import Session

from dumacle_cli.clients.stripe import Object, id_of
from dumacle_cli.errors import DumacleError, Forbidden
from dumacle_cli.escapes import quoted
from dumacle_cli.services import plans as plan_service
from dumacle_cli.services.billing import BillingContext, apply, catalog, objects
from dumacle_cli.store import logins, models, plans, stripe, subscriptions, users

BATCH = 100
Outcome = Literal["adopted", "ambiguous", "unmatched", "failed"]


@dataclass(frozen=True, slots=True)
class Matching:
    """How to recognise users and plans: a key of the customers' metadata, their e-mail, and plans by price id."""

    metadata: str = ""
    by_email: bool = False
    prices: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Adoption:
    """A customer or subscription at Stripe that is not known here: whose it is, and what became of it."""

    object: str
    customer: str
    email: str | None
    user: str | None
    plan: str | None
    result: Outcome
    reason: str


Owner = tuple[int, str]
"""The id and the e-mail of a user."""
Candidate = tuple[Object, int | None, str | None]
"""A customer with the id and e-mail of the user who matches, if one does."""


def require_superadmin(session: Session) -> None:
    """Check that the actor may write the prices of plans; raises Forbidden."""
    if logins.acting_role(session) not in ("owner", "superadmin"):
        raise Forbidden(what="plans adopt --apply", role="superadmin")


def matching(session: Session, metadata: str, by_email: bool, prices: Mapping[str, str]) -> Matching:
    """Return how to recognise users and plans; raises NotFound for an unknown plan."""
    for name in prices.values():
        plan_service.get(session, name)
    return Matching(metadata, by_email, prices)


def adopt(context: BillingContext, chosen: Matching, *, write: bool) -> Iterator[Adoption]:
    """Yield each customer and each open subscription that is not known here, adopted if its user and plan are clear."""
    owners: dict[str, Owner] = {}
    for found, user_id, email in _customers(context, chosen):
        done = _adopt_customer(context, found, user_id, email, write=write)
        if done.result == "adopted" and user_id is not None:
            owners[found["id"]] = user_id, str(email)
        yield done
    for found in context.stripe.subscriptions():
        if found["status"] not in models.plans.FINAL_STATUSES and (planned := _plan(context, chosen, found, owners)):
            user_id, done = planned
            yield _adopt_subscription(context, found, user_id, done) if write and user_id else done


# Customers


def _customers(context: BillingContext, chosen: Matching) -> Iterator[Candidate]:
    """Yield the customers that are not known here; one of several that match the same user matches nobody."""
    found: list[Candidate] = []
    for batch in _batches(context.stripe.customers()):
        with context.database.session(read_only=True) as session:
            known = stripe.known_customers(session, [each["id"] for each in batch])
            named = _named(session, chosen, [each for each in batch if each["id"] not in known])
            found += [candidate for candidate in named if not _is_foreign(candidate[0], context.installation)]
    number: dict[int | None, int] = defaultdict(int)
    for _, user_id, _ in found:
        number[user_id] += 1
    for each, user_id, email in found:
        yield each, (user_id if number[user_id] == 1 else None), email


def _batches(listed: Iterable[Object]) -> Iterator[list[Object]]:
    rest = iter(listed)
    while batch := list(islice(rest, BATCH)):
        yield batch


def _is_foreign(found: Object, installation: str) -> bool:
    metadata = found.get("metadata") or {}
    return "installation" in metadata and not objects.tags(installation).items() <= metadata.items()


def _named(session: Session, chosen: Matching, batch: list[Object]) -> list[Candidate]:
    """Find the user of each customer: by the metadata, then by the e-mail."""
    said = {each["id"]: _references(each, chosen) for each in batch}
    known = users.referred(session, [reference for references in said.values() for reference in references])
    return [(each, *next((known[name] for name in said[each["id"]] if name in known), (None, None))) for each in batch]


def _references(found: Object, chosen: Matching) -> list[str]:
    """Return what names the user of a customer, an id or an e-mail, the most certain first."""
    metadata = found.get("metadata") or {}
    named = [metadata.get("user") if "installation" in metadata else None]
    named += [metadata.get(chosen.metadata)] if chosen.metadata else []
    named += [found.get("email")] if chosen.by_email else []
    return [name.strip().lower() for name in named if name]


def _adopt_customer(
    context: BillingContext, found: Object, user_id: int | None, email: str | None, *, write: bool
) -> Adoption:
    row = Adoption(found["id"], found["id"], found.get("email"), email, None, "unmatched", "no user here matches")
    if user_id is None:
        several = "several customers match this user"
        return replace(row, result="ambiguous", reason=several) if email else row
    with context.database.session(read_only=not write) as session:
        known = stripe.save_customer(session, user_id, found["id"]) if write else stripe.customer_of(session, user_id)
    if known in (None, found["id"]):
        return replace(row, result="adopted", reason="")
    return replace(row, result="ambiguous", reason=f"the user is customer {known} already")


# Subscriptions


def _plan(
    context: BillingContext, chosen: Matching, found: Object, owners: Mapping[str, Owner]
) -> tuple[int | None, Adoption] | None:
    """Return what would become of a subscription, with its user if all is clear; None if it is known or foreign."""
    customer = id_of(found["customer"])
    with context.database.session(read_only=True) as session:
        if subscriptions.user_of(session, found["id"]) is not None or _is_foreign(found, context.installation):
            return None
        owner = owners.get(customer) or users.of_customer(session, customer) or _tagged(session, chosen, found)
        user_id, email = owner or (None, None)
        row = Adoption(found["id"], customer, None, email, None, "unmatched", "its customer belongs to no user here")
        if user_id is None:
            return None, row
        fitting = _fitting(session, chosen, found)
        names = [session.get_one(models.Plan, plan_id).name for plan_id in fitting]
        other = [each.stripe_subscription_id for each in subscriptions.open_subscriptions(session, user_id)]
    if any(other):
        return None, replace(row, result="ambiguous", reason=f"the user has {next(filter(None, other))} already")
    if len(names) == 1:
        return user_id, replace(row, plan=names[0], result="adopted", reason="")
    price = found["items"]["data"][0]["price"]["id"]
    reason = f"plans {', '.join(names)} cost the same" if names else "no plan costs the same"
    return None, replace(row, result="ambiguous", reason=f"{reason}: give --price {quoted(price)}=PLAN")


def _tagged(session: Session, chosen: Matching, found: Object) -> Owner | None:
    """Return the user whom a subscription itself names."""
    ((_, user_id, email),) = _named(session, chosen, [found])
    return (user_id, email) if user_id is not None and email else None


def _fitting(session: Session, chosen: Matching, found: Object) -> list[int]:
    """Return the plans that a subscription may be to: by a price that was named or is known, else by what it costs."""
    items = found["items"]["data"]
    prices = [item["price"]["id"] for item in items]
    named = {plan_service.get(session, chosen.prices[price]).id for price in prices if price in chosen.prices}
    if named:
        return sorted(named)
    products = [id_of(item["price"]["product"]) for item in items]
    sold = plans.sold(session, prices, products)
    if known := [sold[id_].id for id_ in (*prices, *products) if id_ in sold]:
        return known[:1]
    charge = catalog.charged(items[0]["price"]) if len(items) == 1 else None
    return list(plans.costing(session, charge)) if charge else []


def _adopt_subscription(context: BillingContext, found: Object, user_id: int, done: Adoption) -> Adoption:
    """Save the customer and the price of a subscription, and apply it."""
    try:
        with context.database.session() as session:
            price = found["items"]["data"][0]["price"]
            plan = plan_service.get(session, str(done.plan))
            plans.add_price(session, plan.id, price["id"], _charge(price))
            stripe.save_customer(session, user_id, done.customer)
        status = apply.refresh(context, ("subscription", found["id"]))
    except DumacleError as error:
        return replace(done, result="failed", reason=str(error))
    if status == "applied":
        return done
    with context.database.session(read_only=True) as session:
        errors = stripe.errors(session, [found["id"]])
    return replace(done, result="failed", reason=errors.get(found["id"], f"it is {status or 'claimed by a worker'}"))


def _charge(price: Object) -> plans.Charge:
    """Return what a price costs and how often, as it is stored; one in tiers has no amount."""
    recurring = price.get("recurring") or {}
    often = f"{recurring.get('interval_count')} {recurring.get('interval')}"
    return catalog.charged(price) or plans.Charge(price.get("unit_amount") or 0, str(price["currency"]), often)
