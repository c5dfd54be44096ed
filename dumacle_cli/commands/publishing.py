"""`dumacle plans push|diff`: publish plans to Stripe, and compare them with it."""

from __future__ import annotations

from typing import Annotated

import typer

from dumacle_cli.commands.billing import billing, unchecked
from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.context import Context
from dumacle_cli.errors import DumacleError, Exit
from dumacle_cli.output.result import Result, Rows
from dumacle_cli.services.billing import BillingContext, accounts, catalog

app = CommandGroup("plans")

Plans = Annotated[list[str] | None, typer.Argument(metavar="PLAN", help="Plans to publish; default: all with a price.")]


@app.acts_outside(
    "push",
    columns=("plan", "result", "product_id", "price_id"),
    empty="no plan has a price, so there is nothing to publish",
    example="dumacle plans push starter pro",
    role="superadmin",
)
def push(
    context: Context,
    plans: Plans = None,
    switch_account: Annotated[
        bool, typer.Option("--switch-account", help="Sell at another account or mode of Stripe from now on.")
    ] = False,
) -> Rows[catalog.Published]:
    """Publish plans to Stripe; repeating it writes only what differs. Exit 3 means some were not published.

    The first push with a live key moves the installation from test to live mode: subscriptions of test mode end here.
    """
    with context.session() as session:
        catalog.offers(session, plans or [], context.settings.installation)  # an unknown plan moves nothing
    account = unchecked(context)
    switched = accounts.switch(account, anyway=switch_account, dry_run=context.options.dry_run)
    if switched:
        context.console.warn(f"plans are not sold at {switched.left} any more: {switched.ended} subscriptions end here")
    with context.session() as session:
        offers = catalog.offers(session, plans or [], context.settings.installation)
        if switched and context.options.dry_run:
            offers = [catalog.unpublished(offer) for offer in offers]
    return _all(context, account, offers)


def _all(context: Context, account: BillingContext, offers: list[catalog.Offer]) -> Rows[catalog.Published]:
    """Publish each offer; raises the error if none could be published."""
    done: list[catalog.Published] = []
    errors: list[DumacleError] = []
    for offer in offers:
        try:
            done.append(catalog.preview(account, offer) if context.options.dry_run else catalog.publish(account, offer))
        except DumacleError as error:
            errors.append(error)
            done.append(catalog.failed(offer, error))
            if len(offers) > 1:
                context.console.warn(f"{offer.plan} was not published: {error}", fix=error.remedy)
    if errors and len(errors) == len(offers):
        raise errors[0]
    changed = any(pushed.result not in ("unchanged", "failed") for pushed in done)
    return Result(done, changed, exit=Exit.PARTIAL if errors else Exit.DONE)


@app.reads(
    "diff",
    columns=("plan", "field", "here", "at_stripe"),
    empty="Stripe sells the plans as they are here",
    example="dumacle plans diff starter pro",
    role="superadmin",
)
def diff(context: Context, plans: Plans = None) -> Rows[catalog.Difference]:
    """Compare plans with what Stripe sells, field by field."""
    with context.session() as session:
        offers = catalog.offers(session, plans or [], context.settings.installation)
    account = billing(context)
    return Result([each for offer in offers for each in catalog.compare(account, offer)])
