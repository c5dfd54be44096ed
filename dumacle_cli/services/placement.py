"""Placement: whether a user may upload, and into which pod."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from dumacle_cli.errors import Conflict, NotGranted, UserDisabled
from dumacle_cli.services import pods, users
from dumacle_cli.store import places
from dumacle_cli.store import pods as store
from dumacle_cli.store.places import Place


@dataclass(frozen=True, slots=True)
class Target:
    """Where a user's uploads go."""

    owner_id: int
    owner: str
    pod_id: int
    pod: str
    place: Place
    key_prefix: str


def target(session: Session, owner: str, pod: str | None) -> Target:
    """Return the pod that a user uploads into, his default one where none is named.

    Raises NotFound, UserDisabled, NotGranted, or Conflict where he has no default pod.
    """
    user = users.get(session, owner)
    if user.status != "active":
        raise UserDisabled(user=user.email)
    if pod is None:
        pod = _default(session, user.id, user.email)
    place = pods.get(session, pod)
    if store.find_grant(session, place.id, user.id) is None:
        raise NotGranted(user=user.email, pod=place.name)
    return Target(user.id, user.email, place.id, place.name, places.of(place), places.folder(place.prefix))


def renditions(pod_prefix: str, file_id: int, *parts: object) -> str:
    """Return the folder of all that is made of a file, or below it that of a transcode, and of one attempt at it.

    It is the beginning of keys in the bucket, and ends in a slash.
    """
    return places.folder(pod_prefix) + "/".join(map(str, ("renditions", file_id, *parts))) + "/"


def _default(session: Session, user_id: int, email: str) -> str:
    pod = store.default_of(session, user_id)
    if pod is None:
        raise Conflict(
            reason=f"user {email} has no default pod", advice=f"name one with --pod, or: dumacle pods grant POD {email}"
        )
    return str(pod)
