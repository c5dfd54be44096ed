"""Places: the bucket of a pod, and whose credentials give access to it."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import Row

    from dumacle_cli.store.models import Pod

CUSTOM = {"s3": "use_custom_s3", "wasabi": "use_custom_wasabi", "oracle": "use_custom_oracle"}
"""The providers for which a pod can have its own credentials, and the column that says whether it uses them."""

_KEY = re.compile(r"[0-9a-f]{2}/[0-9a-f]{32}(\.[a-z0-9]{1,8})?")


@dataclass(frozen=True, slots=True)
class Place:
    """A bucket (by default the one in the settings), and the pod if it needs that pod's own credentials."""

    provider: str
    bucket: str = ""
    pod_id: int | None = None


def of(pod: "Pod | Row[Any]") -> Place:
    """Return the place of a pod's objects."""
    return at(pod, pod.primary_provider, pod.bucket)


def second(pod: "Pod | Row[Any]") -> Place | None:
    """Return the secondary place of a pod's objects, where they have the same keys, or None."""
    if pod.secondary_provider is None or pod.secondary_bucket is None:
        return None
    return at(pod, pod.secondary_provider, pod.secondary_bucket)


def bucket_at(pod: "Pod", provider: str) -> str:
    """Return the bucket of a pod at a provider: the secondary one at its secondary provider."""
    return pod.secondary_bucket or "" if provider == pod.secondary_provider else pod.bucket


def at(pod: "Pod | Row[Any]", provider: str, bucket: str) -> Place:
    """Return the place of a pod's objects in a bucket of a provider, with the pod's own keys if it uses such."""
    own = provider in CUSTOM and getattr(pod, CUSTOM[provider])
    return Place(provider, bucket, pod.id if own else None)


def folder(prefix: str) -> str:
    """Return the key prefix of a pod: empty, or ending in a slash."""
    return f"{prefix.strip('/')}/" if prefix.strip("/") else ""


def is_own(prefix: str, key: str) -> bool:
    """Return whether a key has the form of keys that Dumacle makes for a pod with this prefix."""
    return key.startswith(folder(prefix)) and bool(_KEY.fullmatch(key.removeprefix(folder(prefix))))
