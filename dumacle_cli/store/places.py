"""Places: where the bytes of a pod lie, and whose keys open it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, case
from sqlalchemy.orm import Bundle

from dumacle_cli.store.models import Pod

CUSTOM = {"s3": "use_custom_s3", "wasabi": "use_custom_wasabi", "oracle": "use_custom_oracle"}
"""The providers for which a pod may have keys of its own, and the column that says whether it uses them."""


_MADE = re.compile(r"[0-9a-f]{2}/[0-9a-f]{32}(\.[a-z0-9]{1,8})?")


@dataclass(frozen=True, slots=True)
class Place:
    """A bucket of a provider, the default one where empty, and the pod whose own keys open it, or None."""

    provider: str
    bucket: str = ""
    pod_id: int | None = None


def of(pod: Pod) -> Place:
    """Return where a pod keeps its bytes."""
    own = pod.primary_provider in CUSTOM and getattr(pod, CUSTOM[pod.primary_provider])
    return Place(pod.primary_provider, pod.bucket, pod.id if own else None)


def folder(prefix: str) -> str:
    """Return where the keys of a pod with this prefix begin: nothing, or what ends in a slash."""
    return f"{prefix.strip('/')}/" if prefix.strip("/") else ""


def is_own(prefix: str, key: str) -> bool:
    """Say whether a key is one that the program makes for a pod with this prefix."""
    return key.startswith(folder(prefix)) and bool(_MADE.fullmatch(key.removeprefix(folder(prefix))))


KEYHOLDER: ColumnElement[int | None] = case(
    *(((Pod.primary_provider == provider) & getattr(Pod, column), Pod.id) for provider, column in CUSTOM.items())
)
"""The id of the pod whose own keys open its bucket, or NULL."""


class _Places(Bundle[Any]):
    """Columns that come back as one Place."""

    def create_row_processor(
        self,
        query: Select[Any],  # noqa: ARG002 - SQLAlchemy gives it by position
        procs: Sequence[Callable[[Row[Any]], Any]],
        labels: Sequence[str],  # noqa: ARG002
    ) -> Callable[[Row[Any]], Place]:
        return lambda row: Place(*(read(row) for read in procs))


PLACE = _Places("place", Pod.primary_provider, Pod.bucket, KEYHOLDER.label("keyholder"))
"""To be selected where pods are joined: the Place of each row."""
