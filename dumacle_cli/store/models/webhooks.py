"""Events that Stripe delivered, and the objects that they are about."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, false, text
from sqlalchemy.orm import Mapped, mapped_column

from dumacle_cli.store.models import accounts  # noqa: F401 - foreign keys refer to it
from dumacle_cli.store.models.base import ERROR_BYTES, MIB, Base, Created, Sorted, documents, one_of, texts, times

EVENT_STATUSES = ("received", "applied", "ignored", "foreign", "parked", "dead")


class StripeEvent(Base):
    """An event in the inbox; the same event delivered again is the same row.

    It is applied when its object's `have` has reached the event's `want`.
    """

    __tablename__ = "stripe_events"

    id: Mapped[Sorted] = mapped_column(primary_key=True)
    type: Mapped[str]
    object_id: Mapped[Sorted | None]
    livemode: Mapped[bool] = mapped_column(server_default=false())
    want: Mapped[int | None]
    created_at: Mapped[datetime]
    received_at: Mapped[Created]
    applied_at: Mapped[datetime | None]
    status: Mapped[str] = mapped_column(server_default="received")
    deliveries: Mapped[int] = mapped_column(server_default="1")
    error: Mapped[str | None]

    __table_args__ = (
        times("created_at", "received_at", "applied_at"),
        texts(id=255, type=255, object_id=255, error=ERROR_BYTES),
        one_of("status", EVENT_STATUSES),
        Index(None, "received_at", "id"),
        Index(None, "object_id", "received_at"),
        Index("ix_stripe_events_unapplied", "status", "received_at", postgresql_where=text("status <> 'applied'")),
    )


class StripePayload(Base):
    """The body of a delivery; a table of its own, because fewer roles may read it."""

    __tablename__ = "stripe_payloads"

    event_id: Mapped[Sorted] = mapped_column(ForeignKey("app.stripe_events.id", ondelete="CASCADE"), primary_key=True)
    payload: Mapped[bytes]

    __table_args__ = (texts(event_id=255, payload=16 * MIB),)


class StripeObject(Base):
    """An object at Stripe: refreshes requested (`want`) and applied (`have`), and the last applied state.

    It may be claimed from `wanted_at` on; null means that no refresh is due, or that it was given up. Only the holder
    of `lease_token` may apply the state that it fetched.
    """

    __tablename__ = "stripe_objects"

    id: Mapped[Sorted] = mapped_column(primary_key=True)
    kind: Mapped[str]
    livemode: Mapped[bool | None]
    want: Mapped[int] = mapped_column(server_default="0")
    have: Mapped[int] = mapped_column(server_default="0")
    wanted_at: Mapped[datetime | None]
    lease_token: Mapped[uuid.UUID | None]
    leased_until: Mapped[datetime | None]
    fetched_at: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(server_default="0")
    error: Mapped[str | None]
    state: Mapped[dict[str, Any] | None]
    # Deferred, because the schema of the previous release lacks it.
    account_id: Mapped[int | None] = mapped_column(
        ForeignKey("app.billing_accounts.id", ondelete="RESTRICT"),
        server_default=text("app.billing_account()"),
        deferred=True,
    )

    __table_args__ = (
        times("wanted_at", "leased_until", "fetched_at"),
        texts(id=255, kind=255, error=ERROR_BYTES),
        documents(state=4 * MIB),
        CheckConstraint("attempts >= 0", name="attempts"),
        CheckConstraint("have BETWEEN 0 AND want", name="have"),
        CheckConstraint("(lease_token IS NULL) = (leased_until IS NULL)", name="lease"),
        Index(None, "kind", "id"),
        Index("ix_stripe_objects_wanted", "wanted_at", postgresql_where=text("wanted_at IS NOT NULL")),
        {"postgresql_with": {"fillfactor": "80"}},
    )
    __mapper_args__ = {"eager_defaults": False}  # noqa: RUF012 - as SQLAlchemy declares it


class WebhookSecret(Base):
    """A signing secret that listeners know, by its label, and the last delivery that it signed.

    `api_version` is that of its endpoint's snapshots. The secret itself is in no table.
    """

    __tablename__ = "webhook_secrets"

    label: Mapped[Sorted] = mapped_column(primary_key=True)
    fingerprint: Mapped[str]
    loaded_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    api_version: Mapped[str | None]

    __table_args__ = (times("loaded_at", "used_at"), texts(label=64, fingerprint=8, api_version=64))
