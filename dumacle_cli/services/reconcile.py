"""Reconciliation: compare the rows of a pod with the objects in its buckets, both ways. It spans many transactions."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Literal

from dumacle_cli.errors import ObjectMissing
from dumacle_cli.services import copies, pods, renditions
from dumacle_cli.store import models, places
from dumacle_cli.store import reconcile as store
from dumacle_cli.store.places import folder, is_own
from dumacle_cli.store.reconcile import Expected
from dumacle_cli.units import Bytes

if TYPE_CHECKING:
    from dumacle_cli.clients.object_store import ObjectStore
    from dumacle_cli.clients.objects import Entry
    from dumacle_cli.store.database import Database
    from dumacle_cli.store.places import Place

    Stores = Callable[[Place], ObjectStore]

PAGE = 5000
BATCH = 500
UPLOAD_AGAIN = "upload the file again: dumacle files upload --force"
SETTLED = timedelta(days=1)
"""How old an object must be to be an orphan: no upload or transcode takes that long between its bytes and its row."""
Problem = Literal["missing", "differs", "orphan"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A difference between a pod and a bucket, and its repair; `path` is that of the file, if it has one."""

    provider: str
    problem: Problem
    key: str
    path: str | None
    size: Bytes
    repair: str
    repaired: bool = False


@dataclass(frozen=True, slots=True)
class _Found:
    """An object, or all objects of a rendition under their prefix; `keys` are those of its objects."""

    key: str
    size: int
    etag: str
    modified: datetime
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Side:
    """One place of a pod, and the provider of the other one."""

    pod: models.Pod
    objects: "ObjectStore"
    other: str | None

    @property
    def provider(self) -> str:
        return self.objects.location.provider


def run(database: "Database", stores: "Stores", reference: str, *, apply: bool) -> list[Finding]:
    """Compare a pod with its buckets, and with `apply` repair what can be.

    What is missing or differs at one provider is copied from the other; orphans are deleted. Raises NotFound, and the
    errors of the stores.
    """
    with database.session(read_only=True) as session:
        pod = pods.get(session, reference)
        second = places.second(pod)
    first = stores(places.of(pod))
    sides = [_Side(pod, first, second.provider if second else None)]
    if second:
        sides.append(_Side(pod, stores(second), pod.primary_provider))
    found = [finding for side in sides for finding in _compare(database, side, apply)]
    if not apply:
        return [finding for finding, _ in found]
    copies.run(database, stores, pod.id, since=datetime.now(UTC), wait=True)
    return [finding if row is None else _checked(database, pod, finding, row) for finding, row in found]


def _checked(database: "Database", pod: models.Pod, finding: Finding, row: Expected) -> Finding:
    """Say whether what was to be copied is there now."""
    primary = finding.provider == pod.primary_provider
    with database.session(read_only=True) as session:
        there = store.stored_at(session, row.kind, [row.id], finding.provider, primary=primary)
    return replace(finding, repaired=bool(there) and bool(pod.secondary_provider))


def _compare(database: "Database", side: _Side, apply: bool) -> Iterator[tuple[Finding, Expected | None]]:
    """Yield the findings at one place, those about rows with their row, in batches that are repaired."""
    wrong: list[tuple[Problem, Expected]] = []
    strange: list[_Found] = []
    for row, found in _pairs(_rows(database, side), _listed(side)):
        if row is None and found:
            strange.append(found)
        elif row and (problem := _problem(side, row, found)):
            wrong.append((problem, row))
        if len(wrong) + len(strange) >= BATCH:
            yield from _settle(database, side, wrong, strange, apply)
            wrong, strange = [], []
    yield from _settle(database, side, wrong, strange, apply)


def _settle(
    database: "Database", side: _Side, wrong: list[tuple[Problem, Expected]], strange: list[_Found], apply: bool
) -> Iterator[tuple[Finding, Expected | None]]:
    copied = _elsewhere(database, side, [row for _, row in wrong])
    if apply:
        with database.session() as session:
            for kind in ("version", "rendition"):
                ids = [row.id for _, row in wrong if row.kind == kind and row in copied]
                store.mark_missing(session, kind, ids, side.provider)
    for problem, row in wrong:
        repair = f"copy it from {side.other}" if row in copied else UPLOAD_AGAIN
        yield Finding(side.provider, problem, row.key, row.path, row.size, repair), row
    for orphan in _orphans(database, side, strange):
        if apply:
            side.objects.delete(orphan.keys)
        yield Finding(side.provider, "orphan", orphan.key, None, orphan.size, "delete it", apply), None


def _elsewhere(database: "Database", side: _Side, rows: list[Expected]) -> set[Expected]:
    """Return which of these are stored at the other place of the pod."""
    if side.other is None or not rows:
        return set()
    primary = side.other == side.pod.primary_provider
    there: set[tuple[str, int]] = set()
    with database.session(read_only=True) as session:
        for kind in ("version", "rendition"):
            ids = [row.id for row in rows if row.kind == kind]
            there |= {(kind, each) for each in store.stored_at(session, kind, ids, side.other, primary=primary)}
    return {row for row in rows if (row.kind, row.id) in there}


# Rows and objects, both by key


def _rows(database: "Database", side: _Side) -> Iterator[Expected]:
    after = ("", 0)
    while True:
        with database.session(read_only=True) as session:
            page = store.expected(session, side.pod, side.provider, after, PAGE)
        yield from page
        if len(page) < PAGE:
            return
        after = (page[-1].key, page[-1].id)


def _listed(side: _Side) -> Iterator[_Found]:
    """Yield what is in the bucket and has the form of what Dumacle stores for the pod."""
    base = folder(side.pod.prefix)
    made = re.compile(re.escape(base) + r"renditions/[0-9]{1,18}/[0-9]{1,18}/[^/]+/")

    def unit(entry: "Entry") -> str:
        match = made.match(entry.key)
        return match[0] if match else entry.key

    for key, group in groupby(side.objects.list(base), unit):
        entries = list(group)
        if key.endswith("/"):
            own = [entry for entry in entries if not entry.key.startswith(key + renditions.LINKS)]
            size, newest = sum(entry.size for entry in own), max(entry.modified for entry in entries)
            yield _Found(key, size, "", newest, tuple(entry.key for entry in entries))
        elif is_own(side.pod.prefix, key):
            yield _Found(key, entries[0].size, entries[0].etag, entries[0].modified, (key,))


def _pairs(rows: Iterator[Expected], objects: Iterator[_Found]) -> Iterator[tuple[Expected | None, _Found | None]]:
    """Join rows and objects, which are both sorted by key; versions that share an object have it in common."""
    row, found = next(rows, None), next(objects, None)
    while row or found:
        if found is None or (row and row.key < found.key):
            yield row, None
            row = next(rows, None)
        elif row is None or found.key < row.key:
            yield None, found
            found = next(objects, None)
        else:
            yield row, found
            key, row = row.key, next(rows, None)
            if row is None or row.key != key:
                found = next(objects, None)


def _problem(side: _Side, row: Expected, found: _Found | None) -> Problem | None:
    """Return what is wrong with an object; it is looked at again, since it may have been stored after it was listed."""
    etags = _etags(row)
    if found and found.size == row.size and (not etags or found.etag in etags):
        return None
    if row.kind == "rendition":
        size = sum(e.size for e in side.objects.list(row.key) if not e.key.startswith(row.key + renditions.LINKS))
        return None if size == row.size else "differs" if size else "missing"
    try:
        head = side.objects.head(row.key)
    except ObjectMissing:
        return "missing"
    return None if head.size == row.size and (not etags or head.etag in etags) else "differs"


def _etags(row: Expected) -> set[str]:
    """Return the ETags of which an object must have one, or none if they are unknown; an MD5 is one at some stores."""
    return {etag for etag in (row.etag, row.md5.hex() if row.md5 else None) if etag}


def _orphans(database: "Database", side: _Side, strange: list[_Found]) -> list[_Found]:
    """Return which of these belong to no row and are old enough not to belong to one that is still to be written."""
    settled = datetime.now(UTC) - SETTLED
    old = [found for found in strange if found.modified < settled]
    base = folder(side.pod.prefix)
    made = {found: int(found.key.removeprefix(base).split("/")[2]) for found in old if found.key.endswith("/")}
    with database.session(read_only=True) as session:
        keys = store.known_keys(session, [found.key for found in old])
        keys |= store.known_prefixes(session, [found.key for found in made])
        live = store.known_transcodes(session, set(made.values()))
    return [found for found in old if found.key not in keys and made.get(found) not in live]
