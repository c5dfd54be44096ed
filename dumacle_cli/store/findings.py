"""Queries about findings; the schema of the previous release has none."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select, text
from sqlalchemy.orm import Session

from dumacle_cli.store.models import Finding

MOST = 1000
"""How many findings are listed at most."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is wrong with an object, the command that puts it right, and whose object it is, if that is known."""

    kind: str
    sentence: str
    fix: str
    severity: str = "error"
    user_id: int | None = None


def are_known(session: Session) -> bool:
    """Return whether the schema has findings, which that of the previous release lacks."""
    return bool(session.scalar(text("SELECT to_regclass('app.findings') IS NOT NULL")))


def replace(session: Session, object_id: str, found: Collection[Found]) -> None:
    """Save what is wrong with an object now; what else was found about it before is settled."""
    if are_known(session):
        session.execute(_SETTLE, {"object": object_id, "kinds": [each.kind for each in found]})
        add(session, object_id, found)


def add(session: Session, object_id: str, found: Collection[Found]) -> None:
    """Save findings about an object besides those that it has."""
    if are_known(session):
        for each in found:
            session.execute(_SAVE, _values(object_id, each))


def settle(session: Session, kind: str, object_ids: Sequence[str]) -> None:
    """Delete the findings of one kind about objects."""
    if are_known(session):
        session.execute(_SETTLE_KIND, {"kind": kind, "objects": list(object_ids)})


def keep_only(session: Session, kind: str, object_ids: Sequence[str]) -> None:
    """Delete the findings of one kind about all other objects than these."""
    if are_known(session):
        session.execute(_KEEP_ONLY, {"kind": kind, "objects": list(object_ids)})


def keep_only_pairs(
    session: Session, kinds: Collection[str], user_id: int | None, kept: Mapping[str, Collection[Found]]
) -> None:
    """Delete the findings of these kinds, about objects of a user or of all, except those that are kept by object."""
    if are_known(session):
        pairs = [(object_id, each.kind) for object_id, found in kept.items() for each in found]
        given = {"kept_objects": [pair[0] for pair in pairs], "kept_kinds": [pair[1] for pair in pairs]}
        session.execute(_KEEP_PAIRS, given | {"kinds": list(kinds), "user": user_id})


def page(session: Session, *, user_id: int | None = None, object_ids: Sequence[str] | None = None) -> Sequence[Finding]:
    """Return findings, the worst and oldest first: all, those of one user, or those about some objects."""
    if not are_known(session):
        return ()
    query = select(Finding).order_by(Finding.severity, Finding.first_seen_at, Finding.object_id).limit(MOST)
    if user_id is not None:
        query = query.where(Finding.user_id == user_id)
    if object_ids is not None:
        query = query.where(Finding.object_id.in_(object_ids))
    return session.scalars(query).all()


def events_left(session: Session) -> Sequence[Row[Any]]:
    """Return how many events were given up or wait for a retry, and since when the oldest was received."""
    return session.execute(_EVENTS_LEFT).all()


def _values(object_id: str, found: Found) -> dict[str, Any]:
    known = {"kind": found.kind, "sentence": found.sentence, "fix": found.fix, "severity": found.severity}
    return known | {"object": object_id, "user": found.user_id}


_SETTLE = text("DELETE FROM app.findings WHERE object_id = :object AND kind <> ALL (CAST(:kinds AS text[]))")
_SETTLE_KIND = text("DELETE FROM app.findings WHERE kind = :kind AND object_id = ANY (:objects)")
_KEEP_ONLY = text("DELETE FROM app.findings WHERE kind = :kind AND object_id <> ALL (:objects)")
_KEEP_PAIRS = text("""
    DELETE FROM app.findings
    WHERE kind = ANY (:kinds) AND (CAST(:user AS bigint) IS NULL OR user_id = :user)
        AND (object_id, kind) NOT IN (SELECT * FROM unnest(CAST(:kept_objects AS text[]), CAST(:kept_kinds AS text[])))
""")
_SAVE = text("""
    INSERT INTO app.findings AS known (object_id, kind, user_id, severity, sentence, fix)
    VALUES (
        :object, :kind,
        coalesce(
            CAST(:user AS bigint), (SELECT user_id FROM app.subscriptions WHERE stripe_subscription_id = :object),
            (SELECT user_id FROM app.customers WHERE stripe_customer_id = :object)
        ),
        :severity, left(:sentence, 2000), left(:fix, 2000)
    )
    ON CONFLICT (object_id, kind) DO UPDATE SET user_id = coalesce(EXCLUDED.user_id, known.user_id),
        severity = EXCLUDED.severity, sentence = EXCLUDED.sentence, fix = EXCLUDED.fix,
        last_seen_at = clock_timestamp()
""")
_EVENTS_LEFT = text("""
    SELECT status, count(*) AS number, min(received_at) AS since FROM app.stripe_events
    WHERE status IN ('dead', 'parked') GROUP BY status ORDER BY status
""")
