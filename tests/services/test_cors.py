"""CORS rules of buckets: set once, kept beside others, compared, and refused in a sentence where a store has none."""

from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

import pytest

from dumacle_cli import errors
from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.objects import Location
from dumacle_cli.services import cors
from tests import buckets
from tests.clients.conftest import moto

__all__ = ["moto"]

pytestmark = pytest.mark.integration

APP, SHOP = "https://app.example.com", "https://shop.example.com:8443"
READ = {"AllowedOrigins": ["*"], "AllowedMethods": ["GET"], "AllowedHeaders": ["*"]}


@pytest.fixture
def objects(moto: Location) -> Iterator[ObjectStore]:
    location = replace(moto, bucket=f"test-{uuid4().hex[:12]}")
    buckets.create(location)
    with ObjectStore(location) as opened:
        yield opened


def test_rules_are_set_once_and_others_stay(objects: ObjectStore) -> None:
    assert cors.show(objects, "films").rules == []
    objects.set_cors([READ])
    foreseen = cors.allow(objects, "films", [APP, SHOP], dry_run=True)
    assert [rule.methods for rule in cors.show(objects, "films").rules] == [["GET"]]
    assert cors.allow(objects, "films", [APP, SHOP], dry_run=False) == foreseen
    assert cors.show(objects, "films") == foreseen[0]
    assert [rule.origins for rule in foreseen[0].rules] == [["*"], [APP, SHOP]]
    assert not cors.allow(objects, "films", [APP, SHOP], dry_run=False)[1]
    assert [rule.origins for rule in cors.allow(objects, "films", [APP], dry_run=False)[0].rules] == [["*"], [APP]]


def test_check_compares_origin_method_and_headers(objects: ObjectStore) -> None:
    assert cors.check(objects, "films", []) == []
    assert [each.missing for each in cors.check(objects, "films", [APP])] == ["no rule for the origin"]
    objects.set_cors([READ])
    assert [each.missing for each in cors.check(objects, "films", [APP])] == ["no PUT"]
    objects.set_cors([READ, READ | {"AllowedMethods": ["PUT"], "AllowedHeaders": ["content-type"]}])
    assert [each.missing for each in cors.check(objects, "films", [APP])] == ["not all headers"]
    cors.allow(objects, "films", ["https://*.example.com"], dry_run=False)
    assert [each.allowed for each in cors.check(objects, "films", [APP, "https://example.org"])] == [True, False]


def test_a_store_without_rules_says_so(object_store: ObjectStore) -> None:
    with pytest.raises(errors.CorsUnsupported, match="local keeps no CORS rules"):
        cors.allow(object_store, "films", [APP], dry_run=False)


@pytest.mark.parametrize("origin", ["", "app.example.com", "https://", f"{APP}/", f"{APP}/x", "ftp://x", "https://a b"])
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(errors.InvalidValue, match="--origin"):
        cors.checked_origin(origin)
    for fine in (APP, SHOP, "*", "http://localhost:3000", "https://*.example.com"):
        assert cors.checked_origin(fine) == fine
