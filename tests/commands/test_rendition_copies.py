"""Renditions of a pod with two providers: each copy is proven by the inventory, object by object."""

import hashlib
import json
from dataclasses import asdict

import pytest

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.objects import Location
from dumacle_cli.services import inventory, pods, users
from dumacle_cli.store.database import Database
from tests import factories
from tests.clients.conftest import moto
from tests.commands.test_copies import ADA, JSON, contents, pod, rows, second
from tests.conftest import Run

__all__ = ["moto", "pod", "second"]
pytestmark = pytest.mark.integration
SEGMENT = "v0/0.m4s"


@pytest.fixture
def film(run: Run, pod: str, bucket: Location, database: Database) -> str:
    """A film's rendition with an inventory, in a pod with a secondary provider; returns the key of a segment."""
    bodies = {"master.m3u8": b"#EXTM3U\nv0/0.m4s\n", SEGMENT: b"pictures" * 9}
    listed = [inventory.Listed(name, len(body), hashlib.sha256(body).hexdigest()) for name, body in bodies.items()]
    body = json.dumps({"schema": inventory.SCHEMA, "objects": [asdict(each) for each in listed]}).encode()
    bodies[inventory.NAME] = body
    with database.session() as session, ObjectStore(bucket) as objects:
        source = factories.make_file(
            session, pods.get(session, pod), users.get(session, ADA), "film.mp4", store=objects
        )
        made = factories.make_transcode(session, source, "hls", progress=100)
        facts = {"inventory": hashlib.sha256(body).digest(), "store": objects}
        prefix = factories.make_rendition(session, made, bodies, **facts).prefix
    run("pods", "update", pod, "--secondary", "s3")
    return prefix + SEGMENT


def damage(place: Location, key: str) -> bytes:
    """Change an object without changing its size, and return what it was."""
    with ObjectStore(place) as objects:
        before = b"".join(objects.get(key))
        factories.put(objects, key, b"x" * len(before))
    return before


def test_a_damaged_rendition_is_not_copied(
    run: Run, pod: str, film: str, second: Location, bucket: Location, database: Database
) -> None:
    whole = damage(bucket, film)
    done = run("pods", "replicate", pod, *JSON, expect={0, 3}).data
    assert (done["waiting"], done["failed"]) == (1, 1)
    assert f"{film}: the stored content differs" in done["error"]
    assert film not in contents(second)
    with ObjectStore(bucket) as objects:
        factories.put(objects, film, whole)
    assert run("pods", "replicate", pod, *JSON).data["waiting"] == 0
    assert contents(second) == contents(bucket)


def test_a_copy_that_was_damaged_is_found_and_made_again(
    run: Run, pod: str, film: str, second: Location, bucket: Location, database: Database
) -> None:
    run("pods", "replicate", pod)
    good = contents(bucket)
    for place, other in ((second, bucket), (bucket, second)):
        damage(place, film)
        found = run("transcode", "verify", *JSON, expect=12).data
        assert {each["provider"]: each["result"] for each in found} == {
            place.provider: "differs",
            other.provider: "verified",
        }
        found = run("transcode", "verify", "--apply", *JSON, expect=12).data
        assert {each["provider"]: each["repair"] for each in found} == {
            place.provider: f"is copied from {other.provider}",
            other.provider: None,
        }
        run("worker", "--once", "--queues", "copies")
        assert contents(bucket) == contents(second) == good
        assert [each["result"] for each in run("transcode", "verify", *JSON).data] == ["verified", "verified"]
    damage(bucket, film)
    damage(second, film)
    found = run("transcode", "verify", "--apply", *JSON, expect=12).data
    assert [each["repair"] for each in found] == ["is transcoded again: transcode 2"] * 2
    assert rows(database, "SELECT FROM app.rendition_copies WHERE status <> 'stored'") == []
