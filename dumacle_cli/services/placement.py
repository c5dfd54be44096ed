"""Placement: whether a user can upload, and into which pod."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from dumacle_cli.errors import Conflict, NotGranted, UserDisabled
from dumacle_cli.services import limits as file_limits
from dumacle_cli.services import pods, users
from dumacle_cli.store import copies, places
from dumacle_cli.store import pods as store
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
    limits: tuple[file_limits.Limit, ...] = ()
    second: Place | None = None
    copies_during_uploads: bool = False


def target(session: Session, owner: str, pod: str | None) -> Target:
    """Return the target of a user's uploads, by default their default pod.

    Raises NotFound, UserDisabled, NotGranted, or Conflict if they have no default pod.
    """
    user = users.get(session, owner)
    if user.status != "active":
        raise UserDisabled(user=user.email)
    if pod is None:
        pod = _default(session, user.id, user.email)
    found = pods.get(session, pod)
    if store.find_grant(session, found.id, user.id) is None:
        raise NotGranted(user=user.email, pod=found.name)
    accepted = tuple(file_limits.of(session, found.id, user.id))
    second = places.second(found) if copies.are_known(session) else None
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


def _default(session: Session, user_id: int, email: str) -> str:
    pod = store.default_of(session, user_id)
    if pod is None:
        raise Conflict(
            reason=f"user {email} has no default pod",
            advice=f"choose one with --pod, or: dumacle pods grant POD {email}",
        )
    return str(pod)
