"""Work for workers: waking them in the transaction of the rows it is about, and units held under a lease."""

from alembic import op

from dumacle_cli.store import sql

revision = "0011"
down_revision = "0010"

FUNCTIONS = (
    "wake",
    "lock_unit",
    "lock_held_unit",
    "settle_unit",
    "reap_unit",
    "claim_unit",
    "renew_unit",
    "charge_unit",
    "reserve_unit",
    "publish_unit",
    "end_unit",
    "queue_unit",
    "fail_unit",
    "release_unit",
    "cancel_unit",
)


def upgrade() -> None:
    for name in ("jobs", "units"):
        sql.load(op.get_bind(), name)


def downgrade() -> None:
    for function in FUNCTIONS:
        op.execute(f"DROP FUNCTION app.{function}")
