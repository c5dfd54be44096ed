"""What a user costs on disk: bytes of rows and of indexes for each table that grows with users, money and use.

    python -m tests.bench.sizes [USERS]

USERS (20 thousand) users are on a plan, each with a customer and a subscription at Stripe, a counter, a closing, and an
entry in the ledger; each twentieth has an event in the inbox. The tables are filled once, without dead rows.
"""

import json
import sys
from collections.abc import Iterator

import psycopg

from dumacle_cli.local import servers
from dumacle_cli.local.servers import OWNER
from dumacle_cli.services.billing.objects import subscription_state
from dumacle_cli.store import bootstrap, schema
from tests.servers import scratch_folder, start_servers, stop_servers
from tests.stripe_double.account import Account

EVENTS = 20
NOW = 1_790_000_000
FILL = {
    "users": """
        INSERT INTO app.users (email, name)
        SELECT 'someone.' || n || '@example.com', 'Someone ' || n FROM generate_series(1, %(users)s) AS n""",
    "subscriptions": """
        INSERT INTO app.subscriptions (user_id, plan_id, status, stripe_subscription_id, stripe_customer_id,
            current_period_start, current_period_end)
        SELECT id, (SELECT id FROM app.plans), 'active', 'sub_' || left(md5(id::text), 24),
            'cus_' || left(md5(id::text), 14), now(), now() FROM app.users""",
    "customers": """
        INSERT INTO app.customers (user_id, stripe_customer_id, email)
        SELECT id, 'cus_' || left(md5(id::text), 14), email FROM app.users""",
    "stripe_objects": """
        INSERT INTO app.stripe_objects (id, kind, livemode, want, have, fetched_at, state)
        SELECT stripe_subscription_id, 'subscription', true, 3, 3, now(), %(state)s::jsonb FROM app.subscriptions""",
    "quota_anchors": "INSERT INTO app.quota_anchors SELECT id, now(), now() FROM app.users",
    "quota_counters": """
        INSERT INTO app.quota_counters (user_id, metric, period_start, period_end, used, closed_at)
        SELECT id, 'upload', now(), now() + interval '1 month', 123456789, now() FROM app.users""",
    "quota_closings": """
        INSERT INTO app.quota_closings (user_id, metric, period_start, period_end, used, "limit", plan_id)
        SELECT id, 'upload', now(), now() + interval '1 month', 123456789, 9, (SELECT id FROM app.plans)
        FROM app.users""",
    "quota_entries": """
        INSERT INTO app.quota_entries (id, user_id, metric, period_start, delta, occurred_at)
        SELECT gen_random_uuid()::text, id, 'upload', now(), 123456, now() FROM app.users""",
    "stripe_events": """
        INSERT INTO app.stripe_events (id, type, object_id, livemode, want, created_at, applied_at, status)
        SELECT 'evt_' || left(md5(id::text), 24), 'customer.subscription.updated', stripe_subscription_id, true, 3,
            now(), now(), 'applied' FROM app.subscriptions WHERE id %% %(events)s = 0""",
    "stripe_payloads": """
        INSERT INTO app.stripe_payloads (event_id, payload) SELECT id, %(body)s FROM app.stripe_events""",
}
GROWN = (*FILL, "entitlements")
SIZE = """
    SELECT count(*), pg_table_size(%(name)s::regclass), pg_indexes_size(%(name)s::regclass) FROM {}"""


def given(users: int) -> dict[str, object]:
    """Return the parameters of the statements: how many users, a subscription's state and an event's body."""
    account = Account(NOW)
    recurring = {"interval": "month", "interval_count": 1}
    price = account.announce("price", unit_amount=900, currency="eur", recurring=recurring)
    customer = account.announce("customer")
    found = account.subscribe(customer, price, {"app": "dumacle", "user": "1234567"}, "allow_incomplete")
    event = next(each for each in account.all("event") if each["type"] == "customer.subscription.created")
    state = json.dumps(subscription_state(found).stored())
    return {"users": users, "events": EVENTS, "state": state, "body": json.dumps(event).encode()}


def sizes(owner: psycopg.Connection, users: int) -> Iterator[tuple[str, int, float, float]]:
    """Fill the tables, and yield the name of each, its rows, and the bytes of a row in the table and in its indexes."""
    owner.execute("INSERT INTO app.plans (name, price, currency, interval) VALUES ('plan', 900, 'eur', 'month')")
    owner.execute("SELECT app.bind_billing_account('acct_1', true)")
    values = given(users)
    for name in GROWN:
        if name in FILL:
            owner.execute(FILL[name], values)
        owner.execute(f"VACUUM ANALYZE app.{name}")
        row = owner.execute(SIZE.format(f"app.{name}"), {"name": f"app.{name}"}).fetchone()
        assert row
        rows, table, indexes = row
        yield name, rows, table / rows, indexes / rows


def main(users: int) -> None:
    """Measure and print."""
    folder = scratch_folder()
    embedded = start_servers(folder)
    try:
        bootstrap.bootstrap(embedded.admin_url, "bench", OWNER, embedded.owner_password)
        url = servers.url(embedded, OWNER, embedded.owner_password, "bench")
        schema.upgrade(url)
        with psycopg.connect(url, autocommit=True) as owner:
            for table in ("users", "subscriptions", "customers", "plans"):
                owner.execute(f"ALTER TABLE app.{table} DISABLE TRIGGER audit")
            for name, rows, table_bytes, index_bytes in sizes(owner, users):
                print(f"{name:16} {rows:>9} rows, {table_bytes:6.0f} bytes a row, {index_bytes:4.0f} in indexes")
    finally:
        stop_servers(folder)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
