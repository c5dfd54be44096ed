"""The plans and limits that were in force, kept for closings; the inbox behind functions, and its secrets by label."""

from pathlib import Path

from alembic import op

from dumacle_cli.store import identity, sql

revision = "0029"
down_revision = "0028"

MIGRATIONS = Path(__file__).parents[1]
READ, BEFORE = sql.frozen(MIGRATIONS, revision), sql.frozen(MIGRATIONS, down_revision)
RECEIVED = "text[], text[], boolean[], timestamptz[], text[], bytea[], text[], text[], text[]"
FUNCTIONS = ("quotas", "history", "closings", "inbox")

VALID = """
    valid_from timestamptz NOT NULL,
    valid_until timestamptz
"""
CHECKS = """
    CHECK (valid_from BETWEEN '1970-01-01 00:00:00+00' AND '2999-12-31 23:59:59+00'
        AND valid_until BETWEEN '1970-01-01 00:00:00+00' AND '2999-12-31 23:59:59+00')
"""
HISTORY = f"""
    CREATE TABLE app.entitlements (
        user_id bigint NOT NULL CONSTRAINT fk_entitlements_user_id REFERENCES app.users (id) ON DELETE CASCADE,
        {VALID},
        plan_id bigint NOT NULL CONSTRAINT fk_entitlements_plan_id REFERENCES app.plans (id) ON DELETE RESTRICT,
        CONSTRAINT pk_entitlements PRIMARY KEY (user_id, valid_from),
        CONSTRAINT ck_entitlements_times {CHECKS},
        CONSTRAINT ck_entitlements_valid CHECK (valid_from < valid_until)
    );
    CREATE INDEX ix_entitlements_plan_id ON app.entitlements (plan_id);
    CREATE UNIQUE INDEX uq_entitlements_valid ON app.entitlements (user_id) WHERE valid_until IS NULL;
    CREATE TABLE app.plan_limits (
        plan_id bigint NOT NULL CONSTRAINT fk_plan_limits_plan_id REFERENCES app.plans (id) ON DELETE CASCADE,
        {VALID},
        upload_limit bigint,
        transcode_limit bigint,
        CONSTRAINT pk_plan_limits PRIMARY KEY (plan_id, valid_from),
        CONSTRAINT ck_plan_limits_times {CHECKS},
        CONSTRAINT ck_plan_limits_valid CHECK (valid_from < valid_until)
    );
    CREATE UNIQUE INDEX uq_plan_limits_valid ON app.plan_limits (plan_id) WHERE valid_until IS NULL;
    CREATE TABLE app.own_limits (
        user_id bigint NOT NULL CONSTRAINT fk_own_limits_user_id REFERENCES app.users (id) ON DELETE CASCADE,
        metric text NOT NULL,
        {VALID},
        "limit" bigint,
        CONSTRAINT pk_own_limits PRIMARY KEY (user_id, metric, valid_from),
        CONSTRAINT ck_own_limits_times {CHECKS},
        CONSTRAINT ck_own_limits_metric CHECK (metric IN ('storage', 'upload', 'transcode')),
        CONSTRAINT ck_own_limits_valid CHECK (valid_from < valid_until)
    );
    CREATE UNIQUE INDEX uq_own_limits_valid ON app.own_limits (user_id, metric) WHERE valid_until IS NULL;
"""
SECRETS = """
    CREATE TABLE app.webhook_secrets (
        label text COLLATE "C" NOT NULL,
        fingerprint text NOT NULL,
        loaded_at timestamptz NOT NULL,
        used_at timestamptz,
        api_version text,
        CONSTRAINT pk_webhook_secrets PRIMARY KEY (label),
        CONSTRAINT ck_webhook_secrets_times CHECK (
            loaded_at BETWEEN '1970-01-01 00:00:00+00' AND '2999-12-31 23:59:59+00'
            AND used_at BETWEEN '1970-01-01 00:00:00+00' AND '2999-12-31 23:59:59+00'),
        CONSTRAINT ck_webhook_secrets_texts CHECK (octet_length(label) <= 64 AND octet_length(fingerprint) <= 8
            AND octet_length(api_version) <= 64)
    );
"""
REASONS = """
    ALTER TABLE app.quota_entries ADD COLUMN reason text,
        DROP CONSTRAINT ck_quota_entries_texts,
        ADD CONSTRAINT ck_quota_entries_texts CHECK (octet_length(id) <= 1024 AND octet_length(reason) <= 8192);
"""
NO_REASONS = """
    ALTER TABLE app.quota_entries DROP CONSTRAINT ck_quota_entries_texts,
        ADD CONSTRAINT ck_quota_entries_texts CHECK (octet_length(id) <= 1024),
        DROP COLUMN reason;
"""
# What is known of the time before: when subscriptions began and ended, each until the next one of its user began.
FILLED = """
    INSERT INTO app.entitlements (user_id, plan_id, valid_from, valid_until)
    SELECT user_id, plan_id, valid_from, least(valid_until, next_from)
    FROM (
        SELECT user_id, plan_id, started_at AS valid_from, ended_at AS valid_until,
            lead(started_at) OVER (PARTITION BY user_id ORDER BY started_at, ended_at NULLS LAST, id) AS next_from
        FROM app.subscriptions
        WHERE (ended_at IS NULL AND status IN ('active', 'trialing', 'past_due'))
            OR (status = 'canceled' AND ended_at > started_at)
    ) AS known
    WHERE next_from IS NULL OR next_from > valid_from;
    INSERT INTO app.plan_limits (plan_id, valid_from, upload_limit, transcode_limit)
    SELECT id, created_at, upload_limit, transcode_limit FROM app.plans;
    INSERT INTO app.own_limits (user_id, metric, valid_from, "limit")
    SELECT own.user_id, own.metric, users.created_at, own."limit"
    FROM app.quota_limits AS own JOIN app.users ON users.id = own.user_id;
"""
TRIGGERS = """
    DROP TRIGGER record_insert ON app.subscriptions;
    DROP TRIGGER record_update ON app.subscriptions;
    DROP TRIGGER record_delete ON app.subscriptions;
    DROP TRIGGER record_insert ON app.plans;
    DROP TRIGGER record_update ON app.plans;
    DROP TRIGGER record_insert ON app.quota_limits;
    DROP TRIGGER record_update ON app.quota_limits;
    DROP TRIGGER record_delete ON app.quota_limits;
    DROP FUNCTION app.quota_in_force(bigint, text, timestamptz, timestamptz), app.record_entitlements(),
        app.record_plan_limits(), app.record_own_limits(), app.note_webhook_secrets(text[], text[]),
        app.note_webhook_use(text, text), app.prune_events(timestamptz, text[], text, integer),
        app.prune_bodies(timestamptz, integer), app.prune_quota_entries(timestamptz, integer),
        app.adjust_quota(text, bigint, text, bigint, text);
"""


def upgrade() -> None:
    connection = op.get_bind()
    sql.run(connection, HISTORY)
    sql.run(connection, FILLED)
    sql.run(connection, SECRETS)
    sql.run(connection, REASONS)
    for name in FUNCTIONS:
        sql.run(connection, READ(name))
    identity.install(connection, READ)


def downgrade() -> None:
    connection = op.get_bind()
    for name in ("quotas", "closings"):
        sql.run(connection, BEFORE(name))
    sql.run(connection, TRIGGERS)
    op.execute("DROP FUNCTION app.quota_goes_on(timestamptz, timestamptz, timestamptz)")
    op.execute(f"DROP FUNCTION app.receive_deliveries({RECEIVED})")
    op.execute("DROP TABLE app.entitlements, app.plan_limits, app.own_limits, app.webhook_secrets")
    sql.run(connection, NO_REASONS)
    identity.install(connection, BEFORE)
