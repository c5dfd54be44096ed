"""Pods: creation and changes, grants, usage, and checks of the counters."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from itertools import count
from typing import Any, Literal

from sqlalchemy.orm import Session

from dumacle_cli.clients import providers
from dumacle_cli.errors import AlreadyExists, Conflict, InvalidValue
from dumacle_cli.escapes import quoted
from dumacle_cli.ids import parse_id
from dumacle_cli.services import names, users
from dumacle_cli.store import copies, limits, models, paging, places, probes
from dumacle_cli.store import pods as store
from dumacle_cli.store.places import CUSTOM, Place, folder
from dumacle_cli.units import Bytes, show_size

Provider = Literal["s3", "wasabi", "oracle", "local"]
GRANTEES = 100
"""The number of users that are listed with a pod."""

IN_USE = "repeat the command when they have ended; of killed ones: dumacle files reap --older-than 0s"

_NAME_BYTES = 255
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_PREFIX = re.compile(r"(?!/)(?!.*//)(?!(.*/)?(\.{1,2}|renditions)(/|$))[A-Za-z0-9!_.*'()/-]{0,200}(?<!/)")


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod as commands print it; `used` is stored now, `reserved` is held by uploads and workers in progress.

    `own_credentials` lists the providers for which the pod has credentials of its own.
    """

    id: int
    name: str
    capacity: Bytes
    used: Bytes
    reserved: Bytes
    free: Bytes
    provider: str
    bucket: str
    prefix: str
    secondary: str | None
    secondary_bucket: str | None
    own_credentials: list[str]
    created_at: datetime
    deleted_at: datetime | None


@dataclass(frozen=True, slots=True)
class Detail(Pod):
    """A pod with the e-mails of the first hundred users who may upload into it, and what proves an upload.

    `proof` and `probed_at` are null if the pod was never probed. `copies_waiting` are not stored at the secondary
    provider yet, or not at the primary, the oldest since `copies_waiting_since`; `copies_failed` of them were tried.
    `outages` are providers that do not answer. Uploads send each file to both providers (`copies_during_uploads`), or
    to one, and a worker makes the copies.
    """

    granted_to: list[str]
    proof: str | None
    probed_at: datetime | None
    allowed_types: list[str] | None
    max_file_size: Bytes | None
    copies_during_uploads: bool | None
    copies_waiting: int | None
    copies_failed: int | None
    copies_waiting_since: datetime | None
    copies_error: str | None
    outages: list[str]


@dataclass(frozen=True, slots=True)
class Grant:
    """A user's right to upload into a pod."""

    pod: str
    user: str
    is_default: bool


@dataclass(frozen=True, slots=True)
class Usage:
    """The usage of a pod, or one owner's share of it; `percent` is of the pod's capacity."""

    pod: str
    owner: str | None
    capacity: Bytes
    used: Bytes
    reserved: Bytes | None
    free: Bytes
    percent: float
    files: int


@dataclass(frozen=True, slots=True)
class Drift:
    """A counter of a pod or of a user's quota that differs from the rows it counts."""

    pod: str | None
    user: str | None
    counter: str
    recorded: Bytes
    actual: Bytes
    drift: Bytes


def view(pod: models.Pod) -> Pod:
    """Convert a row to the result that commands print."""
    return Pod(
        id=pod.id,
        name=pod.name,
        capacity=pod.capacity,
        used=pod.used,
        reserved=pod.reserved,
        free=pod.capacity - pod.used - pod.reserved,
        provider=pod.primary_provider,
        bucket=pod.bucket,
        prefix=pod.prefix,
        secondary=pod.secondary_provider,
        secondary_bucket=pod.secondary_bucket if pod.secondary_provider else None,
        own_credentials=[provider for provider, column in CUSTOM.items() if getattr(pod, column)],
        created_at=pod.created_at,
        deleted_at=pod.deleted_at,
    )


def get(session: Session, reference: str, *, lock: bool = False, deleting: bool = False) -> models.Pod:
    """Return the live pod with this id or name, locked to be changed (`lock`) or `deleting`; raises NotFound."""
    pod = _find(session, reference, lock=lock, deleting=deleting)
    if pod is None:
        raise names.missing("pod", reference, partial(store.find, session), lambda near: near.name)
    return pod


def get_or_deleted(session: Session, reference: str) -> models.Pod:
    """Return the live pod with this id or name, else the one that was deleted last; raises NotFound."""
    return _find(session, reference) or _find_deleted(session, reference) or get(session, reference)


def _find(session: Session, reference: str, *, lock: bool = False, deleting: bool = False) -> models.Pod | None:
    return names.resolve(reference, partial(store.find, session, lock=lock, deleting=deleting))


def _find_deleted(session: Session, reference: str) -> models.Pod | None:
    return names.resolve(reference, partial(store.find_deleted, session))


def get_for_files(session: Session, reference: str) -> models.Pod:
    """Return the live pod with this id or name, or a deleted pod by its id, since its files remain; raises NotFound."""
    deleted = store.find_deleted(session, reference) if parse_id(reference) is not None else None
    return deleted or get(session, reference)


def show(session: Session, reference: str) -> Detail:
    """Return a pod with its users and the state of its copies; raises NotFound."""
    pod = get(session, reference)
    waiting = copies.state(session, pod) if pod.secondary_provider else None
    probe = probes.of(session, pod.id, pod.primary_provider)
    return Detail(
        **asdict(view(pod)),
        granted_to=store.granted_to(session, pod.id, GRANTEES),
        proof=probe.proof if probe else None,
        probed_at=probe.probed_at if probe else None,
        **asdict(limits.of_pod(session, pod.id)[1]),
        copies_during_uploads=pod.copies_during_uploads if waiting else None,
        copies_waiting=waiting.waiting if waiting else None,
        copies_failed=waiting.failed if waiting else None,
        copies_waiting_since=waiting.since if waiting else None,
        copies_error=waiting.error if waiting else None,
        outages=[f"{row.provider} since {row.since:%Y-%m-%d %H:%M} UTC" for row in copies.outages(session, pod.id)],
    )


def list_(
    session: Session, *, provider: str | None, deleted: bool, sort: str, after: str | None, limit: int
) -> paging.Page[Pod]:
    """Return a page of live or of deleted pods."""
    found = store.page(session, provider=provider, deleted=deleted, sort=sort, after=after, limit=limit)
    return paging.Page([view(pod) for pod in found.items], found.after)


# Creation and changes


def create(
    session: Session,
    name: str,
    *,
    capacity: int,
    provider: str,
    bucket: str,
    prefix: str | None = None,
    secondary: Place | None = None,
    accepted: Mapping[str, Any] | None = None,
) -> tuple[Pod, bool]:
    """Create a pod with a capacity in bytes; the default prefix is unique and made from its name.

    The secondary place was tested by the caller; `accepted` are the columns that limit its files. Raises InvalidValue,
    AlreadyExists, or Conflict if another pod has the prefix.
    """
    name = _checked_name(name)
    providers.known(provider)
    _check_bucket(bucket)
    prefix = _prefix(session, name, [Place(provider, bucket), *([secondary] if secondary else [])], prefix)
    location = {"primary_provider": provider, "bucket": bucket, "prefix": prefix}
    made = store.create(session, name=name, capacity=capacity, **location, **(accepted or {}))
    if made is None:
        raise AlreadyExists(noun="pod", name=name)
    if secondary:
        _add_secondary(session, made, secondary)
    return view(made), True


def _check_bucket(bucket: str) -> None:
    if bucket and not _BUCKET.fullmatch(bucket):
        raise InvalidValue(
            name="bucket", value=repr(bucket), reason="only letters, digits, dots, hyphens and _ are allowed"
        )


def _add_secondary(session: Session, pod: models.Pod, place: Place) -> None:
    """Give a locked pod a secondary place."""
    _check_bucket(place.bucket)
    if place.provider == pod.primary_provider:
        reason = f"{place.provider} is the primary provider of pod {pod.name}"
        raise Conflict(reason=reason, advice="choose another provider as --secondary")
    if pod.secondary_provider:
        reason = f"pod {pod.name} has the secondary provider {pod.secondary_provider}"
        raise Conflict(reason=reason, advice=f"first: dumacle pods update {quoted(pod.name)} --no-secondary")
    taken = store.prefixes(session, place.provider, place.bucket, but=pod.id)
    if overlapping := _overlapping(pod.prefix, taken):
        reason = f"another pod has the prefix {overlapping[0]!r} in bucket {place.bucket}"
        raise Conflict(reason=reason, advice="choose another --secondary-bucket")
    copies.set_secondary(session, pod, place.provider, place.bucket)


def remove_secondary(session: Session, reference: str) -> tuple[Pod, bool]:
    """Take the secondary place away from a pod; the objects stay there. Raises NotFound, or Conflict if some are
    missing at the primary provider.
    """
    pod = get(session, reference, lock=True)
    if pod.secondary_provider is None:
        return view(pod), False
    if missing := copies.missing_at_primary(session, pod):
        reason = f"{missing} objects of pod {pod.name} are stored only at {pod.secondary_provider}"
        raise Conflict(reason=reason, advice=f"first: dumacle pods replicate {quoted(pod.name)}")
    copies.set_secondary(session, pod, None, None)
    return view(pod), True


def promote(session: Session, reference: str) -> tuple[Pod, bool]:
    """Swap the primary and the secondary provider of a pod; raises NotFound, or Conflict if some copy is missing, or
    uploads or transcodes are in progress.
    """
    pod = get(session, reference)
    _require_secondary(pod)
    missing, busy = copies.promote(session, pod)
    if missing:
        reason = f"{missing} objects of pod {pod.name} are not stored at {pod.secondary_provider}"
        raise Conflict(reason=reason, advice=f"first: dumacle pods replicate {quoted(pod.name)}")
    if busy:
        raise Conflict(reason=f"uploads or transcodes in pod {pod.name} are in progress", advice=IN_USE)
    return view(pod), True


def _require_secondary(pod: models.Pod) -> None:
    if pod.secondary_provider is None:
        advice = f"dumacle pods update {quoted(pod.name)} --secondary PROVIDER"
        raise Conflict(reason=f"pod {pod.name} has no secondary provider", advice=advice)


def _checked_name(name: str) -> str:
    name = name.strip()
    if not name or not name.isprintable() or len(name.encode()) > _NAME_BYTES:
        raise InvalidValue(name="name", value=repr(name), reason=f"it needs 1 to {_NAME_BYTES} printable bytes")
    if name.isdigit():
        raise InvalidValue(name="name", value=repr(name), reason="a number would be read as a pod's id")
    return name


def _prefix(session: Session, name: str, buckets: Sequence[Place], wanted: str | None) -> str:
    taken = {prefix for each in buckets for prefix in store.prefixes(session, each.provider, each.bucket)}
    if wanted is None:
        base = re.sub(r"[^a-z0-9._-]+", "-", name.lower())[:100].strip(".-") or "pod"
        return next(free for free in _numbered(base) if _PREFIX.fullmatch(free) and not _overlapping(free, taken))
    if not _PREFIX.fullmatch(wanted):
        reason = "only letters, digits, !_.*'()- and single inner slashes are allowed, and no part ., .. or renditions"
        raise InvalidValue(name="prefix", value=repr(wanted), reason=reason)
    if overlapping := _overlapping(wanted, taken):
        raise Conflict(
            reason=f"another pod has the prefix {overlapping[0]!r} in bucket {buckets[0].bucket}",
            advice="give another --prefix",
        )
    return wanted


def _overlapping(prefix: str, taken: Collection[str]) -> list[str]:
    """Return the taken prefixes that overlap this one."""
    own = folder(prefix)
    others = {each: folder(each) for each in sorted(taken)}
    return [
        each
        for each, other in others.items()
        if own == other or (own and other.startswith(own)) or (other and own.startswith(other))
    ]


def _numbered(base: str) -> Iterator[str]:
    yield base
    yield from (f"{base}-{number}" for number in count(2))


def update(
    session: Session,
    reference: str,
    *,
    name: str | None = None,
    capacity: int | None = None,
    own_credentials: Mapping[str, bool] | None = None,
    secondary: Place | None = None,
    copies_during_uploads: bool | None = None,
    accepted: Mapping[str, Any] | None = None,
) -> tuple[Pod, bool]:
    """Change a pod; `own_credentials` says for which providers it uses its own credentials.

    The caller tested these and the secondary place.

    Raises NotFound, InvalidValue, AlreadyExists, or Conflict if the capacity would be less than what the pod holds, or
    it has no secondary provider to copy to.
    """
    pod = get(session, reference, lock=True)
    wanted: dict[str, Any] = {CUSTOM[name]: own for name, own in (own_credentials or {}).items()}
    wanted |= accepted or {}
    if name is not None:
        wanted["name"] = _checked_name(name)
    if capacity is not None:
        wanted["capacity"] = _checked_capacity(pod, capacity)
    wanted = {column: value for column, value in wanted.items() if getattr(pod, column) != value}
    if wanted and not store.change(session, pod, **wanted):
        raise AlreadyExists(noun="pod", name=wanted["name"])
    if secondary and (pod.secondary_provider, pod.secondary_bucket) == (secondary.provider, secondary.bucket):
        secondary = None
    if secondary:
        _add_secondary(session, pod, secondary)
    switched = copies_during_uploads is not None and _switch_copies(session, pod, copies_during_uploads)
    return view(pod), bool(wanted or secondary or switched)


def _switch_copies(session: Session, pod: models.Pod, during_uploads: bool) -> bool:
    _require_secondary(pod)
    if pod.copies_during_uploads == during_uploads:
        return False
    return store.change(session, pod, copies_during_uploads=during_uploads)


def secondary_place(session: Session, reference: str, provider: str, bucket: str) -> tuple[Place, str]:
    """Return a bucket that is to become a pod's secondary place, with the keys it would use, and the pod's prefix.

    Raises NotFound.
    """
    pod = get(session, reference)
    return places.at(pod, provider, bucket), pod.prefix


def _checked_capacity(pod: models.Pod, capacity: int) -> int:
    held = pod.used + pod.reserved
    if capacity < held:
        reason = f"pod {pod.name} already holds {show_size(held)}, more than {show_size(capacity)}"
        raise Conflict(reason=reason, advice="choose a larger --capacity, or free space with: dumacle files purge")
    return capacity


def delete(session: Session, reference: str) -> tuple[Pod, bool]:
    """Soft-delete a pod: it refuses uploads and grants, and can be restored; raises NotFound."""
    pod = get(session, reference, deleting=True)
    store.delete(session, pod)
    return view(pod), True


def holds_files(session: Session, reference: str) -> bool:
    """Return whether a pod has live files; raises NotFound."""
    return store.has_files(session, get(session, reference).id)


def restore(session: Session, reference: str) -> tuple[Pod, bool]:
    """Restore the pod with this id or name that was deleted last; raises NotFound, or AlreadyExists for its name."""
    live = _find(session, reference)
    pod = _find_deleted(session, reference)
    if pod is None:
        return view(live or get(session, reference)), False
    if not store.change(session, pod, deleted_at=None):
        raise AlreadyExists(noun="pod", name=pod.name)
    return view(pod), True


# Grants


def grant(session: Session, reference: str, user_reference: str, *, default: bool = False) -> tuple[Grant, bool]:
    """Let a user upload into a pod; their first pod becomes their default. Raises NotFound."""
    pod, user = get(session, reference), users.get(session, user_reference)
    changed = store.grant(session, pod.id, user.id, default=default)
    found = store.find_grant(session, pod.id, user.id)
    return Grant(pod.name, user.email, bool(found and found.is_default)), changed


def revoke(session: Session, reference: str, user_reference: str) -> tuple[Grant, bool]:
    """Stop a user from uploading into a pod; their files stay. Raises NotFound."""
    pod, user = get(session, reference), users.get(session, user_reference)
    return Grant(pod.name, user.email, False), store.revoke(session, pod.id, user.id)


# Usage and counters


def usage(session: Session, reference: str, *, by_owner: bool, after: str | None, limit: int) -> paging.Page[Usage]:
    """Return the usage of one pod, of one pod by owner, or a page of all pods; raises NotFound."""
    if not reference:
        found = store.page(session, provider=None, deleted=False, sort="name", after=after, limit=limit)
    elif by_owner:
        return _by_owner(session, get(session, reference), after, limit)
    else:
        found = paging.Page([get(session, reference)], None)
    files = store.count_files(session, [pod.id for pod in found.items])
    return paging.Page([_usage(pod, files.get(pod.id, 0)) for pod in found.items], found.after)


def _usage(pod: models.Pod, files: int) -> Usage:
    free = pod.capacity - pod.used - pod.reserved
    percent = _percent(pod.used + pod.reserved, pod.capacity)
    return Usage(pod.name, None, pod.capacity, pod.used, pod.reserved, free, percent, files)


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 1) if whole else 100.0


def _by_owner(session: Session, pod: models.Pod, after: str | None, limit: int) -> paging.Page[Usage]:
    found = store.owners(session, pod.id, after=after, limit=limit)
    free = pod.capacity - pod.used - pod.reserved
    owned = [
        Usage(pod.name, row.email, pod.capacity, row.used, None, free, _percent(row.used, pod.capacity), row.files)
        for row in found.items
    ]
    return paging.Page(owned, found.after)


def check(session: Session, *, repair: bool = False) -> tuple[list[Drift], bool]:
    """Compare the counters of pods and quotas with the rows that they count, and with `repair` correct them.

    Versions and renditions count as used until they are purged, except bytes that an open lease has spent but not
    booked yet. Open leases, and what workers reserve for renditions, count as reserved. Raises Conflict if a pod
    exceeds its capacity.
    """
    if repair:
        store.lock_installation(session)
    found = store.drift(session)
    if repair and found and not store.repair(session, found):
        raise Conflict(
            reason="a pod holds more than its capacity",
            advice="see dumacle pods check, then: dumacle pods update POD --capacity SIZE",
        )
    return [
        Drift(row.pod, row.user, row.counter, row.recorded, row.actual, row.actual - row.recorded) for row in found
    ], repair and bool(found)
