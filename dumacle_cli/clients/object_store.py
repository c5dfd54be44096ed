"""The object store: one bucket, with the same promises at every provider. The only importer of boto3 and botocore.

Every method raises StoreUnavailable (temporary: retry), StoreRefused (credentials, bucket or request), and
ObjectMissing or UploadLost if it names a key or an upload. Each key is written only once.
An ObjectStore is safe to share between threads.
"""

import base64
import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from threading import Lock
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from dumacle_cli.clients.providers import known
from dumacle_cli.clients.proxies import SCHEMES, proxy_of
from dumacle_cli.clients.store_errors import store_error
from dumacle_cli.errors import DumacleError, UploadLost

CHUNK = 1024**2
CONNECTIONS = 64
DELETES_AT_ONCE = 16
BULK = 1000


@dataclass(frozen=True)
class Location:
    """A bucket with its endpoint (None is AWS's own) and credentials."""

    provider: str
    endpoint: str | None
    region: str
    bucket: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)

    @property
    def path_style(self) -> bool:
        """Whether URLs name the bucket in their path; always so at a custom endpoint."""
        return self.endpoint is not None or known(self.provider).addressing == "path"

    @property
    def url(self) -> str:
        """The URL of the bucket."""
        if self.endpoint is None:
            return f"https://{self.bucket}.s3.{self.region}.amazonaws.com"
        return f"{self.endpoint.rstrip('/')}/{self.bucket}"


@dataclass(frozen=True)
class Head:
    """An object's metadata; size in bytes."""

    size: int
    etag: str
    content_type: str


@dataclass(frozen=True)
class Entry:
    """One object in a listing; size in bytes, modified in UTC. If etag is empty, call `head` for it."""

    key: str
    size: int
    etag: str
    modified: datetime


@dataclass(frozen=True)
class Part:
    """One part of a multipart upload; numbers start at 1, size in bytes."""

    number: int
    etag: str
    size: int


class ObjectStore:
    """The objects in one bucket."""

    def __init__(self, location: Location) -> None:
        self.location = location
        self._facts = known(location.provider)
        self._connected: Any = None
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

    @property
    def _client(self) -> Any:
        """The boto3 client, created on first use: importing boto3 and creating a client take 0.5 s of CPU."""
        with self._connecting:
            if self._connected is None:
                self._connected = _client(self.location)
            return self._connected

    def put(self, key: str, body: bytes, sha256: str, content_type: str) -> str:
        """Store bytes, let the store check their SHA-256 (hex), and return the ETag."""
        answer = self._call("put_object", key, ContentType=content_type, **self._body(body, sha256))
        return _bare(answer["ETag"])

    def head(self, key: str) -> Head:
        """Return size, ETag and content type of the object."""
        answer = self._call("head_object", key)
        return Head(answer["ContentLength"], _bare(answer["ETag"]), answer.get("ContentType", ""))

    def get(self, key: str) -> Iterator[bytes]:
        """Return the bytes in chunks of at most 1 MiB; raises StoreUnavailable if the response is cut short."""
        return self._chunks(key, self._call("get_object", key)["Body"])

    def list(self, prefix: str, after: str = "") -> Iterator[Entry]:
        """Yield the objects with the prefix and a key after `after`, sorted by key, in constant memory."""
        with self._translated(""):
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.location.bucket, Prefix=prefix, StartAfter=after):
                for item in page.get("Contents", ()):
                    yield Entry(item["Key"], item["Size"], _bare(item["ETag"]), item["LastModified"])

    def delete(self, keys: Iterable[str]) -> None:
        """Delete the objects; keys that do not exist are ignored."""
        remaining = iter(keys)
        while batch := list(islice(remaining, BULK)):
            if self._facts.bulk_delete:
                self._delete_bulk(batch)
            else:
                with ThreadPoolExecutor(DELETES_AT_ONCE) as pool:
                    list(pool.map(lambda key: self._call("delete_object", key), batch))

    def presign_get(self, key: str, expires_s: int, filename: str, content_type: str) -> str:
        """Return a presigned URL, valid for `expires_s` seconds, that downloads the object as `filename`."""
        params = {
            "Bucket": self.location.bucket,
            "Key": key,
            "ResponseContentDisposition": disposition(filename),
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

    def abort_unfinished(self, key: str) -> None:
        """Abort every multipart upload of this key that was neither completed nor aborted."""
        try:
            found = self._call("list_multipart_uploads", Prefix=key).get("Uploads", ())
        except UploadLost:  # what rclone answers where there is none
            return
        for upload_id in (each["UploadId"] for each in found if each["Key"] == key):
            self.abort_multipart(key, upload_id)

    def _call(self, operation: str, key: str = "", **params: Any) -> dict[str, Any]:
        """Send one request (with boto3's limited retries) about the key, or about the bucket if it is empty."""
        if key:
            params["Key"] = key
        with self._translated(key):
            answer: dict[str, Any] = getattr(self._client, operation)(Bucket=self.location.bucket, **params)
        return answer

    def _chunks(self, key: str, body: Any) -> Iterator[bytes]:
        with self._translated(key), body:
            yield from body.iter_chunks(CHUNK)

    def _body(self, body: bytes, sha256: str) -> dict[str, Any]:
        if self._facts.proof == "payload-hash":
            return {"Body": body, "SHA256": sha256}
        md5 = hashlib.md5(body, usedforsecurity=False).digest()
        return {"Body": body, "SHA256": sha256, "ContentMD5": base64.b64encode(md5).decode()}

    def _delete_bulk(self, keys: Iterable[str]) -> None:
        answer = self._call("delete_objects", Delete={"Quiet": True, "Objects": [{"Key": key} for key in keys]})
        for failed in answer.get("Errors", ()):
            raise self._error(failed["Key"], failed.get("Code", ""), 200, failed.get("Message", ""))

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError
        from botocore.exceptions import ConnectionError as NoConnection

        try:
            yield
        except ClientError as error:
            details, status = error.response["Error"], error.response["ResponseMetadata"]["HTTPStatusCode"]
            raise self._error(key, details.get("Code", str(status)), status, details.get("Message", "")) from error
        except (NoConnection, HTTPClientError, IncompleteReadError) as error:
            # Their messages may contain a URL with a signature; the class name is enough.
            raise self._error(key, type(error).__name__, 0, "") from error
        except BotoCoreError as error:
            raise self._error(key, type(error).__name__, 400, " ".join(str(error).split())) from error

    def _error(self, key: str, code: str, status: int, message: str) -> DumacleError:
        return store_error(self.location.provider, self.location.endpoint, key, code, status, message)


def disposition(filename: str) -> str:
    """Return the Content-Disposition header that saves a download under this name (RFC 6266)."""
    plain = "".join(char if " " <= char <= "~" and char not in '"\\%' else "_" for char in filename)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='', errors='replace')}"


def authorities() -> str:
    """Return the path of the CA bundle that verifies the stores' certificates."""
    from botocore.httpsession import where

    return os.environ.get("AWS_CA_BUNDLE") or str(where())


def _bare(etag: str) -> str:
    return etag.strip('"')


def _client(location: Location) -> Any:
    import boto3
    from botocore.config import Config
    from botocore.session import Session

    config = Config(
        # The default sends a checksum trailer instead of a signed payload hash; Oracle and Wasabi reject it.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        signature_version="s3v4",
        s3={"addressing_style": "path" if location.path_style else "virtual", "payload_signing_enabled": True},
        retries={"mode": "standard", "total_max_attempts": 3},
        connect_timeout=5,
        read_timeout=60,
        max_pool_connections=CONNECTIONS,
        tcp_keepalive=True,
        # Overrides boto3's own proxy detection, so that these requests and those in puts.py take the same route.
        proxies=dict.fromkeys(SCHEMES, proxy) if (proxy := proxy_of(location.url)) else {},
    )
    isolated: dict[str, Any] = {
        "profile": (None, None, None, None),
        "config_file": (None, None, os.devnull, None),
        "ignore_configured_endpoint_urls": (None, None, True, None),
    }
    # The AWS CLI's configuration must not change where the bytes go.
    session = boto3.Session(botocore_session=Session(session_vars=isolated))
    client = session.client(
        "s3",
        region_name=location.region,
        endpoint_url=location.endpoint,
        aws_access_key_id=location.access_key,
        aws_secret_access_key=location.secret_key,
        verify=authorities(),
        config=config,
    )
    _sign_given_hash(client)
    return client


def _sign_given_hash(client: Any) -> None:
    """Make PutObject and UploadPart accept `SHA256`, so that the store checks the hash that the caller records."""
    from botocore.auth import AUTH_TYPE_MAPS, S3SigV4Auth

    class GivenHash(S3SigV4Auth):
        def payload(self, request: Any) -> str:
            return str(request.context["sha256"])

    def take(params: dict[str, Any], context: dict[str, Any], **_: object) -> None:
        if "SHA256" in params:
            context["sha256"] = params.pop("SHA256")

    def choose(context: dict[str, Any], **_: object) -> str | None:
        return "dumacle-given-hash" if "sha256" in context else None

    AUTH_TYPE_MAPS["dumacle-given-hash"] = GivenHash
    for operation in ("PutObject", "UploadPart"):
        client.meta.events.register(f"before-parameter-build.s3.{operation}", take)
        client.meta.events.register(f"choose-signer.s3.{operation}", choose)
