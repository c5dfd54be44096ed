"""What an object store's answer means in Dumacle's words; the same for every library that asked."""

from dumacle_cli.errors import DumacleError, ObjectMissing, StoreRefused, StoreUnavailable, UploadLost

_PASSING = {"SlowDown", "Throttling", "RequestTimeout", "RequestTimeTooSkewed", "InternalError", "OperationAborted"}
# Bytes that changed on their way: sending them again helps.
_CORRUPTED = {"BadDigest", "XAmzContentSHA256Mismatch"}


def store_error(provider: str, endpoint: str | None, key: str, code: str, status: int, message: str) -> DumacleError:
    """Return the error for an S3 error code and HTTP status; `message` is the store's own sentence.

    A status of 0 means that no answer came. An empty key means that the bucket was asked.
    """
    if code == "NoSuchUpload":
        return UploadLost(key=key, provider=provider)
    if code == "NoSuchKey" or (status == 404 and key and code != "NoSuchBucket"):
        return ObjectMissing(key=key, provider=provider)
    where, reason = endpoint or "AWS", f"{code}: {message}" if message else code
    if code in _PASSING | _CORRUPTED or status in (0, 408, 429, 500, 502, 503, 504):
        return StoreUnavailable(provider=provider, endpoint=where, reason=reason)
    return StoreRefused(provider=provider, endpoint=where, reason=reason)
