"""Probes: find out what the store of a pod keeps and enforces, and remember it with its date."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from dumacle_cli.services import pods
from dumacle_cli.store import models, places
from dumacle_cli.store import probes as store

if TYPE_CHECKING:
    from dumacle_cli.clients.examination import Examined
    from dumacle_cli.clients.objects import Location


@dataclass(frozen=True, slots=True)
class Probe:
    """What a pod's store keeps and enforces, and what proves an upload; `lost` is what an earlier probe still found.

    It was not probed if `probed_at` is null. `clock_skew_s` is how far the store's clock is ahead of this machine's.
    """

    pod: str
    provider: str
    bucket: str
    proof: str | None
    probed_at: datetime | None
    found: dict[str, bool]
    lost: list[str]
    clock_skew_s: float | None
    latency_ms: float | None
    put_mb_s: float | None
    get_mb_s: float | None


@dataclass(frozen=True, slots=True)
class Target:
    """The place to probe, below the pod's prefix."""

    pod_id: int
    pod: str
    place: places.Place
    prefix: str


def target(session: Session, reference: str) -> Target:
    """Return what to probe of a pod; raises NotFound."""
    pod = pods.get(session, reference)
    return Target(pod.id, pod.name, places.of(pod), places.folder(pod.prefix))


def show(session: Session, wanted: Target) -> Probe:
    """Return the last probe of a pod, or an empty one."""
    row = store.of(session, wanted.pod_id, wanted.place.provider)
    return _view(wanted.pod, row) if row else _empty(wanted)


def record(session: Session, wanted: Target, location: "Location", examined: "Examined") -> Probe:
    """Remember what was found, and what an earlier probe of the same bucket found and this one did not."""
    before = store.of(session, wanted.pod_id, location.provider)
    endpoint, lost = location.endpoint or "", []
    if before and (before.endpoint, before.bucket) == (endpoint, location.bucket):
        had = {name for name, held in before.found.items() if held} | set(before.lost)
        lost = sorted(name for name in had if not examined.found.get(name))
    row = store.save(
        session,
        pod_id=wanted.pod_id,
        provider=location.provider,
        endpoint=endpoint,
        bucket=location.bucket,
        proof=examined.proof,
        found=examined.found,
        measured={name: getattr(examined, name) for name in _MEASURED},
        lost=dict.fromkeys(lost, True),
    )
    return _view(wanted.pod, row)


_MEASURED = ("clock_skew_s", "latency_ms", "put_mb_s", "get_mb_s")


def _view(pod: str, row: models.Probe) -> Probe:
    measured = {name: row.measured.get(name) for name in _MEASURED}
    return Probe(pod, row.provider, row.bucket, row.proof, row.probed_at, row.found, sorted(row.lost), **measured)


def _empty(wanted: Target) -> Probe:
    return Probe(wanted.pod, wanted.place.provider, wanted.place.bucket, None, None, {}, [], **dict.fromkeys(_MEASURED))
