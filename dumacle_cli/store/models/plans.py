"""Plans, customers at Stripe, and subscriptions."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, false, text
from sqlalchemy.orm import Mapped, mapped_column

from dumacle_cli.store.models import accounts, pods, users  # noqa: F401 - foreign keys refer to them
from dumacle_cli.store.models.base import (
    KIB,
    AllowedTypes,
    Base,
    Created,
    Id,
    MaxFileSize,
    Sorted,
    Updated,
    file_limits,
    one_of,
    texts,
    times,
)

_ACCOUNT = text("app.billing_account()")
# The schema of the previous release lacks the column with this default.
_NOT_READ_BACK = {"eager_defaults": False}
INTERVALS = ("month", "year")
# Stripe's own names, so that a status from Stripe is stored as it is.
SUBSCRIPTION_STATUSES = (
    "active",
    "trialing",
    "past_due",
    "unpaid",
    "canceled",
    "incomplete",
    "incomplete_expired",
    "paused",
)
ENTITLED_STATUSES = ("active", "trialing", "past_due")
FINAL_STATUSES = ("canceled", "incomplete_expired")
# Deferred, because the schema of the previous release lacks them.
DETAILS = "details"
# What a person has to look at: set aside beside another one, not understood, or sold as several plans.
QUESTIONABLE = (
    "status NOT IN ('canceled', 'incomplete_expired') AND "
    "(ended_at IS NOT NULL OR unknown_status IS NOT NULL OR plan_items <> 1)"
)


def _other_prices() -> CheckConstraint:
    """Return the CHECK on prices in other currencies: three small letters for each, and minor units of it."""
    wrong = """@.key like_regex "^[a-z]{3}$") || @.value.type() != "number" || @.value < 0"""
    return CheckConstraint(
        "jsonb_typeof(other_prices) = 'object' AND octet_length(other_prices::text) <= 4096 "
        f"AND NOT jsonb_path_exists(other_prices, '$.keyvalue() ? (!({wrong})')",
        name="other_prices",
    )


class Plan(Base):
    """A plan: price (minor units) per interval, and limits (bytes; bytes and seconds per month; null = unlimited).

    `other_prices` has what it costs in other currencies, in minor units of each.
    """

    __tablename__ = "plans"

    id: Mapped[Id]
    name: Mapped[Sorted]
    description: Mapped[str] = mapped_column(server_default="")
    price: Mapped[int]
    currency: Mapped[str]
    interval: Mapped[str]
    default_pod_id: Mapped[int | None] = mapped_column(ForeignKey("app.pods.id", ondelete="RESTRICT"), index=True)
    storage_limit: Mapped[int | None]
    upload_limit: Mapped[int | None]
    transcode_limit: Mapped[int | None]
    allowed_types: Mapped[AllowedTypes]
    max_file_size: Mapped[MaxFileSize]
    other_prices: Mapped[dict[str, Any]] = mapped_column(server_default="{}", deferred=True)
    stripe_product_id: Mapped[str | None]
    stripe_price_id: Mapped[str | None]
    lookup_key: Mapped[str | None]
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]
    archived_at: Mapped[datetime | None]

    __table_args__ = (
        times("created_at", "updated_at", "archived_at"),
        texts(description=8 * KIB, stripe_product_id=255, stripe_price_id=255, lookup_key=512),
        CheckConstraint("octet_length(name) BETWEEN 1 AND 255", name="name"),
        CheckConstraint("price >= 0", name="price"),
        CheckConstraint("currency ~ '^[a-z]{3}$'", name="currency"),
        one_of("interval", INTERVALS),
        CheckConstraint("storage_limit >= 0", name="storage_limit"),
        CheckConstraint("upload_limit >= 0", name="upload_limit"),
        CheckConstraint("transcode_limit >= 0", name="transcode_limit"),
        *file_limits(),
        _other_prices(),
        UniqueConstraint("name"),
        UniqueConstraint("stripe_price_id"),
        UniqueConstraint("lookup_key"),
    )


class PlanPrice(Base):
    """A price at Stripe, with its values there, at which a plan is or was sold; or that was adopted for it."""

    __tablename__ = "plan_prices"

    price_id: Mapped[Sorted] = mapped_column(primary_key=True)
    plan_id: Mapped[int] = mapped_column(ForeignKey("app.plans.id", ondelete="CASCADE"), index=True)
    account_id: Mapped[int | None] = mapped_column(
        ForeignKey("app.billing_accounts.id", ondelete="RESTRICT"), server_default=_ACCOUNT
    )
    amount: Mapped[int]
    currency: Mapped[str]
    interval: Mapped[str]
    other_prices: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    created_at: Mapped[Created]

    __table_args__ = (
        times("created_at"),
        texts(price_id=255, currency=3, interval=16),
        _other_prices(),
        CheckConstraint("amount >= 0", name="amount"),
    )


class Customer(Base):
    """The customer of a user at Stripe, and the e-mail address that Stripe was last given for them."""

    __tablename__ = "customers"

    user_id: Mapped[int] = mapped_column(ForeignKey("app.users.id", ondelete="CASCADE"), primary_key=True)
    stripe_customer_id: Mapped[Sorted]
    email: Mapped[str | None] = mapped_column(deferred=True)
    # Deferred, because the schema of the previous release lacks it.
    account_id: Mapped[int | None] = mapped_column(
        ForeignKey("app.billing_accounts.id", ondelete="RESTRICT"), server_default=_ACCOUNT, deferred=True
    )
    created_at: Mapped[Created]

    __table_args__ = (
        times("created_at"),
        texts(stripe_customer_id=255, email=320),
        UniqueConstraint("stripe_customer_id"),
    )
    __mapper_args__ = _NOT_READ_BACK


class Subscription(Base):
    """A user's subscription to a plan; at most one, the current one, has not ended.

    Another open one at Stripe is kept as ended here, with its status at Stripe. A status that is not known here is kept
    beside the last known one. `quantity` and the period are those of the item that is the plan's; `plan_items` counts
    the items that are prices of plans. `next_plan_id` follows by a schedule, `fallback_plan_id` when it has ended.
    `end_due_at` is when Dumacle has to end it, because Stripe refused to do that later.
    """

    __tablename__ = "subscriptions"

    id: Mapped[Id]
    user_id: Mapped[int] = mapped_column(ForeignKey("app.users.id", ondelete="RESTRICT"))
    plan_id: Mapped[int] = mapped_column(ForeignKey("app.plans.id", ondelete="RESTRICT"))
    status: Mapped[str]
    stripe_subscription_id: Mapped[str | None]
    stripe_customer_id: Mapped[str | None]
    current_period_start: Mapped[datetime | None]
    current_period_end: Mapped[datetime | None]
    cancel_at_period_end: Mapped[bool] = mapped_column(server_default=false())
    cancel_at: Mapped[datetime | None] = mapped_column(deferred=True, deferred_group=DETAILS)
    trial_end: Mapped[datetime | None] = mapped_column(deferred=True, deferred_group=DETAILS)
    pause_collection: Mapped[str | None] = mapped_column(deferred=True, deferred_group=DETAILS)
    resumes_at: Mapped[datetime | None] = mapped_column(deferred=True, deferred_group=DETAILS)
    unknown_status: Mapped[str | None] = mapped_column(deferred=True, deferred_group=DETAILS)
    quantity: Mapped[int] = mapped_column(server_default="1", deferred=True, deferred_group=DETAILS)
    plan_items: Mapped[int] = mapped_column(server_default="1", deferred=True, deferred_group=DETAILS)
    stripe_schedule_id: Mapped[str | None] = mapped_column(deferred=True, deferred_group=DETAILS)
    next_plan_id: Mapped[int | None] = mapped_column(
        ForeignKey("app.plans.id", ondelete="RESTRICT"), deferred=True, deferred_group=DETAILS
    )
    fallback_plan_id: Mapped[int | None] = mapped_column(
        ForeignKey("app.plans.id", ondelete="RESTRICT"), deferred=True, deferred_group=DETAILS
    )
    end_due_at: Mapped[datetime | None] = mapped_column(deferred=True, deferred_group=DETAILS)
    started_at: Mapped[Created]
    ended_at: Mapped[datetime | None]
    updated_at: Mapped[Updated]

    __table_args__ = (
        times(
            *("current_period_start", "current_period_end", "cancel_at", "trial_end", "resumes_at", "end_due_at"),
            *("started_at", "ended_at", "updated_at"),
        ),
        texts(
            stripe_subscription_id=255,
            stripe_customer_id=255,
            pause_collection=255,
            unknown_status=255,
            stripe_schedule_id=255,
        ),
        one_of("status", SUBSCRIPTION_STATUSES),
        CheckConstraint("quantity >= 0 AND plan_items >= 0", name="quantity"),
        UniqueConstraint("stripe_subscription_id"),
        Index("uq_subscriptions_user_live", "user_id", unique=True, postgresql_where=text("ended_at IS NULL")),
        Index(None, "user_id", "id"),
        Index(None, "plan_id", "id"),
        # Most are active and found without an index; other statuses may be rare.
        Index("ix_subscriptions_status_id", "status", "id", postgresql_where=text("status <> 'active'")),
        Index(None, "stripe_customer_id", postgresql_where=text("stripe_customer_id IS NOT NULL")),
        Index("ix_subscriptions_questionable", "user_id", postgresql_where=text(QUESTIONABLE)),
        Index(None, "end_due_at", postgresql_where=text("end_due_at IS NOT NULL")),
    )
