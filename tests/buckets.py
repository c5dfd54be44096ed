"""Buckets as another S3 client sees them: created, and searched for unfinished multipart uploads."""

from typing import Any

import boto3
from botocore.config import Config

from dumacle_cli.clients.object_store import Location


def _client(location: Location) -> Any:
    return boto3.client(
        "s3",
        region_name=location.region,
        endpoint_url=location.endpoint,
        aws_access_key_id=location.access_key,
        aws_secret_access_key=location.secret_key,
        config=Config(s3={"addressing_style": "path"}, proxies={}),
    )


def create(location: Location) -> None:
    """Create the bucket."""
    client = _client(location)
    client.create_bucket(Bucket=location.bucket)
    client.close()


def unfinished_uploads(location: Location, prefix: str = "") -> list[str]:
    """Return the ids of multipart uploads below the prefix that were neither completed nor aborted."""
    client = _client(location)
    found = client.list_multipart_uploads(Bucket=location.bucket, Prefix=prefix).get("Uploads", [])
    client.close()
    return [upload["UploadId"] for upload in found]
