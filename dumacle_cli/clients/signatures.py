"""Signatures of webhook deliveries: the secrets that sign them, and what they prove.

It computes the HMAC itself: the SDK takes one secret a call, and bytes that anyone can send make it raise other errors.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from dumacle_cli.errors import DeliveryRefused, InvalidValue

TOLERANCE_S = 300
LONGEST_HEADER = 8192
SETTING = "stripe_webhook_secrets"
_LABEL = re.compile(r"[\w.-]{1,64}", re.ASCII)
_STAMP = re.compile(rb"[0-9]{1,15}")


@dataclass(frozen=True)
class Secret:
    """A signing secret of an endpoint at Stripe; without a label of its own it has its fingerprint."""

    value: bytes = field(repr=False)
    name: str = ""

    @cached_property
    def fingerprint(self) -> str:
        """The first 8 hexadecimal digits of the secret's SHA-256, which tell two secrets apart."""
        return hashlib.sha256(self.value).hexdigest()[:8]

    @property
    def label(self) -> str:
        """The name under which the secret is shown."""
        return self.name or self.fingerprint

    def signed(self, stamp: bytes, body: bytes) -> bytes:
        """Return the signature of a body at a time, in hexadecimal digits."""
        return hmac.new(self.value, stamp + b"." + body, hashlib.sha256).hexdigest().encode()


def parse(text: str) -> list[Secret]:
    """Read secrets separated by commas, each `whsec_…` or `LABEL=whsec_…`; raises InvalidValue."""
    secrets = [_secret(item.strip()) for item in text.split(",")]
    labels = [secret.label for secret in secrets]
    if len(set(labels)) < len(labels):
        raise InvalidValue(name=SETTING, reason="two secrets have the same label")
    return secrets


def _secret(item: str) -> Secret:
    if item.startswith("whsec_"):
        return Secret(item.encode())
    label, _, value = (part.strip() for part in item.partition("="))
    if not value.startswith("whsec_") or not _LABEL.fullmatch(label):
        raise InvalidValue(name=SETTING, reason="a signing secret begins with whsec_, after LABEL= if it has a label")
    return Secret(value.encode(), label)


def verify(body: bytes, header: bytes, secrets: Sequence[Secret], now: float) -> Secret:
    """Return the secret that signed a delivery within 300 s of now (UTC); raises DeliveryRefused."""
    if len(header) > LONGEST_HEADER:
        raise DeliveryRefused(reason="its signature is too long")
    items = [item.partition(b"=")[::2] for item in header.split(b",")]
    stamp = next((value for name, value in items if name == b"t"), b"")
    given = [value for name, value in items if name == b"v1"]
    signer = next((secret for secret in secrets if _is_among(secret.signed(stamp, body), given)), None)
    if signer is None or not _STAMP.fullmatch(stamp):
        raise DeliveryRefused(reason="no secret matches its signature")
    if abs(now - int(stamp)) > TOLERANCE_S:
        raise DeliveryRefused(reason=f"its timestamp differs from the clock here by more than {TOLERANCE_S} s")
    return signer


def _is_among(signature: bytes, given: Sequence[bytes]) -> bool:
    return any(hmac.compare_digest(signature, each) for each in given)


def parse_event(body: bytes) -> dict[str, Any]:
    """Return the event or thin event in a verified delivery; raises DeliveryRefused."""
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        raise DeliveryRefused(reason="it is not JSON") from None
    known = isinstance(event, dict) and event.get("object") in ("event", "v2.core.event")
    if not known or not all(isinstance(event.get(name), str) for name in ("id", "type")):
        raise DeliveryRefused(reason="it is not an event")
    return dict(event)
