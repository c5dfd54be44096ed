"""Credentials: encrypted keys to a provider, a pod's own or the system's default."""

import json
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from sqlalchemy import func
from sqlalchemy.orm import Session

from dumacle_cli.clients.envelope import Key, Sealed, seal, unseal
from dumacle_cli.clients.locations import Keys
from dumacle_cli.errors import Conflict, CredentialAltered, NoCredential
from dumacle_cli.escapes import quoted
from dumacle_cli.services import pods
from dumacle_cli.store import credentials as store
from dumacle_cli.store import models, places
from dumacle_cli.store.places import Place

SHOWN = 4
"""How many characters of an access key are shown."""


@dataclass(frozen=True, slots=True)
class Credential:
    """Keys of a pod, or of the system, without the secrets; `access_key` shows the end of the real one."""

    pod: str | None
    provider: str
    endpoint: str | None
    region: str | None
    access_key: str
    key_id: str
    proven_at: datetime | None
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Cleared:
    """A deleted credential."""

    pod: str | None
    provider: str


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner of a credential: a pod with its bucket, or the system."""

    pod_id: int | None
    pod: str | None
    place: Place
    prefix: str
    in_use: bool

    @property
    def named(self) -> str:
        """Its name in a sentence."""
        return f"pod {self.pod}" if self.pod else "the system"

    @property
    def option(self) -> str:
        """Its form on the command line."""
        return self.pod or "--default"


@dataclass(frozen=True, slots=True)
class Trial:
    """Keys to verify against a bucket, and an object that must exist if the pod has any."""

    place: Place
    prefix: str
    witness: str | None
    credential_id: int | None = None
    ciphertext: bytes = b""


def owner(session: Session, reference: str, provider: str, *, lock: bool = False) -> Owner:
    """Return the owner of a credential, the system if no pod is named; raises NotFound.

    `lock` prevents the pod from switching to it meanwhile.
    """
    if not reference:
        return Owner(None, None, Place(provider), "", in_use=False)
    pod = pods.get(session, reference, lock=lock)
    place = Place(provider, places.bucket_at(pod, provider), pod.id)
    return Owner(pod.id, pod.name, place, pod.prefix, in_use=getattr(pod, places.CUSTOM[provider]))


def get(session: Session, whose: Owner) -> models.Credential:
    """Return a credential; raises NoCredential."""
    found = store.find(session, whose.pod_id, whose.place.provider)
    if found is None:
        raise NoCredential(whose=whose.named, provider=whose.place.provider, option=whose.option)
    return found


def show(session: Session, key: Key, reference: str) -> list[Credential]:
    """Return the credentials of a pod or of the system; raises NotFound, KeyMissing, CredentialAltered."""
    pod = pods.get(session, reference) if reference else None
    found = store.of(session, pod.id if pod else None)
    return [view(row, key, pod.name if pod else None) for row in found]


def view(row: models.Credential, key: Key, pod: str | None) -> Credential:
    """Return what commands show of a credential; raises KeyMissing, CredentialAltered."""
    access_key = opened(key, row).access_key
    tail = access_key[-SHOWN:] if len(access_key) > 2 * SHOWN else ""
    facts = (row.provider, row.endpoint, row.region, f"****{tail}", row.key_id, row.proven_at, row.updated_at)
    return Credential(pod, *facts)


def put(
    session: Session, key: Key, reference: str, provider: str, keys: Keys, *, proven: bool = False
) -> tuple[Credential, bool]:
    """Encrypt keys and store them in place of the previous ones, for the system if no pod is named.

    Raises NotFound, or Conflict if the pod uses them and they were not `proven` against its bucket.
    """
    whose = owner(session, reference, provider, lock=True)
    if whose.in_use and not proven:
        reason = f"pod {whose.pod} began to use its own keys to {provider} just now"
        raise Conflict(reason=reason, advice="repeat the command")
    box = seal(key, label(whose.pod_id, provider), json.dumps(asdict(keys)).encode())
    reach = {"endpoint": keys.endpoint, "region": keys.region, "proven_at": func.now() if proven else None}
    row = store.put(session, whose.pod_id, provider, **reach, **asdict(box))
    return view(row, key, whose.pod), True


def clear(session: Session, whose: Owner) -> tuple[Cleared, bool]:
    """Delete a credential; raises Conflict if the pod uses it."""
    provider = whose.place.provider
    if whose.in_use:
        advice = f"first: dumacle pods update {quoted(whose.pod)} --no-use-custom-{provider}"
        raise Conflict(reason=f"pod {whose.pod} uses its own keys to {provider}", advice=advice)
    return Cleared(whose.pod, provider), store.remove(session, whose.pod_id, provider)


# Opening


def keys_to(session: Session, place: Place) -> models.Credential | None:
    """Return the encrypted keys to a place, or None if the settings have them; raises NoCredential.

    An actor who may not read credentials has the system's keys in their settings, or none.
    """
    if place.pod_id is None and not store.readable(session):
        return None
    row = store.find(session, place.pod_id, place.provider)
    if row is None and place.pod_id is not None:
        pod = session.get_one(models.Pod, place.pod_id)
        raise NoCredential(whose=f"pod {pod.name}", provider=place.provider, option=pod.name)
    return row


def opened(key: Key, row: models.Credential) -> Keys:
    """Decrypt a credential; raises KeyMissing, CredentialAltered."""
    name = label(row.pod_id, row.provider)
    keys = Keys(**json.loads(unseal(key, name, sealed(row))))
    if (keys.endpoint, keys.region) != (row.endpoint, row.region):
        raise CredentialAltered(label=name)
    return keys


def label(pod_id: int | None, provider: str) -> str:
    """Return what a credential is bound to: it decrypts in no other row."""
    return f"{'default' if pod_id is None else pod_id}/{provider}"


def sealed(row: models.Credential) -> Sealed:
    """Return the encrypted part of a row."""
    return Sealed(row.ciphertext, row.wrapped_key, row.key_id)


# Verification


def trial(session: Session, whose: Owner) -> Trial:
    """Return what to verify about a credential; raises NoCredential."""
    row = get(session, whose)
    return replace(_trial(session, whose, whose.place), credential_id=row.id, ciphertext=row.ciphertext)


def replacing(session: Session, whose: Owner) -> Trial | None:
    """Return what to verify about keys that replace the current ones, or None if those are not in use."""
    return _trial(session, whose, whose.place) if whose.in_use else None


def switch(session: Session, reference: str, provider: str, *, own: bool) -> Trial | None:
    """Return what to verify before a pod switches to its own keys, or back to the system's if it has files.

    Raises NotFound, NoCredential.
    """
    whose = owner(session, reference, provider)
    if own:
        return trial(session, whose)
    tried = _trial(session, whose, replace(whose.place, pod_id=None))
    return tried if tried.witness else None


def _trial(session: Session, whose: Owner, place: Place) -> Trial:
    witness = store.witness(session, whose.pod_id, place.provider) if whose.pod_id else None
    return Trial(place, whose.prefix, witness)


def stand(session: Session, tried: Trial) -> None:
    """Record that keys were verified; raises Conflict if they were replaced meanwhile."""
    if tried.credential_id and not store.prove(session, tried.credential_id, tried.ciphertext):
        reason = "the credential was changed while it was being proven"
        raise Conflict(reason=reason, advice="repeat the command")
