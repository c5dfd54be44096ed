"""What a plan costs in other currencies, here and as it was pushed to Stripe."""

from pathlib import Path

from alembic import op

from dumacle_cli.store import identity, sql

revision = "0033"
down_revision = "0032"

READ = sql.frozen(Path(__file__).parents[1], revision)

CHECK = """CHECK (jsonb_typeof(other_prices) = 'object' AND octet_length(other_prices::text) <= 4096
    AND NOT jsonb_path_exists(other_prices,
        '$.keyvalue() ? (!(@.key like_regex "^[a-z]{3}$") || @.value.type() != "number" || @.value < 0)'))"""
COLUMNS = f"""
    ALTER TABLE app.plans ADD COLUMN other_prices jsonb NOT NULL DEFAULT '{{}}',
        ADD CONSTRAINT ck_plans_other_prices {CHECK};
    ALTER TABLE app.plan_prices ADD COLUMN other_prices jsonb NOT NULL DEFAULT '{{}}',
        ADD CONSTRAINT ck_plan_prices_other_prices {CHECK};
"""
NO_COLUMNS = """
    ALTER TABLE app.plans DROP COLUMN other_prices;
    ALTER TABLE app.plan_prices DROP COLUMN other_prices;
"""


def upgrade() -> None:
    connection = op.get_bind()
    sql.run(connection, COLUMNS)
    identity.install(connection, READ)


def downgrade() -> None:
    sql.run(op.get_bind(), NO_COLUMNS)
