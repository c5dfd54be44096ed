"""What an answer means."""

import pytest

from dumacle_cli.clients.store_errors import store_error
from dumacle_cli.errors import DumacleError, ObjectMissing, StoreRefused, StoreUnavailable, UploadLost

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("key", "code", "status", "meaning"),
    [
        ("k", "NoSuchKey", 404, ObjectMissing),
        ("k", "404", 404, ObjectMissing),
        ("k", "NoSuchBucket", 404, StoreRefused),
        ("", "404", 404, StoreRefused),
        ("k", "NoSuchUpload", 404, UploadLost),
        ("k", "AccessDenied", 403, StoreRefused),
        ("k", "AccessDenied", 200, StoreRefused),
        ("k", "RequestTimeTooSkewed", 403, StoreUnavailable),
        ("k", "BadDigest", 400, StoreUnavailable),
        ("k", "InternalError", 200, StoreUnavailable),
        ("k", "SlowDown", 503, StoreUnavailable),
        ("k", "429", 429, StoreUnavailable),
        ("k", "no answer", 0, StoreUnavailable),
        ("k", "NotImplemented", 501, StoreRefused),
        ("k", "PermanentRedirect", 301, StoreRefused),
    ],
)
def test_meaning(key: str, code: str, status: int, meaning: type[DumacleError]) -> None:
    assert type(store_error("wasabi", "https://s3.example", key, code, status, "")) is meaning
