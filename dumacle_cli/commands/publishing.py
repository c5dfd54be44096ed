"""`dumacle plans push|diff`: publish plans to Stripe, and compare them with it."""

from __future__ import annotations

from typing import Annotated

import typer

from dumacle_cli.commands.billing import billing, unchecked
from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.context import Context
from dumacle_cli.errors import DumacleError, Exit
from dumacle_cli.escapes import quoted
from dumacle_cli.output.result import Result, Rows
from dumacle_cli.services.billing import BillingContext, binding, catalog, findings

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
    switched = binding.switch(account, anyway=switch_account, dry_run=context.options.dry_run)
    if switched:
        context.console.warn(f"plans are not sold at {switched.left} any more: {switched.ended} subscriptions end here")
    with context.session() as session:
        offers = catalog.offers(session, plans or [], context.settings.installation)
        if switched and context.options.dry_run:
            offers = [catalog.unpublished(offer) for offer in offers]
    return _all(context, account, offers)


def _all(context: Context, account: BillingContext, offers: list[catalog.Offer]) -> Rows[catalog.Published]:
    """Publish each offer, until something fails all of them; raises that, or the error of an only offer."""
    done: list[catalog.Published] = []
    error: DumacleError | None = None
    for offer in offers:
        if error is None or findings.is_own_fault(error):
            try:
                done.append(_one(context, account, offer))
                continue
            except DumacleError as fault:
                error = fault
        done.append(catalog.failed(offer, error))
    failed = [each for each in done if each.error]
    if error and len(failed) == len(done) and (len(done) == 1 or not findings.is_own_fault(error)):
        raise error
    for each in failed:
        context.console.warn(
            f"{each.plan} was not published: {each.error}", fix=f"dumacle plans push {quoted(each.plan)}"
        )
    changed = any(each.result not in ("unchanged", "failed") for each in done)
    partly = Exit.FAILED if len(failed) == len(done) else Exit.PARTIAL
    return Result(done, changed, exit=partly if failed else Exit.DONE)


def _one(context: Context, account: BillingContext, offer: catalog.Offer) -> catalog.Published:
    return catalog.preview(account, offer) if context.options.dry_run else catalog.publish(account, offer)


@app.reads(
    "diff",
    columns=("plan", "field", "here", "at_stripe"),
    empty="Stripe sells the plans as they are here",
    example="dumacle plans diff starter pro",
)
def diff(context: Context, plans: Plans = None) -> Rows[catalog.Difference]:
    """Compare plans with what Stripe sells, field by field."""
    with context.session() as session:
        offers = catalog.offers(session, plans or [], context.settings.installation)
    account = billing(context)
    return Result([each for offer in offers for each in catalog.compare(account, offer)])
