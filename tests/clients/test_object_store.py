"""What every store promises, on rclone `serve s3` and on moto; where one of them promises less, the test says so."""

import hashlib
import re
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from email.message import Message
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.parse import unquote
from urllib.request import Request, urlopen

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from dumacle_cli.clients.disposition import disposition
from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.objects import Location, Part
from dumacle_cli.clients.puts import Puts
from dumacle_cli.errors import (
    CertificateRefused,
    DumacleError,
    InvalidValue,
    ObjectMissing,
    StoreRefused,
    StoreUnavailable,
    UploadLost,
)
from tests import buckets

if TYPE_CHECKING:
    from tests.clients.conftest import Wire

pytestmark = pytest.mark.integration

MIB = 1024**2
PART = b"\x01\x02" * (5 * MIB // 2)
KEYS = [
    "plain.jpg",
    "a b+c=d&e;f@g,h!i'(j)$.mov",
    "#hash?query%20%2F~.png",
    "deep/er/and/deeper",
    "[x]{y}^`|<z>",
    "x" * 200,
]


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def md5(body: bytes) -> str:
    return hashlib.md5(body).hexdigest()


def put(store: ObjectStore, key: str, body: bytes, content_type: str = "image/jpeg") -> str:
    return store.put(key, body, sha256(body), content_type)


def small(location: Location, key: str, body: bytes) -> str:
    with closing(Puts(location)) as lane:
        return lane.put(key, body, sha256(body), "image/png")


def status_of(url: str | Request) -> int:
    try:
        with urlopen(url, timeout=10) as answer:
            return int(answer.status)
    except HTTPError as refusal:
        with refusal:
            return refusal.code


# Objects


@pytest.mark.parametrize("size", [0, 1, 5 * MIB + 1])
def test_what_was_put_is_got(store: ObjectStore, location: Location, prefix: str, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    etag = put(store, prefix + "o", body, "video/mp4")
    head = store.head(prefix + "o")
    assert (head.size, head.content_type, head.etag) == (size, "video/mp4", etag)
    assert etag == md5(body)
    chunks = list(store.get(prefix + "o"))
    assert b"".join(chunks) == body
    assert max(map(len, chunks), default=0) <= MIB
    with closing(Puts(location)) as lane:
        assert [lane.get(prefix + "o", size) for _ in range(2)] == [body, body]
        assert lane.get(prefix + "o", size // 2)[: size // 2] == body[: size // 2]


@pytest.mark.parametrize("name", KEYS)
def test_keys_are_kept_as_they_are(store: ObjectStore, location: Location, prefix: str, name: str) -> None:
    put(store, f"{prefix}big/{name}", b"big")
    small(location, f"{prefix}small/{name}", b"small")
    assert [entry.key for entry in store.list(prefix)] == [f"{prefix}big/{name}", f"{prefix}small/{name}"]
    assert b"".join(store.get(f"{prefix}small/{name}")) == b"small"
    with urlopen(store.presign_get(f"{prefix}big/{name}", 60, "x", "image/png"), timeout=10) as answer:
        assert answer.read() == b"big"


def test_missing_object(store: ObjectStore, prefix: str) -> None:
    with pytest.raises(ObjectMissing, match=prefix + "none"):
        store.head(prefix + "none")
    with pytest.raises(ObjectMissing):
        store.get(prefix + "none")
    with pytest.raises(ObjectMissing, match=prefix + "none"):
        store.puts.get(prefix + "none", 1)


def test_list_pages_in_order_and_resumes_after_a_key(store: ObjectStore, location: Location, prefix: str) -> None:
    names = [f"{prefix}{number:04}" for number in range(1010)]

    with closing(Puts(location)) as lane, ThreadPoolExecutor(32) as pool:
        # The embedded server makes a folder of a prefix, and answers 500 to some of many first requests for it at once.
        lane.put(names[0], b"xy", sha256(b"xy"), "image/png")
        list(pool.map(lambda name: lane.put(name, b"xy", sha256(b"xy"), "image/png"), names))
    entries = list(store.list(prefix))
    assert [entry.key for entry in entries] == names
    assert {(entry.size, entry.etag, entry.modified.utcoffset() is not None) for entry in entries} == {
        (2, md5(b"xy"), True)
    }
    assert [entry.key for entry in store.list(prefix, after=names[1003])] == names[1004:]
    store.delete(iter(names[1:]))
    assert [entry.key for entry in store.list(prefix)] == names[:1]


def test_delete_twice(store: ObjectStore, prefix: str) -> None:
    put(store, prefix + "d", b"x")
    store.delete([prefix + "d", prefix + "never"])
    store.delete([prefix + "d"])
    store.delete([])
    with pytest.raises(ObjectMissing):
        store.head(prefix + "d")


def test_a_bucket_that_does_not_exist_is_refused(location: Location) -> None:
    missing = replace(location, bucket="never-created")
    with ObjectStore(missing) as store, pytest.raises(StoreRefused, match="NoSuchBucket"):
        list(store.list(""))


# Links. moto enforces nothing of a presigned URL, so what must be refused is tried on rclone alone.


def test_link_downloads_under_its_name(store: ObjectStore, prefix: str) -> None:
    put(store, prefix + "p", b"film")
    with urlopen(store.presign_get(prefix + "p", 60, 'Ä "1".mp4', "video/mp4"), timeout=10) as answer:
        assert answer.read() == b"film"


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [
        ("video/mp4", "inline"),
        ("Image/JPEG", "inline"),
        ("application/vnd.apple.mpegurl", "inline"),
        ("text/html", "attachment"),
        ("image/svg+xml", "attachment"),
        ("Image/SVG+xml; charset=utf-8", "attachment"),
        ("application/octet-stream", "attachment"),
    ],
)
def test_media_is_shown_and_what_can_hold_scripts_is_saved(
    content_type: str, kind: str, store: ObjectStore, prefix: str
) -> None:
    put(store, prefix + "p", b"film")
    for download, wanted in ((False, kind), (True, "attachment")):
        link = store.presign_get(prefix + "p", 60, "p", content_type, download=download)
        with urlopen(link, timeout=10) as answer:
            assert answer.headers["Content-Disposition"].startswith(f"{wanted}; ")


@pytest.mark.parametrize("name", ["plain.mp4", 'Ä "1"; x\\y%.mp4', "a\r\nSet-Cookie: b", "日本.mov"])
def test_disposition_is_one_ascii_header_that_decodes_to_the_name(name: str) -> None:
    header = disposition(name, "video/mp4", download=True)
    assert header.isascii()
    assert header.isprintable()
    message = Message()
    message["Content-Disposition"] = header
    assert message.get_content_disposition() == "attachment"
    assert unquote(header.partition("filename*=UTF-8''")[2]) == name


def test_tampered_link_is_refused_by_rclone(rclone: Location, prefix: str) -> None:
    with ObjectStore(rclone) as store:
        put(store, prefix + "p", b"mine")
        put(store, prefix + "q", b"not mine")
        link = store.presign_get(prefix + "p", 60, "p", "image/png")
    assert status_of(link) == 200
    assert status_of(link.replace(prefix + "p", prefix + "q")) == 403
    assert status_of(link.replace("X-Amz-Expires=60", "X-Amz-Expires=600")) == 403


def test_expired_link_is_refused_by_rclone(rclone: Location, prefix: str) -> None:
    with ObjectStore(rclone) as store:
        put(store, prefix + "p", b"x")
        link = store.presign_get(prefix + "p", 1, "p", "image/png")
    deadline = time.monotonic() + 10
    while (status := status_of(link)) == 200 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert status in (400, 403)


# Multipart


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_multipart_in_any_order(store: ObjectStore, location: Location, prefix: str, order: tuple[int, ...]) -> None:
    bodies = {1: PART, 2: PART[::-1], 3: b"tail"}
    key = prefix + "m"
    upload = store.create_multipart(key, "video/mp4")
    sent = [
        Part(number, store.put_part(key, upload, number, bodies[number], sha256(bodies[number])), len(bodies[number]))
        for number in order
    ]
    assert buckets.unfinished_uploads(location, prefix) == [upload]
    assert store.complete_multipart(key, upload, sent)
    assert b"".join(store.get(key)) == b"".join(bodies[number] for number in (1, 2, 3))
    assert store.head(key).content_type == "video/mp4"
    assert buckets.unfinished_uploads(location, prefix) == []


def test_the_same_part_may_be_sent_again(store: ObjectStore, prefix: str) -> None:
    key = prefix + "m"
    upload = store.create_multipart(key, "video/mp4")
    etags = {store.put_part(key, upload, 1, b"same", sha256(b"same")) for _ in range(2)}
    (etag,) = etags
    store.complete_multipart(key, upload, [Part(1, etag, 4)])
    assert b"".join(store.get(key)) == b"same"


def test_other_bytes_for_a_part_are_refused_for_good_by_rclone(rclone: Location, prefix: str) -> None:
    with ObjectStore(rclone) as store:
        upload = store.create_multipart(prefix + "m", "video/mp4")
        store.put_part(prefix + "m", upload, 1, b"first", sha256(b"first"))
        with pytest.raises(StoreRefused, match="NotImplemented"):
            store.put_part(prefix + "m", upload, 1, b"second", sha256(b"second"))
        store.abort_multipart(prefix + "m", upload)


def test_aborted_upload_is_gone(store: ObjectStore, location: Location, prefix: str) -> None:
    key = prefix + "m"
    upload = store.create_multipart(key, "video/mp4")
    store.put_part(key, upload, 1, b"x", sha256(b"x"))
    store.abort_multipart(key, upload)
    assert buckets.unfinished_uploads(location, prefix) == []
    with pytest.raises(ObjectMissing):
        store.head(key)


def test_lost_upload_is_told_by_rclone_where_moto_crashes(rclone: Location, prefix: str) -> None:
    with ObjectStore(rclone) as store:
        with pytest.raises(UploadLost):
            store.put_part(prefix + "m", "no-such-upload", 1, b"x", sha256(b"x"))
        with pytest.raises(UploadLost):
            store.complete_multipart(prefix + "m", "no-such-upload", [Part(1, md5(b"x"), 1)])
        with pytest.raises(UploadLost):
            store.abort_multipart(prefix + "m", "no-such-upload")


# What was signed, and what a broken wire does (on rclone: it enforces Content-MD5, moto nothing)


def test_put_and_part_sign_the_given_hash(wired: Location, wire: "Wire", prefix: str) -> None:
    with ObjectStore(wired) as store:
        put(store, prefix + "s", b"body")
        upload = store.create_multipart(prefix + "m", "video/mp4")
        store.put_part(prefix + "m", upload, 1, b"part", sha256(b"part"))
        store.abort_multipart(prefix + "m", upload)
    small(wired, prefix + "t", b"tiny")
    assert [sent["x-amz-content-sha256"] for sent in wire.puts] == list(map(sha256, [b"body", b"part", b"tiny"]))
    assert all("x-amz-content-sha256" in sent["authorization"] for sent in wire.puts)
    assert not any("trailer" in name or "checksum" in name for sent in wire.puts for name in sent)


def test_over_https_the_payload_is_signed_too(rclone: Location) -> None:
    sent = {}
    with ObjectStore(replace(rclone, provider="wasabi", endpoint="https://s3.invalid")) as store:

        def refuse(request: object, **_: object) -> None:
            sent.update(request.headers)  # type: ignore[attr-defined]
            raise KeyboardInterrupt

        store._client.meta.events.register("before-send.s3.PutObject", refuse)
        with pytest.raises(KeyboardInterrupt):
            put(store, "k", b"body")
    assert sent["X-Amz-Content-SHA256"] == sha256(b"body").encode()


def test_corruption_on_the_wire_stores_nothing_and_may_be_repeated(
    rclone: Location, wired: Location, wire: "Wire", prefix: str
) -> None:
    with ObjectStore(wired) as store:
        upload = store.create_multipart(prefix + "m", "video/mp4")
        wire.corrupting = True
        with pytest.raises(StoreUnavailable, match="BadDigest"):
            put(store, prefix + "s", b"body")
        with pytest.raises(StoreUnavailable, match="BadDigest"):
            store.put_part(prefix + "m", upload, 1, b"part", sha256(b"part"))
    with ObjectStore(rclone) as direct:
        assert list(direct.list(prefix)) == []


def test_corruption_in_the_small_lane_is_seen_by_the_etag(wired: Location, wire: "Wire", prefix: str) -> None:
    assert small(wired, prefix + "a", b"body") == md5(b"body")
    wire.corrupting = True
    assert small(wired, prefix + "b", b"body") != md5(b"body")


# The small lane


@pytest.mark.parametrize("body", [b"", b"x", bytes(range(256)) * 4096])
def test_small_lane_keeps_the_promise_of_put(store: ObjectStore, location: Location, prefix: str, body: bytes) -> None:
    assert small(location, prefix + "s", body) == md5(body)
    head = store.head(prefix + "s")
    assert (head.size, head.content_type, head.etag) == (len(body), "image/png", md5(body))
    assert b"".join(store.get(prefix + "s")) == body


def send_parts(location: Location, key: str, upload: str, *bodies: bytes) -> list[Part]:
    with closing(Puts(location)) as lane, ThreadPoolExecutor(4) as pool:

        def send(number: int, body: bytes) -> Part:
            return Part(number, lane.put_part(key, upload, number, body, sha256(body)), len(body))

        return list(pool.map(send, range(1, len(bodies) + 1), bodies))


def test_parts_go_up_side_by_side(store: ObjectStore, location: Location, prefix: str) -> None:
    upload = store.create_multipart(prefix + "m", "video/mp4")
    parts = send_parts(location, prefix + "m", upload, PART, PART[::-1], b"end")
    assert [part.etag for part in parts] == [md5(PART), md5(PART[::-1]), md5(b"end")]
    store.complete_multipart(prefix + "m", upload, parts)
    assert b"".join(store.get(prefix + "m")) == PART + PART[::-1] + b"end"


@pytest.mark.parametrize("name", KEYS)
def test_without_boto3_an_object_is_made_in_parts(
    store: ObjectStore, location: Location, prefix: str, name: str
) -> None:
    key = prefix + name
    with closing(Puts(location)) as lane:
        upload = lane.create_multipart(key, "video/mp4")
        parts = send_parts(location, key, upload, PART, b"end")
        assert lane.complete_multipart(key, upload, reversed(parts))
        head = lane.head(key)
    assert head == store.head(key)
    assert (head.size, head.content_type) == (len(PART) + 3, "video/mp4")
    assert b"".join(store.get(key)) == PART + b"end"


def test_without_boto3_what_is_missing_is_told(rclone: Location, prefix: str) -> None:
    with closing(Puts(rclone)) as lane:
        with pytest.raises(ObjectMissing, match=prefix + "none"):
            lane.head(prefix + "none")
        with pytest.raises(UploadLost):
            lane.complete_multipart(prefix + "m", "no-such-upload", [Part(1, md5(b"x"), 1)])


def test_part_of_an_upload_that_is_gone(rclone: Location, prefix: str) -> None:
    with ObjectStore(rclone) as store:
        upload = store.create_multipart(prefix + "m", "video/mp4")
        store.abort_multipart(prefix + "m", upload)
    with pytest.raises(UploadLost):
        send_parts(rclone, prefix + "m", upload, b"part")


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("in_parts", [False, True])
def test_puts_are_signed_as_botocore_would(
    wired: Location, wire: "Wire", prefix: str, name: str, in_parts: bool
) -> None:
    if in_parts:
        with ObjectStore(wired) as store:
            send_parts(wired, prefix + name, store.create_multipart(prefix + name, "video/mp4"), b"body")
    else:
        small(wired, prefix + name, b"body")
    (sent,) = wire.puts
    credential, signed, signature = re.findall(r"(?:Credential|SignedHeaders|Signature)=([^,]+)", sent["authorization"])
    assert {"host", "x-amz-content-sha256", "x-amz-date"} <= set(signed.split(";"))
    request = AWSRequest("PUT", wire.url + sent["path"], {name: sent[name] for name in signed.split(";")})
    request.context["timestamp"] = sent["x-amz-date"]
    signer = S3SigV4Auth(Credentials(wired.access_key, wired.secret_key), "s3", "us-east-1")
    assert credential == signer.scope(request)
    assert signature == signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)


def test_small_lane_sends_once_and_names_the_fault(wired: Location, wire: "Wire", prefix: str) -> None:
    wire.failing = 1
    with pytest.raises(StoreUnavailable, match="SlowDown: later"):
        small(wired, prefix + "a", b"body")
    assert len(wire.puts) == 1
    assert small(wired, prefix + "a", b"body") == md5(b"body")


@pytest.mark.parametrize("key", ["a/../b", "./a", "a/..", ""])
def test_small_lane_refuses_a_key_it_would_change(rclone: Location, key: str) -> None:
    with pytest.raises(InvalidValue):
        small(rclone, key, b"x")


def test_the_environment_of_other_tools_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, wired: Location, wire: "Wire", prefix: str
) -> None:
    for name, value in {
        "AWS_PROFILE": "nobody",
        "AWS_SESSION_TOKEN": "stray",
        "AWS_UNSIGNED_PAYLOAD": "true",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
        "AWS_REGION": "xx-nowhere-1",
    }.items():
        monkeypatch.setenv(name, value)
    small(wired, prefix + "a", b"body")
    with ObjectStore(wired) as store:
        put(store, prefix + "b", b"body")
    small_lane, large_lane = wire.puts
    for sent in (small_lane, large_lane):
        assert sent["x-amz-content-sha256"] == sha256(b"body")
        assert "x-amz-security-token" not in sent
        assert "/us-east-1/s3/" in sent["authorization"]


# Failures

Put = Callable[[Location], object]


def put_large(location: Location) -> object:
    with ObjectStore(location) as store:
        return put(store, "k", b"x")


def put_small(location: Location) -> object:
    return small(location, "k", b"x")


def list_all(location: Location) -> object:
    with ObjectStore(location) as store:
        return list(store.list(""))


every_way = pytest.mark.parametrize("ask", [put_large, put_small, list_all])


@every_way
def test_a_certificate_that_is_named_is_trusted_and_no_other(
    monkeypatch: pytest.MonkeyPatch, certified: tuple[Location, Path], ask: Put
) -> None:
    location, certificate = certified
    with pytest.raises(CertificateRefused):
        ask(location)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    ask(location)
    with pytest.raises(CertificateRefused):
        ask(replace(location, endpoint=str(location.endpoint).replace("127.0.0.1", "localhost")))


@pytest.fixture
def dead_end() -> Iterator[str]:
    """An address where nobody listens and nobody else will."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


@every_way
def test_server_down_is_unavailable_within_seconds(rclone: Location, dead_end: str, ask: Put) -> None:
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable, match=f"local at {dead_end}"):
        ask(replace(rclone, endpoint=dead_end))
    assert time.monotonic() - begun < 10


@every_way
def test_missing_bucket_is_refused(location: Location, ask: Put) -> None:
    with pytest.raises(StoreRefused, match="NoSuchBucket"):
        ask(replace(location, bucket="no-such-bucket"))


@every_way
@pytest.mark.parametrize(
    ("wrong", "code"),
    [({"secret_key": "w" * 64}, "SignatureDoesNotMatch"), ({"access_key": "w" * 32}, "InvalidAccessKeyId")],
)
def test_wrong_keys_are_refused_and_never_repeated(
    wired: Location, wire: "Wire", ask: Put, wrong: dict[str, str], code: str
) -> None:
    location = replace(wired, **wrong)
    with pytest.raises(StoreRefused, match=code) as caught:
        ask(location)
    assert len(wire.puts) == (ask is not list_all)
    assert_secretless(caught.value, location)


def test_wrong_keys_do_not_look_like_a_missing_object(rclone: Location) -> None:
    with ObjectStore(replace(rclone, secret_key="w" * 64)) as store, pytest.raises(StoreRefused):
        store.head("any")


def test_answer_that_breaks_off_is_unavailable(rclone: Location) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        location = replace(rclone, endpoint=f"http://127.0.0.1:{server.getsockname()[1]}")
        with ObjectStore(location) as store:
            _answer_short(server, store)


def _answer_short(server: socket.socket, store: ObjectStore) -> None:
    def serve() -> None:
        peer, _ = server.accept()
        with peer:
            peer.recv(65536)
            peer.sendall(b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 100\r\n\r\nonly this')

    def read() -> None:
        with pytest.raises(StoreUnavailable):
            list(store.get("k"))

    with ThreadPoolExecutor(1) as pool:
        serving = pool.submit(serve)
        read()
        serving.result()


def test_a_repr_tells_no_keys(rclone: Location) -> None:
    with ObjectStore(rclone) as store:
        for shown in (repr(rclone), repr(store), repr(Puts(rclone))):
            assert rclone.secret_key not in shown
            assert rclone.access_key not in shown


def assert_secretless(error: DumacleError, location: Location) -> None:
    told = [repr(error), str(error), error.remedy, repr(error.__cause__), str(error.__cause__)]
    assert not [text for text in told if location.secret_key in text or location.access_key in text]


@pytest.mark.parametrize("start", [0, 1, 1024**2, 3 * 1024**2 - 1])
def test_a_part_of_an_object(store: ObjectStore, prefix: str, start: int) -> None:
    body = bytes(range(256)) * (3 * 4096)
    store.put(prefix + "r", body, sha256(body), "text/plain")
    assert b"".join(store.get(prefix + "r", start)) == body[start:]
