"""`dumacle webhooks`: receive webhooks from Stripe, and inspect the inbox."""

from __future__ import annotations

from typing import Annotated

import typer

from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.commands.paging import listing
from dumacle_cli.commands.run import admit
from dumacle_cli.context import Context
from dumacle_cli.output.result import Result, Rows
from dumacle_cli.services.billing import inbox

app = CommandGroup("webhooks")
events = CommandGroup("webhooks events", "Inspect and retry received events.")
app.add(events)

EventId = Annotated[str, typer.Argument(metavar="EVENT", help="The event's id, such as evt_1.")]
EventIds = Annotated[list[str], typer.Argument(metavar="EVENT", help="Ids of events, such as evt_1.")]


@app.serves("serve", example="dumacle webhooks serve", cron=True, role="superadmin")
def serve(context: Context) -> int:
    """Receive webhooks from Stripe until SIGTERM and store them; `dumacle worker` applies them.

    Run it behind a TLS proxy that forwards POST /webhooks/stripe to listen_host and listen_port.
    """
    # Report a missing or outdated database, or a login without the rights, before any delivery.
    admit(context, "listener")
    from dumacle_cli import listener
    from dumacle_cli.rotation import SecretsInForce

    chosen = context.settings
    secrets = SecretsInForce(context.webhook_secrets, context.config_files, context.console.say)
    listening = listener.Listener(context.database, secrets, context.console.warn)
    try:
        listening.note_secrets()
        listener.serve(listening, chosen.listen_host, chosen.listen_port, chosen.webhook_max_size, context.console.say)
    finally:
        listening.close()
    return 0


@events.lists(
    "list",
    columns=("id", "type", "object_id", "status", "deliveries", "received_at", "error"),
    empty="no events found",
    example="dumacle webhooks events list --status dead",
)
def list_(
    context: Context,
    status: Annotated[inbox.Status | None, typer.Option("--status", help="Filter by status.")] = None,
    object_: Annotated[str, typer.Option("--object", metavar="ID", help="Filter by object, such as sub_1.")] = "",
) -> Rows[inbox.Event]:
    """List events, most recent first."""
    return listing(context, inbox.list_, status=status, object_id=object_ or None)


@events.reads("show", example="dumacle webhooks events show evt_1")
def show(context: Context, event: EventId) -> Result[inbox.EventDetail]:
    """Show an event with its body and the status of its object."""
    with context.session() as session:
        return Result(inbox.show(session, event))


@events.changes(
    "retry",
    columns=("id", "type", "object_id", "status"),
    example="dumacle webhooks events retry evt_1",
    role="superadmin",
)
def retry(context: Context, event: EventIds) -> Rows[inbox.Event]:
    """Retry events: a worker fetches and applies their objects again."""
    return context.change(lambda session: inbox.retry(session, event))
