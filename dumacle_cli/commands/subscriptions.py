"""`dumacle plans subscriptions`: users and their plans."""

from __future__ import annotations

from typing import Annotated

import typer

from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.commands.paging import listing
from dumacle_cli.context import Context
from dumacle_cli.output.result import Result, Rows
from dumacle_cli.services.billing import subscriptions

app = CommandGroup("plans subscriptions", "Show subscriptions: users and their plans.")


@app.lists(
    "list",
    columns=("id", "user", "plan", "status", "stripe_id", "current_period_end", "cancel_at_period_end"),
    empty="no subscriptions found; start one with: dumacle plans subscribe USER PLAN",
    example="dumacle plans subscriptions list --plan starter --status active",
    role="enduser",
)
def list_(
    context: Context,
    status: Annotated[subscriptions.Status | None, typer.Option("--status", help="Filter by status.")] = None,
    plan: Annotated[str, typer.Option("--plan", metavar="PLAN", help="Filter by plan.")] = "",
    user: Annotated[str, typer.Option("--user", metavar="USER", help="Filter by user: e-mail address or id.")] = "",
) -> Rows[subscriptions.Subscription]:
    """List subscriptions, including ended ones."""
    return listing(context, subscriptions.list_, status=status, plan=plan, user=user).without(user=user, plan=plan)


@app.reads("show", example="dumacle plans subscriptions show ada@example.com", role="enduser")
def show(
    context: Context,
    subscription: Annotated[
        str,
        typer.Argument(
            metavar="USER|ID", help="The user's e-mail address, or the subscription's id here or at Stripe."
        ),
    ],
) -> Result[subscriptions.Subscription]:
    """Show a subscription; for a user, the current or most recent one."""
    with context.session() as session:
        return Result(subscriptions.show(session, subscription))
