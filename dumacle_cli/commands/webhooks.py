"""`dumacle webhooks`: listening to Stripe, and the inbox of what it delivered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.commands.paging import listing
from dumacle_cli.commands.run import admit
from dumacle_cli.context import Context
from dumacle_cli.output.result import Result, Rows
from dumacle_cli.services import webhooks

if TYPE_CHECKING:
    pass

app = CommandGroup("webhooks")
events = CommandGroup("webhooks events", "What Stripe delivered, and what became of it.")
app.add(events)

EventId = Annotated[str, typer.Argument(metavar="EVENT", help="The event's id, such as evt_1.")]
EventIds = Annotated[list[str], typer.Argument(metavar="EVENT", help="Ids of events, such as evt_1.")]


@app.serves("serve", example="dumacle webhooks serve", cron=True, role="superadmin")
def serve(context: Context) -> int:
    """Listen for Stripe's deliveries until SIGTERM, and keep them; `dumacle worker` applies them.

    Bind it to this machine (listen_host, listen_port) behind a proxy that speaks TLS and passes POST /webhooks/stripe.
    """
    # A database that is not there or of another release, or a login that keeps nothing, is told before any delivery.
    admit(context, "listener")
    from dumacle_cli import listener

    chosen = context.settings
    listening = listener.Listener(context.database, context.webhook_secrets, context.console.warn)
    try:
        listener.serve(listening, chosen.listen_host, chosen.listen_port, chosen.webhook_max_size, context.console.say)
    finally:
        listening.close()
    return 0


@events.lists(
    "list",
    columns=("id", "type", "object_id", "status", "deliveries", "received_at", "error"),
    empty="Stripe delivered nothing like that yet",
    example="dumacle webhooks events list --status dead",
)
def list_(
    context: Context,
    status: Annotated[webhooks.Status | None, typer.Option("--status", help="Only those of this status.")] = None,
    object_: Annotated[
        str, typer.Option("--object", metavar="ID", help="Only those about this object, such as sub_1.")
    ] = "",
) -> Rows[webhooks.Event]:
    """List events, the latest received first."""
    return listing(context, webhooks.list_, status=status, object_id=object_ or None)


@events.reads("show", example="dumacle webhooks events show evt_1")
def show(context: Context, event: EventId) -> Result[webhooks.EventDetail]:
    """Show an event with the state of its object and its body."""
    with context.session() as session:
        return Result(webhooks.show(session, event))


@events.changes(
    "retry",
    columns=("id", "type", "object_id", "status"),
    example="dumacle webhooks events retry evt_1",
    role="superadmin",
)
def retry(context: Context, event: EventIds) -> Rows[webhooks.Event]:
    """Let a worker fetch and apply the objects of events once more."""
    return context.change(lambda session: webhooks.retry(session, event))
