"""Places: the bucket of a pod, and whose credentials give access to it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, case
from sqlalchemy.orm import Bundle

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


def of(pod: Pod) -> Place:
    """Return the place of a pod's objects."""
    return at(pod, pod.primary_provider, pod.bucket)


def second(pod: Pod) -> Place | None:
    """Return the secondary place of a pod's objects, where they have the same keys, or None."""
    if pod.secondary_provider is None or pod.secondary_bucket is None:
        return None
    return at(pod, pod.secondary_provider, pod.secondary_bucket)


def bucket_at(pod: Pod, provider: str) -> str:
    """Return the bucket of a pod at a provider: the secondary one at its secondary provider."""
    return pod.secondary_bucket or "" if provider == pod.secondary_provider else pod.bucket


def at(pod: Pod, provider: str, bucket: str) -> Place:
    """Return the place of a pod's objects in a bucket of a provider, with the pod's own keys if it uses such."""
    own = provider in CUSTOM and getattr(pod, CUSTOM[provider])
    return Place(provider, bucket, pod.id if own else None)


def folder(prefix: str) -> str:
    """Return the key prefix of a pod: empty, or ending in a slash."""
    return f"{prefix.strip('/')}/" if prefix.strip("/") else ""


def is_own(prefix: str, key: str) -> bool:
    """Return whether a key has the form of keys that Dumacle makes for a pod with this prefix."""
    return key.startswith(folder(prefix)) and bool(_KEY.fullmatch(key.removeprefix(folder(prefix))))


KEYHOLDER: ColumnElement[int | None] = case(
    *(((Pod.primary_provider == provider) & getattr(Pod, column), Pod.id) for provider, column in CUSTOM.items())
)
"""The id of the pod if its bucket needs the pod's own credentials, or NULL."""


class _Places(Bundle[Any]):
    """Columns that are read as one Place."""

    def create_row_processor(
        self,
        query: Select[Any],  # noqa: ARG002 - SQLAlchemy passes it by position
        procs: Sequence[Callable[[Row[Any]], Any]],
        labels: Sequence[str],  # noqa: ARG002
    ) -> Callable[[Row[Any]], Place]:
        return lambda row: Place(*(read(row) for read in procs))


PLACE = _Places("place", Pod.primary_provider, Pod.bucket, KEYHOLDER.label("keyholder"))
"""Select it in queries that join pods, to get the Place of each row."""
