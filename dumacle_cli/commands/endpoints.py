"""`dumacle webhooks endpoint`: the webhook endpoints of this installation at Stripe."""

from __future__ import annotations

from typing import Annotated

import typer

from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.context import Context
from dumacle_cli.errors import Exit, InvalidValue
from dumacle_cli.output.result import Result, Rows
from dumacle_cli.services.billing import endpoints

app = CommandGroup("webhooks endpoint", "Create, check and replace the webhook endpoint at Stripe.")
COLUMNS = ("id", "url", "status", "api_version", "label", "secret")
KEEP = "Stripe does not show this secret again: add it to stripe_webhook_secrets of the listener, as LABEL=whsec_..."
THEN = f"{KEEP}\nthe listener takes it over by itself; then: dumacle webhooks endpoint rotate --finish"


@app.acts_outside(
    "create",
    columns=COLUMNS,
    example="dumacle webhooks endpoint create https://dumacle.example.com/webhooks/stripe",
    takes_op_id=True,
)
def create(
    context: Context,
    url: Annotated[str, typer.Argument(metavar="URL", help="Public URL of the listener, ending in /webhooks/stripe.")],
) -> Result[endpoints.Endpoint]:
    """Create the webhook endpoint at Stripe, for the events that are used; its secret is shown once."""
    if not url.startswith(("https://", "http://")):
        raise InvalidValue(name="URL", value=repr(url), reason="it begins with https://")
    with context.session() as session:
        endpoints.known(session)  # who may not act here creates nothing there
    if context.options.dry_run:
        return Result(endpoints.Endpoint("", url, "active", context.billing.api_version, None, None), True)
    made = endpoints.create(context.billing, url, context.settings.installation, context.operation)
    return Result(made, True, note=KEEP)


@app.reads(
    "check",
    columns=("subject", "status", "finding", "fix"),
    example="dumacle webhooks endpoint check",
)
def check(context: Context) -> Rows[endpoints.Finding]:
    """Check the endpoint at Stripe, the secrets that listeners know, and API versions; exit 1 if deliveries fail."""
    with context.session() as session:
        known = endpoints.known(session)
    found = endpoints.check(context.billing, context.settings.installation, known)
    failed = any(finding.status == "failed" for finding in found)
    return Result(found, exit=Exit.FAILED if failed else Exit.DONE)


@app.acts_outside(
    "rotate",
    columns=COLUMNS,
    example="dumacle webhooks endpoint rotate",
    takes_op_id=True,
)
def rotate(
    context: Context,
    finish: Annotated[bool, typer.Option("--finish", help="Use the new endpoint and delete the old one.")] = False,
) -> Result[endpoints.Endpoint]:
    """Replace the endpoint, its secret and its API version without a refused delivery.

    Without --finish it creates a second endpoint, which delivers nothing until the listener knows its secret.
    """
    with context.session() as session:
        known = endpoints.known(session)
    installation = context.settings.installation
    if context.options.dry_run:
        return Result(endpoints.preview_rotation(context.billing, installation), True)
    if not finish:
        return Result(endpoints.begin_rotation(context.billing, installation, context.operation), True, note=THEN)
    done, deleted = endpoints.finish_rotation(context.billing, installation, known)
    return Result(done, True, note=f"deleted at Stripe: {', '.join(deleted)}" if deleted else "")
