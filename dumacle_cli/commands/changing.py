"""`dumacle plans change|cancel|resume`: another plan, the end of a subscription, and taking either back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from dumacle_cli.commands.billing import billing, warn_of_findings
from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.commands.parameters import Plan, User
from dumacle_cli.context import Context
from dumacle_cli.errors import NotFound, UsageError
from dumacle_cli.output.result import Result
from dumacle_cli.services.billing import accounts, changes, refunds, subscriptions
from dumacle_cli.units import show_instant

if TYPE_CHECKING:
    from dumacle_cli.services.billing.accounts import Account, Fetched
    from dumacle_cli.services.billing.subscriptions import Subscription

app = CommandGroup("plans")
UserOrSubscription = Annotated[
    str, typer.Argument(metavar="USER|ID", help="The user's e-mail address or id, or the subscription's id at Stripe.")
]


@app.acts_outside("change", example="dumacle plans change ada@example.com pro", takes_op_id=True)
def change(
    context: Context,
    user: User,
    plan: Plan,
    now: Annotated[
        bool, typer.Option("--now", help="Also downgrade now, prorated, not at the end of the paid period.")
    ] = False,
) -> Result[changes.Changed]:
    """Move a user to another plan: up now, down at the end of the paid period.

    Stripe prorates an upgrade on the next invoice; --dry-run shows the amount, and a terminal asks first. A plan that
    is not billed follows when the subscription ends. Usage carries over, and nothing is deleted.
    """
    with context.session() as session:
        known = accounts.account(session, user, context.settings.installation)
        wanted = changes.wanted(session, plan)
    chosen, current = _present(context, known)
    if chosen is None:
        return context.change(lambda session: changes.move(session, user, plan))
    way = changes.step(known, chosen, wanted, now=now)
    if way == "none":
        return Result(changes.unchanged(current), False)
    if context.options.dry_run:
        return Result(changes.preview(billing(context), chosen, current, wanted, way), True)
    _ask_before_charging(context, chosen, current, wanted, way)
    done = changes.change(billing(context), chosen, current, wanted, way)
    warn_of_findings(context, known.id)
    return Result(done, True)


def _ask_before_charging(
    context: Context, chosen: Fetched, current: Subscription, wanted: changes.WantedPlan, way: changes.Step
) -> None:
    if way == "now" and context.console.is_interactive and not context.options.quiet:
        shown = changes.preview(billing(context), chosen, current, wanted, way)
        context.confirm(f"Move {current.user} to {wanted.name}, with {shown.prorated} {shown.currency} more to pay?")


@app.acts_outside("cancel", example="dumacle plans cancel ada@example.com --yes", takes_op_id=True, confirms=True)
def cancel(
    context: Context,
    user: UserOrSubscription,
    now: Annotated[bool, typer.Option("--now", help="End it immediately, not at the end of the paid period.")] = False,
    refund: Annotated[
        refunds.Share,
        typer.Option("--refund", help="With --now: refund the unused share, or all of it."),
    ] = "none",
) -> Result[refunds.Canceled]:
    """End a user's subscription after the paid period; a free one ends immediately.

    Afterwards the user is on the plan that they had before without billing, if there was one.
    """
    if refund != "none" and not now:
        raise UsageError("--refund needs --now", "dumacle plans cancel")
    known, named = _account(context, user)
    chosen, current = _present(context, known, named)
    if current.status == "incomplete" and current.stripe_id:
        # Its first payment was never made: there is no paid period to wait for.
        now, named = True, current.stripe_id
        chosen, current = _present(context, known, named)
    if chosen is None and named:
        return Result(refunds.canceled(current, []), False)  # it has ended, and the user's plan of today is another one
    if chosen is None:
        return _cancel_unbilled(context, known, current)
    at = chosen.state.ended_at or datetime.now(UTC)
    due = refunds.due_of_subscription(billing(context), chosen.state.id, refund, at)
    end = None if now else current.cancel_at or current.current_period_end
    paid_back = f", and refund {refunds.total(due)}" if due else ""
    when = f"at {show_instant(end)}" if end else "now"
    context.confirm(f"End the subscription of {current.user} to {current.plan} {when}{paid_back}?")
    foreseen = changes.preview_cancel(current, chosen.state, now=now)
    ends = [(each.status, each.cancel_at or each.end_due_at) for each in (current, foreseen)]
    changed = ends[0] != ends[1] or bool(due)
    if context.options.dry_run:
        return Result(refunds.canceled(foreseen, due), changed)
    done = changes.cancel(billing(context), chosen, current, now=now)
    if done.end_due_at:
        context.console.warn(
            f"Stripe refused to end it later, as schedule {chosen.state.schedule} manages it: "
            f"`dumacle quotas reset` ends it at {show_instant(done.end_due_at)}",
            fix="run that every hour, with stripe_secret_key",
        )
    if refund != "none":
        due = refunds.due_of_subscription(billing(context), chosen.state.id, refund, done.ended_at or at)
        refunds.pay_back(billing(context), due)
    return Result(refunds.canceled(done, due), changed)


def _cancel_unbilled(context: Context, known: Account, current: Subscription) -> Result[refunds.Canceled]:
    if current.ended_at is None:
        context.confirm(f"End the subscription of {current.user} to {current.plan} now?")
    return context.change(lambda session: refunds.stop(session, str(known.id)))


@app.acts_outside("resume", example="dumacle plans resume ada@example.com", takes_op_id=True)
def resume(context: Context, user: UserOrSubscription) -> Result[subscriptions.Subscription]:
    """Keep a subscription: undo its cancellation, a scheduled downgrade, or a pause of payments."""
    known, named = _account(context, user)
    chosen, current = _present(context, known, named)
    if chosen is None:
        return Result(current, False)
    if context.options.dry_run:
        return Result(*changes.preview_resume(current, chosen.state))
    return Result(*changes.resume(billing(context), chosen, current))


def _account(context: Context, reference: str) -> tuple[Account, str]:
    """Return the account of a user, or of a subscription at Stripe, whose id is returned as well; raises NotFound."""
    installation = context.settings.installation
    with context.session() as session:
        if not reference.startswith("sub_"):
            return accounts.account(session, reference, installation), ""
        known = accounts.owner(session, reference, installation)
    if known is None:
        raise NotFound("subscription", reference)
    return known, reference


def _present(context: Context, known: Account, named: str = "") -> tuple[Fetched | None, Subscription]:
    """Return the subscription for which Stripe charges a user now, or None, and what is shown of theirs."""
    chosen = None
    if known.is_known:
        fetched = accounts.fetch(billing(context), known, mirror=not context.options.dry_run)
        chosen = accounts.the_one(known, fetched, named)
    with context.session() as session:
        reference = chosen.state.id if chosen else named or str(known.id)
        show = subscriptions.show if chosen or named else subscriptions.of
        return chosen, show(session, reference)
