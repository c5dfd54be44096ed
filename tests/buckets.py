"""Buckets as another S3 client sees them: created, and searched for unfinished multipart uploads."""

from functools import cache
from typing import Any

import boto3
from botocore.config import Config

from dumacle_cli.clients.objects import Location


@cache
def _client(region: str, endpoint: str, access_key: str, secret_key: str) -> Any:
    """Make a client, one for all buckets of a server: to make one takes 40 ms of CPU, and most tests need one."""
    return boto3.client(
        "s3",
        region_name=region,
        endpoint_url=endpoint,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(s3={"addressing_style": "path"}, proxies={}),
    )


def _of(location: Location) -> Any:
    return _client(location.region, location.endpoint or "", location.access_key, location.secret_key)


def create(location: Location) -> None:
    """Create the bucket."""
    _of(location).create_bucket(Bucket=location.bucket)


def unfinished_uploads(location: Location, prefix: str = "") -> list[str]:
    """Return the ids of multipart uploads below the prefix that were neither completed nor aborted."""
    found = _of(location).list_multipart_uploads(Bucket=location.bucket, Prefix=prefix).get("Uploads", [])
    return [upload["UploadId"] for upload in found]
