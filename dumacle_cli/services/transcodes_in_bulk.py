"""Many transcodes at once: those that filters select, and files that lack one."""

from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

from sqlalchemy.orm import Session

from dumacle_cli.errors import NotFound, TooMany, UsageError
from dumacle_cli.services import transcodes
from dumacle_cli.services.transcode_request import TranscodeRequest
from dumacle_cli.store import files as files_store
from dumacle_cli.store import transcodes as store
from dumacle_cli.store.files import Selection
from dumacle_cli.store.transcodes import TranscodeFilter


def submit_missing(
    session: Session,
    selection: Selection,
    request: TranscodeRequest,
    damage: transcodes.Damage = "repair",
    *,
    priority: int = 0,
    maximum: int | None = None,
) -> tuple[list[transcodes.Transcode], bool]:
    """Submit the selected files that the request takes and that were never transcoded so, and return their transcodes.

    Raises TooMany for more than `maximum`, UserDisabled, QuotaExceeded.
    """
    found = store.without(session, selection, request.preset, request.kinds)
    if maximum is not None and len(found) > maximum:
        raise TooMany(count=len(found), noun="transcode", maximum=maximum)
    files_store.lock(session, Selection(ids=tuple(found)), None)
    present = {each.file_id: each.version_id for each in files_store.contents(session, list(found))}
    versions = [version for file_id, version in found.items() if present.get(file_id) == version]
    return transcodes.submit_versions(
        session, versions, request.preset, get_args(transcodes.TranscodeStatus), damage, priority
    )


def select(
    session: Session,
    typed: Sequence[str],
    chosen: TranscodeFilter,
    *,
    statuses: Sequence[str],
    unit: int | None = None,
    latest_only: bool = False,
    maximum: int | None = None,
) -> list[int]:
    """Return the transcodes with these ids and that of a unit, or those that a filter selects.

    A filter selects by default those in one of these statuses. Raises UsageError for neither or both, NotFound, TooMany
    for more than `maximum`.
    """
    named = transcodes.parse_ids(typed) + ([_of_unit(session, unit)] if unit else [])
    if bool(named) == (chosen != TranscodeFilter()):
        raise UsageError("name transcodes by ID, or give at least one filter", "dumacle transcode")
    if named:
        return named
    chosen = chosen if chosen.status else replace(chosen, statuses=statuses)
    found = store.ids_of(session, chosen, latest_only=latest_only)
    if maximum is not None and len(found) > maximum:
        raise TooMany(count=len(found), noun="transcode", maximum=maximum)
    return list(found)


def _of_unit(session: Session, unit: int) -> int:
    found = store.of_unit(session, unit)
    if found is None:
        raise NotFound("unit", str(unit))
    return found
