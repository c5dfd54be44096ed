"""The fast lane for many small objects: one PUT each, hundreds in flight. The only importer of obstore.

It makes the promise of `ObjectStore.put` and raises the same errors; obstore signs the SHA-256 of each body.
"""

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from dumacle_cli.clients.object_store import Location
from dumacle_cli.clients.store_errors import store_error
from dumacle_cli.errors import DumacleError, InvalidValue

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config, S3Store


class SmallObjects:
    """Single-PUT uploads into one bucket; up to `concurrency` connections are kept."""

    def __init__(self, location: Location, concurrency: int) -> None:
        self.location = location
        self._store = _store(location, concurrency)

    async def put(self, key: str, body: bytes, content_type: str) -> str:
        """Store the bytes and return the ETag; `providers.proves` says what that is worth.

        Raises InvalidValue for a key with an empty, `.` or `..` segment, which obstore would change or refuse.
        """
        import obstore
        from obstore.exceptions import BaseError

        if {"", ".", ".."} & set(key.split("/")):
            raise InvalidValue(name="key", value=repr(key), reason="a segment is empty, . or ..")
        try:
            stored = await obstore.put_async(
                self._store, key, body, use_multipart=False, attributes={"Content-Type": content_type}
            )
        except (BaseError, OSError) as error:
            raise self._translated(str(error)) from error
        return (stored["e_tag"] or "").strip('"')

    def _translated(self, text: str) -> DumacleError:
        status = _found(r"status code: (\d+)", text) or "0"
        code = _found(r"<Code>(\w+)</Code>", text) or (status if status != "0" else "no answer")
        message = _found(r"<Message>([^<]*)</Message>", text)
        return store_error(self.location.provider, self.location.endpoint, "", code, int(status), message)


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    return match[1] if match else ""


def _store(location: Location, concurrency: int) -> "S3Store":
    from obstore.store import S3Store

    def keys() -> Any:
        return {"access_key_id": location.access_key, "secret_access_key": location.secret_key, "expires_at": None}

    endpoint = location.endpoint or f"https://{location.bucket}.s3.{location.region}.amazonaws.com"
    config: S3Config = {
        "region": location.region,
        "virtual_hosted_style_request": not location.path_style,
        # obstore reads AWS_* from the environment; these must not be decided there.
        "endpoint": endpoint,
        "aws_endpoint_url_s3": endpoint,
        "unsigned_payload": False,
        "skip_signature": False,
    }
    client: ClientConfig = {
        "allow_http": endpoint.startswith("http://"),
        "pool_max_idle_per_host": str(concurrency),
        "connect_timeout": timedelta(seconds=5),
        # Hundreds of bodies share a thin line, and the clock of each starts when it is sent.
        "timeout": timedelta(seconds=120),
    }
    retry: RetryConfig = {"max_retries": 3, "retry_timeout": timedelta(seconds=60)}
    return S3Store(location.bucket, config=config, client_options=client, retry_config=retry, credential_provider=keys)
