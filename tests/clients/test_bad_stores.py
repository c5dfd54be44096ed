"""Stores that fail or lie, through real commands: each ends right, and with a sentence and its fix."""

import socket
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from threading import Thread

import pytest

from dumacle_cli import errors
from dumacle_cli.clients.boto import FAULT_BYTES
from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.objects import Location, Part
from dumacle_cli.clients.puts import Puts
from dumacle_cli.errors import Exit
from tests.clients import small_store
from tests.clients.small_store import Answer, SmallStore, fault
from tests.conftest import Run

pytestmark = pytest.mark.integration

X = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
"""The SHA-256 of b"x"."""
ADA = "ada@example.com"
MIB = 1024**2
HOUR = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
PAGE: Answer = (200, b"<html><p>please log in</html>", {"Content-Type": "text/html"})


@pytest.fixture
def store() -> Iterator[SmallStore]:
    with small_store.serving() as server:
        yield server


@pytest.fixture
def far(run: Run, store: SmallStore, environment: Callable[..., None]) -> Run:
    """The program with a pod at the store, and a user who may upload into it."""
    environment(
        DUMACLE_PATIENCE="1s",
        DUMACLE_S3_ENDPOINT=store.url,
        DUMACLE_S3_BUCKET="media",
        DUMACLE_S3_ACCESS_KEY="k",
        DUMACLE_S3_SECRET_KEY="s",
    )
    run("users", "create", ADA)
    run("quotas", "set", ADA, "--storage", "unlimited", "--upload", "unlimited")
    run("pods", "create", "far", "--capacity", "1GiB", "--provider", "s3")
    run("pods", "grant", "far", ADA)
    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "in"
    place.mkdir()
    for number in range(3):
        (place / f"{number}.jpg").write_bytes(b"\xff\xd8\xff" + bytes([number]) * 500)
    return place


def upload(run: Run, folder: Path, expect: int, *options: str) -> str:
    done = run("files", "upload", folder, "--pod", "far", "--owner", ADA, *options, expect=expect)
    return done.out + done.err


def uploaded(run: Run) -> int:
    return sum(row["status"] == "uploaded" for row in run("files", "list", "--owner", ADA, "-o", "json").data)


def examined(run: Run) -> dict[str, str]:
    """What doctor says of the bucket."""
    (row,) = [row for row in run("doctor", "-o", "json", expect=Exit.FAILED).data if row["check"] == "s3"]
    return dict(row)


@pytest.mark.parametrize(
    ("wrong", "sentence", "fix", "status"),
    [
        (fault("InvalidAccessKeyId", 403), "does not accept the keys", "s3_access_key", Exit.FORBIDDEN),
        (fault("SignatureDoesNotMatch", 403), "does not accept the keys", "s3_secret_key", Exit.FORBIDDEN),
        (fault("ExpiredToken", 400), "does not accept the keys", "s3_access_key", Exit.FORBIDDEN),
        (fault("AccessDenied", 403), "refused access", "allow these keys", Exit.FORBIDDEN),
        (fault("NoSuchBucket", 404), "has no such bucket", "s3_bucket", Exit.NOT_FOUND),
        (fault("InvalidBucketName", 400), "does not accept the bucket", "s3_bucket", Exit.USAGE),
        (fault("QuotaExceeded", 403), "accepts no more data", "raise the quota", Exit.LIMIT),
        (fault("MethodNotAllowed", 405), "does not support the request", "s3_endpoint", Exit.USAGE),
        (fault("NotImplemented", 501), "does not support the request", "s3_endpoint", Exit.USAGE),
        (fault("SlowDown", 503), "asks for fewer requests", "--concurrency N", Exit.TEMPORARY),
        (fault("InternalError", 500), "is unavailable", "repeat the command", Exit.TEMPORARY),
        (fault("RequestTimeTooSkewed", 403, date=HOUR), "behind the store's", "NTP", Exit.FAILED),
        (fault("AccessDenied", 403, date=HOUR), "behind the store's", "NTP", Exit.FAILED),
        (
            fault("PermanentRedirect", 301, x_amz_bucket_region="eu-west-1"),
            "region eu-west-1",
            "s3_region eu-west-1",
            Exit.USAGE,
        ),
        (fault("TemporaryRedirect", 307, location="http://127.0.0.1:9/"), "not followed", "s3_region", Exit.USAGE),
        (lambda method, path: PAGE, "did not respond as S3 does", "login page", Exit.USAGE),
        (lambda method, path: (404, *PAGE[1:]), "did not respond as S3 does", "login page", Exit.USAGE),
        (lambda method, path: (200, b"", {}), "did not respond as S3 does", "login page", Exit.USAGE),
        (lambda method, path: (502, *PAGE[1:]), "502, a web page", "repeat the command", Exit.TEMPORARY),
    ],
)
def test_each_fault_has_its_sentence_and_its_fix(
    far: Run, store: SmallStore, folder: Path, wrong: Callable[[str, str], Answer], sentence: str, fix: str, status: int
) -> None:
    store.fault = wrong
    found = examined(far)
    assert sentence in found["finding"]
    assert fix in found["fix"]
    assert sentence in " ".join(upload(far, folder, status).split())
    assert uploaded(far) == 0


@pytest.mark.parametrize(
    ("endpoint", "sentence"),
    [("http://store.invalid", "cannot be reached"), ("http://127.0.0.1:9", "cannot be reached: Connection refused")],
)
def test_a_store_that_is_not_there(far: Run, environment: Callable[..., None], endpoint: str, sentence: str) -> None:
    environment(DUMACLE_S3_ENDPOINT=endpoint)
    found = examined(far)
    assert sentence in found["finding"]
    assert "s3_endpoint" in found["fix"]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (PAGE, errors.StoreRefused),
        (fault("AccessDenied", 403)("GET", "/"), errors.StoreRefused),
        (fault("SlowDown", 503)("GET", "/"), errors.StoreUnavailable),
        ((200, b"<Error><Code>InternalError</Code></Error>", {}), errors.StoreRefused),
        ((200, b"short", {"ETag": '"x"', "Content-Length": "9"}), errors.StoreUnavailable),
    ],
)
def test_what_is_no_object_is_not_got(store: SmallStore, wrong: Answer, error: type[errors.DumacleError]) -> None:
    store.fault = lambda method, path: wrong
    with closing(Puts(Location("s3", store.url, "us-east-1", "media", "k", "s"))) as puts, pytest.raises(error):
        puts.get("k", 9)


def test_redirects_are_never_followed(far: Run, store: SmallStore, folder: Path) -> None:
    with small_store.serving() as trap:
        for status in (301, 302, 307, 308):
            headers = {"Location": f"{trap.url}/media/k", "x-amz-bucket-region": "eu-west-1"}
            store.fault = lambda method, path, status=status, headers=headers: (status, b"", dict(headers))
            examined(far)
            upload(far, folder, Exit.USAGE)
        assert trap.seen == []


@pytest.mark.parametrize("status", [200, 403, 500])
def test_an_endless_body_is_not_read(status: int) -> None:
    sent = 0

    def serve(server: socket.socket) -> None:
        nonlocal sent
        with suppress(OSError):
            while True:
                peer, _ = server.accept()
                with peer, suppress(OSError):
                    peer.recv(65536)
                    peer.sendall(f"HTTP/1.1 {status} X\r\nContent-Type: application/xml\r\n\r\n".encode())
                    while True:
                        sent += peer.send(b" " * FAULT_BYTES)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = Thread(target=serve, args=[server], daemon=True)
        thread.start()
        location = Location("s3", f"http://127.0.0.1:{server.getsockname()[1]}", "us-east-1", "b", "k", "s")
        with ObjectStore(location) as asked, pytest.raises(errors.StoreFault):
            list(asked.list(""))
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert sent < 128 * 1024**2


@pytest.mark.parametrize("client", [ObjectStore, Puts])
def test_an_error_within_a_success_of_complete_is_no_success(
    store: SmallStore, client: type[ObjectStore | Puts]
) -> None:
    location = Location("s3", store.url, "us-east-1", "media", "k", "s")
    with closing(client(location)) as asked:
        started = asked.create_multipart("k", "video/mp4")
        part = Part(
            1,
            asked.put_part("k", started, 1, b"x", X),
            1,
        )
        store.fault = lambda method, path: (200, b"<Error><Code>InternalError</Code></Error>", {})
        with pytest.raises(errors.StoreUnavailable, match="InternalError"):
            asked.complete_multipart("k", started, [part])


@pytest.mark.parametrize("answer", [PAGE, (200, b"", {})])
def test_a_success_without_what_it_must_hold_is_none(store: SmallStore, answer: Answer) -> None:
    location = Location("s3", store.url, "us-east-1", "media", "k", "s")
    store.fault = lambda method, path: (answer[0], answer[1], dict(answer[2]))
    with ObjectStore(location) as asked:
        for ask in (
            lambda: asked.put("k", b"x", X, "image/png"),
            lambda: asked.head("k"),
            lambda: list(asked.get("k")),
            lambda: list(asked.list("")),
            lambda: asked.create_multipart("k", "image/png"),
            lambda: asked.put_part("k", "u", 1, b"x", X),
            lambda: asked.complete_multipart("k", "u", [Part(1, "e", 1)]),
        ):
            with pytest.raises(errors.NotAStore):
                ask()
    with closing(Puts(location)) as lane:
        for request in (
            lambda: lane.put("k", b"x", X, "image/png"),
            lambda: lane.head("k"),
            lambda: lane.create_multipart("k", "image/png"),
            lambda: lane.put_part("k", "u", 1, b"x", X),
            lambda: lane.complete_multipart("k", "u", [Part(1, "e", 1)]),
        ):
            with pytest.raises(errors.NotAStore):
                request()


def test_an_item_without_what_it_must_hold_is_none(store: SmallStore) -> None:
    location = Location("s3", store.url, "us-east-1", "media", "k", "s")
    with ObjectStore(location) as asked:
        for root, ask in (
            (
                "ListBucketResult><Contents><Key>k</Key></Contents><IsTruncated>false</IsTruncated",
                lambda: asked.list(""),
            ),
            ("ListPartsResult><UploadId>u</UploadId><Part><ETag>e</ETag></Part", lambda: asked.list_parts("k", "u")),
            ("ListMultipartUploadsResult><Upload><Key>k</Key></Upload", lambda: asked.unfinished("")),
            ("CopyObjectResult><LastModified>2026-01-01T00:00:00Z</LastModified", lambda: [asked.copy("k", "l", "")]),
        ):
            body = f"<{root}></{root.split('>')[0]}>".encode()
            store.fault = lambda method, path, body=body: (200, body, {"Content-Type": "application/xml"})
            with pytest.raises(errors.NotAStore, match="has no"):
                list(ask())
        store.fault = lambda method, path: (200, b"", {})
        with pytest.raises(errors.NotAStore, match="has no"):
            asked.copy("k", "l", "")


# Stores that say yes, and do something else


def originals(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def verified(run: Run, *options: str, expect: int = 0) -> list[str]:
    found = run("files", "verify", "--owner", ADA, *options, "-o", "json", expect=expect).data
    return [row["result"] for row in found]


def settled(run: Run, store: SmallStore, folder: Path, *options: str) -> None:
    """Probe the store, upload, and check that what the rows say is true."""
    run("pods", "probe", "far")
    upload(run, folder, 0, *options)
    assert uploaded(run) == 3
    assert sorted(body for body, _ in store.objects.values()) == originals(folder)
    assert verified(run) == ["verified"] * 3
    assert verified(run, "--read") == ["verified"] * 3


@pytest.mark.parametrize("heedless", ["conditions", "metadata", "types", "md5", "payload"])
@pytest.mark.parametrize("in_parts", [False, True])
def test_a_store_that_does_not_heed_something(
    far: Run, store: SmallStore, folder: Path, environment: Callable[..., None], heedless: str, in_parts: bool
) -> None:
    if in_parts:
        environment(DUMACLE_LARGE_FILE_SIZE="100")
    store.heeds -= {heedless}
    settled(far, store, folder)


@pytest.mark.parametrize("in_parts", [False, True])
def test_a_store_whose_etags_are_no_md5_and_that_enforces_nothing_is_read_back(
    far: Run, store: SmallStore, folder: Path, environment: Callable[..., None], in_parts: bool
) -> None:
    if in_parts:
        environment(DUMACLE_LARGE_FILE_SIZE="100")
    store.heeds.clear()
    store.etag = lambda body: f"etag-{len(body)}"
    settled(far, store, folder)


@pytest.mark.parametrize("etag", ["md5", "other"])
def test_a_store_that_alters_what_it_is_given(far: Run, store: SmallStore, folder: Path, etag: str) -> None:
    store.heeds -= {"payload", "md5"}
    if etag == "other":
        store.etag = lambda body: f"etag-{len(body)}"
    far("pods", "probe", "far")
    store.corrupts = True
    assert "differs" in upload(far, folder, Exit.INTEGRITY)
    assert uploaded(far) == 0
    store.corrupts = False
    upload(far, folder, 0)
    assert uploaded(far) == 3


@pytest.mark.parametrize("nothing", [lambda method, path: (404, b"", {}), fault("NoSuchBucket", 404)])
def test_objects_are_not_missing_because_the_bucket_or_the_store_is(
    far: Run, store: SmallStore, folder: Path, nothing: Callable[[str, str], Answer]
) -> None:
    upload(far, folder, 0)
    store.fault = lambda method, path: (404, b"", {}) if method == "HEAD" else nothing(method, path)
    for options in ((), ("--read",)):
        assert verified(far, *options, expect=Exit.PARTIAL) == ["failed"] * 3
    announced = ("--owner", ADA, "--pod", "far", "--size", "5", "--type", "video/mp4", "-o", "json")
    refused = far("files", "initiate", "a.mp4", *announced, expect={Exit.FORBIDDEN, Exit.NOT_FOUND}).error
    assert refused["code"] in ("store-refused", "no-such-bucket")
    store.fault = lambda method, path: None
    assert "unchanged 3" in " ".join(upload(far, folder, 0).split())


def test_a_store_that_breaks_off_what_is_read(far: Run, store: SmallStore, folder: Path, tmp_path: Path) -> None:
    upload(far, folder, 0)

    def cut(method: str, path: str, answer: Answer) -> Answer:
        status, body, headers = answer
        length = {"Content-Length": str(len(body)), "Connection": "close"}
        return (status, body[:-1], headers | length) if method == "GET" else answer

    store.after = cut
    (one, *_) = far("files", "list", "--owner", ADA, "-o", "json").data
    refused = far("files", "download", one["id"], "--to", tmp_path / "cut.jpg", "-o", "json", expect=Exit.TEMPORARY)
    assert refused.error["code"] == "download-incomplete"
    assert not (tmp_path / "cut.jpg").exists()
    store.after = lambda method, path, answer: answer
    far("files", "download", one["id"], "--to", tmp_path / "cut.jpg")
    assert (tmp_path / "cut.jpg").stat().st_size == one["size"]


def test_an_answer_to_complete_that_is_lost(
    far: Run, store: SmallStore, folder: Path, environment: Callable[..., None]
) -> None:
    environment(DUMACLE_LARGE_FILE_SIZE="100")
    lost: set[str] = set()

    def lose(method: str, path: str, answer: Answer) -> Answer | None:
        if method == "POST" and "uploadId" in path and path.split("?")[0] not in lost:
            lost.add(path.split("?")[0])
            return None
        return answer

    store.after = lose
    upload(far, folder, 0)
    assert len(lost) == 3
    store.after = lambda method, path, answer: answer
    assert uploaded(far) == 3
    assert verified(far, "--read") == ["verified"] * 3
