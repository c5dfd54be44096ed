"""What a reset of quotas writes, and how long closing takes.

    python -m tests.bench.quotas [USERS]

The effect of a reset is measured as WAL between the last instant of a month and the first of the next, at 1,000 users
and at USERS (2 million). Closing is timed per 100,000 active counters, at three sizes, and by four connections at once.
Goals: 0 bytes written; the same time per counter at all sizes; four at once take at most 1 / 1.5 of the time of one.
"""

import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg

from dumacle_cli.local import servers
from dumacle_cli.local.servers import OWNER
from dumacle_cli.store import bootstrap, schema
from tests.servers import scratch_folder, start_servers, stop_servers

MONTH = "date_trunc('month', now())"
SIZES = (20_000, 40_000, 80_000)
BATCH = 5000


def fill(owner: psycopg.Connection, users: int) -> None:
    """Add users on a plan, without the audit log, which is not measured here."""
    for table in ("users", "subscriptions"):
        owner.execute(f"ALTER TABLE app.{table} DISABLE TRIGGER audit")
    plan = "INSERT INTO app.plans (name, price, currency, interval) VALUES (%s, 0, 'eur', 'month') RETURNING id"
    row = owner.execute(plan, [f"plan of {users}"]).fetchone()
    assert row
    owner.execute(
        """
        WITH made AS (
            INSERT INTO app.users (email) SELECT 'u' || n || '-' || %(users)s FROM generate_series(1, %(users)s) AS n
            RETURNING id
        )
        INSERT INTO app.subscriptions (user_id, plan_id, status) SELECT id, %(plan)s, 'active' FROM made
        """,
        {"users": users, "plan": row[0]},
    )


def use(owner: psycopg.Connection, counters: int) -> None:
    """Let so many users have used some of a month that ended."""
    owner.execute("TRUNCATE app.quota_counters, app.quota_closings")
    owner.execute(
        f"INSERT INTO app.quota_counters (user_id, metric, period_start, period_end, used)"
        f" SELECT id, 'upload', {MONTH} - interval '1 month', {MONTH}, 1 FROM app.users LIMIT %s",
        [counters],
    )
    owner.execute("ANALYZE app.quota_counters")


def effect(owner: psycopg.Connection) -> tuple[int, float]:
    """Return the bytes of WAL that the turn of the month takes, and the seconds to read one user's new quota."""
    before = owner.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
    began = time.perf_counter()
    query = f"SELECT * FROM app.quota_usage((SELECT max(id) FROM app.users), 'upload', {MONTH} + interval '1 month')"
    owner.execute(query).fetchone()
    seconds = time.perf_counter() - began
    written = owner.execute("SELECT pg_current_wal_insert_lsn() - %s::pg_lsn", before).fetchone()
    assert written
    return int(written[0]), seconds


def close(url: str) -> int:
    """Close all ended periods in batches, as the command does; return how many."""
    total = 0
    with psycopg.connect(url, autocommit=True) as connection:
        while closed := connection.execute("SELECT app.close_quota_periods(now(), %s)", [BATCH]).fetchone():
            total += closed[0]
            if not closed[0]:
                return total
    return total


def timed(url: str, connections: int) -> float:
    """Return the seconds that closing takes with so many connections at once."""
    began = time.perf_counter()
    with ThreadPoolExecutor(connections) as pool:
        list(pool.map(close, [url] * connections))
    return time.perf_counter() - began


def median(owner: psycopg.Connection, url: str, counters: int, connections: int) -> float:
    """Return the median of three times in seconds."""
    times = []
    for _ in range(3):
        use(owner, counters)
        times.append(timed(url, connections))
    return statistics.median(times)


def main(users: int) -> None:
    """Measure and print."""
    folder = scratch_folder()
    embedded = start_servers(folder)
    try:
        bootstrap.bootstrap(embedded.admin_url, "bench", OWNER, embedded.owner_password)
        url = servers.url(embedded, OWNER, embedded.owner_password, "bench")
        schema.upgrade(url)
        with psycopg.connect(url, autocommit=True) as owner:
            for number in (1000, users):
                fill(owner, number)
                owner.execute("VACUUM ANALYZE app.users")
                # The server itself notes something from time to time.
                written, seconds = min(effect(owner) for _ in range(5))
                print(f"{number} users: a reset writes {written} bytes; a quota is read in {seconds * 1e3:.2f} ms")
            for size in SIZES:
                one = median(owner, url, size, 1)
                print(f"closing {size} counters: {one:.1f} s, {one / size * 1e5:.2f} s per 100,000")
            four = median(owner, url, SIZES[-1], 4)
            print(f"four at once: {four:.1f} s, {one / four:.2f} times as fast as one")
    finally:
        stop_servers(folder)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000)
