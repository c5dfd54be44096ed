"""The catalog: publish plans as products and prices at Stripe.

`publish` lives longer than a transaction: none is open during a request to Stripe.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sqlalchemy.orm import Session

from dumacle_cli.clients.stripe import Price
from dumacle_cli.services import plans
from dumacle_cli.services.billing import BillingContext
from dumacle_cli.services.billing.objects import tags
from dumacle_cli.store import models
from dumacle_cli.store import plans as store

Result = Literal["created", "updated", "archived", "unchanged"]


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
    """The result of publishing one plan."""

    plan: str
    result: Result
    lookup_key: str
    product_id: str | None
    price_id: str | None


def offers(session: Session, names: Sequence[str], installation: str) -> list[Offer]:
    """Return the named plans, by default all that have a price or are already at Stripe; raises NotFound."""
    chosen = [plans.get(session, name) for name in names] if names else store.publishable(session)
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


def preview(context: BillingContext, offer: Offer) -> Published:
    """Return the result that `publish` would have, by reading from Stripe only."""
    product = context.stripe.fetch("product", offer.product) if offer.product else None
    if offer.archived:
        return _published(offer, "archived" if product and product["active"] else "unchanged")
    if product is None:
        return _published(offer, "created")
    price = context.stripe.price(offer.price.lookup_key)
    same_text = (product["name"], product["description"] or "") == (offer.plan, offer.description)
    same_price = price is not None and price["active"] and offer.price.matches(price)
    return _published(offer, "unchanged" if product["active"] and same_text and same_price else "updated")


def publish(context: BillingContext, offer: Offer) -> Published:
    """Create or update a plan's product and price at Stripe, or archive the product of an archived plan.

    A price cannot be changed at Stripe, so a new one takes over its lookup key; existing subscribers keep the old one.
    """
    if offer.archived:
        archived = offer.product is not None and context.stripe.archive_product(offer.product)
        return _published(offer, "archived" if archived else "unchanged")
    found, product_changed = context.stripe.ensure_product(
        offer.product, offer.plan, offer.description, offer.price.metadata, context.operation
    )
    product = found["id"]
    if product != offer.product:
        # Saved before the price is created, so that after a kill the next run reuses the product.
        with context.database.session() as session:
            store.save_product(session, offer.plan_id, product)
    price, price_changed = context.stripe.ensure_price(replace(offer.price, product=product), context.operation)
    if price["id"] != offer.price_id:
        with context.database.session() as session:
            store.save_price(session, offer.plan_id, price["id"], offer.price.lookup_key)
    changed: Result = "updated" if product_changed or price_changed else "unchanged"
    published = replace(offer, product=product, price_id=price["id"])
    return _published(published, changed if product == offer.product else "created")


def _published(offer: Offer, result: Result) -> Published:
    return Published(offer.plan, result, offer.price.lookup_key, offer.product, offer.price_id)
