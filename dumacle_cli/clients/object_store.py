"""The object store: one bucket, with the same promises at every provider, over boto3 (boto.py).

Every method raises StoreUnavailable (temporary: retry), StoreRefused (credentials, bucket, clock, region or request),
and ObjectMissing or UploadLost if it names a key or an upload. Each key is written only once.
An ObjectStore is safe to share between threads.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from dumacle_cli.clients.disposition import disposition
from dumacle_cli.clients.objects import Entry, Head, Location, Part, Unfinished
from dumacle_cli.clients.providers import known
from dumacle_cli.clients.store_errors import not_a_store, store_error
from dumacle_cli.errors import AccessRefused, CorsUnsupported, DumacleError, NotSupported, ObjectMissing, StoreRefused

if TYPE_CHECKING:
    from dumacle_cli.clients.puts import Puts

CHUNK = 1024**2
DELETES_AT_ONCE = 16
BULK = 1000
_PROMISED = {
    "put_object": "ETag",
    "upload_part": "ETag",
    "head_object": "ETag",
    "get_object": "ETag",
    "create_multipart_upload": "UploadId",
    "complete_multipart_upload": "ETag",
    "list_objects_v2": "IsTruncated",
}
"""What a response holds if it comes from an S3 store, and not from a proxy or a login page."""


class ObjectStore:
    """The objects in one bucket."""

    def __init__(self, location: Location) -> None:
        self.location = location
        self._facts = known(location.provider)
        self._connected: Any = None
        self._puts: Puts | None = None
        self._connecting = Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        if self._connected is not None:
            self._connected.close()
        if self._puts is not None:
            self._puts.close()

    @property
    def puts(self) -> "Puts":
        """What sends many objects to this store for a fifth of the CPU, each request once."""
        with self._connecting:
            if self._puts is None:
                from dumacle_cli.clients.puts import Puts

                self._puts = Puts(self.location)
            return self._puts

    @property
    def _client(self) -> Any:
        """The boto3 client, created on first use: importing boto3 and creating a client take 0.5 s of CPU."""
        with self._connecting:
            if self._connected is None:
                from dumacle_cli.clients import boto

                self._connected = boto.connect(self.location)
            return self._connected

    def put(self, key: str, body: bytes, sha256: str, content_type: str) -> str:
        """Store bytes, let the store check their SHA-256 (hex), and return the ETag."""
        answer = self._call("put_object", key, ContentType=content_type, **self._body(body, sha256))
        return _bare(answer["ETag"])

    def head(self, key: str) -> Head:
        """Return size, ETag and content type of the object."""
        answer = self._find("head_object", key)
        return Head(self._said(answer, "ContentLength"), _bare(answer["ETag"]), answer.get("ContentType", ""))

    def get(self, key: str, start: int = 0) -> Iterator[bytes]:
        """Return the bytes from `start` on, in chunks of at most 1 MiB, also from a store that sends the whole object.

        Raises StoreUnavailable if the response is cut short.
        """
        answer = self._find("get_object", key, **({"Range": f"bytes={start}-"} if start else {}))
        unwanted = 0 if answer.get("ContentRange", "").startswith(f"bytes {start}-") else start
        return self._chunks(key, answer["Body"], unwanted)

    def copy(self, source: str, key: str, content_type: str) -> str:
        """Copy an object of up to 5 GiB within the bucket and return the new ETag."""
        taken = {"CopySource": {"Bucket": self.location.bucket, "Key": source}, "MetadataDirective": "REPLACE"}
        answer = self._call("copy_object", key, ContentType=content_type, **taken)
        return _bare(self._said(self._said(answer, "CopyObjectResult"), "ETag"))

    def holds(self, key: str, sha256: str) -> bool:
        """Read the object back, and return whether its bytes have this SHA-256 (hex)."""
        found = hashlib.sha256()
        for chunk in self.get(key):
            found.update(chunk)
        return found.hexdigest() == sha256

    def list(self, prefix: str, after: str = "") -> Iterator[Entry]:
        """Yield the objects with the prefix and a key after `after`, sorted by key, in constant memory."""
        with self._translated(""):
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.location.bucket, Prefix=prefix, StartAfter=after):
                self._check("list_objects_v2", page)
                for item in page.get("Contents", ()):
                    key, size, modified = (self._said(item, name) for name in ("Key", "Size", "LastModified"))
                    yield Entry(key, size, _bare(item.get("ETag", "")), modified)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete the objects; keys that do not exist are ignored."""
        remaining = iter(keys)
        while batch := list(islice(remaining, BULK)):
            if self._facts.bulk_delete:
                with suppress(NotSupported):
                    self._delete_bulk(batch)
                    continue
            with ThreadPoolExecutor(DELETES_AT_ONCE) as pool:
                list(pool.map(lambda key: self._call("delete_object", key), batch))

    def presign_get(self, key: str, expires_s: int, filename: str, content_type: str, *, download: bool = False) -> str:
        """Return a presigned URL of an object, valid for `expires_s` seconds; `disposition` says what is shown."""
        params = {
            "Bucket": self.location.bucket,
            "Key": key,
            "ResponseContentDisposition": disposition(filename, content_type, download=download),
            "ResponseContentType": content_type,
        }
        return str(self._client.generate_presigned_url("get_object", params, expires_s))

    def create_multipart(self, key: str, content_type: str) -> str:
        """Start a multipart upload and return its id."""
        upload_id: str = self._call("create_multipart_upload", key, ContentType=content_type)["UploadId"]
        return upload_id

    def put_part(self, key: str, upload_id: str, number: int, body: bytes, sha256: str) -> str:
        """Store one part, checked like `put`, and return its ETag; safe to retry with the same bytes."""
        answer = self._call("upload_part", key, UploadId=upload_id, PartNumber=number, **self._body(body, sha256))
        return _bare(answer["ETag"])

    def presign_part(
        self, key: str, upload_id: str, number: int, size: int, expires_s: int, md5: bytes | None = None
    ) -> str:
        """Return a presigned URL, valid for `expires_s` seconds, that stores one part of exactly `size` bytes.

        With an MD5 the client must send it as Content-MD5, so that the store refuses other bytes. The URL stops working
        as soon as the upload is completed or aborted.
        """
        bound = {"ContentLength": size} | ({"ContentMD5": base64.b64encode(md5).decode()} if md5 else {})
        params = {"Bucket": self.location.bucket, "Key": key, "UploadId": upload_id, "PartNumber": number, **bound}
        return str(self._client.generate_presigned_url("upload_part", params, expires_s))

    def list_parts(self, key: str, upload_id: str) -> Iterator[Part]:
        """Yield the parts that are stored, in order.

        Raises UploadLost if the upload was completed or aborted, and NotSupported if the store lists something else.
        """
        with self._translated(key):
            pages = self._client.get_paginator("list_parts")
            for page in pages.paginate(Bucket=self.location.bucket, Key=key, UploadId=upload_id):
                if not (page.get("UploadId") or page.get("Parts")):
                    raise self._error(key, "NotImplemented", 200, "its response lists no parts of an upload")
                for item in page.get("Parts", ()):
                    number, etag, size = (self._said(item, name) for name in ("PartNumber", "ETag", "Size"))
                    yield Part(number, _bare(etag), size)

    def cors(self) -> tuple[dict[str, Any], ...]:
        """Return the bucket's CORS rules as S3 names them; raises CorsUnsupported."""
        try:
            with self._cors_errors():
                return tuple(self._call("get_bucket_cors").get("CORSRules", ()))
        except StoreRefused as error:
            if "NoSuchCORSConfiguration" in str(error):
                return ()
            raise

    def set_cors(self, rules: Iterable[dict[str, Any]]) -> None:
        """Replace the bucket's CORS rules; raises CorsUnsupported, also if the store does not keep them."""
        wanted = [*rules]
        with self._cors_errors():
            self._call("put_bucket_cors", CORSConfiguration={"CORSRules": wanted})
        if len(self.cors()) != len(wanted):
            raise CorsUnsupported(provider=self.location.provider)

    @contextmanager
    def _cors_errors(self) -> Iterator[None]:
        try:
            yield
        except StoreRefused as error:
            # rclone's server takes the request for one that makes the bucket.
            if any(code in str(error) for code in ("NotImplemented", "MethodNotAllowed", "BucketAlreadyExists")):
                raise CorsUnsupported(provider=self.location.provider) from error
            raise

    def complete_multipart(self, key: str, upload_id: str, parts: Iterable[Part]) -> str:
        """Make the object from these parts and return its ETag.

        UploadLost can also mean that an earlier call succeeded but its response was lost: check with `head`.
        """
        ordered = sorted(parts, key=lambda part: part.number)
        chosen = {"Parts": [{"PartNumber": part.number, "ETag": f'"{part.etag}"'} for part in ordered]}
        return _bare(self._call("complete_multipart_upload", key, UploadId=upload_id, MultipartUpload=chosen)["ETag"])

    def abort_multipart(self, key: str, upload_id: str) -> None:
        """Abort the upload and remove its parts."""
        self._call("abort_multipart_upload", key, UploadId=upload_id)

    def unfinished(self, prefix: str) -> Iterator[Unfinished]:
        """Yield the multipart uploads of keys with the prefix that were neither completed nor aborted."""
        with self._translated(""):
            pages = self._client.get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=self.location.bucket, Prefix=prefix):
                for item in page.get("Uploads", ()):
                    yield Unfinished(*(self._said(item, name) for name in ("Key", "UploadId", "Initiated")))

    def request(self, operation: str, key: str = "", **params: Any) -> dict[str, Any]:
        """Send any request by its name in boto3, for what only a probe asks; raises as all methods do."""
        return self._call(operation, key, **params)

    def link(self, operation: str, key: str, expires_s: int) -> str:
        """Return a presigned URL for a request that only a probe sends."""
        params = {"Bucket": self.location.bucket, "Key": key}
        return str(self._client.generate_presigned_url(operation, params, expires_s))

    def _call(self, operation: str, key: str = "", **params: Any) -> dict[str, Any]:
        """Send one request (with boto3's limited retries) about the key, or about the bucket if it is empty."""
        if key:
            params["Key"] = key
        with self._translated(key):
            answer: dict[str, Any] = getattr(self._client, operation)(Bucket=self.location.bucket, **params)
        self._check(operation, answer)
        return answer

    def _find(self, operation: str, key: str, **params: Any) -> dict[str, Any]:
        """Send a request for an object; raises ObjectMissing only if its bucket is there."""
        try:
            return self._call(operation, key, **params)
        except ObjectMissing:
            # 404 may also mean that there is no bucket, or no store, which an answer without a body does not tell.
            with suppress(AccessRefused):
                self._call("list_objects_v2", Prefix=key, MaxKeys=1)
            raise

    def _check(self, operation: str, answer: Mapping[str, Any]) -> None:
        """Raise NotAStore for a success that lacks what every S3 store says: it may be a proxy's login page."""
        if (promised := _PROMISED.get(operation)) and answer.get(promised) in (None, ""):
            if "Body" in answer:
                answer["Body"].close()
            raise self._not_a_store(f"to {operation} has no {promised}")

    def _said(self, answer: Mapping[str, Any], name: str) -> Any:
        """Return what a response says; raises NotAStore if it does not."""
        try:
            return answer[name]
        except KeyError:
            raise self._not_a_store(f"has no {name}") from None

    def _not_a_store(self, lack: str) -> DumacleError:
        return not_a_store(self.location.provider, self.location.endpoint, f"its response {lack}")

    def _chunks(self, key: str, body: Any, unwanted: int) -> Iterator[bytes]:
        with self._translated(key), body:
            for chunk in body.iter_chunks(CHUNK):
                if wanted := chunk[unwanted:]:
                    yield wanted
                unwanted -= len(chunk) - len(wanted)

    def _body(self, body: bytes, sha256: str) -> dict[str, Any]:
        if self.location.proof == "payload-hash":
            return {"Body": body, "SHA256": sha256}
        md5 = hashlib.md5(body, usedforsecurity=False).digest()
        return {"Body": body, "SHA256": sha256, "ContentMD5": base64.b64encode(md5).decode()}

    def _delete_bulk(self, keys: Iterable[str]) -> None:
        answer = self._call("delete_objects", Delete={"Quiet": True, "Objects": [{"Key": key} for key in keys]})
        for failed in answer.get("Errors", ()):
            raise self._error(failed["Key"], failed.get("Code", ""), 200, failed.get("Message", ""))

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        from dumacle_cli.clients import boto

        with boto.translated(self.location, key):
            yield

    def _error(
        self, key: str, code: str, status: int, message: str, headers: Mapping[str, str] | None = None
    ) -> DumacleError:
        return store_error(self.location.provider, self.location.endpoint, key, code, status, message, headers or {})


def _bare(etag: str) -> str:
    return etag.strip('"')
