"""Orders: sell plans through Stripe, by a payment page or by charging the payment method on file.

These functions live longer than a transaction: none is open during a request to Stripe. What Stripe returns is applied
at once, so that nobody has to wait for the event.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy.orm import Session

from dumacle_cli.clients.stripe import Object, Terms
from dumacle_cli.clients.stripe_billing import TERMS
from dumacle_cli.errors import Conflict, SaleBusy, StripeForbidden, StripeRefused, UserDisabled
from dumacle_cli.escapes import quoted
from dumacle_cli.services import users
from dumacle_cli.services.billing import BillingContext, accounts, apply, catalog, changes, inbox
from dumacle_cli.services.billing.accounts import Account, Fetched
from dumacle_cli.services.billing.objects import SubscriptionState
from dumacle_cli.services.billing.subscriptions import Subscription
from dumacle_cli.store import stripe
from dumacle_cli.units import SecretUrl


@dataclass(frozen=True, slots=True)
class Order:
    """The plan and price that a user buys, perhaps with a coupon or a trial."""

    buyer: Account
    plan: str
    price: str
    terms: Terms = field(default_factory=Terms)


@dataclass(frozen=True, slots=True)
class Sale:
    """The result of an order; `open` means that the user has yet to pay on the page behind the link."""

    user: str
    plan: str
    status: str
    stripe_id: str | None
    current_period_end: datetime | None
    url: SecretUrl | None


@dataclass(frozen=True, slots=True)
class Portal:
    """A link to Stripe's page for a customer; anyone who has it can change payment methods and see invoices."""

    user: str
    customer_id: str | None
    url: SecretUrl | None


# Customers


def buyer(session: Session, reference: str, installation: str) -> Account:
    """Return the user to bill; raises NotFound or UserDisabled."""
    user = users.get(session, reference)
    if user.status == "disabled":
        raise UserDisabled(user=user.email)
    return accounts.account(session, str(user.id), installation)


def ensure_customer(context: BillingContext, user: Account) -> str:
    """Return the id of a user's customer at Stripe, created if there is none, and with the e-mail address of the user.

    An address that the customer gave Stripe themselves stays, unless the user got another one here since.
    """
    found = context.stripe.fetch("customer", user.customer) if user.customer else _forgotten(context, user)
    if found is None:
        return _create_customer(context, user)
    if user.told_email != user.email:
        if (found["email"], found["name"] or "") != (user.email, user.name):
            context.stripe.update_customer(found["id"], user.email, user.name)
        with context.database.session() as session:
            stripe.save_told_email(session, user.id, user.email)
    return str(found["id"])


def _forgotten(context: BillingContext, user: Account) -> Object | None:
    """Return and save the customer that was made for a user and is not known here, as after a backup was restored.

    Where customers cannot be listed, as with a restricted key, there is none: that is no reason to refuse a sale.
    """
    ours = user.tags.items()
    try:
        made = [each for each in context.stripe.customers(user.email) if ours <= (each["metadata"] or {}).items()]
    except (StripeForbidden, StripeRefused):
        return None
    made.sort(key=lambda each: not any(context.stripe.subscriptions(each["id"])))  # first who subscribed
    if not made:
        return None
    with context.database.session() as session:
        stripe.save_customer(session, user.id, made[0]["id"])
    return made[0]


def _create_customer(context: BillingContext, user: Account) -> str:
    # The operation is named after the user and the customer lost, so that two commands at once create one customer.
    operation = f"customer:{user.id}:{user.customer}" if user.customer else f"customer:{user.id}"
    made = context.stripe.create_customer(user.email, user.name, user.tags, operation)
    # Stripe repeats that answer for a day, even if the customer was deleted since.
    if context.stripe.fetch("customer", made["id"]) is None:
        made = context.stripe.create_customer(user.email, user.name, user.tags, context.operation)
    with context.database.session() as session:
        if user.customer:
            stripe.delete_customer(session, user.customer)
        return stripe.save_customer(session, user.id, made["id"], user.email)


@contextmanager
def locked(context: BillingContext, customer: str, user: str) -> Iterator[None]:
    """Keep other commands from charging a customer, by the lease on the customer's object; raises SaleBusy."""
    with context.database.session() as session:
        inbox.request_refresh(session, [("customer", customer)], context.stripe.livemode)
        claim = stripe.claim(session, customer, apply.LEASE_S)
    if claim is None:
        raise SaleBusy(user=user)
    try:
        yield
    finally:
        with context.database.session() as session:
            stripe.postpone(session, claim, "a sale was in progress", 0)
        # A refresh may have been requested while the customer was locked.
        apply.apply_object(context, customer)


def portal(context: BillingContext, user: Account, return_url: str) -> Portal:
    """Create a link to Stripe's customer portal for a user, whose subscriptions are applied as they are there now."""
    accounts.fetch(context, user)
    customer = ensure_customer(context, user)
    return Portal(user.email, customer, context.stripe.portal(customer, return_url, context.operation)["url"])


# Orders


def order(session: Session, reference: str, plan: str, installation: str, terms: Terms) -> Order:
    """Return the order of a plan; raises NotFound, UserDisabled, or Conflict or InvalidValue if it is not for sale."""
    user = buyer(session, reference, installation)
    return Order(user, plan, catalog.price_for_sale(session, plan, terms.currency), terms)


def completed(wanted: Order, fetched: list[Fetched]) -> Sale | None:
    """Return the sale if Stripe charges the user for this plan already, or None if it charges for nothing.

    Raises Conflict if it charges for another plan, in another currency, or for something that is no plan.
    """
    found = accounts.the_one(wanted.buyer, fetched)
    if found is None:
        return None
    if found.plan != wanted.plan:
        reason = f"Stripe already bills {wanted.buyer.email} for plan {found.plan}"
        raise Conflict(reason=reason, advice=f"dumacle plans change {quoted(wanted.buyer.email)} {quoted(wanted.plan)}")
    if wanted.terms.currency not in ("", found.state.currency):
        reason = f"{wanted.buyer.email} pays for plan {found.plan} in {found.state.currency.upper()} already"
        advice = f"dumacle plans cancel {quoted(wanted.buyer.email)}, and subscribe again afterwards"
        raise Conflict(reason=reason, advice=advice)
    return _sold(wanted, found.state, found.plans[0].item.period_end)


def _sold(wanted: Order, state: SubscriptionState, period_end: datetime) -> Sale:
    return Sale(wanted.buyer.email, wanted.plan, state.status, state.id, period_end, None)


def sale(found: Subscription) -> Sale:
    """Return the sale that led to a subscription."""
    return Sale(found.user, found.plan, found.status, found.stripe_id, found.current_period_end, None)


def preview(wanted: Order, status: str) -> Sale:
    """Return the result that an order would have."""
    return Sale(wanted.buyer.email, wanted.plan, status, None, None, None)


def checkout(context: BillingContext, wanted: Order, success_url: str, cancel_url: str) -> tuple[Sale, bool]:
    """Return the one page on which the user can subscribe by paying, and whether it or a subscription is new.

    Pages for other plans are closed, so that nobody pays twice. Raises Conflict if Stripe bills the user already, or
    SaleBusy while another command sells to them.
    """
    customer = ensure_customer(context, wanted.buyer)
    with locked(context, customer, wanted.buyer.email):
        page = _reuse(context, wanted, customer, success_url, cancel_url)
        if sale := completed(wanted, _present(context, wanted, customer)):
            return sale, False
        made = page or _new_page(context, wanted, customer, success_url, cancel_url)
    return replace(preview(wanted, made["status"]), url=made["url"]), page is None


def _present(context: BillingContext, wanted: Order, customer: str) -> list[Fetched]:
    return accounts.fetch(context, replace(wanted.buyer, customer=customer))


def _reuse(
    context: BillingContext, wanted: Order, customer: str, success_url: str = "", cancel_url: str = ""
) -> Object | None:
    """Close the open pages of a customer, except one for this order, which is returned."""
    kept = None
    for page in context.stripe.open_checkouts(customer):
        metadata = page["metadata"]
        noted = {name: metadata[name] for name in TERMS if name in metadata}
        same = metadata.get("price"), noted, page.get("success_url"), page.get("cancel_url")
        if kept is None and same == (wanted.price, wanted.terms.noted(), success_url, cancel_url):
            kept = page
        else:
            context.stripe.expire_checkout(page["id"])
    return kept


def _new_page(context: BillingContext, wanted: Order, customer: str, success_url: str, cancel_url: str) -> Object:
    given = customer, wanted.price, success_url, cancel_url, wanted.buyer.tags
    page = context.stripe.checkout(*given, context.operation, wanted.terms)
    # Stripe repeats the answer to an operation for a day, also if that page was closed since.
    present = context.stripe.fetch("checkout.session", page["id"])
    if present and present["status"] == "open":
        return page
    return context.stripe.checkout(*given, f"{context.operation}:{page['id']}", wanted.terms)


def subscribe(context: BillingContext, wanted: Order) -> tuple[Sale, bool]:
    """Subscribe a user by charging the payment method on file; return whether they were not subscribed before.

    Raises Conflict if Stripe bills them for another plan, SaleBusy while another command sells to them, or
    StripeRefused if the payment fails; then nothing is created.
    """
    customer = ensure_customer(context, wanted.buyer)
    with locked(context, customer, wanted.buyer.email):
        close_pages(context, customer)
        if sale := completed(wanted, _present(context, wanted, customer)):
            return sale, False
        given = customer, wanted.price, wanted.buyer.tags, context.operation, wanted.terms
        found = context.stripe.subscribe(*given)
    state = changes.applied(context, wanted.buyer.email, found["id"])
    return _sold(wanted, state, state.items[0].period_end), True


def close_pages(context: BillingContext, customer: str) -> int:
    """Close all pages on which a customer could still subscribe by paying; return how many there were."""
    pages = context.stripe.open_checkouts(customer)
    for page in pages:
        context.stripe.expire_checkout(page["id"])
    return len(pages)
