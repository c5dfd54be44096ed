"""Stripe's deliveries, and the objects of which they are hints."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from dumacle_cli.store.models.base import Base, Created, Sorted, one_of

EVENT_STATUSES = ("received", "applied", "failed")


class StripeEvent(Base):
    """One delivery in the inbox; the same event delivered again is the same row."""

    __tablename__ = "stripe_events"

    id: Mapped[Sorted] = mapped_column(primary_key=True)
    type: Mapped[str]
    object_id: Mapped[Sorted | None]
    created_at: Mapped[datetime]
    received_at: Mapped[Created]
    status: Mapped[str] = mapped_column(server_default="received")
    attempts: Mapped[int] = mapped_column(server_default="0")
    error: Mapped[str | None]

    __table_args__ = (
        one_of("status", EVENT_STATUSES),
        CheckConstraint("attempts >= 0", name="attempts"),
        Index(None, "received_at", "id"),
        Index(None, "object_id", "received_at"),
        Index("ix_stripe_events_unapplied", "status", "received_at", postgresql_where=text("status <> 'applied'")),
    )


class StripePayload(Base):
    """The body of a delivery; apart from the event, because fewer may read it."""

    __tablename__ = "stripe_payloads"

    event_id: Mapped[Sorted] = mapped_column(ForeignKey("app.stripe_events.id", ondelete="CASCADE"), primary_key=True)
    payload: Mapped[dict[str, Any]]


class StripeObject(Base):
    """An object at Stripe that we mirror: whether its present state is wanted, and the state last fetched."""

    __tablename__ = "stripe_objects"

    id: Mapped[Sorted] = mapped_column(primary_key=True)
    kind: Mapped[str]
    wanted_at: Mapped[datetime | None]
    leased_until: Mapped[datetime | None]
    fetched_at: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(server_default="0")
    error: Mapped[str | None]
    state: Mapped[dict[str, Any] | None]

    __table_args__ = (
        CheckConstraint("attempts >= 0", name="attempts"),
        Index(None, "kind", "id"),
        Index("ix_stripe_objects_wanted", "wanted_at", postgresql_where=text("wanted_at IS NOT NULL")),
        {"postgresql_with": {"fillfactor": "80"}},
    )
