"""Where buckets are, by the settings."""

import pytest

from dumacle_cli.clients.locations import locate
from dumacle_cli.clients.objects import Location
from dumacle_cli.errors import InvalidValue, NotConfigured
from dumacle_cli.settings import Settings

pytestmark = pytest.mark.unit

KEYS = {"wasabi_access_key": "access", "wasabi_secret_key": "secret"}


def test_settings_and_the_facts_of_the_provider_say_where() -> None:
    found = locate(Settings.model_validate({**KEYS, "wasabi_region": "eu-central-2"}), "wasabi", "films")
    url = "https://s3.eu-central-2.wasabisys.com"
    assert found == Location("wasabi", url, "eu-central-2", "films", "access", "secret")


def test_a_named_endpoint_and_the_default_bucket() -> None:
    named = {**KEYS, "wasabi_endpoint": "https://here", "wasabi_bucket": "usual"}
    found = locate(Settings.model_validate(named), "wasabi")
    assert (found.endpoint, found.region, found.bucket) == ("https://here", "us-east-1", "usual")


@pytest.mark.parametrize(
    ("given", "provider", "bucket", "setting"),
    [
        (KEYS, "wasabi", "", "wasabi_bucket"),
        ({}, "wasabi", "b", "wasabi_access_key"),
        ({"s3_access_key": "a"}, "s3", "b", "s3_secret_key"),
        ({}, "local", "b", "local_endpoint"),
        ({}, "oracle", "b", "oracle_namespace"),
    ],
)
def test_what_is_missing_is_named(given: dict[str, str], provider: str, bucket: str, setting: str) -> None:
    with pytest.raises(NotConfigured) as caught:
        locate(Settings.model_validate(given), provider, bucket)
    assert setting in caught.value.remedy


def test_unknown_provider() -> None:
    with pytest.raises(InvalidValue):
        locate(Settings(), "gcs", "b")
