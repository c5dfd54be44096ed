"""Translates S3 error responses into Dumacle's errors, for every client alike."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType

from dumacle_cli import errors
from dumacle_cli.errors import DumacleError
from dumacle_cli.units import show_duration

SKEW_SECONDS = 840
"""How far two clocks may differ before any refusal is blamed on them; S3 refuses from 900 s."""

CLOCK_SECONDS = 60

_BY_CODE: dict[str, type[errors.StoreFault]] = {
    **dict.fromkeys(("SlowDown", "Throttling", "ThrottlingException", "TooManyRequests", "429"), errors.StoreBusy),
    **dict.fromkeys(("RequestLimitExceeded", "BandwidthLimitExceeded", "509"), errors.StoreBusy),
    **dict.fromkeys(("RequestTimeout", "InternalError", "OperationAborted"), errors.StoreUnavailable),
    **dict.fromkeys(("ServiceUnavailable", "ConditionalRequestConflict"), errors.StoreUnavailable),
    # The bytes changed on their way; a retry helps.
    **dict.fromkeys(("BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody"), errors.StoreUnavailable),
    **dict.fromkeys(("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidSecurity"), errors.KeysRefused),
    **dict.fromkeys(("ExpiredToken", "InvalidToken", "TokenRefreshRequired"), errors.KeysRefused),
    **dict.fromkeys(("AccessDenied", "AllAccessDisabled", "AccountProblem", "403"), errors.AccessRefused),
    **dict.fromkeys(("InvalidBucketName", "InvalidBucketState"), errors.BucketUnusable),
    "NoSuchBucket": errors.NoSuchBucket,
    **dict.fromkeys(("QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"), errors.StoreFull),
    **dict.fromkeys(("StorageLimitExceeded", "InsufficientStorage", "507"), errors.StoreFull),
    **dict.fromkeys(("MethodNotAllowed", "NotImplemented", "405", "501"), errors.NotSupported),
}
_BY_STATUS: dict[int, type[errors.StoreFault]] = {
    **dict.fromkeys((408, 500, 502, 503, 504), errors.StoreUnavailable),
    429: errors.StoreBusy,
    405: errors.NotSupported,
    501: errors.NotSupported,
    507: errors.StoreFull,
}
# What clients say if there was no response; Python's, libcurl's and Rust's words.
_BY_TEXT: tuple[tuple[str, type[errors.StoreFault]], ...] = (
    (r"certificate|subject name", errors.CertificateRefused),
    (r"resolv|dns error|name or service|nodename|gaierror", errors.StoreUnreachable),
    (r"refused|could ?n.?t connect|failed to connect|error trying to connect|unreachable", errors.StoreUnreachable),
)
_REGION_CODES = {"PermanentRedirect", "TemporaryRedirect", "Redirect", "AuthorizationHeaderMalformed"}
_REGION_CODES |= {"IllegalLocationConstraintException", "IllegalLocationConstraint"}
_LOST_CODES = {"NoSuchUpload", "InvalidPart"}
_CLOCK_CODES = {"RequestTimeTooSkewed", "RequestExpired"}
_PERHAPS_CLOCK = {"SignatureDoesNotMatch", "AccessDenied", "Forbidden", "403"}
_REGION = re.compile(r"expecting '([a-z0-9-]{1,64})'|\bs3[.-]([a-z]{2,4}(?:-[a-z]+)+-\d)\.")


def store_error(
    provider: str,
    endpoint: str | None,
    key: str,
    code: str,
    status: int,
    message: str,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> DumacleError:
    """Return the error for an S3 error code, HTTP status and message; `headers` has lower-case names.

    A status of 0 means that there was no response. An empty key means that the request was about the bucket.
    """
    where = {"provider": provider, "endpoint": endpoint or "AWS"}
    if is_web_page(headers):
        kind = _BY_STATUS.get(status, errors.NotAStore)
        return kind(**where, reason=f"{status}, a web page instead of S3's answer")
    if code in _LOST_CODES:
        return errors.UploadLost(key=key, provider=provider)
    if code == "NoSuchKey" or (status == 404 and key and code != "NoSuchBucket"):
        return errors.ObjectMissing(key=key, provider=provider)
    if skew := _skew(code, headers):
        return errors.ClockWrong(**where, skew=skew)
    if status in (301, 302, 303, 307, 308) or code in _REGION_CODES:
        region = headers.get("x-amz-bucket-region") or _region(message)
        return errors.WrongRegion(**where, region=region) if region else errors.Redirected(**where, reason=code)
    return _kind(code, status, message)(**where, reason=f"{code}: {message}" if message else code)


def not_a_store(provider: str, endpoint: str | None, reason: str) -> DumacleError:
    """Return the error for what answers, and is no S3 store."""
    return errors.NotAStore(provider=provider, endpoint=endpoint or "AWS", reason=reason)


def is_web_page(headers: Mapping[str, str]) -> bool:
    """Return whether a response is a web page, and neither an object nor the word of an S3 server."""
    typed = headers.get("content-type", "").lower().startswith("text/html")
    return typed and "etag" not in headers and not any(name.startswith("x-amz") for name in headers)


def _kind(code: str, status: int, message: str) -> type[errors.StoreFault]:
    if status == 0:
        said = f"{code} {message}"
        return next((kind for words, kind in _BY_TEXT if re.search(words, said, re.I)), errors.StoreUnavailable)
    return _BY_CODE.get(code) or _BY_STATUS.get(status, errors.StoreRefused)


def clock_skew(date: str) -> float | None:
    """Return how many seconds a response's Date is ahead of this machine's clock, or None if it has none."""
    try:
        return (parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return None


def _skew(code: str, headers: Mapping[str, str]) -> str:
    """Return how far this machine's clock is off, in words; nothing if it is not to blame."""
    if code not in _CLOCK_CODES | _PERHAPS_CLOCK:
        return ""
    ahead = clock_skew(headers.get("date", "")) or 0.0
    if abs(ahead) > (CLOCK_SECONDS if code in _CLOCK_CODES else SKEW_SECONDS):
        return f"{show_duration(round(abs(ahead) / 60) * 60)} {'behind' if ahead > 0 else 'ahead of'} the store's"
    return "too far from the store's" if code in _CLOCK_CODES else ""


def _region(message: str) -> str:
    found = _REGION.search(message)
    return next(filter(None, found.groups())) if found else ""
