"""Findings about billing, the account and mode that mirrored objects belong to, and the prices of plans at Stripe."""

from pathlib import Path

from alembic import op

from dumacle_cli.store import identity, sql

revision = "0028"
down_revision = "0027"

MIGRATIONS = Path(__file__).parents[1]
READ, BEFORE = sql.frozen(MIGRATIONS, revision), sql.frozen(MIGRATIONS, down_revision)


def times(*columns: str) -> str:
    between = (f"{column} BETWEEN '1970-01-01 00:00:00+00' AND '2999-12-31 23:59:59+00'" for column in columns)
    return " AND ".join(between)


TABLES = f"""
    CREATE TABLE app.billing_accounts (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_billing_accounts PRIMARY KEY,
        account text,
        livemode boolean,
        created_at timestamptz NOT NULL DEFAULT now(),
        left_at timestamptz,
        CONSTRAINT ck_billing_accounts_times CHECK ({times("created_at", "left_at")}),
        CONSTRAINT ck_billing_accounts_texts CHECK (octet_length(account) <= 255)
    );
    CREATE UNIQUE INDEX uq_billing_accounts_current ON app.billing_accounts ((left_at IS NULL)) WHERE left_at IS NULL;
    CREATE TABLE app.findings (
        kind text COLLATE "C" NOT NULL,
        object_id text COLLATE "C" NOT NULL,
        user_id bigint CONSTRAINT fk_findings_user_id REFERENCES app.users (id) ON DELETE CASCADE,
        severity text NOT NULL,
        sentence text NOT NULL,
        fix text NOT NULL,
        first_seen_at timestamptz NOT NULL DEFAULT now(),
        last_seen_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT pk_findings PRIMARY KEY (object_id, kind),
        CONSTRAINT ck_findings_times CHECK ({times("first_seen_at", "last_seen_at")}),
        CONSTRAINT ck_findings_texts CHECK (octet_length(kind) <= 64 AND octet_length(object_id) <= 255
            AND octet_length(sentence) <= 8192 AND octet_length(fix) <= 8192),
        CONSTRAINT ck_findings_severity CHECK (severity IN ('warning', 'error'))
    );
    CREATE INDEX ix_findings_user_id ON app.findings (user_id) WHERE user_id IS NOT NULL;
"""
# Everything mirrored so far is of one account, whose id the next key tells.
FIRST_ACCOUNT = """
    INSERT INTO app.billing_accounts (livemode)
    SELECT (
        SELECT livemode FROM app.stripe_objects WHERE livemode IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC LIMIT 1
    )
    WHERE EXISTS (SELECT FROM app.stripe_objects) OR EXISTS (SELECT FROM app.customers)
        OR EXISTS (SELECT FROM app.plans WHERE stripe_product_id IS NOT NULL);
"""
# The default of a new column is evaluated once, so it fills the rows that are there without writing them.
ACCOUNTS = f"""
    ALTER TABLE app.stripe_objects ADD COLUMN account_id bigint DEFAULT app.billing_account()
        CONSTRAINT fk_stripe_objects_account_id REFERENCES app.billing_accounts (id) ON DELETE RESTRICT;
    ALTER TABLE app.customers ADD COLUMN account_id bigint DEFAULT app.billing_account()
        CONSTRAINT fk_customers_account_id REFERENCES app.billing_accounts (id) ON DELETE RESTRICT;
    CREATE TABLE app.plan_prices (
        price_id text COLLATE "C" NOT NULL,
        plan_id bigint NOT NULL CONSTRAINT fk_plan_prices_plan_id REFERENCES app.plans (id) ON DELETE CASCADE,
        account_id bigint DEFAULT app.billing_account()
            CONSTRAINT fk_plan_prices_account_id REFERENCES app.billing_accounts (id) ON DELETE RESTRICT,
        amount bigint NOT NULL,
        currency text NOT NULL,
        "interval" text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT pk_plan_prices PRIMARY KEY (price_id),
        CONSTRAINT ck_plan_prices_times CHECK ({times("created_at")}),
        CONSTRAINT ck_plan_prices_texts CHECK (octet_length(price_id) <= 255 AND octet_length(currency) <= 3
            AND octet_length("interval") <= 16),
        CONSTRAINT ck_plan_prices_amount CHECK (amount >= 0)
    );
    CREATE INDEX ix_plan_prices_plan_id ON app.plan_prices (plan_id);
"""
FILL = """
    INSERT INTO app.plan_prices (price_id, plan_id, amount, currency, "interval")
    SELECT stripe_price_id, id, price, currency, "interval" FROM app.plans WHERE stripe_price_id IS NOT NULL;
    INSERT INTO app.findings (kind, object_id, user_id, severity, sentence, fix)
    SELECT
        CASE WHEN o.have < o.want THEN 'not-applied' WHEN o.kind = 'customer' THEN 'other-customer'
            ELSE 'paid-twice' END,
        o.id, coalesce(s.user_id, c.user_id), 'error', o.error, 'dumacle plans sync'
    FROM app.stripe_objects AS o
    LEFT JOIN app.subscriptions AS s ON s.stripe_subscription_id = o.id
    LEFT JOIN app.customers AS c ON c.stripe_customer_id = o.id
    WHERE o.error IS NOT NULL;
"""
NONE = """
    ALTER TABLE app.stripe_objects DROP COLUMN account_id;
    ALTER TABLE app.customers DROP COLUMN account_id;
    DROP TABLE app.plan_prices, app.findings, app.billing_accounts;
    DROP FUNCTION app.bind_billing_account(text, boolean);
"""


def upgrade() -> None:
    connection = op.get_bind()
    sql.run(connection, TABLES)
    sql.run(connection, READ("billing"))
    for script in (FIRST_ACCOUNT, ACCOUNTS, FILL):
        sql.run(connection, script)
    identity.install(connection, READ)


def downgrade() -> None:
    connection = op.get_bind()
    # The function's body depends on the table, and the defaults of columns on the function.
    op.execute("ALTER TABLE app.plan_prices ALTER COLUMN account_id DROP DEFAULT")
    op.execute("ALTER TABLE app.stripe_objects ALTER COLUMN account_id DROP DEFAULT")
    op.execute("ALTER TABLE app.customers ALTER COLUMN account_id DROP DEFAULT")
    op.execute("DROP FUNCTION app.billing_account()")
    sql.run(connection, NONE)
    identity.install(connection, BEFORE)
