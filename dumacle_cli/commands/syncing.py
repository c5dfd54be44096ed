"""`dumacle plans sync|doctor|adopt`: compare what is mirrored with Stripe, and take over what others made there."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from dumacle_cli.commands.billing import billing, unchecked
from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.context import Context
from dumacle_cli.errors import Exit, InvalidValue, UsageError
from dumacle_cli.output.result import Result, Rows
from dumacle_cli.services import checks
from dumacle_cli.services.billing import adoption, diagnosis
from dumacle_cli.services.billing import sync as syncing
from dumacle_cli.units import parse_age

app = CommandGroup("plans")
EVENT_DAYS = 30


@app.acts_outside("sync", example="dumacle plans sync", cron=True)
def sync(
    context: Context,
    user: Annotated[str, typer.Option("--user", metavar="USER", help="Only this user: e-mail address or id.")] = "",
    customer: Annotated[str, typer.Option("--customer", metavar="ID", help="Only this customer at Stripe.")] = "",
    since: Annotated[
        str, typer.Option("--since", metavar="AGE", help="Only what changed in this time, such as 2h; at most 30d.")
    ] = "",
    full: Annotated[bool, typer.Option("--full", help="Compare customers, too.")] = False,
    apply: Annotated[
        bool, typer.Option("--apply/--no-apply", help="Apply the differences; by default, they are.")
    ] = True,
    maximum: Annotated[
        int | None,
        typer.Option(
            "--max",
            metavar="N",
            min=0,
            help="Let this many subscriptions end; default: 10 or a tenth, and of vanished ones 1 or a tenth.",
        ),
    ] = None,
) -> Result[syncing.SyncResult]:
    """Compare subscriptions and plans with Stripe and correct differences; for cron, needs no worker.

    Exit 3 means that something is wrong still, which is reported with its fix, also by `plans doctor` and `users show`.
    Exit 8 means that so many subscriptions would have ended that none of them was.
    """
    if sum(map(bool, (user, customer, since, full))) > 1:
        raise UsageError("--user, --customer, --since and --full cannot be combined", "dumacle plans sync")
    instant = _since(since)
    with context.session() as session:
        scope = syncing.scope(session, user, customer, instant, full=full)
    apply = apply and not context.options.dry_run
    done, left = syncing.sync(billing(context), scope, apply_differences=apply, maximum=maximum)
    for each in left:
        context.console.warn(each.finding, fix=each.fix)
    wrong = Exit.PARTIAL if left or done.failed or done.held else Exit.DONE
    return Result(done, done.applied > 0, exit=Exit.LIMIT if done.refused else wrong)


def _since(age: str) -> datetime | None:
    if not age:
        return None
    now = datetime.now(UTC)
    since = parse_age(age, "--since", now)
    if (now - since).days > EVENT_DAYS:
        reason = f"Stripe keeps events for {EVENT_DAYS} days"
        raise InvalidValue(name="--since", value=repr(age), reason=reason, advice="compare all: dumacle plans sync")
    return since


@app.reads("doctor", columns=("check", "status", "finding", "fix"), example="dumacle plans doctor")
def doctor(context: Context) -> Rows[checks.Check]:
    """Check billing, with a fix for each finding: what was found before, the key, the clock, the endpoint, differences.

    Exit 1 means that a check failed.
    """
    with context.session() as session:
        found = diagnosis.stored(session)
    account = unchecked(context)
    found += diagnosis.account(account)
    if checks.worst(each for each in found if each.check == "stripe key") != "failed":
        found += diagnosis.differences(account)
    return Result(found, exit=Exit.FAILED if checks.worst(found) == "failed" else Exit.DONE)


@app.acts_outside(
    "adopt",
    columns=("object", "customer", "email", "user", "plan", "result", "reason"),
    empty="Stripe has nothing that is not known here",
    example="dumacle plans adopt --email",
)
def adopt(
    context: Context,
    metadata: Annotated[
        str, typer.Option("--metadata", metavar="KEY", help="Key of customers' metadata with the user's id or e-mail.")
    ] = "",
    email: Annotated[bool, typer.Option("--email", help="Match customers and users by e-mail address.")] = False,
    price: Annotated[
        list[str] | None,
        typer.Option("--price", metavar="PRICE=PLAN", help="The plan that a price at Stripe pays for."),
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Adopt what is clear; without it, only report.")] = False,
) -> Rows[adoption.Adoption]:
    """Take over customers, prices and subscriptions that an earlier system made at Stripe.

    Nothing is changed there. Import the users first. What is ambiguous is reported and left alone; exit 3 means that
    something was. Match by e-mail only if the earlier system verified addresses.
    """
    prices = dict(_pair(each) for each in price or ())
    write = apply and not context.options.dry_run
    with context.session() as session:
        if write:
            adoption.require_superadmin(session)
        chosen = adoption.matching(session, metadata, email, prices)
    found = list(adoption.adopt(billing(context), chosen, write=write))
    left = any(each.result in ("ambiguous", "failed") for each in found)
    changed = apply and any(each.result == "adopted" for each in found)
    return Result(found, changed, exit=Exit.PARTIAL if write and left else Exit.DONE)


def _pair(given: str) -> tuple[str, str]:
    price, _, plan = given.partition("=")
    if not (price and plan):
        raise InvalidValue(name="--price", value=repr(given), reason="it is PRICE=PLAN, such as price_1=starter")
    return price, plan
