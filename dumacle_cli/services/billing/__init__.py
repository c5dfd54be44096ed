"""Billing: plans and subscriptions, and their counterparts at Stripe."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dumacle_cli.clients.stripe import StripeAccount
    from dumacle_cli.store.database import Database


@dataclass(frozen=True, slots=True)
class BillingContext:
    """The database, the account at Stripe, and the name of this installation there.

    `operation` is the id under which requests that change something at Stripe take effect once, `confirmed` the ids of
    accounts here that the key was found to open.
    """

    database: "Database"
    stripe: "StripeAccount"
    installation: str
    operation: str = ""
    confirmed: set[int] = field(default_factory=set, compare=False)
