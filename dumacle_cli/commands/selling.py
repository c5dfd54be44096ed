"""`dumacle plans push|subscribe|portal|change|cancel|sync`: what is sold, and what Stripe bills."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from dumacle_cli.commands.contract import command
from dumacle_cli.context import Context
from dumacle_cli.errors import DumacleError, Exit, NotConfigured, UsageError
from dumacle_cli.output.forms import Shown
from dumacle_cli.services.billing import BillingContext, catalog, orders, subscriptions
from dumacle_cli.services.billing import sync as subscription_sync
from dumacle_cli.units import show_instant

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

User = Annotated[str, typer.Argument(metavar="USER", help="The user's id or e-mail address.")]
Plan = Annotated[str, typer.Argument(metavar="PLAN", help="The plan's name.")]


def register(app: typer.Typer) -> None:
    """Add the commands that sell to the group of plans."""
    sells = partial(command, app, mutates=True, outside=True)
    subscribes = partial(sells, recorded=True)
    nothing = "no plan costs anything, so there is nothing to sell"
    shown = ("plan", "result", "product_id", "price_id")
    pushes = partial(sells, returns=catalog.Published, many=True, columns=shown, empty=nothing)
    moves = partial(subscribes, returns=subscriptions.Subscription)
    pushes("push", role="superadmin", example="dumacle plans push starter pro")(push)
    subscribes("subscribe", returns=orders.Sale, example="dumacle plans subscribe bob@example.com free")(subscribe)
    sells("portal", returns=orders.Portal, example="dumacle plans portal ada@example.com")(portal)
    moves("change", example="dumacle plans change ada@example.com pro")(change)
    moves("cancel", example="dumacle plans cancel ada@example.com --yes", confirms=True)(cancel)
    sells("sync", role="superadmin", returns=subscription_sync.SyncResult, example="dumacle plans sync", cron=True)(
        sync
    )


def push(
    context: Context,
    plans: Annotated[
        list[str] | None, typer.Argument(metavar="PLAN", help="Only these; else all that cost something.")
    ] = None,
) -> Shown:
    """Let Stripe sell plans as they are here; pushing again writes only what differs."""
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
            context.warn(f"{offer.plan} and what comes behind it was not pushed: {error}", fix=error.remedy)
            break
    changed = any(pushed.result != "unchanged" for pushed in done)
    return Shown(done, changed, dry_run=context.dry_run, exit=status)


def _push(context: Context, offer: catalog.Offer) -> catalog.Published:
    if context.dry_run:
        return catalog.preview(_billing(context), offer)
    return catalog.publish(_billing(context), offer)


def subscribe(
    context: Context,
    user: User,
    plan: Plan,
    checkout: Annotated[bool, typer.Option("--checkout", help="Make a link where he pays at Stripe.")] = False,
    direct: Annotated[bool, typer.Option("--direct", help="Charge the payment method that Stripe has of him.")] = False,
) -> Shown:
    """Put a user on a plan; one that is sold at Stripe needs --checkout or --direct."""
    if checkout and direct:
        raise UsageError("--checkout and --direct exclude each other", "dumacle plans subscribe")
    if not (checkout or direct):
        return context.change(lambda session: _given(session, user, plan))
    with context.session() as session:
        order = orders.order(session, user, plan, context.settings.installation)
    if sale := orders.completed(order):
        return Shown(sale, False, context.operation, dry_run=context.dry_run)
    sell = _checkout if checkout else _direct
    return Shown(sell(context, order), True, context.operation, dry_run=context.dry_run)


def _given(session: "Session", user: str, plan: str) -> tuple[orders.Sale, bool]:
    given, changed = subscriptions.give(session, user, plan)
    return orders.sale(given), changed


def _checkout(context: Context, order: orders.Order) -> orders.Sale:
    pages = [_page(context, name) for name in ("checkout_success_url", "checkout_cancel_url")]
    billing = _billing(context)
    return orders.preview(order, "open") if context.dry_run else orders.checkout(billing, order, *pages)


def _direct(context: Context, order: orders.Order) -> orders.Sale:
    billing = _billing(context)
    return orders.preview(order, "active") if context.dry_run else orders.subscribe(billing, order)


def _billing(context: Context) -> BillingContext:
    return BillingContext(context.database, context.billing, context.settings.installation, context.operation)


def _page(context: Context, setting: str) -> str:
    found = getattr(context.settings, setting)
    if not found:
        raise NotConfigured(what="the page to which Stripe leads back", setting=setting)
    return str(found)


def portal(context: Context, user: User) -> Shown:
    """Make a link to Stripe's page where a user minds his payment methods and invoices."""
    with context.session() as session:
        buyer = orders.buyer(session, user, context.settings.installation)
    page = _page(context, "portal_return_url")
    if context.dry_run:
        return Shown(orders.Portal(buyer.email, buyer.customer, None), True, dry_run=True)
    return Shown(orders.portal(_billing(context), buyer, page), True)


def change(context: Context, user: User, plan: Plan) -> Shown:
    """Move a user to another plan at once; Stripe settles the rest of the period with the next invoice."""
    with context.session() as session:
        present = subscriptions.of(session, user)
        order = orders.order(session, user, plan, context.settings.installation) if present.is_billed else None
    if order is None:
        return context.change(lambda session: subscriptions.move(session, user, plan))
    billing = _billing(context)
    if present.plan == plan:
        return Shown(present, False, context.operation, dry_run=context.dry_run)
    preview = subscriptions.preview_change(present, plan)
    done = preview if context.dry_run else subscriptions.change(billing, present, plan, order.price)
    return Shown(done, True, context.operation, dry_run=context.dry_run)


def cancel(
    context: Context,
    user: User,
    now: Annotated[bool, typer.Option("--now", help="At once, not at the end of the period that is paid.")] = False,
) -> Shown:
    """End a user's subscription with the period that is paid; one that nobody bills ends at once."""
    with context.session() as session:
        present = subscriptions.of(session, user)
    end = None if now or not present.is_billed else present.current_period_end
    when = f"at {show_instant(end)}" if end else "now"
    context.confirm(f"End the subscription of {present.user} to {present.plan} {when}?")
    if not present.is_billed:
        return context.change(lambda session: subscriptions.stop(session, user))
    billing = _billing(context)
    if present.cancel_at_period_end and not now:
        return Shown(present, False, context.operation, dry_run=context.dry_run)
    preview = subscriptions.preview_cancel(present, now=now)
    done = preview if context.dry_run else subscriptions.cancel(billing, present, now=now)
    return Shown(done, True, context.operation, dry_run=context.dry_run)


def sync(
    context: Context,
    user: Annotated[str, typer.Option("--user", metavar="USER", help="Only this user's; else all.")] = "",
) -> Shown:
    """Compare subscriptions with Stripe, and put right what was missed; for cron, needs no worker.

    Exit 3 says that some could not be put right.
    """
    with context.session() as session:
        scope = subscription_sync.scope(session, user)
    done, reasons = subscription_sync.sync(_billing(context), scope, dry_run=context.dry_run)
    for subscription, reason in reasons.items():
        context.warn(f"{subscription}: {reason}")
    changed = done.missed + done.unseen > done.failed
    return Shown(done, changed, dry_run=context.dry_run, exit=Exit.PARTIAL if done.failed else Exit.DONE)
