"""Locate buckets: from a credential, from the settings, or from the embedded servers."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import SecretStr

from dumacle_cli.clients.objects import Location
from dumacle_cli.clients.providers import endpoint, known
from dumacle_cli.errors import NotConfigured

if TYPE_CHECKING:
    from dumacle_cli.local.servers import Servers
    from dumacle_cli.settings import Settings


@dataclass(frozen=True, slots=True)
class Keys:
    """An access key with its secret, and the endpoint (None is AWS's own) and region that accept it."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    endpoint: str | None
    region: str


def locate(
    settings: "Settings", provider: str, bucket: str = "", *, keys: Keys | None = None, servers: "Servers | None" = None
) -> Location:
    """Return the location of a bucket, by default the provider's bucket from the settings.

    Without `keys`, those of the embedded `servers` or else of the settings are used. Raises InvalidValue or
    NotConfigured.
    """
    facts = known(provider)
    if servers and not keys:
        keys = Keys(servers.s3_access_key, servers.s3_secret_key, servers.s3_endpoint, facts.default_region)
        bucket = bucket or settings.local_bucket or servers.bucket
    bucket = bucket or _needed(settings, provider, "bucket")
    keys = keys or _configured(settings, provider)
    return Location(provider, keys.endpoint, keys.region, bucket, keys.access_key, keys.secret_key)


def reach(settings: "Settings", provider: str, given: str = "", region: str = "") -> tuple[str | None, str]:
    """Return a provider's endpoint and region: as given, from the settings, or its defaults; raises NotConfigured."""
    region = region or getattr(settings, f"{provider}_region") or known(provider).default_region
    if url := given or getattr(settings, f"{provider}_endpoint"):
        return str(url), region
    if provider == "local":
        return _needed(settings, provider, "endpoint"), region
    return endpoint(provider, region, settings.oracle_namespace or ""), region


def _configured(settings: "Settings", provider: str) -> Keys:
    url, region = reach(settings, provider)
    pair = _needed(settings, provider, "access_key"), _needed(settings, provider, "secret_key")
    return Keys(*pair, url, region)


def _needed(settings: "Settings", provider: str, fact: str) -> str:
    value = getattr(settings, f"{provider}_{fact}")
    if not value:
        raise NotConfigured(what=f"the {fact.replace('_', ' ')} of {provider}", setting=f"{provider}_{fact}")
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
