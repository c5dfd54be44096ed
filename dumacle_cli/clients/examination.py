"""Find out what a store keeps and enforces, by requests below a scratch prefix, which is empty again afterwards."""

import hashlib
import time
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.error import URLError
from urllib.request import ProxyHandler, Request, build_opener

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.objects import Location, Part
from dumacle_cli.clients.providers import Proof, known
from dumacle_cli.clients.proxies import SCHEMES, proxy_of
from dumacle_cli.clients.store_errors import clock_skew
from dumacle_cli.errors import (
    ContentDiffers,
    ObjectMissing,
    StoreFault,
    StoreRefused,
    StoreUnavailable,
    UploadLost,
)

SCRATCH = "dumacle-probe/"
LEFT_AFTER = timedelta(minutes=10)
"""The age from which what is below the scratch prefix was left by a probe that was killed."""
SPEED_BYTES = 8 * 1024**2
KEY_BYTES = 1000
LINK_SECONDS = 60
TYPE = "video/mp4"


@dataclass(frozen=True, slots=True)
class Examined:
    """What a store keeps and enforces, by name; seconds, MB/s, and how many leftovers of killed probes were deleted."""

    found: dict[str, bool]
    proof: Proof
    clock_skew_s: float | None
    latency_ms: float
    put_mb_s: float | None
    get_mb_s: float | None
    leftovers: int


def examine(location: Location, prefix: str) -> Examined:
    """Examine a store below a prefix (empty, or ending in a slash).

    Raises ContentDiffers or an error of the store if an object cannot be put, read and deleted; everything else is a
    finding.
    """
    with ObjectStore(location) as store:
        return _Examination(store, prefix).run()


class _Examination:
    """The requests of one examination; what they leave is deleted at the end."""

    def __init__(self, store: ObjectStore, prefix: str) -> None:
        # Where each object is billed for months, the same few small ones are written again.
        self.frugal = known(store.location.provider).minimum_days > 0
        self.store, self.scratch = store, f"{prefix}{SCRATCH}"
        self.folder = f"{self.scratch}{'fixed' if self.frugal else uuid.uuid4().hex}/"
        self.body = f"dumacle {uuid.uuid4()}".encode()

    def run(self) -> Examined:
        """Examine the store."""
        skew = self._clock_skew()
        leftovers = self._clear(self.scratch, self._is_left(skew))
        try:
            latency = self._round_trip()
            found = {name: _holds(check) for name, check in self._checks().items()}
            put_speed, get_speed = (None, None) if self.frugal else self._speeds()
        finally:
            self._clear(self.folder)
        proof: Proof = "payload-hash" if found["payload_hash_enforced"] else "md5-etag"
        return Examined(found, proof, skew, latency, put_speed, get_speed, leftovers)

    def _checks(self) -> dict[str, Callable[[], bool]]:
        return {
            "payload_hash_enforced": self._refuses_wrong_hash,
            "md5_enforced": self._refuses_wrong_md5,
            "etag_is_md5": self._etag_is_md5,
            "conditional_put": self._keeps_first,
            "metadata_kept": self._keeps_metadata,
            "content_type_kept": self._keeps_type,
            "multipart": self._takes_parts,
            "wrong_part_refused": self._refuses_wrong_part,
            "complete_repeatable": self._completes_twice,
            "list_after_put": self._lists,
            "bulk_delete": self._deletes_many,
            "link_get": self._link_reads,
            "link_put": self._link_writes,
            "long_keys": self._takes_long_key,
        }

    # What every store must do

    def _clock_skew(self) -> float | None:
        about = self.store.request("list_objects_v2", Prefix=self.scratch, MaxKeys=1)["ResponseMetadata"]
        skew = clock_skew(about.get("HTTPHeaders", {}).get("date", ""))
        return None if skew is None else round(skew, 1)

    def _round_trip(self) -> float:
        """Put, find, read and delete an object; returns the shortest time of a request in milliseconds."""
        key, times = f"{self.folder}trip", []
        self._put(key)
        for _ in range(3):
            started = time.monotonic()
            size = self.store.head(key).size
            times.append(time.monotonic() - started)
        if size != len(self.body) or b"".join(self.store.get(key)) != self.body:
            raise ContentDiffers(path=key)
        self.store.delete([key])
        with suppress(ObjectMissing):
            self.store.head(key)
            raise ContentDiffers(path=key)
        return round(min(times) * 1000, 1)

    def _speeds(self) -> tuple[float, float]:
        key, body = f"{self.folder}speed", uuid.uuid4().bytes * (SPEED_BYTES // 16)
        started = time.monotonic()
        self._put(key, body)
        put = time.monotonic()
        for _ in self.store.get(key):
            pass
        return _mb_s(put - started), _mb_s(time.monotonic() - put)

    # What a store may do: each returns whether it does

    def _refuses_wrong_hash(self) -> bool:
        with _refusal():
            self.store.put(f"{self.folder}hash", self.body, _sha256(b"other"), TYPE)
            return False
        return not self._exists("hash")

    def _refuses_wrong_md5(self) -> bool:
        wrong = b64encode(hashlib.md5(b"other", usedforsecurity=False).digest()).decode()
        with _refusal():
            self.store.request("put_object", f"{self.folder}md5", Body=self.body, ContentMD5=wrong)
            return False
        return not self._exists("md5")

    def _etag_is_md5(self) -> bool:
        return self._put(f"{self.folder}etag") == hashlib.md5(self.body, usedforsecurity=False).hexdigest()

    def _keeps_first(self) -> bool:
        for body in (self.body, b"other"):
            with suppress(StoreRefused):
                self.store.request("put_object", f"{self.folder}first", Body=body, IfNoneMatch="*")
                if body == b"other":
                    return False
        return self.store.holds(f"{self.folder}first", _sha256(self.body))

    def _keeps_metadata(self) -> bool:
        key = f"{self.folder}metadata"
        self.store.request("put_object", key, Body=self.body, Metadata={"probe": "kept"})
        return bool(self.store.request("head_object", key).get("Metadata", {}).get("probe") == "kept")

    def _keeps_type(self) -> bool:
        self._put(f"{self.folder}type")
        return self.store.head(f"{self.folder}type").content_type == TYPE

    def _takes_parts(self) -> bool:
        key = f"{self.folder}parts"
        upload, part = self._started(key)
        if [(each.number, each.size) for each in self.store.list_parts(key, upload)] != [(1, len(self.body))]:
            return False
        self.store.complete_multipart(key, upload, [part])
        return self.store.holds(key, _sha256(self.body))

    def _refuses_wrong_part(self) -> bool:
        key = f"{self.folder}wrong-part"
        upload, part = self._started(key)
        with _refusal():
            self.store.complete_multipart(key, upload, [Part(1, "0" * 32, part.size)])
            return False
        with suppress(UploadLost):
            self.store.abort_multipart(key, upload)
        return not self._exists("wrong-part")

    def _completes_twice(self) -> bool:
        key = f"{self.folder}twice"
        upload, part = self._started(key)
        self.store.complete_multipart(key, upload, [part])
        self.store.complete_multipart(key, upload, [part])
        return self.store.holds(key, _sha256(self.body))

    def _lists(self) -> bool:
        key = f"{self.folder}list"
        self._put(key)
        return [(entry.key, entry.size) for entry in self.store.list(key)] == [(key, len(self.body))]

    def _deletes_many(self) -> bool:
        keys = [f"{self.folder}many-{number}" for number in range(2)]
        for key in keys:
            self._put(key)
        self.store.request("delete_objects", Delete={"Quiet": True, "Objects": [{"Key": key} for key in keys]})
        return not any(self.store.list(f"{self.folder}many-"))

    def _link_reads(self) -> bool:
        self._put(f"{self.folder}link")
        return self._follow("get_object", "link") == self.body

    def _link_writes(self) -> bool:
        self._follow("put_object", "link-put", self.body)
        return self.store.holds(f"{self.folder}link-put", _sha256(self.body))

    def _takes_long_key(self) -> bool:
        segments = "/".join(["x" * 100] * (KEY_BYTES // 101))
        key = f"{self.folder}{segments}"[:KEY_BYTES].rstrip("/")
        self._put(key)
        return self.store.holds(key, _sha256(self.body))

    # Helpers

    def _put(self, key: str, body: bytes = b"") -> str:
        body = body or self.body
        return self.store.put(key, body, _sha256(body), TYPE)

    def _started(self, key: str) -> tuple[str, Part]:
        upload = self.store.create_multipart(key, TYPE)
        etag = self.store.put_part(key, upload, 1, self.body, _sha256(self.body))
        return upload, Part(1, etag, len(self.body))

    def _exists(self, name: str) -> bool:
        return any(self.store.list(f"{self.folder}{name}"))

    def _follow(self, operation: str, name: str, body: bytes | None = None) -> bytes:
        """Use a presigned URL as a browser would, through the same proxy as all requests."""
        proxy = proxy_of(self.store.location.url)
        opener = build_opener(ProxyHandler(dict.fromkeys(SCHEMES, proxy) if proxy else {}))
        url = self.store.link(operation, f"{self.folder}{name}", LINK_SECONDS)
        headers = {"Content-Type": TYPE} if body else {}
        request = Request(url, body, headers, method="PUT" if body else "GET")  # noqa: S310 - the store's own scheme
        with opener.open(request, timeout=LINK_SECONDS) as answer:
            return bytes(answer.read(len(self.body) + 1))

    def _is_left(self, skew: float | None) -> Callable[[datetime], bool]:
        """Return whether something was made so long ago, by the store's clock, that no running probe made it."""
        latest = datetime.now(UTC) + timedelta(seconds=skew or 0) - LEFT_AFTER
        return lambda made: self.frugal or made < latest

    def _clear(self, prefix: str, chosen: Callable[[datetime], bool] = bool) -> int:
        """Delete the objects and unfinished uploads below the prefix that are chosen by their time."""
        keys = [entry.key for entry in self.store.list(prefix) if chosen(entry.modified)]
        self.store.delete(keys)
        with suppress(StoreRefused, UploadLost):  # rclone says so if there is no upload
            for upload in self.store.request("list_multipart_uploads", Prefix=prefix).get("Uploads", ()):
                if chosen(upload["Initiated"]):
                    self.store.abort_multipart(upload["Key"], upload["UploadId"])
        return len(keys)


def _holds(check: Callable[[], bool]) -> bool:
    """Return what a check found; a store that refuses its requests does not do it. Raises StoreUnavailable."""
    try:
        return check()
    except StoreUnavailable:
        raise
    except (StoreFault, ObjectMissing, UploadLost, ContentDiffers, URLError):
        return False


@contextmanager
def _refusal() -> Iterator[None]:
    """Let pass that the store refuses what is within, also as bytes that were damaged on their way."""
    try:
        yield
    except (UploadLost, ObjectMissing, StoreRefused):
        pass
    except StoreUnavailable as error:
        if not any(code in str(error) for code in ("BadDigest", "SHA256Mismatch")):
            raise


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _mb_s(seconds: float) -> float:
    return round(SPEED_BYTES / 1_000_000 / max(seconds, 1e-6), 1)
