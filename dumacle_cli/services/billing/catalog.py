"""The catalog: publish plans as products and prices at Stripe, and compare them.

`publish` lives longer than a transaction: none is open during a request to Stripe.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal
from uuid import uuid4

from sqlalchemy.orm import Session

from dumacle_cli.clients.stripe import Object, Price, id_of
from dumacle_cli.clients.stripe_catalog import other_currencies
from dumacle_cli.errors import Conflict, DumacleError, InvalidValue
from dumacle_cli.escapes import quoted
from dumacle_cli.services import plans
from dumacle_cli.services.billing import BillingContext
from dumacle_cli.services.billing.findings import Found, is_own_fault, plan_object
from dumacle_cli.services.billing.objects import tags
from dumacle_cli.store import findings, models
from dumacle_cli.store import plans as store
from dumacle_cli.units import show_price

Result = Literal["created", "updated", "archived", "unchanged", "failed"]
NOT_PUSHED = "not-pushed"


@dataclass(frozen=True, slots=True)
class Offer:
    """A plan as it should be at Stripe."""

    plan_id: int
    plan: str
    description: str
    archived: bool
    product: str | None
    price_id: str | None
    price: Price


@dataclass(frozen=True, slots=True)
class Published:
    """The result of publishing one plan; `error` says why it failed."""

    plan: str
    result: Result
    lookup_key: str
    product_id: str | None
    price_id: str | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """A field in which a plan and its product or price at Stripe differ."""

    plan: str
    field: str
    here: str
    at_stripe: str


def offers(session: Session, names: Sequence[str], installation: str) -> list[Offer]:
    """Return the named plans, by default all that have a price or are already at Stripe; raises NotFound."""
    chosen = [plans.get(session, name) for name in names] if names else store.publishable(session)
    return [_offer(session, plan, installation) for plan in chosen]


def _offer(session: Session, plan: models.Plan, installation: str) -> Offer:
    price = Price(
        lookup_key=f"{installation}:{plan.name}",
        product=plan.stripe_product_id or "",
        amount=plan.price,
        currency=plan.currency,
        interval=plan.interval,
        metadata=tags(installation, plan=str(plan.id)),
        others=store.charge(session, plan).others,
    )
    archived = plan.archived_at is not None
    known = plan.stripe_product_id, plan.stripe_price_id
    return Offer(plan.id, plan.name, plan.description, archived, *known, price)


# Comparing


def compare(context: BillingContext, offer: Offer) -> list[Difference]:
    """Return how a plan differs from what Stripe sells, by reading from Stripe only."""
    product = context.stripe.fetch("product", offer.product) if offer.product else None
    if offer.archived:
        sold = product is not None and product["active"]
        return [Difference(offer.plan, "status", "archived", "active")] if sold else []
    if product is None:
        return [Difference(offer.plan, "product", offer.plan, "none")]
    price = context.stripe.price(offer.price.lookup_key)
    found = [*_differences(offer, product, price), *_tax_difference(context.stripe.tax, price)]
    return [Difference(offer.plan, *each) for each in found if each[1] != each[2]]


def _tax_difference(tax: str, price: Object | None) -> Iterator[tuple[str, str, str]]:
    if tax and price is not None:
        yield "tax", tax, price["tax_behavior"]
        for code, option in other_currencies(price).items():
            yield f"tax in {code.upper()}", tax, option["tax_behavior"]


def _differences(offer: Offer, product: Object, price: Object | None) -> Iterator[tuple[str, str, str]]:
    """Yield each field that is compared, with its value here and at Stripe."""
    yield "status", "active", "active" if product["active"] else "archived"
    yield "name", offer.plan, product["name"]
    yield "description", offer.description, product["description"] or ""
    if price is None:
        yield "price", _cost(offer.price), "none"
        return
    yield "price", _cost(offer.price), _cost_of(price)
    yield "product", str(offer.product), id_of(price["product"])
    yield "price status", "active", "active" if price["active"] else "archived"
    yield "default price", price["id"], id_of(product.get("default_price")) or "none"


def _charge(price: Price) -> store.Charge:
    return store.Charge(price.amount, price.currency, price.interval, price.others)


def _cost(price: Price) -> str:
    return cost(_charge(price))


def _cost_of(found: Object) -> str:
    charge = charged(found)
    return cost(charge) if charge else "not one amount each month or year"


def charged(found: Object) -> store.Charge | None:
    """Return what a price at Stripe costs, or None if it is not one amount for each month or year."""
    recurring = found.get("recurring") or {}
    interval, amount = recurring.get("interval"), found.get("unit_amount")
    if interval not in models.plans.INTERVALS or recurring.get("interval_count") != 1 or not isinstance(amount, int):
        return None
    others = {code: each["unit_amount"] for code, each in other_currencies(found).items()}
    return store.Charge(amount, str(found["currency"]), str(interval), store.in_order(others))


def cost(charge: store.Charge) -> str:
    """Return a charge in words, such as `9.99 EUR or 10.99 USD a month`."""
    amounts = [(charge.currency, charge.amount), *charge.others]
    said = " or ".join(f"{show_price(amount, code)} {code.upper()}" for code, amount in amounts)
    return f"{said} a {charge.interval}"


def preview(context: BillingContext, offer: Offer) -> Published:
    """Return the result that `publish` would have, by reading from Stripe only."""
    if offer.product is None and not offer.archived:
        return _published(offer, "created")
    if compare(context, offer):
        return _published(offer, "archived" if offer.archived else "updated")
    return _published(offer, "unchanged")


# Publishing


def publish(context: BillingContext, offer: Offer) -> Published:
    """Create or update a plan's product and price at Stripe, or archive the product of an archived plan.

    A price cannot be changed at Stripe, so a new one takes over its lookup key and is the default one before the old
    one is archived; existing subscribers keep the old one.
    """
    try:
        done = _archive(context, offer) if offer.archived else _publish(context, offer)
    except DumacleError as error:
        if is_own_fault(error):
            fix = f"dumacle plans push {quoted(offer.plan)}"
            _note(context, offer, [Found("not-published", f"plan {offer.plan} was not published: {error}", fix)])
        raise
    _note(context, offer, [])
    return done


def _note(context: BillingContext, offer: Offer, found: list[Found]) -> None:
    with context.database.session() as session:
        findings.replace(session, plan_object(offer.plan_id), found)


def _archive(context: BillingContext, offer: Offer) -> Published:
    archived = offer.product is not None and context.stripe.archive_product(offer.product)
    return _published(offer, "archived" if archived else "unchanged")


def _publish(context: BillingContext, offer: Offer) -> Published:
    chosen = offer.product or _chosen(context, offer)
    # The operation is named after the id, so that a repeat after a kill creates no second product.
    found, changed = context.stripe.ensure_product(chosen, offer.plan, offer.description, offer.price.metadata, chosen)
    if found["id"] != chosen:
        with context.database.session() as session:
            store.save_product(session, offer.plan_id, found["id"])
    wanted = replace(offer.price, product=found["id"], tax=context.stripe.tax)
    # Named after the price that it replaces: the same price again, after another one, is a new one.
    price, price_changed = context.stripe.ensure_price(wanted, f"{found['id']}:{offer.price_id}")
    with context.database.session() as session:
        if price["id"] != offer.price_id:
            store.save_price(session, offer.plan_id, price["id"], wanted.lookup_key)
        store.add_price(session, offer.plan_id, price["id"], _charge(wanted))
    sale_changed = context.stripe.sell_only(wanted, price["id"], found)
    updated: Result = "updated" if changed or price_changed or sale_changed else "unchanged"
    published = replace(offer, product=found["id"], price_id=price["id"])
    return _published(published, updated if offer.product else "created")


def _chosen(context: BillingContext, offer: Offer) -> str:
    """Choose the id of a new product and save it before the product is made, so that a repeat after a kill finds it."""
    with context.database.session() as session:
        return store.choose_product(session, offer.plan_id, f"prod_{context.installation}_{uuid4().hex}")


def unpublished(offer: Offer) -> Offer:
    """Return an offer as it would be at an account that does not have it."""
    return replace(offer, product=None, price_id=None)


def failed(offer: Offer, error: DumacleError) -> Published:
    """Return the result of a plan that could not be published."""
    return replace(_published(offer, "failed"), error=str(error))


def _published(offer: Offer, result: Result) -> Published:
    return Published(offer.plan, result, offer.price.lookup_key, offer.product, offer.price_id)


# What is sold, and what is shown


def note_unpushed(session: Session, plan_id: int) -> list[Found]:
    """Save as a finding that a plan costs something else at Stripe than here, or that it does not; return it."""
    found = unpushed(session, plan_id)
    if found:
        findings.add(session, plan_object(plan_id), found)
    else:
        findings.settle(session, NOT_PUSHED, [plan_object(plan_id)])
    return found


def unpushed(session: Session, plan_id: int) -> list[Found]:
    """Return the finding that a plan costs something else at Stripe than here, if it does."""
    return _unpushed(session, session.get_one(models.Plan, plan_id, populate_existing=True))


def price_for_sale(session: Session, name: str, currency: str = "") -> str:
    """Return the price at Stripe of a plan that is for sale at what it costs here, in this currency if one is given.

    Raises NotFound, Conflict or InvalidValue.
    """
    plan = plans.for_sale(session, name)
    if plan.stripe_price_id is None:
        raise Conflict(reason=f"plan {name} is not published to Stripe", advice=f"dumacle plans push {quoted(name)}")
    for found in _unpushed(session, plan):
        raise Conflict(reason=found.sentence, advice=found.fix)
    if currency and currency not in (known := amounts(session, plan)):
        reason = f"plan {name} is sold in {', '.join(code.upper() for code in known)}"
        raise InvalidValue(name="currency", value=currency.upper(), reason=reason)
    return plan.stripe_price_id


def amounts(session: Session, plan: models.Plan) -> dict[str, int]:
    """Return what a plan costs in each currency, in minor units, its own first."""
    charge = store.charge(session, plan)
    return {charge.currency: charge.amount, **dict(charge.others)}


def differs(offer: Offer, differences: Sequence[Difference]) -> list[Found]:
    """Return the finding about a plan that was changed at Stripe, if it was."""
    if not differences:
        return []
    said = "; ".join(f"{each.field}: {each.here} here, {each.at_stripe} there" for each in differences)
    fix = f"dumacle plans push {quoted(offer.plan)}"
    return [Found("differs", f"plan {offer.plan} differs from what Stripe sells ({said})", fix, "warning")]


def every_difference(context: BillingContext) -> dict[str, list[Found]]:
    """Compare the plans that were published with Stripe; return what is wrong with each, by its name as an object."""
    with context.database.session(read_only=True) as session:
        published = [offer for offer in offers(session, (), context.installation) if offer.price_id]
        not_pushed = {offer.plan_id: unpushed(session, offer.plan_id) for offer in published}
    return {
        plan_object(offer.plan_id): not_pushed[offer.plan_id] or differs(offer, compare(context, offer))
        for offer in published
    }


def recognised(session: Session, found: Object) -> int | None:
    """Return the plan that a subscription of this installation to an unknown price pays for, and save the price.

    It is the only plan that costs the same; None if there is no such plan, or several.
    """
    items = found["items"]["data"]
    if "installation" not in (found["metadata"] or {}) or len(items) != 1:
        return None
    price = items[0]["price"]
    charge = charged(price)
    fitting = store.costing(session, charge) if charge else []
    if not charge or len(fitting) != 1:
        return None
    store.add_price(session, fitting[0], price["id"], charge)
    return fitting[0]


def _unpushed(session: Session, plan: models.Plan) -> list[Found]:
    sold, here = store.charge_of(session, plan), store.charge(session, plan)
    if sold is None or sold == here or plan.archived_at:
        return []
    sentence = f"plan {plan.name} costs {cost(here)}, and Stripe sells it for {cost(sold)}"
    return [Found(NOT_PUSHED, sentence, f"dumacle plans push {quoted(plan.name)}", "warning")]
