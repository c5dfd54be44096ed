"""Delivery: what a folder holds stands in the store, with its types, and can be taken away again."""

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.errors import UploadLost
from dumacle_cli.transcode import delivery
from dumacle_cli.transcode.child import Stopped
from tests import buckets
from tests.faults.store_proxy import (
    Action,
    Exchange,
    drop,
    error_in_200,
    internal_error,
    lose_answer,
    names,
    slow_down,
    store_proxied,
    truncate_answer,
)

pytestmark = pytest.mark.integration


def fill(folder: Path, **sizes: int) -> list[str]:
    names = [name.replace("_", ".") for name in sizes]
    for name, size in zip(names, sizes.values(), strict=True):
        (folder / name).write_bytes(os.urandom(size))
    return names


def test_stores_every_file_with_its_type(object_store: ObjectStore, tmp_path: Path) -> None:
    names = fill(tmp_path, a_m4s=10, b_m3u8=20, c_mp4=2 * delivery.PART + 5, d_m4a=1, e_jpg=0)
    delivery.deliver(object_store, tmp_path, names, "r/1/", threading.Event())
    for name in names:
        assert b"".join(object_store.get(f"r/1/{name}")) == (tmp_path / name).read_bytes()
    types = [object_store.head(f"r/1/{name}").content_type for name in names]
    assert types == ["video/iso.segment", "application/vnd.apple.mpegurl", "video/mp4", "audio/mp4", "image/jpeg"]
    assert buckets.unfinished_uploads(object_store.location, "r/") == []


class Later(threading.Event):
    """Is set when it was asked for some times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def is_set(self) -> bool:
        self.times -= 1
        return self.times < 0


@pytest.mark.parametrize("times", [0, 1, 2])
def test_stops(times: int, object_store: ObjectStore, tmp_path: Path) -> None:
    """Before the file, before its first part, and before its second."""
    with pytest.raises(Stopped):
        delivery.deliver(object_store, tmp_path, fill(tmp_path, a_mp4=delivery.PART + 1), "r/1/", Later(times))
    assert list(object_store.list("r/")) == []
    if times:
        assert buckets.unfinished_uploads(object_store.location, "r/") == []


FAULTS = [
    *((kind, action) for kind in ("put", "part", "complete") for action in (drop, lose_answer, slow_down)),
    *((kind, internal_error) for kind in ("put", "create", "part", "complete")),
    ("create", drop),
    ("complete", truncate_answer),
    ("complete", error_in_200),
]


@pytest.mark.parametrize(("kind", "action"), FAULTS, ids=names(FAULTS))
def test_a_fault_that_passes(kind: str, action: Action, object_store: ObjectStore, tmp_path: Path) -> None:
    """Of an answer that was lost, too: what is complete is not sent again, and no part is left."""
    names = fill(tmp_path, a_m4s=10, b_mp4=2 * delivery.PART + 5, c_m3u8=20)
    location = object_store.location
    with store_proxied(location.endpoint or "") as proxy:
        proxy.inject(kind, action)
        with ObjectStore(replace(location, endpoint=proxy.endpoint)) as through:
            delivery.deliver(through, tmp_path, names, "r/1/", threading.Event())
    for name in names:
        assert b"".join(object_store.get(f"r/1/{name}")) == (tmp_path / name).read_bytes()
    assert buckets.unfinished_uploads(location, "r/") == []


def test_an_upload_that_the_store_lost_is_told_as_that(object_store: ObjectStore, tmp_path: Path) -> None:
    """Another attempt may then succeed; an object that is missing would end the transcode."""
    names, location = fill(tmp_path, a_mp4=delivery.PART + 5), object_store.location

    def lose(exchange: Exchange) -> None:
        for unfinished in object_store.unfinished("r/"):
            object_store.abort_multipart(unfinished.key, unfinished.upload_id)
        exchange.reply(exchange.forward())

    with store_proxied(location.endpoint or "") as proxy:
        proxy.inject("complete", lose)
        with ObjectStore(replace(location, endpoint=proxy.endpoint)) as through, pytest.raises(UploadLost):
            delivery.deliver(through, tmp_path, names, "r/1/", threading.Event())


def test_erases_what_is_below_a_prefix(object_store: ObjectStore, tmp_path: Path) -> None:
    names = fill(tmp_path, a_m4s=1, b_m4s=1)
    for prefix in ("r/1/one/", "r/1/two/", "r/10/"):
        delivery.deliver(object_store, tmp_path, names, prefix, threading.Event())
    delivery.erase(object_store, "r/1/", but="r/1/two/")
    assert [entry.key for entry in object_store.list("r/")] == [
        "r/1/two/a.m4s",
        "r/1/two/b.m4s",
        "r/10/a.m4s",
        "r/10/b.m4s",
    ]
    delivery.erase(object_store, "r/1/")
    assert [entry.key for entry in object_store.list("r/")] == ["r/10/a.m4s", "r/10/b.m4s"]
