"""Deduplication: a file whose content its owner has in the pod already is not sent, but shares the stored object.

Only files whose size is known already, or occurs twice in a batch, are hashed before they are uploaded.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

from sqlalchemy.orm import Session

from dumacle_cli.errors import TypeNotAllowed
from dumacle_cli.ingest import hashing, record
from dumacle_cli.ingest.hashing import Hashed
from dumacle_cli.ingest.items import Attempt, Item
from dumacle_cli.ingest.runs import Run
from dumacle_cli.services import limits
from dumacle_cli.services.side_by_side import in_order
from dumacle_cli.store import dedupe as store

AT_ONCE = 4
"""Files hashed at once."""


class Hasher:
    """Hashes files, those that are held back only once."""

    def __init__(self, run: Run, halted: Callable[[], bool]) -> None:
        self._accepted = run.target.limits
        self._halted = halted
        self._last: dict[Item, Hashed] = {}
        self._held: dict[Item, Hashed] = {}

    def hash(self, items: Sequence[Item], sizes: Collection[int]) -> dict[Item, Hashed]:
        """Hash those of a batch that may have a twin; `sizes` are those that are known, in bytes.

        An empty file has nothing to save. What cannot be read, or is not accepted, is left to the upload.
        Raises Halted.
        """
        found = {item: self._held.pop(item) for item in items if item in self._held}
        count = Counter(item.size for item in items)
        chosen = [item for item in items if item.size and (item.size in sizes or count[item.size] > 1)]
        new = [item for item in chosen if item not in found]
        for item, hashed in zip(new, in_order(self._hash, new, threads=min(AT_ONCE, len(new)), ahead=64), strict=True):
            if hashed:
                found[item] = hashed
        self._last = found
        return found

    def keep(self, held: Sequence[Item]) -> None:
        """Keep the hashes of the items of the last batch that are held back."""
        self._held |= {item: self._last[item] for item in held if item in self._last}

    def _hash(self, item: Item) -> Hashed | None:
        try:
            hashed = hashing.hashed(item, self._halted)
            if hashed:
                limits.require_type(self._accepted, item.path, hashed.content_type)
        except (OSError, TypeNotAllowed):
            return None
        return hashed


def sizes(session: Session, run: Run, items: Sequence[Item]) -> set[int]:
    """Return which sizes of these items (bytes) the owner's files in the pod have, also those that are under way."""
    return store.sizes(session, run.target.pod_id, run.target.owner_id, {item.size for item in items})


def hold_back(
    session: Session,
    run: Run,
    wanted: Sequence[tuple[Item, bool]],
    hashed: Mapping[Item, Hashed],
    leases: Sequence[int],
) -> tuple[list[tuple[Item, bool]], list[Item]]:
    """Return which items can be planned now, and which are held back until their twin is recorded.

    `leases` are those that this process uploads under, as they were before this transaction. Other processes do not
    plan for the pod until it ends.
    """
    from dumacle_cli.store import direct

    direct.lock_target(session, run.target.pod_id, run.target.owner_id)
    contents = {item: (item.size, each.sha256) for item, each in hashed.items()}
    # In this order: what is recorded between both queries is then in both, not in neither.
    sending = store.under_way(session, run.id, run.first, leases, {item.size for item in hashed})
    stored = store.known(session, run.target.pod_id, run.target.owner_id, set(contents.values()))
    now: list[tuple[Item, bool]] = []
    held: list[Item] = []
    for item, new in wanted:
        content = contents.get(item)
        if content and content not in stored and (content in sending or (item.size, None) in sending):
            held.append(item)
            continue
        if content:
            sending.add(content)
        now.append((item, new))
    return now, held


def share(session: Session, run: Run, attempts: Sequence[Attempt], hashed: Mapping[Item, Hashed]) -> list[Attempt]:
    """Let attempts share stored objects, record and return those that do; the caller commits."""
    tried = [attempt for attempt in attempts if attempt.item in hashed and not attempt.upload_id]
    found = store.share(session, {each.version_id: hashed[each.item].sha256 for each in tried}) if tried else {}
    shared = [attempt for attempt in tried if attempt.version_id in found]
    for attempt in shared:
        object_, facts = found[attempt.version_id], hashed[attempt.item]
        attempt.key, attempt.md5, attempt.etag = object_.key, object_.md5, object_.etag
        attempt.sha256, attempt.content_type, attempt.deduplicated = facts.sha256, facts.content_type, True
    if shared:
        record.record(session, run, shared)
    return shared
