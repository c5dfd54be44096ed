"""Placement: whether a user can upload, and into which pod."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from dumacle_cli.errors import Conflict, NotGranted, UserDisabled
from dumacle_cli.services import limits, names
from dumacle_cli.services.limits import Limit
from dumacle_cli.store import places, targets
from dumacle_cli.store.places import Place


@dataclass(frozen=True, slots=True)
class Target:
    """The pod and bucket that a user uploads to, and what the pod and the user's plan accept.

    `second` is the secondary bucket, where copies are made during uploads if the pod is set so.
    """

    owner_id: int
    owner: str
    pod_id: int
    pod: str
    place: Place
    key_prefix: str
    limits: tuple[Limit, ...] = ()
    second: Place | None = None
    copies_during_uploads: bool = False


def target(session: Session, owner: str, pod: str | None) -> Target:
    """Return the target of a user's uploads, by default their default pod.

    Raises NotFound, UserDisabled, NotGranted, or Conflict if they have no default pod.
    """
    user = _find("user", owner, partial(targets.owner, session), lambda near: near.email)
    if user.status != "active":
        raise UserDisabled(user=user.email)
    if pod is None:
        pod = _default(user)
    found = _find("pod", pod, partial(targets.pod, session, user.id), lambda near: near.name)
    if not found.is_granted:
        raise NotGranted(user=user.email, pod=found.name)
    accepted = tuple(limits.of(session, found.id, user.id))
    second = places.second(found)
    return Target(
        user.id,
        user.email,
        found.id,
        found.name,
        places.of(found),
        places.folder(found.prefix),
        accepted,
        second,
        second is not None and found.copies_during_uploads,
    )


def renditions(pod_prefix: str, file_id: int, *parts: object) -> str:
    """Return the key prefix of a file's renditions, or with more parts of one transcode and one attempt.

    It ends in a slash.
    """
    return places.folder(pod_prefix) + "/".join(map(str, ("renditions", file_id, *parts))) + "/"


def _find(kind: str, typed: str, find: Callable[[str], Row[Any] | None], called: Callable[[Row[Any]], str]) -> Row[Any]:
    found = names.resolve(typed, find)
    if found is None:
        raise names.missing(kind, typed, find, called)
    return found


def _default(user: Row[Any]) -> str:
    if user.default_pod is None:
        raise Conflict(
            reason=f"user {user.email} has no default pod",
            advice=f"choose one with --pod, or: dumacle pods grant POD {user.email}",
        )
    return str(user.default_pod)
