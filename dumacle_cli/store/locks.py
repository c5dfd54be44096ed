"""Waiting for locks with a timeout, and naming the holder of one that was not released in time."""

import re
import time
from typing import Any

import psycopg

POLL_SECONDS = 0.1

# A role that may not see the statement of another still sees its login and process. Quoted text may be secret.
_HOLDERS = r"""
    SELECT concat(usename, ' holds ', {what}, ' (process ', pid,
        '; since ' || to_char(since AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
        '; ' || nullif(application_name, ''), '; ' || nullif(left(statement, 60), '<insufficient privilege>'), ')')
    FROM pg_stat_activity JOIN pg_locks USING (pid),
        coalesce(xact_start, query_start, backend_start) AS since,
        regexp_replace(regexp_replace(query, $$'[^']*'?$$, '…', 'g'), '[^[:print:]]+', ' ', 'g') AS statement
    WHERE granted AND pid <> pg_backend_pid() AND {which}
    ORDER BY since, pid LIMIT 1
"""
_ADVISORY = _HOLDERS.format(
    what="'it'",
    which="""locktype = 'advisory' AND objsubid = 1 AND ((classid::bigint << 32) | objid::bigint) = %(key)s
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())""",
)
# PostgreSQL does not list locked rows, but it lists their tables; readers block nobody.
_TABLES = _HOLDERS.format(
    what="'locks in ' || relation::regclass",
    which="""locktype = 'relation' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND relation IN (SELECT oid FROM pg_class WHERE relkind IN ('r', 'p')
            AND relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('app', 'queue')))
        AND (%(table)s::text IS NULL OR relation::regclass::text = %(table)s)
        AND (%(readers)s OR mode <> 'AccessShareLock')""",
)
_NAMED = re.compile(r'relation "(\w+)"')


def take(connection: psycopg.Connection[Any], key: int, patience: float) -> str | None:
    """Take an advisory lock for the session within a timeout in seconds, or return its holder."""
    deadline = time.monotonic() + patience
    while not _first(connection, "SELECT pg_try_advisory_lock(%(key)s)", key=key):
        if time.monotonic() > deadline:
            return _first(connection, _ADVISORY, key=key) or "no session holds it any more"
        time.sleep(POLL_SECONDS)
    return None


def blocker(connection: psycopg.Connection[Any], fault: psycopg.Error, *, readers: bool = False) -> str:
    """Return the likely holder of the lock for which a statement timed out: the longest-running one.

    `readers` block migrations only. Empty if no holder is left.
    """
    named = _NAMED.search(fault.diag.context or "") or _NAMED.search(fault.diag.message_primary or "")
    table = f"app.{named[1]}" if named else None
    return _first(connection, _TABLES, table=table, readers=readers) or ""


def _first(connection: psycopg.Connection[Any], query: str, **asked: object) -> Any:
    row = connection.execute(query.encode(), asked).fetchone()
    return row[0] if row else None
