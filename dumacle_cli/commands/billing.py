"""What commands that act at Stripe share: the account there, and what it charges a user for at this moment.

Services are imported when they are used: commands about users, most of whom Stripe does not know, start without them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dumacle_cli.context import Context
from dumacle_cli.errors import DumacleError, Exit, NotFound
from dumacle_cli.output.result import Result

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dumacle_cli.services import users
    from dumacle_cli.services.billing import BillingContext
    from dumacle_cli.services.billing.accounts import Account


def billing(context: Context) -> BillingContext:
    """Return the account at Stripe; raises NotConfigured, or OtherAccount for a key of another account or mode."""
    from dumacle_cli.services.billing import binding

    found = unchecked(context)
    binding.require(found, dry_run=context.options.dry_run)
    return found


def unchecked(context: Context) -> BillingContext:
    """Return the account at Stripe that the key opens, whichever it is; raises NotConfigured."""
    from dumacle_cli.services.billing import BillingContext

    return BillingContext(context.database, context.billing, context.settings.installation, context.operation)


def warn_of_findings(context: Context, user_id: int) -> None:
    """Warn of what is wrong with the billing of a user, each with its fix."""
    from dumacle_cli.services.billing import findings

    with context.session() as session:
        found = findings.list_(session, user_id=user_id)
    for each in found:
        context.console.warn(each.finding, fix=each.fix)


def refresh(context: Context, user: str) -> Account | None:
    """Apply what Stripe charges a user for at this moment; return their account if Stripe was asked.

    Nothing is asked about users whom Stripe does not know, on a dry run, or where there is no key.
    """
    from dumacle_cli.services.billing import accounts

    try:
        with context.session() as session:
            known = accounts.account(session, user, context.settings.installation)
    except NotFound:
        return None
    if not known.is_known or not context.settings.stripe_secret_key or context.options.dry_run:
        return None
    accounts.fetch(billing(context), known)
    return known


def close_pages(context: Context, user: str) -> None:
    """Refresh a user, and close the pages on which they could still pay."""
    from dumacle_cli.services.billing import orders

    known = refresh(context, user)
    if known and known.customer:
        orders.close_pages(billing(context), known.customer)


def reviewed(session: Session, done: tuple[users.User, bool]) -> tuple[users.User, bool]:
    """Save what is wrong with the subscriptions of a user whose access has changed: Stripe goes on charging them."""
    from dumacle_cli.services.billing import review

    review.save(session, done[0].id)
    return done


def withdraw(context: Context, result: Result[users.User]) -> Result[users.User]:
    """Close the pages of a user who lost access, and warn of what Stripe goes on charging them for.

    They lost it whatever Stripe answers; exit 3 means that it could not be asked.
    """
    user: Any = result.data  # of an earlier run of the operation, as it was stored
    user_id = user["id"] if isinstance(user, dict) else user.id
    try:
        close_pages(context, str(user_id))
    except DumacleError as error:
        context.console.warn(f"Stripe was not asked whether it charges the user: {error}", fix=error.remedy)
        result.exit = Exit.PARTIAL
    warn_of_findings(context, user_id)
    return result
