"""The table of facts."""

import pytest

from dumacle_cli.clients.providers import endpoint, known
from dumacle_cli.errors import InvalidValue, NotConfigured

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("provider", "region", "namespace", "url"),
    [
        ("s3", "eu-west-1", "", None),
        ("local", "us-east-1", "", None),
        ("wasabi", "eu-central-2", "", "https://s3.eu-central-2.wasabisys.com"),
        ("oracle", "eu-zurich-1", "tenancy", "https://tenancy.compat.objectstorage.eu-zurich-1.oraclecloud.com"),
    ],
)
def test_endpoint(provider: str, region: str, namespace: str, url: str | None) -> None:
    assert endpoint(provider, region, namespace) == url


def test_oracle_needs_a_namespace() -> None:
    with pytest.raises(NotConfigured, match="namespace of oracle"):
        endpoint("oracle", "eu-zurich-1")


def test_unknown_provider_names_the_known_ones() -> None:
    with pytest.raises(InvalidValue, match="s3, wasabi, oracle, local"):
        known("gcs")
