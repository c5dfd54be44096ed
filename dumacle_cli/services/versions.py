"""Versions: the contents that a file has and had, until they are purged."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from dumacle_cli.errors import Conflict, NotFound
from dumacle_cli.store import files as store
from dumacle_cli.store import models
from dumacle_cli.units import Bytes

KEPT = ("stored", "superseded")


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a file, stored under its own key; `current` is the one that the file has now."""

    id: int
    status: str
    size: Bytes
    key: str
    created_at: datetime
    current: bool


def list_(session: Session, file_id: int) -> list[Version]:
    """Return the versions of a file that still exist, latest first; raises NotFound."""
    row = store.find(session, file_id)
    if row is None:
        raise NotFound("file", file_id)
    return of_file(session, row.File)


def of_file(session: Session, file: models.File) -> list[Version]:
    """Return the versions of a file that still exist, latest first."""
    return [
        Version(each.id, each.status, each.size, each.key, each.created_at, each.id == file.version_id)
        for each in store.versions(session, file.id)
    ]


def content(session: Session, file_id: int, version_id: int | None = None) -> store.Content:
    """Return a version of a file, by default the current one.

    Raises NotFound for a version of another file, and Conflict if the file is deleted, or the version is not or no
    longer stored.
    """
    if version_id:
        require_stored(session, file_id, version_id)
    found = store.contents(session, [file_id], version_id)
    if not found:
        reason = f"file {file_id} is deleted, or its upload never ended"
        raise Conflict(reason=reason, advice=f"dumacle files show {file_id}")
    return found[0]


def require_stored(session: Session, file_id: int, version_id: int, *, lock: bool = False) -> models.Version:
    """Return a version of a file whose bytes are stored; raises NotFound, Conflict. With `lock` it is locked."""
    found = store.version(session, file_id, version_id, lock=lock)
    if found is None:
        raise NotFound("version", version_id)
    if found.status not in KEPT:
        state = "is being purged" if found.status == "purging" else "was never stored completely"
        reason = f"version {version_id} of file {file_id} {state}"
        raise Conflict(reason=reason, advice=f"choose another one: dumacle files versions {file_id}")
    return found
