"""The key that wraps credentials: check that it decrypts all of them, and rotate it."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from dumacle_cli.clients.envelope import Key, rewrap, seal, unseal
from dumacle_cli.errors import KeyUnusable, NoKeys
from dumacle_cli.services.credentials import label, opened, sealed
from dumacle_cli.store import credentials as store
from dumacle_cli.store import models

if TYPE_CHECKING:
    from dumacle_cli.store.database import Database

BATCH = 500
LISTED = 100


@dataclass(frozen=True, slots=True)
class Rotated:
    """How many of all credentials were wrapped again, with the new key and the old one."""

    old_key_id: str
    new_key_id: str
    rewrapped: int
    credentials: int


@dataclass(frozen=True, slots=True)
class KeyUse:
    """A key, how many credentials need it, and the first hundred that the configured key does not decrypt."""

    key_id: str
    available: bool
    credentials: int
    failed: int
    unopened: list[str]


def preview(session: Session, old: Key, new: Key) -> Rotated:
    """Preview a rotation."""
    return Rotated(old.id, new.id, store.count(session, old.id) if old != new else 0, store.count(session))


def rotate(database: "Database", old: Key, new: Key) -> Rotated:
    """Wrap all data keys with a new key, batch by batch, and decrypt every credential with it at the end.

    It lives longer than a transaction; a repeat continues where it stopped. Raises KeyMissing,
    CredentialAltered; what was done is kept.
    """
    rewrapped = 0
    while old != new:
        with database.session() as session:
            done = _rotate_batch(session, old, new)
            if not done and not store.count(session, old.id):
                break
        rewrapped += done
    total = 0
    for row, _ in _all(database):
        opened(new, row)
        total += 1
    return Rotated(old.id, new.id, rewrapped, total)


def _rotate_batch(session: Session, old: Key, new: Key) -> int:
    rows = store.lock_batch(session, old.id, BATCH)
    fresh = [rewrap(old, new, label(row.pod_id, row.provider), sealed(row)) for row in rows]
    store.rewrap(session, [row.id for row in rows], [each.wrapped_key for each in fresh], new.id)
    return len(rows)


def check(database: "Database", key: Key) -> list[KeyUse]:
    """Decrypt every credential, and return the keys that they need, the configured one first, and what fails.

    Raises KeyUnusable if the key does not decrypt what it encrypted.
    """
    _probe(key)
    counts, unopened = Counter({key.id: 0}), defaultdict[str, list[str]](list)
    for row, pod in _all(database):
        counts[row.key_id] += 1
        try:
            opened(key, row)
        except NoKeys:
            unopened[row.key_id].append(f"{pod or '--default'}/{row.provider}")
    return [
        KeyUse(each, each == key.id, number, len(unopened[each]), unopened[each][:LISTED])
        for each, number in counts.items()
    ]


def _probe(key: Key) -> None:
    if unseal(key, "probe", seal(key, "probe", b"probe")) != b"probe":
        raise KeyUnusable(
            source=key.id, reason="it does not decrypt what it encrypted", advice="reinstall cryptography"
        )


def _all(database: "Database") -> Iterator[tuple[models.Credential, str | None]]:
    after, more = 0, True
    while more:
        with database.session(read_only=True) as session:
            found = store.page(session, after, BATCH)
        yield from ((row.Credential, row.pod) for row in found)
        more = len(found) == BATCH
        after = found[-1].Credential.id if more else after
