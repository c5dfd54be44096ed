"""What is found out about a store, on real servers and on one that does as it is told."""

import pytest

from dumacle_cli import errors
from dumacle_cli.clients.examination import SCRATCH, examine
from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.objects import Location
from tests import buckets
from tests.clients import small_store

pytestmark = pytest.mark.integration

EVERYTHING = {
    *("payload_hash_enforced", "md5_enforced", "etag_is_md5", "conditional_put", "metadata_kept", "content_type_kept"),
    *("multipart", "wrong_part_refused", "complete_repeatable", "list_after_put", "bulk_delete"),
    *("link_get", "link_put", "long_keys"),
}


def small(store: small_store.SmallStore, provider: str = "s3") -> Location:
    return Location(provider, store.url, "us-east-1", "media", "k", "s")


def lacking(location: Location, prefix: str = "") -> set[str]:
    found = examine(location, prefix).found
    assert set(found) == EVERYTHING
    return {name for name, held in found.items() if not held}


def test_real_servers_are_what_the_table_says(rclone: Location, moto: Location, prefix: str) -> None:
    assert {"payload_hash_enforced"} <= lacking(rclone, prefix)
    assert examine(rclone, prefix).proof == "md5-etag"
    assert not {"md5_enforced", "etag_is_md5", "multipart", "link_get", "list_after_put"} & lacking(rclone, prefix)
    assert not {"conditional_put", "metadata_kept", "multipart", "link_put", "bulk_delete"} & lacking(moto, prefix)


def test_nothing_is_left(location: Location, store: ObjectStore, prefix: str) -> None:
    found = examine(location, prefix)
    assert list(store.list(prefix)) == []
    assert buckets.unfinished_uploads(location, prefix) == []
    assert found.latency_ms > 0
    assert found.put_mb_s
    assert found.get_mb_s
    assert found.clock_skew_s is not None
    assert abs(found.clock_skew_s) < 5


@pytest.mark.parametrize(
    ("heedless", "lost", "proof"),
    [
        ("payload", "payload_hash_enforced", "md5-etag"),
        ("md5", "md5_enforced", "payload-hash"),
        ("conditions", "conditional_put", "payload-hash"),
        ("metadata", "metadata_kept", "payload-hash"),
        ("types", "content_type_kept", "payload-hash"),
    ],
)
def test_what_a_store_does_not_heed_is_found(heedless: str, lost: str, proof: str) -> None:
    with small_store.serving() as store:
        store.heeds -= {heedless}
        found = examine(small(store), "")
        assert lacking(small(store)) == {lost, "complete_repeatable"}
        assert found.proof == proof
        assert not store.objects
        assert not store.uploads


def test_an_etag_that_is_no_md5_is_found() -> None:
    with small_store.serving() as store:
        store.etag = lambda body: f"etag-{len(body)}"
        assert "etag_is_md5" in lacking(small(store))


def test_what_is_refused_is_not_supported() -> None:
    with small_store.serving() as store:
        refuse = small_store.fault("NotImplemented", 501)
        store.fault = lambda method, path: refuse(method, path) if "delete" in path or "uploads" in path else None
        assert lacking(small(store)) >= {"bulk_delete", "multipart", "wrong_part_refused"}
        assert not store.objects


def test_a_store_that_alters_bytes_is_none() -> None:
    with small_store.serving() as store:
        store.corrupts = True
        with pytest.raises(errors.ContentDiffers):
            examine(small(store), "")
        assert not store.objects


def test_what_a_killed_probe_left_is_deleted_and_what_a_running_one_uses_is_not(rclone: Location, prefix: str) -> None:
    with small_store.serving() as store:
        # This store says of each object that it is old.
        store.objects = {f"pod/{SCRATCH}killed/trip": (b"x", "{}"), "pod/file": (b"x", "{}")}
        assert examine(small(store), "pod/").leftovers == 1
        assert list(store.objects) == ["pod/file"]
    with ObjectStore(rclone) as real:
        key = f"{prefix}{SCRATCH}running/trip"
        real.request("put_object", key, Body=b"x")
        assert examine(rclone, prefix).leftovers == 0
        assert [entry.key for entry in real.list(prefix)] == [key]


def test_where_each_object_is_billed_for_months_the_keys_are_few_small_and_the_same() -> None:
    with small_store.serving() as store:
        put: list[set[str]] = []
        for _ in range(2):
            store.seen.clear()
            found = examine(small(store, "wasabi"), "")
            put.append({path.split("?")[0] for method, path in store.seen if method == "PUT"})
        assert put[0] == put[1]
        assert len(put[0]) < 20
        assert found.put_mb_s is None


def test_a_temporary_fault_is_no_finding() -> None:
    with small_store.serving() as store:
        busy = small_store.fault("SlowDown", 503)
        store.fault = lambda method, path: busy(method, path) if "uploadId" in path else None
        with pytest.raises(errors.StoreBusy):
            examine(small(store), "")
        assert not store.objects
