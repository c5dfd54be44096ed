"""`dumacle plans push|subscribe|portal|sync`: plans and subscriptions at Stripe."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from dumacle_cli.commands.billing import billing, refresh, warn_of_findings
from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.commands.parameters import Plan, User
from dumacle_cli.context import Context
from dumacle_cli.errors import DumacleError, Exit, NotConfigured, UsageError
from dumacle_cli.output.result import Result, Rows
from dumacle_cli.services.billing import accounts, catalog, orders, subscriptions
from dumacle_cli.services.billing import sync as subscription_sync

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

app = CommandGroup("plans")


@app.acts_outside(
    "push",
    columns=("plan", "result", "product_id", "price_id"),
    empty="no plan has a price, so there is nothing to publish",
    example="dumacle plans push starter pro",
    role="superadmin",
)
def push(
    context: Context,
    plans: Annotated[
        list[str] | None, typer.Argument(metavar="PLAN", help="Plans to publish; default: all with a price.")
    ] = None,
) -> Rows[catalog.Published]:
    """Publish plans to Stripe; repeating it writes only what differs."""
    with context.session() as session:
        offers = catalog.offers(session, plans or [], context.settings.installation)
    done: list[catalog.Published] = []
    status = Exit.DONE
    for offer in offers:
        try:
            done.append(_push(context, offer))
        except DumacleError as error:
            if not done:
                raise
            status = Exit.PARTIAL
            context.console.warn(f"{offer.plan} and the plans after it were not published: {error}", fix=error.remedy)
            break
    changed = any(pushed.result != "unchanged" for pushed in done)
    return Result(done, changed, exit=status)


def _push(context: Context, offer: catalog.Offer) -> catalog.Published:
    if context.options.dry_run:
        return catalog.preview(billing(context), offer)
    return catalog.publish(billing(context), offer)


@app.acts_outside("subscribe", example="dumacle plans subscribe bob@example.com free", takes_op_id=True)
def subscribe(
    context: Context,
    user: User,
    plan: Plan,
    checkout: Annotated[bool, typer.Option("--checkout", help="Create a Stripe Checkout link for the user.")] = False,
    direct: Annotated[bool, typer.Option("--direct", help="Charge the user's saved payment method.")] = False,
) -> Result[orders.Sale]:
    """Subscribe a user to a plan; a plan with a price needs --checkout or --direct."""
    if checkout and direct:
        raise UsageError("--checkout and --direct cannot be combined", "dumacle plans subscribe")
    if not (checkout or direct):
        refresh(context, user)
        return context.change(lambda session: _given(session, user, plan))
    with context.session() as session:
        order = orders.order(session, user, plan, context.settings.installation)
    sell = _checkout if checkout else _direct
    sale, changed = sell(context, order)
    return Result(sale, changed)


def _given(session: Session, user: str, plan: str) -> tuple[orders.Sale, bool]:
    given, changed = subscriptions.give(session, user, plan)
    return orders.sale(given), changed


def _checkout(context: Context, order: orders.Order) -> tuple[orders.Sale, bool]:
    pages = [_page(context, name) for name in ("checkout_success_url", "checkout_cancel_url")]
    if context.options.dry_run:
        return _foreseen(context, order, "open")
    return orders.checkout(billing(context), order, *pages)


def _direct(context: Context, order: orders.Order) -> tuple[orders.Sale, bool]:
    if context.options.dry_run:
        return _foreseen(context, order, "active")
    return orders.subscribe(billing(context), order)


def _foreseen(context: Context, order: orders.Order, status: str) -> tuple[orders.Sale, bool]:
    sale = orders.completed(order, accounts.fetch(billing(context), order.buyer, mirror=False))
    return sale or orders.preview(order, status), sale is None


def _page(context: Context, setting: str) -> str:
    found = getattr(context.settings, setting)
    if not found:
        raise NotConfigured(what="the page that Stripe returns to", setting=setting)
    return str(found)


@app.acts_outside("portal", example="dumacle plans portal ada@example.com")
def portal(context: Context, user: User) -> Result[orders.Portal]:
    """Create a link to Stripe's customer portal: payment methods and invoices."""
    with context.session() as session:
        buyer = orders.buyer(session, user, context.settings.installation)
    page = _page(context, "portal_return_url")
    if context.options.dry_run:
        return Result(orders.Portal(buyer.email, buyer.customer, None), True)
    made = orders.portal(billing(context), buyer, page)
    warn_of_findings(context, buyer.id)
    return Result(made, True)


@app.acts_outside("sync", example="dumacle plans sync", cron=True, role="superadmin")
def sync(
    context: Context,
    user: Annotated[str, typer.Option("--user", metavar="USER", help="Filter by user: e-mail address or id.")] = "",
) -> Result[subscription_sync.SyncResult]:
    """Compare subscriptions with Stripe and correct differences; for cron, needs no worker.

    Exit 3 means some could not be corrected, or that a person has to act: a user pays twice, or is charged although
    disabled or deleted. Each is a warning with its fix.
    """
    with context.session() as session:
        scope = subscription_sync.scope(session, user)
    done, reasons = subscription_sync.sync(billing(context), scope, dry_run=context.options.dry_run)
    for subscription, reason in reasons.items():
        context.console.warn(f"{subscription}: {reason}")
    done = replace(done, findings=warn_of_findings(context, scope.user_id))
    changed = done.missed + done.unseen + done.moved > done.failed
    return Result(done, changed, exit=Exit.PARTIAL if done.failed or done.findings else Exit.DONE)
