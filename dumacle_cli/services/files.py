"""Files: list, select, move, delete and restore them."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Row
from sqlalchemy.orm import Session

from dumacle_cli import paths
from dumacle_cli.errors import Conflict, InvalidValue, NotFound, NotGranted, QuotaExceeded, TooMany, UsageError
from dumacle_cli.escapes import quoted, visible
from dumacle_cli.ids import looks_like_id, parse_id
from dumacle_cli.services import pods, renditions, users, versions
from dumacle_cli.store import files as store
from dumacle_cli.store import logins, models, paging, transcodes, work_units
from dumacle_cli.store.files import Selection
from dumacle_cli.units import Bytes, show_size

Sort = Literal["created", "path", "size"]
UploadStatus = Literal[
    "planned", "uploading", "completing", "uploaded", "verified", "changed", "refused", "cancelled", "failed"
]
UNDER_WAY = ("planned", "uploading", "completing")


@dataclass(frozen=True, slots=True)
class File:
    """A media object of one owner at one path in one pod; progress of its upload in percent."""

    id: int
    owner: str
    pod: str
    path: str
    size: Bytes
    sha256: str | None
    content_type: str
    status: str
    progress: int
    created_at: datetime
    uploaded_at: datetime | None
    verified_at: datetime | None
    deleted_at: datetime | None


@dataclass(frozen=True, slots=True)
class Detail(File):
    """A file with the key of its current version, its last error, and all its versions and renditions."""

    key: str | None
    error: str | None
    versions: list[versions.Version]
    renditions: list[renditions.Rendition]


@dataclass(frozen=True, slots=True)
class Affected:
    """The number of files that a command changed, and their bytes."""

    files: int
    bytes: Bytes


def view(row: Row[Any]) -> File:
    """Return a row with the names of owner and pod as commands show it."""
    return File(**_columns(row))


def _columns(row: Row[Any]) -> dict[str, Any]:
    file: models.File = row.File
    return {
        "id": file.id,
        "owner": row.owner,
        "pod": row.pod,
        "path": file.path,
        "size": file.size,
        "sha256": file.sha256.hex() if file.sha256 else None,
        "content_type": file.content_type,
        "status": file.upload_status,
        "progress": file.upload_progress,
        "created_at": file.created_at,
        "uploaded_at": file.uploaded_at,
        "verified_at": file.verified_at,
        "deleted_at": file.deleted_at,
    }


# Selecting


def select(
    session: Session,
    *,
    owner: str = "",
    pod: str = "",
    prefix: str = "",
    before: datetime | None = None,
    status: str | None = None,
    deleted: bool = False,
) -> Selection:
    """Return the selection for these filters; an enduser selects only their own files. Raises NotFound.

    Row-level security alone would give an enduser the same rows, but without the owner index.
    """
    return Selection(
        owner_id=users.get(session, owner).id if owner else logins.enduser(session),
        pod_id=pods.get_for_files(session, pod).id if pod else None,
        prefix=paths.stored_prefix(prefix),
        before=before,
        status=status,
        deleted=deleted,
    )


def choose(
    session: Session,
    file: str,
    *,
    owner: str = "",
    pod: str = "",
    prefix: str = "",
    before: datetime | None = None,
    deleted: bool = False,
) -> Selection:
    """Return the selection of one named file, or of all that match the filters.

    Raises UsageError for neither or both, NotFound.
    """
    if file:
        if prefix or before:
            raise UsageError("name one FILE, or give filters", "dumacle files")
        return Selection(ids=(find(session, file, owner=owner, pod=pod, deleted=deleted),), deleted=deleted)
    if not (owner or pod or prefix or before):
        raise UsageError("name a FILE, or give at least one filter", "dumacle files")
    return select(session, owner=owner, pod=pod, prefix=prefix, before=before, deleted=deleted)


def find(session: Session, file: str, *, owner: str = "", pod: str = "", deleted: bool | None = None) -> int:
    """Return the id of a file, given by id, or by path if there is an owner.

    `deleted` says which files to look for; None finds live files, and by id deleted ones too. Raises NotFound,
    UsageError for a path without an owner, Conflict if the path is in several pods or the file is in the other state.
    """
    if not owner:
        return _by_id(session, file, deleted)
    chosen = select(session, owner=owner, pod=pod, deleted=bool(deleted))
    # A name on disk can look like the escaped form of another one, which takes precedence.
    found = store.at(session, paths.candidates(file), chosen) or store.at(session, [paths.encode(file)], chosen)
    # What was never uploaded, or not relocated to its end, does not make a path ambiguous.
    found = [each for each in found if each.version_id is not None] or found
    if len({each.path for each in found}) > 1:
        raise Conflict(reason=f"{file} matches several files", advice="use its id instead")
    if len(found) > 1:
        raise Conflict(reason=f"{file} exists in several pods", advice="choose one with --pod POD")
    if not found:
        near = store.alike(session, file, chosen) or ""
        raise NotFound("file", f"{file} that was deleted" if deleted else file, guess=near)
    return found[0].id


def _by_id(session: Session, file: str, deleted: bool | None) -> int:
    file_id = parse_id(file)
    if file_id is None and not looks_like_id(file):
        raise UsageError("a path needs --owner USER; without it FILE is an id", "dumacle files")
    row = None if file_id is None else store.find(session, file_id)
    if row is None:
        raise NotFound("file", file)
    if deleted is not None and deleted != bool(row.File.deleted_at):
        verb = "delete" if deleted else "restore"
        state = "not deleted" if deleted else "deleted"
        raise Conflict(reason=f"file {file} is {state}", advice=f"dumacle files {verb} {quoted(file)}")
    return row.File.id  # type: ignore[no-any-return]


def summary(session: Session, chosen: Selection) -> tuple[int, str]:
    """Return the number of selected files, and a text with number, size and the first few paths."""
    number, size = store.total(session, chosen)
    sample = store.sample(session, chosen)
    more = ", …" if number > len(sample) else ""
    return (
        number,
        f"{number} file{'' if number == 1 else 's'}, {show_size(size)}: {', '.join(map(visible, sample))}{more}",
    )


# Reading


def list_(
    session: Session, chosen: Selection, *, sort: Sort | None, descending: bool, after: str | None, limit: int
) -> paging.Page[File]:
    """Return a page of files, by default sorted by creation, with a prefix by path, and deleted files by deletion.

    Raises UsageError for an order that no index supports.
    """
    order = _order(chosen, sort)
    found = store.page(session, chosen, sort=order, descending=descending, after=after, limit=limit)
    return paging.Page([view(row) for row in found.items], found.after)


def _order(chosen: Selection, sort: Sort | None) -> str:
    wanted = sort or ("deleted" if chosen.deleted else "path" if chosen.prefix else "created")
    if chosen.deleted and sort:
        raise UsageError("--deleted sorts by time of deletion; remove --sort", "dumacle files list")
    if chosen.prefix and sort not in (None, "path"):
        raise UsageError("--prefix sorts by path; remove --sort", "dumacle files list")
    if wanted in ("path", "size") and chosen.owner_id is None and chosen.pod_id is None:
        typed = f"--sort {sort}" if sort else "--prefix"
        raise UsageError(f"{typed} needs --owner or --pod", "dumacle files list")
    return wanted


def show(session: Session, file_id: int) -> Detail:
    """Return a file with its versions and renditions; raises NotFound."""
    row = store.find(session, file_id)
    if row is None:
        raise NotFound("file", file_id)
    found = versions.of_file(session, row.File)
    key = next((version.key for version in found if version.current), None)
    made = renditions.of_file(session, file_id)
    return Detail(**_columns(row), key=key, error=row.File.error, versions=found, renditions=made)


# Changing


def _locked(session: Session, chosen: Selection, maximum: int | None) -> list[int]:
    """Lock the selected files; raises TooMany for more than `maximum`."""
    found = store.lock(session, chosen, None if maximum is None else maximum + 1)
    if maximum is not None and len(found) > maximum:
        raise TooMany(count=store.total(session, chosen)[0], noun="file", maximum=maximum)
    return found


def _affected(session: Session, ids: list[int], *, deleted: bool) -> Affected:
    return Affected(*store.total(session, Selection(ids=tuple(ids), deleted=deleted)))


def delete(session: Session, chosen: Selection, *, maximum: int | None = None) -> tuple[Affected, bool]:
    """Soft-delete files and cancel their transcodes: they can be restored, and use storage until they are purged.

    Raises TooMany.
    """
    transcodes.lock_pods(session, chosen)
    ids = _locked(session, chosen, maximum)
    work_units.cancel(session, transcodes.live(session, file_id=ids))
    store.change(session, ids, deleted_at=datetime.now(UTC))
    return _affected(session, ids, deleted=True), bool(ids)


def restore(session: Session, chosen: Selection, *, maximum: int | None = None) -> tuple[Affected, bool]:
    """Restore deleted files; raises TooMany, Conflict if a path is taken."""
    ids = _locked(session, chosen, maximum)
    taken = store.taken(session, ids)
    if taken or not store.change(session, ids, deleted_at=None):
        raise Conflict(
            reason=f"there is another file at {taken or 'one of the paths'}", advice="move or delete that one first"
        )
    return _affected(session, ids, deleted=False), bool(ids)


def restore_version(session: Session, file_id: int, version_id: int) -> tuple[Affected, bool]:
    """Make a stored version the current one again; the present one is kept like one that an upload replaced.

    Raises NotFound, and Conflict if the version is not or no longer stored, or the file is deleted or being uploaded.
    """
    file = Selection(ids=(file_id,))
    if not store.lock(session, file, None):
        raise Conflict(reason=f"file {file_id} is deleted", advice=f"dumacle files restore {file_id}")
    _check_idle(session, [file_id])
    wanted = versions.require_stored(session, file_id, version_id, lock=True)
    if wanted.status == "stored":
        return Affected(0, 0), False
    store.make_current(session, file_id, version_id)
    return Affected(1, wanted.size), True


def rename(session: Session, file_id: int, path: str) -> tuple[Affected, bool]:
    """Give a file another path in its pod; raises NotFound, InvalidValue, Conflict if it is taken or being uploaded."""
    store.lock(session, Selection(ids=(file_id,)), None)
    row = store.find(session, file_id)
    if row is None:
        raise NotFound("file", file_id)
    return _rename(session, Selection(ids=(file_id,)), row.File.path, paths.stored_prefix(path), None)


def rename_prefix(session: Session, chosen: Selection, to: str, *, maximum: int | None = None) -> tuple[Affected, bool]:
    """Replace the prefix of the selected paths; raises like `rename`, and TooMany."""
    return _rename(session, chosen, chosen.prefix, paths.stored_prefix(to), maximum)


def _rename(session: Session, chosen: Selection, before: str, after: str, maximum: int | None) -> tuple[Affected, bool]:
    if before == after:
        return Affected(0, 0), False
    ids = _locked(session, chosen, maximum)
    renaming = store.Renaming(ids, len(before), after)
    if path := store.unusable_path(session, renaming):
        reason = "a path has at most 2048 bytes, and no empty part, . or .."
        raise InvalidValue(name="the new path", value=path, reason=reason)
    _check_idle(session, ids)
    number, path = store.taken_paths(session, renaming)
    if number or not store.rename(session, renaming):
        more = f" and {number - 1} more" if number > 1 else ""
        advice = "rename or delete those first, or choose other paths"
        raise Conflict(reason=f"there is another file at {path or 'one of the new paths'}{more}", advice=advice)
    return _affected(session, ids, deleted=False), bool(ids)


def _check_idle(session: Session, ids: list[int]) -> None:
    if path := store.busy(session, ids):
        raise Conflict(reason=f"{path} is being uploaded", advice="retry when the upload has ended")


def move(session: Session, chosen: Selection, to_owner: str, *, maximum: int | None = None) -> tuple[Affected, bool]:
    """Move files to another owner, with the storage of all their versions and renditions; the bytes stay in place.

    Raises NotFound, UserDisabled, NotGranted, QuotaExceeded, TooMany; Conflict if a path is taken or a file is being
    uploaded.
    """
    owner = users.get(session, to_owner)
    ids = store.of_others(session, _locked(session, chosen, maximum), owner.id)
    _check_recipient(session, ids, owner)
    _move_storage(session, store.stored(session, ids), owner)
    if not store.change(session, ids, owner_id=owner.id):
        raise _taken("one of the paths", owner)
    # Checked again: only now does the foreign key keep the new owner from being deleted or disabled.
    users.require_active(session, owner)
    return _affected(session, ids, deleted=False), bool(ids)


def _check_recipient(session: Session, ids: list[int], owner: models.User) -> None:
    users.require_active(session, owner)
    if pod := store.not_granted(session, ids, owner.id):
        raise NotGranted(user=owner.email, pod=pod)
    _check_idle(session, ids)
    if path := store.taken(session, ids, owner.id):
        raise _taken(path, owner)


def _taken(path: str, owner: models.User) -> Conflict:
    advice = f"move or delete that one first: dumacle files list --owner {quoted(owner.email)}"
    return Conflict(reason=f"{owner.email} has another file at {path}", advice=advice)


def _move_storage(session: Session, sizes: list[store.Stored], owner: models.User) -> None:
    used, allowed = store.move_storage(session, sizes, owner.id)
    wanted = sum(each.used + each.reserved for each in sizes)
    if allowed is not None and used > allowed:
        left = max(allowed - used + wanted, 0)
        facts = {"left": show_size(left), "limit": show_size(allowed), "wanted": show_size(wanted)}
        raise QuotaExceeded(metric="storage", user=owner.email, **facts)
