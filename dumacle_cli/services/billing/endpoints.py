"""Webhook endpoints at Stripe: creating one, checking them, and replacing one without a refused delivery.

Stripe tells an endpoint's secret once, and its API version cannot be changed: both are replaced with the endpoint. A
new one delivers nothing until a listener knows its secret. It is recognised by the fingerprint in its metadata.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from sqlalchemy.orm import Session

from dumacle_cli.clients.signatures import Secret as SigningSecret
from dumacle_cli.errors import Conflict
from dumacle_cli.services.billing import objects
from dumacle_cli.services.billing.inbox import DELIVERED
from dumacle_cli.store import stripe as store
from dumacle_cli.units import Secret

if TYPE_CHECKING:
    from dumacle_cli.clients.stripe import Object, StripeAccount
    from dumacle_cli.store.models import WebhookSecret

QUIET = ("terminal.reader.action_failed",)
"""What an endpoint delivers before its secret is known: it must name something."""
STALE = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A webhook endpoint at Stripe: `active`, `waiting` until its secret is known, or `disabled`.

    `secret` is given only when it is created; `label` is that of the secret which listeners know.
    """

    id: str
    url: str
    status: str
    api_version: str | None
    label: str | None
    used_at: datetime | None
    secret: Secret | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with an endpoint or a secret, or `ok`, and the fix."""

    subject: str
    status: Literal["ok", "warning", "failed"]
    finding: str
    fix: str


def create(billing: "StripeAccount", url: str, installation: str, operation: str, *, quiet: bool = False) -> Endpoint:
    """Create an endpoint for all events that are used here; a quiet one delivers nothing yet."""
    made = billing.create_endpoint(url, QUIET if quiet else DELIVERED, objects.tags(installation), operation)
    fingerprint = SigningSecret(made["secret"].encode()).fingerprint
    billing.update_endpoint(made["id"], metadata={"fingerprint": fingerprint})
    return Endpoint(made["id"], url, _status(made), made["api_version"], None, None, made["secret"])


def ours(billing: "StripeAccount", installation: str) -> "list[Object]":
    """Return the endpoints of this installation, the newest first."""
    tags = objects.tags(installation).items()
    return [found for found in billing.endpoints() if tags <= (found["metadata"] or {}).items()]


def preview_rotation(billing: "StripeAccount", installation: str) -> Endpoint:
    """Return what a rotation would create or use; raises Conflict if there is no endpoint."""
    return Endpoint("", _present(billing, installation)[0]["url"], "waiting", billing.api_version, None, None)


def _present(billing: "StripeAccount", installation: str) -> "list[Object]":
    found = ours(billing, installation)
    if not found:
        reason = "there is no endpoint of this installation at Stripe"
        raise Conflict(reason=reason, advice="dumacle webhooks endpoint create URL")
    return found


def begin_rotation(billing: "StripeAccount", installation: str, operation: str) -> Endpoint:
    """Create a quiet endpoint to the same URL as the present one, instead of one that is waiting already.

    Raises Conflict if there is no endpoint.
    """
    found = _present(billing, installation)
    made = create(billing, found[0]["url"], installation, operation, quiet=True)
    for earlier in found:
        if _status(earlier) == "waiting" and earlier["id"] != made.id:
            billing.delete_endpoint(earlier["id"])
    return made


def finish_rotation(
    billing: "StripeAccount", installation: str, known: "Sequence[WebhookSecret]"
) -> tuple[Endpoint, list[str]]:
    """Let the waiting endpoint deliver, and delete the earlier ones; return it and their ids.

    Raises Conflict if none is waiting, or if no listener knows its secret.
    """
    found = _present(billing, installation)
    new = next((each for each in found if _status(each) == "waiting"), None)
    if new is None:
        raise Conflict(reason="no endpoint is waiting", advice="dumacle webhooks endpoint rotate")
    shown = _shown(new, known)
    if shown.label is None:
        advice = "add its secret to stripe_webhook_secrets of the listener, then repeat the command"
        raise Conflict(reason=f"no listener knows the secret of endpoint {new['id']} yet", advice=advice)
    billing.update_endpoint(new["id"], DELIVERED)
    earlier = [each["id"] for each in found if each["id"] != new["id"] and each["url"] == new["url"]]
    for endpoint in earlier:
        billing.delete_endpoint(endpoint)
    return _shown(new | {"enabled_events": list(DELIVERED)}, known), earlier


def check(billing: "StripeAccount", installation: str, known: "Sequence[WebhookSecret]") -> list[Finding]:
    """Compare the endpoints at Stripe and the secrets that listeners know with what they should be."""
    found = ours(billing, installation)
    findings = [finding for each in found for finding in _of_endpoint(each, known, billing.api_version)]
    if not found:
        fix = "dumacle webhooks endpoint create URL"
        findings.append(Finding("endpoint", "warning", "none at Stripe was created by this installation", fix))
    return findings + secrets(known, billing.api_version)


def secrets(known: "Sequence[WebhookSecret]", api_version: str) -> list[Finding]:
    """Return what is to say of the secrets that listeners know."""
    if not known:
        return [Finding("secrets", "warning", "no listener has run in the last day", "dumacle webhooks serve")]
    return [_of_secret(secret, api_version) for secret in known]


def _of_secret(secret: "WebhookSecret", api_version: str) -> Finding:
    subject = f"secret {secret.label}"
    if secret.used_at is None:
        return Finding(subject, "warning", "it has signed no delivery yet", "remove it when another one is in use")
    used = f"last delivery {secret.used_at:%Y-%m-%d %H:%M} UTC"
    if secret.used_at < datetime.now(UTC) - STALE:
        return Finding(subject, "warning", used, "remove it from stripe_webhook_secrets if its endpoint was deleted")
    if secret.api_version and secret.api_version != api_version:
        older = f"{used}, of API version {secret.api_version}; this release was made for {api_version}"
        return Finding(subject, "warning", older, "dumacle webhooks endpoint rotate")
    return Finding(subject, "ok", used, "")


def _of_endpoint(found: "Object", known: "Sequence[WebhookSecret]", api_version: str) -> list[Finding]:
    shown, subject = _shown(found, known), f"endpoint {found['id']}"
    missing = sorted(set(DELIVERED) - set(found["enabled_events"])) if "*" not in found["enabled_events"] else []
    wrong: list[tuple[Literal["warning", "failed"], str, str]] = []
    if shown.status == "disabled":
        wrong.append(("failed", "Stripe delivers nothing to it", "enable it at Stripe"))
    elif shown.status == "waiting":
        wrong.append(("warning", "it delivers nothing yet", "dumacle webhooks endpoint rotate --finish"))
    elif missing:
        wrong.append(("failed", f"it does not deliver {', '.join(missing)}", "dumacle webhooks endpoint rotate"))
    if "invoice.created" in found["enabled_events"]:
        late = "it delivers invoice.created, so Stripe delays invoices while the listener is down"
        wrong.append(("warning", late, "dumacle webhooks endpoint rotate"))
    if shown.label is None:
        wrong.append(("failed", "no listener knows its secret", "add it to stripe_webhook_secrets"))
    if shown.api_version and shown.api_version != api_version:
        other = f"it has API version {shown.api_version}, and this release was made for {api_version}"
        wrong.append(("warning", other, "dumacle webhooks endpoint rotate"))
    return [Finding(subject, *each) for each in wrong] or [Finding(subject, "ok", shown.url, "")]


def known(session: Session) -> "list[WebhookSecret]":
    """Return the secrets that listeners know, by label; raises DatabaseForbidden."""
    return store.webhook_secrets(session)


def visible(session: Session) -> "list[WebhookSecret]":
    """Return the secrets that listeners know, by label; none to who may not see them, or in the previous schema."""
    return store.webhook_secrets(session) if store.sees_webhook_secrets(session) else []


def _shown(found: "Object", known: "Sequence[WebhookSecret]") -> Endpoint:
    fingerprint = (found["metadata"] or {}).get("fingerprint")
    secret = next((each for each in known if each.fingerprint == fingerprint), None)
    label, used_at = (secret.label, secret.used_at) if secret else (None, None)
    return Endpoint(found["id"], found["url"], _status(found), found["api_version"], label, used_at)


def _status(found: "Object") -> str:
    if found["status"] != "enabled":
        return "disabled"
    return "waiting" if tuple(found["enabled_events"]) == QUIET else "active"
