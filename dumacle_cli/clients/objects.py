"""What stores hold: buckets at their locations, objects, and multipart uploads with their parts."""

from dataclasses import dataclass, field
from datetime import datetime

from dumacle_cli.clients.providers import Proof, known


@dataclass(frozen=True)
class Location:
    """A bucket with its endpoint (None is AWS's own), its credentials, and what a probe found to prove uploads."""

    provider: str
    endpoint: str | None
    region: str
    bucket: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    probed: Proof | None = None

    @property
    def proof(self) -> Proof:
        """What proves an upload here: as a probe found it, else as the table of providers says."""
        return self.probed or known(self.provider).proof

    @property
    def path_style(self) -> bool:
        """Whether URLs name the bucket in their path; always so at a custom endpoint."""
        return self.endpoint is not None or known(self.provider).addressing == "path"

    @property
    def url(self) -> str:
        """The URL of the bucket."""
        if self.endpoint is None:
            return f"https://{self.bucket}.s3.{self.region}.amazonaws.com"
        return f"{self.endpoint.rstrip('/')}/{self.bucket}"


@dataclass(frozen=True)
class Head:
    """An object's metadata; size in bytes."""

    size: int
    etag: str
    content_type: str


@dataclass(frozen=True)
class Entry:
    """One object in a listing; size in bytes, modified in UTC. If etag is empty, call `head` for it."""

    key: str
    size: int
    etag: str
    modified: datetime


@dataclass(frozen=True)
class Unfinished:
    """A multipart upload that was neither completed nor aborted; started in UTC."""

    key: str
    upload_id: str
    started: datetime


@dataclass(frozen=True)
class Part:
    """One part of a multipart upload; numbers start at 1, size in bytes."""

    number: int
    etag: str
    size: int
