"""`dumacle plans subscriptions`: who is on which plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.commands.paging import listing
from dumacle_cli.context import Context
from dumacle_cli.output.result import Result, Rows
from dumacle_cli.services import subscriptions

if TYPE_CHECKING:
    pass

app = CommandGroup("plans subscriptions")


@app.lists(
    "list",
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
) -> Rows[subscriptions.Subscription]:
    """List subscriptions, also those that ended."""
    return listing(context, subscriptions.list_, status=status, plan=plan, user=user).without(user=user, plan=plan)


@app.reads("show", example="dumacle plans subscriptions show ada@example.com", role="enduser")
def show(
    context: Context,
    subscription: Annotated[
        str, typer.Argument(metavar="USER|ID", help="A user's e-mail, or the subscription's id here or at Stripe.")
    ],
) -> Result[subscriptions.Subscription]:
    """Show a subscription; of a user the present one, else the last."""
    with context.session() as session:
        return Result(subscriptions.show(session, subscription))
