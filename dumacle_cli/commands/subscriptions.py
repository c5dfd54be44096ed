"""`dumacle plans subscriptions`: who is on which plan."""

from typing import TYPE_CHECKING, Annotated

import typer

from dumacle_cli.commands.contract import command, group
from dumacle_cli.commands.listing import After, All, Limit, listing
from dumacle_cli.context import Context
from dumacle_cli.output.forms import Shown
from dumacle_cli.services.billing import subscriptions

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dumacle_cli.store.paging import Page

app = group("plans subscriptions", "Who is on which plan.")


@command(
    app,
    "list",
    returns=subscriptions.Subscription,
    many=True,
    columns=("id", "user", "plan", "status", "stripe_id", "current_period_end", "cancel_at_period_end"),
    empty="there are no such subscriptions; start one with: dumacle plans subscribe USER PLAN",
    example="dumacle plans subscriptions list --plan starter --status active",
    role="enduser",
)
def list_(
    context: Context,
    status: Annotated[subscriptions.Status | None, typer.Option("--status", help="Only those of this status.")] = None,
    plan: Annotated[str, typer.Option("--plan", metavar="PLAN", help="Only those to this plan.")] = "",
    user: Annotated[str, typer.Option("--user", metavar="USER", help="Only those of this user: e-mail or id.")] = "",
    limit: Limit = 50,
    after: After = "",
    everything: All = False,
) -> Shown:
    """List subscriptions, also those that ended."""

    def fetch(session: "Session", token: str | None) -> "Page[subscriptions.Subscription]":
        return subscriptions.list_(session, status=status, plan=plan, user=user, after=token, limit=limit)

    return listing(context, fetch, after, everything, user=user, plan=plan)


@command(
    app,
    "show",
    returns=subscriptions.Subscription,
    example="dumacle plans subscriptions show ada@example.com",
    role="enduser",
)
def show(
    context: Context,
    subscription: Annotated[
        str, typer.Argument(metavar="USER|ID", help="A user's e-mail, or the subscription's id here or at Stripe.")
    ],
) -> Shown:
    """Show a subscription; of a user the present one, else the last."""
    with context.session() as session:
        return Shown(subscriptions.show(session, subscription))
