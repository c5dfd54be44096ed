"""The object store: what a pod promises, whichever provider keeps its bytes. The only importer of botocore.

Every method raises StoreUnavailable (passing: repeat it), StoreRefused (keys, bucket or request), and
ObjectMissing or UploadLost where it names a key or an upload. A key is meant to be written once.
One ObjectStore may be used by many threads.
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
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from dumacle_cli.clients.providers import known
from dumacle_cli.clients.proxies import SCHEMES, proxy_of
from dumacle_cli.clients.store_errors import store_error
from dumacle_cli.errors import DumacleError

CHUNK = 1024**2
CONNECTIONS = 64
DELETES_AT_ONCE = 16
BULK = 1000


@dataclass(frozen=True)
class Location:
    """A bucket, where it is, and the keys that open it; an endpoint of None is AWS's own."""

    provider: str
    endpoint: str | None
    region: str
    bucket: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)

    @property
    def path_style(self) -> bool:
        """Whether the bucket is named in the path of a URL; a named endpoint is never prefixed with a bucket."""
        return self.endpoint is not None or known(self.provider).addressing == "path"

    @property
    def url(self) -> str:
        """The URL below which the objects are."""
        if self.endpoint is None:
            return f"https://{self.bucket}.s3.{self.region}.amazonaws.com"
        return f"{self.endpoint.rstrip('/')}/{self.bucket}"


@dataclass(frozen=True)
class Head:
    """What a store says of an object without its bytes; size in bytes."""

    size: int
    etag: str
    content_type: str


@dataclass(frozen=True)
class Entry:
    """One line of a listing; size in bytes, modified in UTC. An empty etag is not known now: `head` tells it."""

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


@dataclass(frozen=True)
class Upload:
    """A multipart upload that was begun and neither completed nor aborted; started in UTC."""

    key: str
    upload_id: str
    started: datetime


class ObjectStore:
    """The objects in one bucket."""

    def __init__(self, location: Location) -> None:
        self.location = location
        self._facts = known(location.provider)
        self._client = _client(location)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def ensure_bucket(self) -> None:
        """Make the bucket if it does not exist."""
        with self._translated(""):
            try:
                self._client.head_bucket(Bucket=self.location.bucket)
            except self._client.exceptions.ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                    raise
                self._client.create_bucket(Bucket=self.location.bucket, **self._constraint())

    def put(self, key: str, body: bytes, sha256: str, content_type: str) -> str:
        """Store bytes whose SHA-256 (hex) the store is asked to check, and return the ETag."""
        answer = self._call("put_object", key, ContentType=content_type, **self._body(body, sha256))
        return _bare(answer["ETag"])

    def head(self, key: str) -> Head:
        """Say size, ETag and content type of the object as the store has it now."""
        answer = self._call("head_object", key)
        return Head(answer["ContentLength"], _bare(answer["ETag"]), answer.get("ContentType", ""))

    def get(self, key: str) -> Iterator[bytes]:
        """Return the bytes in chunks of at most 1 MiB; an answer that breaks off raises StoreUnavailable."""
        return self._chunks(key, self._call("get_object", key)["Body"])

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return at most `length` (1 or more) bytes from offset `start`; fewer only where the object ends."""
        answer = self._call("get_object", key, Range=f"bytes={start}-{start + length - 1}")
        return b"".join(self._chunks(key, answer["Body"]))

    def list(self, prefix: str, after: str = "") -> Iterator[Entry]:
        """Yield every object whose key has the prefix and sorts behind `after`, by key, in constant memory."""
        for page in self._pages("list_objects_v2", "", Prefix=prefix, StartAfter=after):
            for item in page.get("Contents", ()):
                yield Entry(item["Key"], item["Size"], _bare(item["ETag"]), item["LastModified"])

    def delete(self, keys: Iterable[str]) -> None:
        """Delete the objects; a key that does not exist counts as deleted."""
        remaining = iter(keys)
        while batch := list(islice(remaining, BULK)):
            if self._facts.bulk_delete:
                self._delete_bulk(batch)
            else:
                with ThreadPoolExecutor(DELETES_AT_ONCE) as pool:
                    list(pool.map(lambda key: self._call("delete_object", key), batch))

    def presign_get(self, key: str, expires_s: int, filename: str, content_type: str) -> str:
        """Return a URL that downloads the object under that file name, without keys, for that many seconds."""
        answer = {"ResponseContentDisposition": disposition(filename), "ResponseContentType": content_type}
        return self._presign("get_object", key, expires_s, answer)

    def presign_put(self, key: str, expires_s: int, content_type: str, size: int) -> str:
        """Return a URL to which exactly `size` bytes of that type may be PUT for that many seconds."""
        return self._presign("put_object", key, expires_s, {"ContentType": content_type, "ContentLength": size})

    def create_multipart(self, key: str, content_type: str) -> str:
        """Begin an upload in parts and return its id."""
        upload_id: str = self._call("create_multipart_upload", key, ContentType=content_type)["UploadId"]
        return upload_id

    def put_part(self, key: str, upload_id: str, number: int, body: bytes, sha256: str) -> str:
        """Store one part, checked like `put`, and return its ETag; the same bytes may be sent again."""
        answer = self._call("upload_part", key, UploadId=upload_id, PartNumber=number, **self._body(body, sha256))
        return _bare(answer["ETag"])

    def list_parts(self, key: str, upload_id: str) -> Iterator[Part]:
        """Yield the parts that the store holds, by number."""
        for page in self._pages("list_parts", key, Key=key, UploadId=upload_id):
            for item in page.get("Parts", ()):
                yield Part(item["PartNumber"], _bare(item["ETag"]), item["Size"])

    def complete_multipart(self, key: str, upload_id: str, parts: Iterable[Part]) -> str:
        """Make the object from these parts and return its ETag.

        UploadLost may also mean that an earlier call took effect and its answer was lost: `head` tells.
        """
        ordered = sorted(parts, key=lambda part: part.number)
        chosen = {"Parts": [{"PartNumber": part.number, "ETag": f'"{part.etag}"'} for part in ordered]}
        return _bare(self._call("complete_multipart_upload", key, UploadId=upload_id, MultipartUpload=chosen)["ETag"])

    def abort_multipart(self, key: str, upload_id: str) -> None:
        """Drop the upload and its parts."""
        self._call("abort_multipart_upload", key, UploadId=upload_id)

    def list_uploads(self, prefix: str) -> Iterator[Upload]:
        """Yield the unfinished multipart uploads whose key has the prefix."""
        for page in self._pages("list_multipart_uploads", "", Prefix=prefix):
            for item in page.get("Uploads", ()):
                yield Upload(item["Key"], item["UploadId"], item["Initiated"])

    def _call(self, operation: str, key: str = "", **params: Any) -> dict[str, Any]:
        """Ask the store once (with the library's bounded retries), about the key or else about the bucket."""
        if key:
            params["Key"] = key
        with self._translated(key):
            answer: dict[str, Any] = getattr(self._client, operation)(Bucket=self.location.bucket, **params)
        return answer

    def _pages(self, operation: str, key: str, **params: Any) -> Iterator[dict[str, Any]]:
        with self._translated(key):
            yield from self._client.get_paginator(operation).paginate(Bucket=self.location.bucket, **params)

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

    def _presign(self, operation: str, key: str, expires_s: int, params: dict[str, Any]) -> str:
        url: str = self._client.generate_presigned_url(
            operation, {"Bucket": self.location.bucket, "Key": key, **params}, expires_s
        )
        return url

    def _constraint(self) -> dict[str, Any]:
        # S3 refuses its first region as a constraint, and requires every other one.
        if self.location.region == "us-east-1":
            return {}
        return {"CreateBucketConfiguration": {"LocationConstraint": self.location.region}}

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError
        from botocore.exceptions import ConnectionError as NoConnection

        try:
            yield
        except ClientError as error:
            said, status = error.response["Error"], error.response["ResponseMetadata"]["HTTPStatusCode"]
            raise self._error(key, said.get("Code", str(status)), status, said.get("Message", "")) from error
        except (NoConnection, HTTPClientError, IncompleteReadError) as error:
            # The text of these may hold a URL; the name of the class says as much.
            raise self._error(key, type(error).__name__, 0, "") from error
        except BotoCoreError as error:
            raise self._error(key, type(error).__name__, 400, " ".join(str(error).split())) from error

    def _error(self, key: str, code: str, status: int, message: str) -> DumacleError:
        return store_error(self.location.provider, self.location.endpoint, key, code, status, message)


def disposition(filename: str) -> str:
    """Return the Content-Disposition that saves a download under this name, whatever its characters (RFC 6266)."""
    plain = "".join(char if " " <= char <= "~" and char not in '"\\%' else "_" for char in filename)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='', errors='replace')}"


def authorities() -> str:
    """Return the file of certificate authorities that a store's certificate is checked against."""
    from botocore.httpsession import where

    return os.environ.get("AWS_CA_BUNDLE") or str(where())


def _bare(etag: str) -> str:
    return etag.strip('"')


def _client(location: Location) -> Any:
    from botocore.config import Config
    from botocore.session import Session

    config = Config(
        # The default, a checksum trailer, would replace the signed payload hash; Oracle and Wasabi break on it.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        signature_version="s3v4",
        s3={"addressing_style": "path" if location.path_style else "virtual", "payload_signing_enabled": True},
        retries={"mode": "standard", "total_max_attempts": 3},
        connect_timeout=5,
        read_timeout=60,
        max_pool_connections=CONNECTIONS,
        tcp_keepalive=True,
        # Never the library's own look at the environment: what sends bodies would take another way.
        proxies=dict.fromkeys(SCHEMES, proxy) if (proxy := proxy_of(location.url)) else {},
    )
    outside: dict[str, Any] = {
        "profile": (None, None, None, None),
        "config_file": (None, None, os.devnull, None),
        "ignore_configured_endpoint_urls": (None, None, True, None),
    }
    # What the AWS command line is set to must not change where the bytes go.
    session = Session(session_vars=outside)
    client = session.create_client(
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
    """Let PutObject and UploadPart take `SHA256`: the hash that the caller records is the one the store checks."""
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
