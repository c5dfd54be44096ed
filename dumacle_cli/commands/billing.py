"""What the commands that act at Stripe share."""

from __future__ import annotations

from dumacle_cli.context import Context
from dumacle_cli.services.billing import BillingContext, accounts


def billing(context: Context) -> BillingContext:
    """Return the account at Stripe; raises NotConfigured, or OtherAccount for a key of another account or mode."""
    found = unchecked(context)
    accounts.require(found, dry_run=context.options.dry_run)
    return found


def unchecked(context: Context) -> BillingContext:
    """Return the account at Stripe that the key opens, whichever it is; raises NotConfigured."""
    return BillingContext(context.database, context.billing, context.settings.installation, context.operation)
