"""Checks of billing for `doctor`: what was found before, the key, the clock, the webhook endpoint, and differences."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sqlalchemy.orm import Session

from dumacle_cli.services.billing import BillingContext, binding, catalog, endpoints, inbox, sync
from dumacle_cli.services.billing import findings as found_before
from dumacle_cli.services.checks import CLOCK_SECONDS, Check, CheckStatus, tried
from dumacle_cli.store import findings

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from dumacle_cli.clients.stripe import Object

READ = ("product", "price", "customer", "subscription", "checkout.session", "invoice")
"""The kinds of objects that the key must be able to read."""
WRITTEN = ("product", "price", "customer", "subscription", "checkout.session", "refund")
"""The kinds of objects that the key must be able to change."""
PATH = "/webhooks/stripe"
ENDPOINT = "set the endpoint up as docs/deploy.md says"
_STATUS: dict[str, CheckStatus] = {"error": "failed", "warning": "warning"}


def secrets(connection: "Connection", api_version: Callable[[], str]) -> list[Check]:
    """Check the signing secrets that listeners know, and the API versions of what they signed."""
    with Session(connection) as session:
        known = endpoints.visible(session)
        found = endpoints.secrets(known, api_version()) if known else []
    return [Check(f"webhook {each.subject}", each.status, each.finding, each.fix) for each in found]


def stored(session: Session) -> list[Check]:
    """Return what was found and is not put right yet, and the events that were given up or wait for a retry."""
    checks = [
        Check(
            "billing",
            _STATUS[each.severity],
            f"{each.finding} (since {each.first_seen_at:%Y-%m-%d %H:%M} UTC)",
            each.fix,
        )
        for each in found_before.list_(session)
    ]
    for row in findings.events_left(session):
        text = f"{row.number} events are {row.status}, the oldest since {row.since:%Y-%m-%d %H:%M} UTC"
        fix = f"see why: dumacle webhooks events list --status {row.status}; then: dumacle plans sync"
        checks.append(Check("events", "warning", text, fix))
    return checks


def account(context: BillingContext) -> list[Check]:
    """Check the key, the clock and the webhook endpoint by asking Stripe."""
    found = [tried("stripe key", lambda: _key(context))]
    if found[0].status != "failed":
        found += [tried("stripe clock", lambda: _clock(context)), tried("stripe endpoint", lambda: _endpoint(context))]
    return found


def _key(context: BillingContext) -> Check:
    binding.require(context, dry_run=True)
    mode = binding.MODES[context.stripe.livemode]
    missing = {
        "read": [kind for kind in READ if not context.stripe.may_read(kind)],
        "write": [kind for kind in WRITTEN if not context.stripe.may_write(kind)],
    }
    if told := [f"it may not {verb}: {', '.join(kinds)}" for verb, kinds in missing.items() if kinds]:
        fix = "at Stripe, give the restricted key these permissions"
        return Check("stripe key", "failed", "; ".join((f"in {mode}", *told)), fix)
    return Check("stripe key", "ok", f"{context.stripe.account or 'an account'} in {mode}", "")


def _clock(context: BillingContext) -> Check:
    off = context.stripe.clock_off
    if off is None:
        return Check("stripe clock", "skipped", "Stripe did not tell the time", "")
    fine = abs(off) <= CLOCK_SECONDS
    fix = "" if fine else "set the clock of this machine by NTP"
    return Check("stripe clock", "ok" if fine else "warning", f"{abs(off):.1f} s apart", fix)


def _endpoint(context: BillingContext) -> Check:
    ours = [each for each in context.stripe.endpoints() if urlsplit(str(each["url"])).path == PATH]
    if not ours:
        return Check("stripe endpoint", "warning", f"no endpoint of the account ends in {PATH}", ENDPOINT)
    wrong = [f"{each['id']} {fault}" for each in ours for fault in _faults(each)]
    if wrong:
        return Check("stripe endpoint", "warning", "; ".join(wrong), ENDPOINT)
    return Check("stripe endpoint", "ok", ", ".join(f"{each['id']} at {each['url']}" for each in ours), "")


def _faults(endpoint: "Object") -> Iterator[str]:
    if endpoint["status"] != "enabled":
        yield f"is {endpoint['status']}"
    enabled = set(endpoint["enabled_events"])
    if "*" not in enabled and (missing := [each for each in inbox.DELIVERED if each not in enabled]):
        yield f"does not receive {', '.join(missing)}"
    if enabled & {"*", "invoice.created"}:
        yield "receives invoice.created, so Stripe delays invoices while it is down"


def differences(context: BillingContext) -> list[Check]:
    """Compare everything with Stripe, without changing anything: what differs, and whose the rest is."""
    return [tried("subscriptions", lambda: _subscriptions(context)), tried("plans", lambda: _plans(context))]


def _subscriptions(context: BillingContext) -> Check:
    found = sync.compare(context, sync.SyncScope())
    seen = found.counts.total() - found.counts["unseen"]
    text = f"{seen} at Stripe, {found.counts['foreign']} of them of other applications"
    if found.strangers:
        text += f"; {len(found.strangers)} pay for a plan and belong to no user here, such as {found.strangers[0]}"
    differ = found.counts["missed"] + found.counts["unseen"]
    if differ:
        return Check("subscriptions", "warning", f"{text}; {differ} differ from here", "dumacle plans sync")
    fix = "dumacle plans adopt" if found.strangers else ""
    return Check("subscriptions", "warning" if found.strangers else "ok", text, fix)


def _plans(context: BillingContext) -> Check:
    found = [each for several in catalog.every_difference(context).values() for each in several]
    fix = "see how: dumacle plans diff; then: dumacle plans push" if found else ""
    text = f"{len(found)} differ from what Stripe sells" if found else "Stripe sells them as they are here"
    return Check("plans", "warning" if found else "ok", text, fix)
