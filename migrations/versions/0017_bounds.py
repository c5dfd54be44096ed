"""Bounds on what all share: readable times, texts and documents with an end, no notification in a transaction."""

from alembic import op
from sqlalchemy import Connection

from dumacle_cli.store import sql

revision = "0017"
down_revision = "0016"

EARLIEST, LATEST = "1970-01-01 00:00:00+00", "2999-12-31 23:59:59+00"
TIMES = {
    "copies": ("checked_at",),
    "credentials": ("proven_at", "created_at", "updated_at"),
    "customers": ("created_at",),
    "files": ("created_at", "uploaded_at", "verified_at", "deleted_at", "purging_at"),
    "leases": ("period_start", "until", "created_at", "closed_at"),
    "logins": ("valid_until", "created_at"),
    "operations": ("created_at",),
    "plans": ("created_at", "updated_at", "archived_at"),
    "pod_grants": ("granted_at",),
    "pods": ("created_at", "updated_at", "deleted_at"),
    "provider_defaults": ("updated_at",),
    "quota_anchors": ("effective_from", "anchor"),
    "quota_closings": ("period_start", "period_end", "closed_at"),
    "quota_counters": ("period_start", "period_end", "closed_at"),
    "quota_entries": ("period_start", "occurred_at"),
    "quota_grants": ("period_start", "created_at"),
    "renditions": ("created_at",),
    "runs": ("started_at", "heartbeat_at", "ended_at"),
    "stripe_events": ("created_at", "received_at", "applied_at"),
    "stripe_objects": ("wanted_at", "leased_until", "fetched_at"),
    "subscriptions": ("current_period_start", "current_period_end", "started_at", "ended_at", "updated_at"),
    "transcodes": ("created_at", "started_at", "ended_at"),
    "units": ("lease_until", "started_at", "ended_at"),
    "users": ("created_at", "updated_at", "deleted_at"),
    "versions": ("created_at", "stored_at"),
}
TEXTS = {
    "copies": {"etag": 1024},
    "credentials": {"endpoint": 2048, "region": 255, "ciphertext": 262144, "wrapped_key": 16384, "key_id": 255},
    "customers": {"stripe_customer_id": 255},
    "files": {"content_type": 255, "error": 8192},
    "operations": {"id": 1024, "command": 255, "fingerprint": 255, "login": 255},
    "plans": {"description": 8192, "stripe_product_id": 255, "stripe_price_id": 255, "lookup_key": 512},
    "pods": {"bucket": 255, "prefix": 1024},
    "provider_defaults": {"endpoint": 2048, "region": 255, "bucket": 255},
    "quota_entries": {"id": 1024},
    "quota_grants": {"reason": 8192},
    "renditions": {"name": 255, "prefix": 1024, "entry": 1024},
    "runs": {"name": 1024, "prefix": 2048, "host": 255, "selection_hash": 255},
    "stripe_events": {"id": 255, "type": 255, "object_id": 255, "error": 8192},
    "stripe_objects": {"id": 255, "kind": 255, "error": 8192},
    "stripe_payloads": {"event_id": 255, "payload": 16777216},
    "subscriptions": {"stripe_subscription_id": 255, "stripe_customer_id": 255},
    "transcodes": {"preset": 255, "error": 8192},
    "units": {"worker": 255, "error": 8192},
    "users": {"name": 1024},
    "versions": {"etag": 1024, "content_type": 255, "upload_id": 2048},
}
DOCUMENTS = {
    "operations": {"result": 16777216},
    "renditions": {"rungs": 65536},
    "runs": {"totals": 65536},
    "stripe_objects": {"state": 4194304},
}

BOUNDS = {
    "times": {
        table: {column: f"{column} BETWEEN '{EARLIEST}' AND '{LATEST}'" for column in columns}
        for table, columns in TIMES.items()
    },
    "texts": {
        table: {column: f"octet_length({column}) <= {size}" for column, size in longest.items()}
        for table, longest in TEXTS.items()
    },
    "documents": {
        table: {column: f"octet_length({column}::text) <= {size}" for column, size in longest.items()}
        for table, longest in DOCUMENTS.items()
    },
}
BINARY = ("ciphertext", "wrapped_key", "selection_hash", "payload")
"""Cut, these would be something else."""
# The server has one queue of notifications, which anybody can fill; then no job could be committed. Workers poll.
SILENT = """
    DROP TRIGGER IF EXISTS procrastinate_jobs_notify_queue_job_inserted_v1 ON queue.procrastinate_jobs;
    DROP TRIGGER IF EXISTS procrastinate_jobs_notify_queue_job_aborted_v1 ON queue.procrastinate_jobs;
    CREATE INDEX ix_operations_user_id ON app.operations (user_id);
"""
NOTIFYING = """
    DROP INDEX app.ix_operations_user_id;
    DROP TRIGGER IF EXISTS bound ON app.operations;
    DROP TRIGGER IF EXISTS bound ON app.audit;
    CREATE TRIGGER procrastinate_jobs_notify_queue_job_inserted_v1
    AFTER INSERT ON queue.procrastinate_jobs FOR EACH ROW WHEN (new.status = 'todo'::queue.procrastinate_job_status)
    EXECUTE PROCEDURE queue.procrastinate_notify_queue_job_inserted_v1();
    CREATE TRIGGER procrastinate_jobs_notify_queue_job_aborted_v1
    AFTER UPDATE OF abort_requested ON queue.procrastinate_jobs FOR EACH ROW WHEN (
        old.abort_requested = false AND new.abort_requested = true
        AND new.status = 'doing'::queue.procrastinate_job_status
    ) EXECUTE PROCEDURE queue.procrastinate_notify_queue_abort_job_v1();
"""


def upgrade() -> None:
    connection = op.get_bind()
    # A table with checks that are still to be made at COMMIT cannot be altered.
    sql.run(connection, "SET CONSTRAINTS ALL IMMEDIATE")
    for table in sorted({table for tables in BOUNDS.values() for table in tables}):
        _bound(connection, table, {kind: tables[table] for kind, tables in BOUNDS.items() if table in tables})
    sql.run(connection, SILENT)


def downgrade() -> None:
    sql.run(op.get_bind(), NOTIFYING)
    for kind, tables in BOUNDS.items():
        for table in tables:
            op.execute(f"ALTER TABLE app.{table} DROP CONSTRAINT ck_{table}_{kind}")


def _bound(connection: Connection, table: str, kinds: dict[str, dict[str, str]]) -> None:
    """Mend the rows of a table that lie out of bounds, and add all its checks in one scan."""
    for kind, columns in kinds.items():
        mended = ", ".join(f"{column} = {_mended(kind, column, columns[column])}" for column in columns)
        within = " AND ".join(columns.values())
        sql.run(connection, f"UPDATE app.{table} SET {mended} WHERE NOT ({within})")  # noqa: S608
    checks = [
        f"ADD CONSTRAINT ck_{table}_{kind} CHECK ({' AND '.join(columns.values())})" for kind, columns in kinds.items()
    ]
    sql.run(connection, f"ALTER TABLE app.{table} {', '.join(checks)}")


def _mended(kind: str, column: str, bound: str) -> str:
    """The value of a column inside of its bounds: the nearest time, the beginning of a text, no document."""
    nearest = {
        "times": f"least(greatest({column}, '{EARLIEST}'), '{LATEST}')",
        "texts": column if column in BINARY else f"left({column}, {bound.rpartition(' ')[2]} / 4)",
        "documents": "'{}'" if column == "totals" else "NULL",
    }[kind]
    return f"CASE WHEN NOT ({bound}) THEN {nearest} ELSE {column} END"
