"""What a response means."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from dumacle_cli import errors
from dumacle_cli.clients.store_errors import store_error
from dumacle_cli.errors import DumacleError

pytestmark = pytest.mark.unit

HTML = {"content-type": "text/html; charset=utf-8"}


def dated(ahead: float) -> dict[str, str]:
    return {"date": format_datetime(datetime.now(UTC) + timedelta(seconds=ahead), usegmt=True)}


@pytest.mark.parametrize(
    ("key", "code", "status", "meaning"),
    [
        ("k", "NoSuchKey", 404, errors.ObjectMissing),
        ("k", "404", 404, errors.ObjectMissing),
        ("k", "NoSuchBucket", 404, errors.NoSuchBucket),
        ("", "404", 404, errors.StoreRefused),
        ("k", "NoSuchUpload", 404, errors.UploadLost),
        ("k", "InvalidAccessKeyId", 403, errors.KeysRefused),
        ("k", "SignatureDoesNotMatch", 403, errors.KeysRefused),
        ("k", "ExpiredToken", 400, errors.KeysRefused),
        ("k", "AccessDenied", 403, errors.AccessRefused),
        ("k", "AccessDenied", 200, errors.AccessRefused),
        ("k", "403", 403, errors.AccessRefused),
        ("k", "RequestTimeTooSkewed", 403, errors.ClockWrong),
        ("k", "BadDigest", 400, errors.StoreUnavailable),
        ("k", "InternalError", 200, errors.StoreUnavailable),
        ("k", "InvalidBucketName", 400, errors.BucketUnusable),
        ("k", "QuotaExceeded", 403, errors.StoreFull),
        ("k", "507", 507, errors.StoreFull),
        ("k", "SlowDown", 503, errors.StoreBusy),
        ("k", "SlowDown", 200, errors.StoreBusy),
        ("k", "429", 429, errors.StoreBusy),
        ("k", "unheard-of", 503, errors.StoreUnavailable),
        ("k", "no answer", 0, errors.StoreUnavailable),
        ("k", "NotImplemented", 501, errors.NotSupported),
        ("k", "MethodNotAllowed", 405, errors.NotSupported),
        ("k", "EntityTooLarge", 400, errors.StoreRefused),
        ("k", "302", 302, errors.Redirected),
    ],
)
def test_meaning(key: str, code: str, status: int, meaning: type[DumacleError]) -> None:
    assert type(store_error("wasabi", "https://s3.example", key, code, status, "")) is meaning


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        # Python's, libcurl's and Rust's words.
        ("Connection refused", errors.StoreUnreachable),
        ("Failed to connect to 127.0.0.1 port 9 after 0 ms: Could not connect to server", errors.StoreUnreachable),
        ("error trying to connect: tcp connect error", errors.StoreUnreachable),
        ("Name or service not known", errors.StoreUnreachable),
        ("Could not resolve host: s3.invalid", errors.StoreUnreachable),
        ("dns error: failed to lookup address information", errors.StoreUnreachable),
        ("SSL certificate problem: self-signed certificate", errors.CertificateRefused),
        ("invalid peer certificate: UnknownIssuer", errors.CertificateRefused),
        ("SSL: no alternative certificate subject name matches target host name", errors.CertificateRefused),
        ("Operation too slow. Less than 1 bytes/sec transferred the last 60 seconds", errors.StoreUnavailable),
        ("operation timed out", errors.StoreUnavailable),
    ],
)
def test_meaning_of_no_response(said: str, meaning: type[DumacleError]) -> None:
    assert type(store_error("s3", None, "k", said, 0, "")) is meaning
    assert type(store_error("s3", None, "k", "HTTPClientError", 0, said)) is meaning


@pytest.mark.parametrize(
    ("code", "ahead", "said"),
    [
        ("RequestTimeTooSkewed", 3600, "clock is 1h 00min behind the store's"),
        ("RequestTimeTooSkewed", -1200, "clock is 20min 00s ahead of the store's"),
        ("RequestTimeTooSkewed", 0, "clock is too far from the store's"),
        ("SignatureDoesNotMatch", 3600, "behind the store's"),
        ("403", -3600, "ahead of the store's"),
    ],
)
def test_the_clock_is_named_with_its_distance(code: str, ahead: float, said: str) -> None:
    # Half a second is lost to the whole seconds of the header.
    found = store_error("s3", None, "k", code, 403, "", dated(ahead + (0.5 if ahead else 0)))
    assert type(found) is errors.ClockWrong
    assert said in str(found)


@pytest.mark.parametrize(
    ("code", "headers"),
    [("AccessDenied", dated(60)), ("SignatureDoesNotMatch", {"date": "yesterday"}), ("AccessDenied", {})],
)
def test_the_clock_is_not_blamed_for_other_refusals(code: str, headers: dict[str, str]) -> None:
    assert type(store_error("s3", None, "k", code, 403, "", headers)) is not errors.ClockWrong


@pytest.mark.parametrize(
    ("status", "code", "message", "headers"),
    [
        (301, "PermanentRedirect", "use the specified endpoint", {"x-amz-bucket-region": "eu-west-1"}),
        (301, "301", "", {"x-amz-bucket-region": "eu-west-1"}),
        (301, "PermanentRedirect", "use the specified endpoint media.s3.eu-west-1.amazonaws.com", {}),
        (307, "TemporaryRedirect", "re-send to media.s3-eu-west-1.amazonaws.com", {}),
        (400, "AuthorizationHeaderMalformed", "the region 'us-east-1' is wrong; expecting 'eu-west-1'", {}),
        (400, "IllegalLocationConstraintException", "unspecified", {"x-amz-bucket-region": "eu-west-1"}),
    ],
)
def test_the_region_is_named_with_its_setting(status: int, code: str, message: str, headers: dict[str, str]) -> None:
    found = store_error("wasabi", "https://s3.example", "k", code, status, message, headers)
    assert type(found) is errors.WrongRegion
    assert "region eu-west-1" in str(found)
    assert "dumacle config set wasabi_region eu-west-1" in found.remedy


@pytest.mark.parametrize(
    ("status", "meaning"),
    [(200, errors.NotAStore), (403, errors.NotAStore), (404, errors.NotAStore), (302, errors.NotAStore)],
)
def test_a_web_page_is_no_response_of_a_store(status: int, meaning: type[DumacleError]) -> None:
    assert type(store_error("s3", None, "k", str(status), status, "", HTML)) is meaning


def test_a_proxys_page_about_a_passing_fault_is_temporary() -> None:
    assert type(store_error("s3", None, "k", "502", 502, "", HTML)) is errors.StoreUnavailable


@pytest.mark.parametrize("shown", [{"etag": '"x"'}, {"x-amz-request-id": "1"}])
def test_a_stores_own_html_is_no_web_page(shown: dict[str, str]) -> None:
    assert type(store_error("s3", None, "k", "404", 404, "", HTML | shown)) is errors.ObjectMissing
