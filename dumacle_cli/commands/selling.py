"""`dumacle plans subscribe|portal|change|cancel`: subscriptions at Stripe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dumacle_cli.commands.billing import billing as _billing
from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.commands.parameters import Plan, User
from dumacle_cli.context import Context
from dumacle_cli.errors import NotConfigured, UsageError
from dumacle_cli.output.result import Result
from dumacle_cli.services.billing import orders, subscriptions
from dumacle_cli.units import show_instant

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

app = CommandGroup("plans")


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
        return context.change(lambda session: _given(session, user, plan))
    with context.session() as session:
        order = orders.order(session, user, plan, context.settings.installation)
    if sale := orders.completed(order):
        return Result(sale, False)
    sell = _checkout if checkout else _direct
    return Result(sell(context, order), True)


def _given(session: Session, user: str, plan: str) -> tuple[orders.Sale, bool]:
    given, changed = subscriptions.give(session, user, plan)
    return orders.sale(given), changed


def _checkout(context: Context, order: orders.Order) -> orders.Sale:
    pages = [_page(context, name) for name in ("checkout_success_url", "checkout_cancel_url")]
    billing = _billing(context)
    return orders.preview(order, "open") if context.options.dry_run else orders.checkout(billing, order, *pages)


def _direct(context: Context, order: orders.Order) -> orders.Sale:
    billing = _billing(context)
    return orders.preview(order, "active") if context.options.dry_run else orders.subscribe(billing, order)


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
    return Result(orders.portal(_billing(context), buyer, page), True)


@app.acts_outside("change", example="dumacle plans change ada@example.com pro", takes_op_id=True)
def change(context: Context, user: User, plan: Plan) -> Result[subscriptions.Subscription]:
    """Move a user to another plan immediately; Stripe prorates the next invoice of a paid plan."""
    with context.session() as session:
        present = subscriptions.of(session, user)
        order = orders.order(session, user, plan, context.settings.installation) if present.is_billed else None
    if order is None:
        return context.change(lambda session: subscriptions.move(session, user, plan))
    billing = _billing(context)
    if present.plan == plan:
        return Result(present, False)
    preview = subscriptions.preview_change(present, plan)
    done = preview if context.options.dry_run else subscriptions.change(billing, present, plan, order.price)
    return Result(done, True)


@app.acts_outside("cancel", example="dumacle plans cancel ada@example.com --yes", takes_op_id=True, confirms=True)
def cancel(
    context: Context,
    user: User,
    now: Annotated[bool, typer.Option("--now", help="End it immediately, not at the end of the paid period.")] = False,
) -> Result[subscriptions.Subscription]:
    """End a user's subscription after the paid period; a free one ends immediately."""
    with context.session() as session:
        present = subscriptions.of(session, user)
    end = None if now or not present.is_billed else present.current_period_end
    when = f"at {show_instant(end)}" if end else "now"
    context.confirm(f"End the subscription of {present.user} to {present.plan} {when}?")
    if not present.is_billed:
        return context.change(lambda session: subscriptions.stop(session, user))
    billing = _billing(context)
    if present.cancel_at_period_end and not now:
        return Result(present, False)
    preview = subscriptions.preview_cancel(present, now=now)
    done = preview if context.options.dry_run else subscriptions.cancel(billing, present, now=now)
    return Result(done, True)
