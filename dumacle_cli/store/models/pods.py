"""Pods, their grants, the probes of their stores, and the credentials of their providers."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, false, text
from sqlalchemy.orm import Mapped, mapped_column

from dumacle_cli.store.models import users  # noqa: F401 - foreign keys refer to them
from dumacle_cli.store.models.base import (
    KIB,
    AllowedTypes,
    Base,
    Created,
    Id,
    MaxFileSize,
    Sorted,
    Updated,
    documents,
    file_limits,
    one_of,
    texts,
    times,
)

PROVIDERS = ("s3", "wasabi", "oracle", "local")
PROOFS = ("payload-hash", "md5-etag")


class Pod(Base):
    """A storage plan; `used` and `reserved` never exceed `capacity` (bytes).

    `secondary_bucket` and `copies_during_uploads` are read only where there is a secondary provider: the previous
    schema does not have them.
    """

    __tablename__ = "pods"

    id: Mapped[Id]
    name: Mapped[Sorted]
    capacity: Mapped[int]
    used: Mapped[int] = mapped_column(server_default="0")
    reserved: Mapped[int] = mapped_column(server_default="0")
    primary_provider: Mapped[str]
    secondary_provider: Mapped[str | None]
    bucket: Mapped[str]
    secondary_bucket: Mapped[str | None] = mapped_column(deferred=True)
    copies_during_uploads: Mapped[bool] = mapped_column(server_default=false(), deferred=True)
    prefix: Mapped[str] = mapped_column(server_default="")
    use_custom_s3: Mapped[bool] = mapped_column(server_default=false())
    use_custom_wasabi: Mapped[bool] = mapped_column(server_default=false())
    use_custom_oracle: Mapped[bool] = mapped_column(server_default=false())
    allowed_types: Mapped[AllowedTypes]
    max_file_size: Mapped[MaxFileSize]
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]
    deleted_at: Mapped[datetime | None]

    __table_args__ = (
        times("created_at", "updated_at", "deleted_at"),
        texts(bucket=255, secondary_bucket=255, prefix=1024),
        CheckConstraint("octet_length(name) BETWEEN 1 AND 255", name="name"),
        CheckConstraint("used >= 0", name="used"),
        CheckConstraint("reserved >= 0", name="reserved"),
        CheckConstraint("used + reserved <= capacity", name="capacity"),
        *file_limits(),
        one_of("primary_provider", PROVIDERS),
        one_of("secondary_provider", PROVIDERS),
        CheckConstraint("secondary_provider <> primary_provider", name="two_providers"),
        CheckConstraint("(secondary_provider IS NULL) = (secondary_bucket IS NULL)", name="secondary"),
        Index("uq_pods_name_live", "name", unique=True, postgresql_where=text("deleted_at IS NULL")),
        {"postgresql_with": {"fillfactor": "50"}},
    )


class PodGrant(Base):
    """A user's right to upload into a pod; at most one of their pods is the default."""

    __tablename__ = "pod_grants"

    pod_id: Mapped[int] = mapped_column(ForeignKey("app.pods.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("app.users.id", ondelete="CASCADE"), primary_key=True)
    is_default: Mapped[bool] = mapped_column(server_default=false())
    granted_at: Mapped[Created]

    __table_args__ = (
        times("granted_at"),
        Index(None, "user_id", "pod_id"),
        Index("uq_pod_grants_default", "user_id", unique=True, postgresql_where=text("is_default")),
    )


class Probe(Base):
    """What a pod's store was last found to keep and to enforce; `lost` is what an earlier probe still found."""

    __tablename__ = "probes"

    pod_id: Mapped[int] = mapped_column(ForeignKey("app.pods.id", ondelete="CASCADE"), primary_key=True)
    provider: Mapped[str] = mapped_column(primary_key=True)
    endpoint: Mapped[str]
    bucket: Mapped[str]
    proof: Mapped[str]
    found: Mapped[dict[str, Any]]
    measured: Mapped[dict[str, Any]]
    lost: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    probed_at: Mapped[Updated]

    __table_args__ = (
        times("probed_at"),
        texts(endpoint=2048, bucket=255),
        documents(found=8 * KIB, measured=8 * KIB, lost=8 * KIB),
        one_of("provider", PROVIDERS),
        one_of("proof", PROOFS),
        Index(None, "provider", "bucket"),
    )


class ProviderDefault(Base):
    """The place of pods without a credential of their own at a provider; holds no secret."""

    __tablename__ = "provider_defaults"

    provider: Mapped[str] = mapped_column(primary_key=True)
    endpoint: Mapped[str | None]
    region: Mapped[str | None]
    bucket: Mapped[str | None]
    path_style: Mapped[bool] = mapped_column(server_default=false())
    updated_at: Mapped[Updated]

    __table_args__ = (
        times("updated_at"),
        texts(endpoint=2048, region=255, bucket=255),
        one_of("provider", PROVIDERS),
    )


class Credential(Base):
    """Encrypted keys for a provider: a pod's own, or the system default's if `pod_id` is null."""

    __tablename__ = "credentials"

    id: Mapped[Id]
    pod_id: Mapped[int | None] = mapped_column(ForeignKey("app.pods.id", ondelete="CASCADE"))
    provider: Mapped[str]
    endpoint: Mapped[str | None]
    region: Mapped[str | None]
    ciphertext: Mapped[bytes]
    wrapped_key: Mapped[bytes]
    key_id: Mapped[str] = mapped_column(index=True)
    proven_at: Mapped[datetime | None]
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]

    __table_args__ = (
        times("proven_at", "created_at", "updated_at"),
        texts(endpoint=2048, region=255, ciphertext=256 * KIB, wrapped_key=16 * KIB, key_id=255),
        one_of("provider", PROVIDERS),
        UniqueConstraint("pod_id", "provider", postgresql_nulls_not_distinct=True),
    )
