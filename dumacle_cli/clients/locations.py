"""Where each provider's bucket is, from the settings or from the embedded servers."""

from typing import TYPE_CHECKING

from pydantic import SecretStr

from dumacle_cli.clients.object_store import Location
from dumacle_cli.clients.providers import endpoint, known
from dumacle_cli.errors import NotConfigured

if TYPE_CHECKING:
    from dumacle_cli.local.servers import Servers
    from dumacle_cli.settings import Settings


def locate(settings: "Settings", provider: str, bucket: str | None, servers: "Servers | None") -> Location:
    """Return a bucket of a provider, its default one where none is named; raises InvalidValue or NotConfigured.

    `servers` are the embedded ones, where they stand for the provider.
    """
    facts = known(provider)
    if servers:
        name = bucket or servers.bucket
        keys = servers.s3_access_key, servers.s3_secret_key
        return Location(provider, servers.s3_endpoint, facts.default_region, name, *keys)
    region = getattr(settings, f"{provider}_region") or facts.default_region
    return Location(
        provider,
        _endpoint(settings, provider, region),
        region,
        bucket or _needed(settings, provider, "bucket"),
        _needed(settings, provider, "access_key"),
        _needed(settings, provider, "secret_key"),
    )


def _endpoint(settings: "Settings", provider: str, region: str) -> str | None:
    if given := getattr(settings, f"{provider}_endpoint"):
        return str(given)
    if provider == "local":
        return _needed(settings, provider, "endpoint")
    return endpoint(provider, region, settings.oracle_namespace or "")


def _needed(settings: "Settings", provider: str, fact: str) -> str:
    value = getattr(settings, f"{provider}_{fact}")
    if not value:
        raise NotConfigured(what=f"the {fact.replace('_', ' ')} of {provider}", setting=f"{provider}_{fact}")
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
