"""Translates S3 error responses into Dumacle's errors, for every client alike."""

from dumacle_cli.errors import DumacleError, ObjectMissing, StoreRefused, StoreUnavailable, UploadLost

_TEMPORARY = {"SlowDown", "Throttling", "RequestTimeout", "RequestTimeTooSkewed", "InternalError", "OperationAborted"}
# The bytes changed on their way; a retry helps.
_CORRUPTED = {"BadDigest", "XAmzContentSHA256Mismatch"}


def store_error(provider: str, endpoint: str | None, key: str, code: str, status: int, message: str) -> DumacleError:
    """Return the error for an S3 error code, HTTP status and message.

    A status of 0 means that there was no response. An empty key means that the request was about the bucket.
    """
    if code == "NoSuchUpload":
        return UploadLost(key=key, provider=provider)
    if code == "NoSuchKey" or (status == 404 and key and code != "NoSuchBucket"):
        return ObjectMissing(key=key, provider=provider)
    where, reason = endpoint or "AWS", f"{code}: {message}" if message else code
    if code in _TEMPORARY | _CORRUPTED or status in (0, 408, 429, 500, 502, 503, 504):
        return StoreUnavailable(provider=provider, endpoint=where, reason=reason)
    return StoreRefused(provider=provider, endpoint=where, reason=reason)
