"""The supported S3-compatible providers and how they differ.

The facts are from the providers' documentation. The tests run only rclone's server as `local` and moto's as `s3`.
"""

from dataclasses import dataclass
from typing import Literal

from dumacle_cli.errors import InvalidValue, NotConfigured

Proof = Literal["payload-hash", "md5-etag"]
"""What proves an upload: with `payload-hash` the store rejects a body that does not match its signed SHA-256; with
`md5-etag` an ETag that is the MD5 of the bytes, and for any other ETag reading the object back."""


@dataclass(frozen=True)
class Provider:
    """How to reach a provider, and what its responses prove, unless a probe found something else.

    `minimum_days` is how long each object is billed at least, also after it is deleted.
    """

    name: str
    endpoint_form: str | None
    default_region: str
    addressing: Literal["path", "virtual"]
    proof: Proof
    bulk_delete: bool
    minimum_days: int = 0


PROVIDERS: dict[str, Provider] = {
    provider.name: provider
    for provider in (
        # boto3 resolves the regional endpoint.
        Provider(
            name="s3",
            endpoint_form=None,
            default_region="us-east-1",
            addressing="virtual",
            proof="payload-hash",
            bulk_delete=True,
        ),
        # docs.wasabi.com: service URLs, minimum storage duration. Bulk deletes with CRC32 are untested.
        Provider(
            name="wasabi",
            endpoint_form="https://s3.{region}.wasabisys.com",
            default_region="us-east-1",
            addressing="path",
            proof="payload-hash",
            bulk_delete=False,
            minimum_days=90,
        ),
        # docs.oracle.com: S3 compatibility API. It rejects aws-chunked bodies; its ETag is not an MD5.
        Provider(
            name="oracle",
            endpoint_form="https://{namespace}.compat.objectstorage.{region}.oraclecloud.com",
            default_region="us-ashburn-1",
            addressing="path",
            proof="payload-hash",
            bulk_delete=False,
        ),
        # Tested with rclone 1.75 `serve s3`: accepts a wrong payload hash, rejects a wrong Content-MD5.
        Provider(
            name="local",
            endpoint_form=None,
            default_region="us-east-1",
            addressing="path",
            proof="md5-etag",
            bulk_delete=False,
        ),
    )
}


def endpoint(provider: str, region: str, namespace: str = "") -> str | None:
    """Return the URL of the provider in that region, or None if it comes from a setting or from boto3.

    Raises InvalidValue for an unknown provider, NotConfigured if a required namespace is empty.
    """
    form = known(provider).endpoint_form
    if form is None:
        return None
    if "{namespace}" in form and not namespace:
        raise NotConfigured(what=f"the namespace of {provider}", setting=f"{provider}_namespace")
    return form.format(region=region, namespace=namespace)


def known(provider: str) -> Provider:
    """Return a provider by name; raises InvalidValue if it is unknown."""
    if provider not in PROVIDERS:
        raise InvalidValue(name="provider", value=provider, reason=f"it is not one of {', '.join(PROVIDERS)}")
    return PROVIDERS[provider]
