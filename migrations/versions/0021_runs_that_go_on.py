"""Runs that others join, that are cancelled and repeated; uploads in parts that go on where they were broken off."""

from pathlib import Path

from alembic import op

from dumacle_cli.store import identity, sql

revision = "0021"
down_revision = "0020"

MIGRATIONS = Path(__file__).parents[1]

COLUMNS = """
    ALTER TABLE app.runs
        ADD COLUMN joined_id bigint CONSTRAINT fk_runs_joined_id REFERENCES app.runs (id),
        ADD COLUMN left_at timestamptz, ADD COLUMN cancelled_at timestamptz, ADD COLUMN error text,
        ADD COLUMN parameters jsonb NOT NULL DEFAULT '{}'::jsonb;
    ALTER TABLE app.versions ADD COLUMN part_etags text;
    CREATE INDEX ix_runs_joined_id ON app.runs (joined_id) WHERE joined_id IS NOT NULL;
"""
UNJOINED = """
    UPDATE app.runs SET status = 'interrupted', ended_at = now() WHERE status = 'joined';
    UPDATE app.runs SET status = 'interrupted' WHERE status = 'cancelled';
"""
NO_COLUMNS = """
    DROP INDEX app.ix_runs_joined_id;
    ALTER TABLE app.runs DROP COLUMN joined_id, DROP COLUMN left_at, DROP COLUMN cancelled_at, DROP COLUMN error,
        DROP COLUMN parameters;
    ALTER TABLE app.versions DROP COLUMN part_etags;
"""
EARLIEST, LATEST = "1970-01-01 00:00:00+00", "2999-12-31 23:59:59+00"
RUN_TIMES, RUN_TEXTS = ["started_at", "heartbeat_at", "ended_at"], {"name": 1024, "prefix": 2048, "host": 255}
VERSION_TEXTS = {"etag": 1024, "content_type": 255, "upload_id": 2048}
STATUSES = ["running", "done", "partial", "failed", "interrupted"]


def _check(table: str, name: str, condition: str) -> None:
    op.execute(f"ALTER TABLE app.{table} DROP CONSTRAINT ck_{table}_{name}")
    op.execute(f"ALTER TABLE app.{table} ADD CONSTRAINT ck_{table}_{name} CHECK ({condition})")


def _bound(table: str, name: str, longest: dict[str, int], kind: str = "") -> None:
    _check(table, name, " AND ".join(f"octet_length({column}{kind}) <= {size}" for column, size in longest.items()))


def _runs(times: list[str], texts: dict[str, int], documents: dict[str, int], statuses: list[str], open_: str) -> None:
    _check("runs", "times", " AND ".join(f"{column} BETWEEN '{EARLIEST}' AND '{LATEST}'" for column in times))
    _bound("runs", "texts", texts)
    _bound("runs", "documents", documents, "::text")
    _check("runs", "status", f"status IN ({', '.join(map(repr, statuses))})")
    _check("runs", "ended_at", f"({open_}) = (ended_at IS NULL)")
    op.execute("DROP INDEX app.ix_runs_heartbeat_running")
    op.execute(f"CREATE INDEX ix_runs_heartbeat_running ON app.runs (heartbeat_at) WHERE {open_}")


def upgrade() -> None:
    sql.run(op.get_bind(), COLUMNS)
    _runs(
        [*RUN_TIMES, "left_at", "cancelled_at"],
        {**RUN_TEXTS, "selection_hash": 255, "error": 8192},
        {"totals": 65536, "parameters": 262144},
        ["running", "joined", *STATUSES[1:], "cancelled"],
        "status IN ('running', 'joined')",
    )
    _bound("versions", "texts", {**VERSION_TEXTS, "part_etags": 1048576})
    identity.install(op.get_bind(), sql.frozen(MIGRATIONS, revision))


def downgrade() -> None:
    sql.run(op.get_bind(), UNJOINED)
    _runs(RUN_TIMES, {**RUN_TEXTS, "selection_hash": 255}, {"totals": 65536}, STATUSES, "status = 'running'")
    _bound("versions", "texts", VERSION_TEXTS)
    sql.run(op.get_bind(), NO_COLUMNS)
    identity.install(op.get_bind(), sql.frozen(MIGRATIONS, "0019"))
