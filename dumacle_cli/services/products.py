"""Products: plans as Stripe sells them. Stripe is asked outside of any transaction, so a push lives longer than one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from sqlalchemy.orm import Session

from dumacle_cli.clients.billing import Price, Tags
from dumacle_cli.services import plans
from dumacle_cli.store import models
from dumacle_cli.store import plans as store

if TYPE_CHECKING:
    from dumacle_cli.clients.billing import Billing
    from dumacle_cli.store.database import Database

APP = "dumacle"
Result = Literal["created", "updated", "archived", "unchanged"]


@dataclass(frozen=True, slots=True)
class Offer:
    """A plan as it is to be at Stripe; the price is in minor units."""

    plan_id: int
    plan: str
    description: str
    archived: bool
    product: str | None
    price_id: str | None
    price: Price


@dataclass(frozen=True, slots=True)
class Pushed:
    """What became of one plan at Stripe."""

    plan: str
    result: Result
    lookup_key: str
    product_id: str | None
    price_id: str | None


def tags(installation: str, **more: str) -> Tags:
    """Return the metadata by which this installation knows what it made at Stripe."""
    return {"app": APP, "installation": installation} | more


def offers(session: Session, names: Sequence[str], installation: str) -> list[Offer]:
    """Return the plans of these names, or else all that cost something or are at Stripe already; raises NotFound."""
    chosen = [plans.get(session, name) for name in names] if names else store.sellable(session)
    return [_offer(plan, installation) for plan in chosen]


def _offer(plan: models.Plan, installation: str) -> Offer:
    price = Price(
        lookup_key=f"{installation}:{plan.name}",
        product=plan.stripe_product_id or "",
        amount=plan.price,
        currency=plan.currency,
        interval=plan.interval,
        metadata=tags(installation, plan=str(plan.id)),
    )
    archived = plan.archived_at is not None
    known = plan.stripe_product_id, plan.stripe_price_id
    return Offer(plan.id, plan.name, plan.description, archived, *known, price)


def foresee(billing: "Billing", offer: Offer) -> Pushed:
    """Return what a push would come to, after reading at Stripe only."""
    product = billing.fetch("product", offer.product) if offer.product else None
    if offer.archived:
        return _pushed(offer, "archived" if product and product["active"] else "unchanged")
    if product is None:
        return _pushed(offer, "created")
    price = billing.price(offer.price.lookup_key)
    described = (product["name"], product["description"] or "") == (offer.plan, offer.description)
    met = price is not None and price["active"] and offer.price.is_met_by(price)
    return _pushed(offer, "unchanged" if product["active"] and described and met else "updated")


def push(database: "Database", billing: "Billing", offer: Offer, operation: str) -> Pushed:
    """Let Stripe sell a plan as it is here, or no longer where it is archived.

    A price cannot be changed at Stripe, so another one takes its lookup key over; who subscribed before pays as before.
    """
    if offer.archived:
        withdrawn = offer.product is not None and billing.archive_product(offer.product)
        return _pushed(offer, "archived" if withdrawn else "unchanged")
    found, renewed = billing.ensure_product(
        offer.product, offer.plan, offer.description, offer.price.metadata, operation
    )
    product = found["id"]
    if product != offer.product:
        # Kept before the price is made: killed between the two, the next push finds the product again.
        with database.session() as session:
            store.keep_product(session, offer.plan_id, product)
    price, repriced = billing.ensure_price(replace(offer.price, product=product), operation)
    if price["id"] != offer.price_id:
        with database.session() as session:
            store.keep_price(session, offer.plan_id, price["id"], offer.price.lookup_key)
    changed: Result = "updated" if renewed or repriced else "unchanged"
    made = replace(offer, product=product, price_id=price["id"])
    return _pushed(made, changed if product == offer.product else "created")


def _pushed(offer: Offer, result: Result) -> Pushed:
    return Pushed(offer.plan, result, offer.price.lookup_key, offer.product, offer.price_id)
