"""The boto3 client of a bucket, and what its exceptions mean. The only importer of boto3 and botocore.

It is imported when a store is first asked for what only boto3 does: that takes 0.3 s of CPU.
"""

import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import boto3
from botocore.auth import AUTH_TYPE_MAPS, S3SigV4Auth
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError
from botocore.exceptions import ConnectionError as NoConnection
from botocore.parsers import ResponseParserError
from botocore.session import Session

from dumacle_cli.clients.connection import authorities
from dumacle_cli.clients.proxies import SCHEMES, proxy_of
from dumacle_cli.clients.store_errors import is_web_page, not_a_store, store_error
from dumacle_cli.errors import DumacleError

if TYPE_CHECKING:
    from dumacle_cli.clients.objects import Location

CONNECTIONS = 64
_LOOKING = ("HeadObject", "GetObject")
"""Requests to which 404 without a reason means that an object is missing."""
FAULT_BYTES = 64 * 1024
ANSWER_BYTES = 32 * 1024**2
"""The most that is read of a response that is no object: a page of 1,000 long keys has a few MiB."""


@contextmanager
def translated(location: "Location", key: str) -> Iterator[None]:
    """Raise what botocore raises as an error of the store; it names the key, or the bucket if the key is empty."""
    try:
        yield
    except ClientError as error:
        details, (status, headers) = error.response["Error"], _told(error.response)
        region = details.get("Region") or details.get("Endpoint") or ""
        message = f"{details.get('Message', '')} {region}".strip()
        code = details.get("Code", str(status))
        names_key = status != 404 or code.startswith("NoSuch") or error.operation_name in _LOOKING
        raise _error(location, key if names_key else "", code, status, message, headers) from error
    except (NoConnection, HTTPClientError, IncompleteReadError) as error:
        raise _error(location, key, _cause(error) or type(error).__name__, 0) from error
    except ResponseParserError as error:
        raise not_a_store(location.provider, location.endpoint, "its response is not XML") from error
    except BotoCoreError as error:
        raise _error(location, key, type(error).__name__, 400, " ".join(str(error).split())) from error


def _error(
    location: "Location", key: str, code: str, status: int, message: str = "", headers: Mapping[str, str] | None = None
) -> DumacleError:
    return store_error(location.provider, location.endpoint, key, code, status, message, headers or {})


def _told(answer: Mapping[str, Any]) -> tuple[int, Mapping[str, str]]:
    """Return the status and the headers of a response."""
    about = answer["ResponseMetadata"]
    return about.get("HTTPStatusCode", 0), about.get("HTTPHeaders", {})


def _cause(error: BaseException) -> str:
    """Return in words why there was no response. The messages of botocore may contain a URL with a signature."""
    found, cause = getattr(error, "kwargs", {}).get("error", error), ""
    while found is not None:
        if isinstance(found, ssl.SSLCertVerificationError):
            return f"certificate: {found.verify_message}"
        if type(found).__name__ == "CertificateError":
            return "certificate: it is for another host"
        if isinstance(found, OSError) and found.strerror:
            cause = found.strerror
        found = getattr(found, "reason", None) or found.__cause__ or found.__context__
    return cause


def connect(location: "Location") -> Any:
    """Make the client of a bucket's store."""
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
    _stay_here(client)
    _bound_answers(client, location)
    return client


def _sign_given_hash(client: Any) -> None:
    """Make PutObject and UploadPart accept `SHA256`, so that the store checks the hash that the caller records."""

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


def _stay_here(client: Any) -> None:
    """Never follow a redirect: the request is signed, and a wrong region is to be corrected in the settings."""

    def mark(context: dict[str, Any], **_: object) -> None:
        context.setdefault("s3_redirect", {})["redirected"] = True

    client.meta.events.register_last("before-parameter-build.s3", mark)


def _bound_answers(client: Any, location: "Location") -> None:
    """Read at most so much of a response that is no object, and refuse web pages.

    botocore would read an endless response into memory, and repeat a request that a login page answered.
    """
    http = client._endpoint.http_session

    def send(request: Any, **_: object) -> Any:
        whole, request.stream_output = not request.stream_output, True
        answer = http.send(request)
        succeeded = answer.status_code < 300
        if whole or not succeeded:
            answer.raw = _Bounded(answer.raw, ANSWER_BYTES if succeeded else FAULT_BYTES)
            answer.content  # noqa: B018 - read now, so that the connection is free again
        if succeeded and is_web_page({name.lower(): value for name, value in answer.headers.items()}):
            answer.raw.close()
            raise not_a_store(location.provider, location.endpoint, "it sent a web page")
        return answer

    client.meta.events.register("before-send.s3", send)


class _Bounded:
    """A response's body up to a limit; the rest is not read, and its connection is closed."""

    def __init__(self, raw: Any, limit: int) -> None:
        self._raw, self._limit = raw, limit

    def close(self) -> None:
        """Close the connection."""
        self._raw.close()

    def stream(self) -> Iterator[bytes]:
        """Yield the body in pieces."""
        for piece in self._raw.stream(FAULT_BYTES):
            yield piece[: self._limit]
            self._limit -= len(piece)
            if self._limit <= 0:
                self.close()
                return
