"""The columns of a place, for queries that join pods."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, case
from sqlalchemy.orm import Bundle

from dumacle_cli.store.models import Pod
from dumacle_cli.store.places import CUSTOM, Place

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
