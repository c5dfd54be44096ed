"""The account at Stripe that plans are sold at."""

from datetime import datetime

from sqlalchemy import Index, text
from sqlalchemy.orm import Mapped

from dumacle_cli.store.models.base import Base, Created, Id, texts, times

_CURRENT = text("left_at IS NULL")


class BillingAccount(Base):
    """An account at Stripe with its mode; `left_at` is null for the one that everything mirrored now belongs to.

    A null `account` or `livemode` is not known: the key may not read it, or nothing was asked of Stripe yet.
    """

    __tablename__ = "billing_accounts"

    id: Mapped[Id]
    account: Mapped[str | None]
    livemode: Mapped[bool | None]
    created_at: Mapped[Created]
    left_at: Mapped[datetime | None]

    __table_args__ = (
        times("created_at", "left_at"),
        texts(account=255),
        Index("uq_billing_accounts_current", text("(left_at IS NULL)"), unique=True, postgresql_where=_CURRENT),
    )
