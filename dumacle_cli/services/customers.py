"""Customers: whom Stripe bills. Stripe is asked outside of any transaction, so these live longer than one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from dumacle_cli.clients.billing import Tags
from dumacle_cli.errors import SaleBusy, UserDisabled
from dumacle_cli.services import billing, mirror, users
from dumacle_cli.services.products import tags
from dumacle_cli.store import stripe
from dumacle_cli.units import SecretUrl

if TYPE_CHECKING:
    from dumacle_cli.clients.billing import Billing
    from dumacle_cli.store.database import Database


@dataclass(frozen=True, slots=True)
class Till:
    """Where things are sold: here, at Stripe, under which tag there, and as which operation."""

    database: "Database"
    billing: "Billing"
    installation: str
    operation: str


@dataclass(frozen=True, slots=True)
class Buyer:
    """Whom Stripe bills: a user, his customer there once he has one, and what his things there are tagged with."""

    id: int
    email: str
    name: str
    customer: str | None
    tags: Tags


@dataclass(frozen=True, slots=True)
class Portal:
    """Stripe's page for a customer: whoever has the link minds his payment methods and invoices."""

    user: str
    customer_id: str | None
    url: SecretUrl | None


def buyer(session: Session, reference: str, installation: str) -> Buyer:
    """Return whom Stripe is to bill for a user; raises NotFound or UserDisabled."""
    user = users.get(session, reference)
    if user.status == "disabled":
        raise UserDisabled(user=user.email)
    customer = stripe.customer(session, user.id)
    return Buyer(user.id, user.email, user.name, customer, tags(installation, user=str(user.id)))


def ensure(till: Till, user: Buyer) -> str:
    """Return the customer that a user is at Stripe, who is made there when he is first needed."""
    if user.customer:
        return user.customer
    # The name of the operation is the customer's own, so that two commands at once make one customer.
    made = till.billing.create_customer(user.email, user.name, user.tags, f"customer:{user.id}")
    # For a day Stripe repeats that answer, also where the customer was deleted since.
    if till.billing.fetch("customer", made["id"]) is None:
        made = till.billing.create_customer(user.email, user.name, user.tags, till.operation)
    with till.database.session() as session:
        return stripe.keep_customer(session, user.id, made["id"])


@contextmanager
def held(till: Till, customer: str, user: str) -> Iterator[None]:
    """Let no other command charge a customer meanwhile, by the lease of his object; raises SaleBusy."""
    with till.database.session() as session:
        mirror.want(session, [("customer", customer)], till.billing.livemode)
        claimed = stripe.claim(session, customer, billing.LEASE_S)
    if claimed is None:
        raise SaleBusy(user=user)
    try:
        yield
    finally:
        with till.database.session() as session:
            stripe.postpone(session, claimed, "it was being sold to", 0)
        # Others may have wanted it for their own reasons while it was held.
        billing.apply_object(till.database, till.billing, customer, till.installation)


def portal(till: Till, user: Buyer, return_url: str) -> Portal:
    """Open Stripe's page for a user, who becomes a customer there if he is none."""
    customer = ensure(till, user)
    return Portal(user.email, customer, till.billing.portal(customer, return_url, till.operation)["url"])
