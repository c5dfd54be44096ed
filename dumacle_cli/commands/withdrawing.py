"""What commands that take a user's access away ask Stripe, so that nobody is charged unnoticed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumacle_cli.context import Context
from dumacle_cli.errors import DumacleError, Exit, NotFound
from dumacle_cli.output.result import Result

if TYPE_CHECKING:
    from dumacle_cli.services import users
    from dumacle_cli.services.billing.accounts import Account


def withdraw(context: Context, result: Result[users.User]) -> Result[users.User]:
    """Close the pages on which a user could still pay, and warn of what Stripe goes on charging them for.

    The user is disabled whatever Stripe answers; exit 3 means that it could not be asked.
    """
    if not context.options.dry_run:
        try:
            refresh(context, str(result.data.id))
        except DumacleError as error:
            context.console.warn(f"Stripe was not asked whether it charges the user: {error}", fix=error.remedy)
            result.exit = Exit.PARTIAL
    _warn(context, result)
    return result


def refresh(context: Context, user: str) -> None:
    """Apply what Stripe charges a user for at this moment, and close the pages on which they could still pay.

    Nothing is asked about users whom Stripe does not know, on a dry run, or where there is no key.
    """
    known = _account(context, user)
    if not known or not known.is_known or not context.settings.stripe_secret_key or context.options.dry_run:
        return
    from dumacle_cli.commands.selling import billing
    from dumacle_cli.services.billing import accounts, orders

    accounts.fetch(billing(context), known)
    if known.customer:
        orders.close_pages(billing(context), known.customer)


def _account(context: Context, user: str) -> Account | None:
    from dumacle_cli.services.billing import accounts

    try:
        with context.session() as session:
            return accounts.account(session, user, context.settings.installation)
    except NotFound:
        return None


def _warn(context: Context, result: Result[users.User]) -> None:
    from dumacle_cli.services.billing import review

    with context.session() as session:
        found = review.findings(session, result.data.id)
    for each in found:
        context.console.warn(each.sentence, fix=each.fix)
