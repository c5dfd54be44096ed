"""The object stores of one run: where each bucket is, which keys open it, and one client for each."""

import threading
import time
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from dumacle_cli import errors

if TYPE_CHECKING:
    from dumacle_cli.clients.envelope import Key
    from dumacle_cli.clients.locations import Keys
    from dumacle_cli.clients.object_store import ObjectStore
    from dumacle_cli.clients.objects import Location
    from dumacle_cli.context import Context
    from dumacle_cli.services.failover import Failover
    from dumacle_cli.store.places import Place

KEYS_SECONDS = 60.0
"""How long the keys to a bucket are used before they are looked up again; a worker runs much longer."""


class Stores:
    """Opens buckets with the keys of a pod's credential, else with those of the settings."""

    def __init__(self, context: "Context") -> None:
        self._context = context
        self._opened: dict[Place, tuple[ObjectStore, float]] = {}
        self._reading: dict[Place, Failover] = {}
        self._lock = threading.Lock()

    @cached_property
    def key(self) -> "Key":
        """The key that encrypts credentials; raises NotConfigured, KeyUnusable."""
        from dumacle_cli.clients import keys

        if not self._context.settings.key_source:
            raise errors.NotConfigured(what="the key that credentials are encrypted with", setting="key_source")
        return keys.load(self._context.settings.key_source, self._context.environ)

    def location(self, place: "Place") -> "Location":
        """Return where a bucket is, with the keys to it.

        Raises NotConfigured, SettingsContradict, and NoKeys where a credential is missing or cannot be decrypted.
        """
        from dumacle_cli.clients import locations

        keys = self._keys(place)
        found = (
            self._context.servers if place.provider == "local" and self._context.resolved.store_is_embedded else None
        )
        return locations.locate(self._context.settings, place.provider, place.bucket, keys=keys, servers=found)

    def _keys(self, place: "Place") -> "Keys | None":
        if place.pod_id is None and not self._context.settings.key_source:
            return None  # Without the key no credential can be decrypted, so the database is not asked for one.
        from dumacle_cli.services import credentials

        with self._context.session() as session:
            row = credentials.keys_to(session, place)
        return credentials.opened(self.key, row) if row else None

    def open(self, place: "Place") -> "ObjectStore":
        """Return the objects of a bucket, by one client while the keys stay the same; raises NotConfigured, NoKeys."""
        from dumacle_cli.clients.object_store import ObjectStore

        with self._lock:
            store, since = self._opened.get(place, (None, 0.0))
            if store is None or time.monotonic() - since > KEYS_SECONDS:
                location = self._probed(self.location(place))
                store = store if store and store.location == location else ObjectStore(location)
                self._opened[place] = store, time.monotonic()
        return store

    def read(self, place: "Place") -> "ObjectStore":
        """Return the objects of a bucket for reading: copies at the secondary provider stand in for them."""
        from dumacle_cli.services.failover import Failover

        primary, reading = self.open(place), self._reading.get(place)
        if reading is None or reading.primary is not primary:
            reading = self._reading[place] = Failover(primary, self._context.database, self.open, place)
        return reading

    def _probed(self, location: "Location") -> "Location":
        """Add what a probe found to prove uploads into a bucket."""
        from dumacle_cli.store import probes

        with self._context.session() as session:
            proof = probes.proof(session, location.provider, location.endpoint or "", location.bucket)
        return replace(location, probed=proof)

    def close(self) -> None:
        """Close every client."""
        for store, _ in self._opened.values():
            store.close()
