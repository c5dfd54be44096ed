"""Test that credentials give access to a bucket: put, read and delete a scratch object."""

import time
import uuid
from hashlib import sha256

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.objects import Location
from dumacle_cli.errors import ContentDiffers


def round_trip(location: Location, prefix: str = "", witness: str | None = None) -> float:
    """Put, get and delete a scratch object below the prefix, and return how many seconds that took.

    `witness` is the key of an object that must exist. Raises ContentDiffers, ObjectMissing, StoreUnavailable and
    StoreRefused.
    """
    key, body = f"{prefix}dumacle-doctor-{uuid.uuid4()}", uuid.uuid4().bytes
    started = time.monotonic()
    with ObjectStore(location) as store:
        if witness:
            store.head(witness)
        store.put(key, body, sha256(body).hexdigest(), "application/octet-stream")
        try:
            if b"".join(store.get(key)) != body:
                raise ContentDiffers(path=key)
        finally:
            store.delete([key])
    return time.monotonic() - started
