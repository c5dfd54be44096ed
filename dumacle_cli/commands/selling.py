"""`dumacle plans subscribe|portal`: sell plans through Stripe, and let customers pay there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dumacle_cli.clients.stripe import Terms
from dumacle_cli.commands.billing import billing, refresh, warn_of_findings
from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.commands.parameters import Plan, User
from dumacle_cli.context import Context
from dumacle_cli.errors import NotConfigured, UsageError
from dumacle_cli.output.result import Result
from dumacle_cli.services.billing import accounts, orders, subscriptions
from dumacle_cli.units import parse_currency

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
    coupon: Annotated[
        str, typer.Option("--coupon", metavar="ID", help="The coupon at Stripe that makes it cheaper.")
    ] = "",
    trial_days: Annotated[
        int, typer.Option("--trial-days", metavar="N", min=0, max=730, help="Days before the first charge.")
    ] = 0,
    currency: Annotated[
        str, typer.Option("--currency", metavar="CODE", help="The currency to pay in; default: the customer's own.")
    ] = "",
) -> Result[orders.Sale]:
    """Subscribe a user to a plan; a plan with a price needs --checkout or --direct."""
    if checkout and direct:
        raise UsageError("--checkout and --direct cannot be combined", "dumacle plans subscribe")
    if not (checkout or direct):
        if coupon or trial_days or currency:
            raise UsageError(
                "--coupon, --trial-days and --currency need --checkout or --direct", "dumacle plans subscribe"
            )
        refresh(context, user)
        return context.change(lambda session: _given(session, user, plan))
    with context.session() as session:
        terms = Terms(coupon, trial_days, parse_currency(currency) if currency else "")
        order = orders.order(session, user, plan, context.settings.installation, terms)
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
        return _foreseen(context, order, "trialing" if order.terms.trial_days else "active")
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
