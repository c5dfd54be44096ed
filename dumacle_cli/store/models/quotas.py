"""Quotas: the anchors that define periods, the usage in each period, and the limits."""

from datetime import datetime

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from dumacle_cli.store.models import plans, users  # noqa: F401 - foreign keys refer to them
from dumacle_cli.store.models.base import KIB, Base, Created, Id, Sorted, one_of, texts, times

METRICS = ("storage", "upload", "transcode")


class QuotaAnchor(Base):
    """The anchor of a user's quota months from `effective_from` on; without one they are calendar months in UTC."""

    __tablename__ = "quota_anchors"

    user_id: Mapped[int] = mapped_column(ForeignKey("app.users.id", ondelete="CASCADE"), primary_key=True)
    effective_from: Mapped[datetime] = mapped_column(primary_key=True)
    anchor: Mapped[datetime]

    __table_args__ = (times("effective_from", "anchor"),)


class QuotaCounter(Base):
    """The usage of one metric by one user in one period; `storage` has one period, without an end."""

    __tablename__ = "quota_counters"

    user_id: Mapped[int] = mapped_column(ForeignKey("app.users.id", ondelete="CASCADE"), primary_key=True)
    metric: Mapped[str] = mapped_column(primary_key=True)
    period_start: Mapped[datetime] = mapped_column(primary_key=True)
    period_end: Mapped[datetime | None]
    used: Mapped[int] = mapped_column(server_default="0")
    reserved: Mapped[int] = mapped_column(server_default="0")
    closed_at: Mapped[datetime | None]

    __table_args__ = (
        times("period_start", "period_end", "closed_at"),
        one_of("metric", METRICS),
        CheckConstraint("period_start < period_end", name="period"),
        CheckConstraint("(metric = 'storage') = (period_end IS NULL)", name="period_end"),
        CheckConstraint("used >= 0", name="used"),
        CheckConstraint("reserved >= 0", name="reserved"),
        Index(
            "ix_quota_counters_open",
            "period_end",
            postgresql_where=text("closed_at IS NULL AND metric <> 'storage'"),
        ),
        {"postgresql_with": {"fillfactor": "80"}},
    )


class QuotaLimit(Base):
    """A limit that overrides the one of a user's plan; null means unlimited."""

    __tablename__ = "quota_limits"

    user_id: Mapped[int] = mapped_column(ForeignKey("app.users.id", ondelete="CASCADE"), primary_key=True)
    metric: Mapped[str] = mapped_column(primary_key=True)
    limit: Mapped[int | None]

    __table_args__ = (one_of("metric", METRICS), CheckConstraint('"limit" >= 0', name="limit"))


class QuotaGrant(Base):
    """An amount added to a user's limit for one period."""

    __tablename__ = "quota_grants"

    id: Mapped[Id]
    user_id: Mapped[int] = mapped_column(ForeignKey("app.users.id", ondelete="CASCADE"))
    metric: Mapped[str]
    period_start: Mapped[datetime]
    amount: Mapped[int]
    reason: Mapped[str] = mapped_column(server_default="")
    created_at: Mapped[Created]

    __table_args__ = (
        times("period_start", "created_at"),
        texts(reason=8 * KIB),
        one_of("metric", METRICS),
        CheckConstraint("amount > 0", name="amount"),
        Index(None, "user_id", "metric", "period_start"),
    )


class QuotaEntry(Base):
    """One use of a quota, identified by an idempotency key; the sum of a period is its counter."""

    __tablename__ = "quota_entries"

    id: Mapped[Sorted] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("app.users.id", ondelete="CASCADE"))
    metric: Mapped[str]
    period_start: Mapped[datetime]
    delta: Mapped[int]
    occurred_at: Mapped[datetime]

    # Not an attribute, so that statements leave it out: the schema of the release before has no such column.
    __mapper_args__ = {"exclude_properties": ["reason"]}  # noqa: RUF012 - its type is the base class's
    __table_args__ = (
        Column("reason", Text),
        times("period_start", "occurred_at"),
        texts(id=1024, reason=8 * KIB),
        one_of("metric", METRICS),
        Index(None, "user_id", "metric", "period_start"),
        Index(None, "occurred_at"),
    )


class QuotaClosing(Base):
    """The usage and limit of a closed period; written once."""

    __tablename__ = "quota_closings"

    user_id: Mapped[int] = mapped_column(ForeignKey("app.users.id", ondelete="CASCADE"), primary_key=True)
    metric: Mapped[str] = mapped_column(primary_key=True)
    period_start: Mapped[datetime] = mapped_column(primary_key=True)
    period_end: Mapped[datetime]
    used: Mapped[int]
    limit: Mapped[int | None]
    plan_id: Mapped[int | None] = mapped_column(ForeignKey("app.plans.id", ondelete="RESTRICT"), index=True)
    closed_at: Mapped[Created]

    __table_args__ = (
        times("period_start", "period_end", "closed_at"),
        one_of("metric", METRICS),
        Index(None, "closed_at"),
    )


class Entitlement(Base):
    """A plan that a user was entitled to, from `valid_from` until `valid_until`; null: still. Kept by a trigger."""

    __tablename__ = "entitlements"

    user_id: Mapped[int] = mapped_column(ForeignKey("app.users.id", ondelete="CASCADE"), primary_key=True)
    valid_from: Mapped[datetime] = mapped_column(primary_key=True)
    valid_until: Mapped[datetime | None]
    plan_id: Mapped[int] = mapped_column(ForeignKey("app.plans.id", ondelete="RESTRICT"), index=True)

    __table_args__ = (
        times("valid_from", "valid_until"),
        CheckConstraint("valid_from < valid_until", name="valid"),
        Index("uq_entitlements_valid", "user_id", unique=True, postgresql_where=text("valid_until IS NULL")),
    )


class PlanLimit(Base):
    """The monthly limits that a plan had; null is unlimited. Kept by a trigger."""

    __tablename__ = "plan_limits"

    plan_id: Mapped[int] = mapped_column(ForeignKey("app.plans.id", ondelete="CASCADE"), primary_key=True)
    valid_from: Mapped[datetime] = mapped_column(primary_key=True)
    valid_until: Mapped[datetime | None]
    upload_limit: Mapped[int | None]
    transcode_limit: Mapped[int | None]

    __table_args__ = (
        times("valid_from", "valid_until"),
        CheckConstraint("valid_from < valid_until", name="valid"),
        Index("uq_plan_limits_valid", "plan_id", unique=True, postgresql_where=text("valid_until IS NULL")),
    )


class OwnLimit(Base):
    """A limit that a user had instead of their plan's; null is unlimited. Kept by a trigger."""

    __tablename__ = "own_limits"

    user_id: Mapped[int] = mapped_column(ForeignKey("app.users.id", ondelete="CASCADE"), primary_key=True)
    metric: Mapped[str] = mapped_column(primary_key=True)
    valid_from: Mapped[datetime] = mapped_column(primary_key=True)
    valid_until: Mapped[datetime | None]
    limit: Mapped[int | None]

    __table_args__ = (
        times("valid_from", "valid_until"),
        one_of("metric", METRICS),
        CheckConstraint("valid_from < valid_until", name="valid"),
        Index("uq_own_limits_valid", "user_id", "metric", unique=True, postgresql_where=text("valid_until IS NULL")),
    )
