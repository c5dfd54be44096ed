"""The S3-compatible stores that Dumacle knows, as a table of facts.

No fact here is trusted further than its source: the figures are from the providers' documentation; the tests run
rclone's server as `local` and moto's as `s3`.
"""

from dataclasses import dataclass
from typing import Literal

from dumacle_cli.errors import InvalidValue, NotConfigured

MIB = 1024**2
GIB = 1024**3
TIB = 1024**4


@dataclass(frozen=True)
class Provider:
    """What is known of a store: sizes in bytes, `minimum_days` for which a deleted object is still billed.

    `proof` is what proves an upload: `payload-hash` where the store refuses a body that does not match its
    signed SHA-256, `md5-etag` where it enforces Content-MD5 and answers with the MD5 of the whole object.
    """

    name: str
    endpoint_form: str | None
    default_region: str
    addressing: Literal["path", "virtual"]
    proof: Literal["payload-hash", "md5-etag"]
    bulk_delete: bool
    max_object: int
    max_put: int = 5 * GIB
    min_part: int = 5 * MIB
    max_part: int = 5 * GIB
    max_parts: int = 10_000
    minimum_days: int = 0


PROVIDERS: dict[str, Provider] = {
    provider.name: provider
    for provider in (
        # AWS "Amazon S3 multipart upload limits"; botocore resolves the regional endpoint.
        Provider(
            name="s3",
            endpoint_form=None,
            default_region="us-east-1",
            addressing="virtual",
            proof="payload-hash",
            bulk_delete=True,
            max_object=50_000 * GIB,
        ),
        # docs.wasabi.com: service URLs, 5 TB objects, 90 days pay-as-you-go. Bulk deletes with CRC32 are not proven.
        Provider(
            name="wasabi",
            endpoint_form="https://s3.{region}.wasabisys.com",
            default_region="us-east-1",
            addressing="path",
            proof="payload-hash",
            bulk_delete=False,
            max_object=5 * TIB,
            minimum_days=90,
        ),
        # docs.oracle.com: S3 compatibility API and multipart limits. It refuses aws-chunked bodies; its ETag is no MD5.
        Provider(
            name="oracle",
            endpoint_form="https://{namespace}.compat.objectstorage.{region}.oraclecloud.com",
            default_region="us-ashburn-1",
            addressing="path",
            proof="payload-hash",
            bulk_delete=False,
            max_object=10 * TIB,
        ),
        # rclone 1.75 `serve s3`, tried: accepts a wrong payload hash, refuses a wrong Content-MD5.
        Provider(
            name="local",
            endpoint_form=None,
            default_region="us-east-1",
            addressing="path",
            proof="md5-etag",
            bulk_delete=False,
            max_object=5 * TIB,
        ),
    )
}


def endpoint(provider: str, region: str, namespace: str = "") -> str | None:
    """Return the URL of the provider in that region, or None where only a setting or botocore knows it.

    Raises InvalidValue for an unknown provider, NotConfigured where a namespace is needed and empty.
    """
    form = known(provider).endpoint_form
    if form is None:
        return None
    if "{namespace}" in form and not namespace:
        raise NotConfigured(what=f"the namespace of {provider}", setting=f"{provider}_namespace")
    return form.format(region=region, namespace=namespace)


def known(provider: str) -> Provider:
    """Return the facts of a provider; raises InvalidValue for a name that is not in the table."""
    if provider not in PROVIDERS:
        raise InvalidValue(name="provider", value=provider, reason=f"it is not one of {', '.join(PROVIDERS)}")
    return PROVIDERS[provider]


def proves(provider: str, etag: str, md5_hex: str) -> bool:
    """Say whether the answer to a single PUT proves that the store holds the bytes with this MD5.

    Where the payload hash is enforced, the answer itself is the proof and its ETag may be anything.
    """
    return known(provider).proof == "payload-hash" or etag == md5_hex
