"""After a user was purged, nothing in the database says who they were; what was done stays in the audit log."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.local import servers
from dumacle_cli.local.servers import Servers
from tests.conftest import ROOT_EMAIL, Run

pytestmark = pytest.mark.integration

EMAIL, FORMER, OTHER = "marker.now@example.com", "marker.then@example.com", "marker.other@example.com"
MARKERS = ("marker", "Lovelace", "beach-of-theirs", "holiday-of-theirs", "a reason of theirs")
PASSWORD = "a password for the marker"
GIFT = 5 * 2**20

TABLES = """
    SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND n.nspname !~ '^pg_|information_schema' ORDER BY 1
"""


@pytest.fixture
def owner(owner_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(owner_url, autocommit=True) as opened:
        yield opened


def spoken_of(owner: psycopg.Connection[Any], markers: tuple[str, ...] = MARKERS) -> list[tuple[str, str]]:
    """Every row of every table in which a marker stands, also within bytes, and every role that is named so."""
    found = []
    for (table,) in owner.execute(TABLES).fetchall():
        rows = owner.execute(f"SELECT t::text FROM {table} AS t").fetchall()
        for (row,) in rows:
            found += [(table, row) for each in markers if each in row or each.encode().hex() in row]
    roles = owner.execute("SELECT rolname FROM pg_roles").fetchall()
    return found + [("role", role) for (role,) in roles if any(each in role for each in markers)]


def audit(owner: psycopg.Connection[Any], user: int) -> list[tuple[Any, ...]]:
    query = """
        SELECT id, at, actor_id, on_behalf_of, table_name, action FROM app.audit
        WHERE %(user)s IN (actor_id, on_behalf_of) ORDER BY id
    """
    return owner.execute(query, {"user": user}).fetchall()


@pytest.fixture
def lived(
    run: Run, owner: psycopg.Connection[Any], embedded: Servers, tmp_path: Path, object_store: ObjectStore
) -> int:
    """A user to whom everything was done that the program does, under names that are easily found again."""
    assert object_store
    made = run("users", "create", FORMER, "--name", "Marker Lovelace", "--op-id", f"make-{FORMER}", "-o", "json")
    user = int(made.data["id"])
    run("users", "create", "bob@example.com")
    run("users", "update", FORMER, "--email", EMAIL, "--name", "Other Lovelace")
    run("users", "update", EMAIL, "--name", "Other Lovelace")  # no change, but a result
    run("users", "disable", EMAIL)
    run("users", "enable", EMAIL)
    run("pods", "create", "films", "--capacity", "1GiB")
    for who in (EMAIL, "bob@example.com"):
        run("pods", "grant", "films", who)
        run("quotas", "set", who, "--storage", "1GiB", "--upload", "1GiB", "--transcode-minutes", "9")
    run("quotas", "grant", EMAIL, "--upload", str(GIFT), "--reason", "a reason of theirs")
    run("plans", "create", "pro", "--price", "9", "--storage", "1GiB", "--upload", "1GiB")
    run("plans", "subscribe", EMAIL, "pro")
    source = tmp_path / "holiday-of-theirs"
    source.mkdir()
    (source / "beach-of-theirs.jpg").write_bytes(b"\xff\xd8\xff\xe0 a beach")
    (source / "film-of-theirs-marker.mp4").write_bytes(b"\x00\x00\x00\x20ftypisom a film")
    run("files", "upload", source, "--pod", "films", "--owner", EMAIL, "--prefix", "holiday-of-theirs")
    (source / "beach-of-theirs.jpg").write_bytes(b"\xff\xd8\xff\xe0 another beach")
    run("files", "upload", source, "--pod", "films", "--owner", EMAIL, "--prefix", "holiday-of-theirs")
    run("files", "verify")
    film = "holiday-of-theirs/film-of-theirs-marker.mp4"
    run("transcode", "submit", film, "--owner", EMAIL, "--preset", "mp4")
    (transcode,) = run("transcode", "list", "-o", "json").data
    run("transcode", "cancel", str(transcode["id"]))
    owner.execute("UPDATE app.transcodes SET status = 'failed', error = 'film-of-theirs-marker.mp4: no picture'")
    run("files", "delete", film, "--owner", EMAIL, "--yes")
    run("files", "restore", film, "--owner", EMAIL)
    run("files", "move", film, "--owner", EMAIL, "--to-owner", "bob@example.com")
    run("files", "move", film, "--owner", "bob@example.com", "--to-owner", EMAIL)
    _delivered(owner, user)
    _acted(run, owner, embedded)
    return user


def _delivered(owner: psycopg.Connection[Any], user: int) -> None:
    """Stripe told of the customer, of their subscription, and of something that is ignored."""
    owner.execute("INSERT INTO app.customers (user_id, stripe_customer_id) VALUES (%s, 'cus_7')", [user])
    for event, target, body in (
        ("evt_1", "cus_7", '{"email": "Marker.Billing@example.com"}'),
        ("evt_2", None, '{"customer": "cus_7", "name": "Marker Lovelace"}'),
        ("evt_3", None, '{"receipt_email": "Marker.Now@example.com"}'),
        ("evt_4", None, '{"customer": "cus_8"}'),
    ):
        known = "INSERT INTO app.stripe_events (id, type, object_id, created_at) VALUES (%s, 'x', %s, now())"
        owner.execute(known, [event, target])
        owner.execute("INSERT INTO app.stripe_payloads VALUES (%s, %s)", [event, body.encode()])


def _acted(run: Run, owner: psycopg.Connection[Any], embedded: Servers) -> None:
    """They logged in, opened a session, deleted and restored files, wrote an operation down; others moved files."""
    granted = run("users", "grant-login", EMAIL, "--password-file", "-", "-o", "json", stdin=PASSWORD)
    database = owner.info.dbname
    with psycopg.connect(servers.url(embedded, granted.data["login"], PASSWORD, database), autocommit=True) as own:
        own.execute("UPDATE app.files SET deleted_at = now()")
        own.execute("UPDATE app.files SET deleted_at = NULL")
        own.execute("INSERT INTO app.operations (id, command, fingerprint, result) VALUES ('x', 'c', 'f', '{}')")
        verifier = own.pgconn.encrypt_password(PASSWORD.encode(), b"", b"scram-sha-256").decode()
        own.execute("SELECT login.open_session(%s, 1)", [verifier])
    run("users", "grant-login", EMAIL, "--password-file", "-", stdin=PASSWORD)
    owner.execute(
        "INSERT INTO app.files (pod_id, owner_id, path, size) "
        "SELECT pod_id, (SELECT id FROM app.users WHERE email = 'bob@example.com'), 'bobs own', 1 "
        "FROM app.files LIMIT 1"
    )
    owner.execute("UPDATE app.files SET path = path || ' moved'")


def test_nothing_says_who_they_were_and_what_was_done_stays(
    run: Run, owner: psycopg.Connection[Any], lived: int
) -> None:
    places = {table for table, _ in spoken_of(owner)}
    assert places >= {
        *("app.users", "app.logins", "app.files", "app.runs", "app.audit", "app.operations", "app.quota_grants"),
        *("app.transcodes", "app.stripe_payloads", "role"),
    }
    before = audit(owner, lived)
    done = run("users", "purge", EMAIL, "--yes", "-o", "json")
    assert "audit log" in done.data["kept"]
    assert spoken_of(owner) == []
    after = audit(owner, lived)
    assert after[: len(before)] == before
    assert {row[0] for row in owner.execute("SELECT event_id FROM app.stripe_payloads")} == {"evt_4"}
    root = owner.execute("SELECT id FROM app.users WHERE email = %s", [ROOT_EMAIL]).fetchone()
    assert root
    # The erasure itself stands there, too: the row that went, and that what was recorded was redacted.
    (gone,) = [row for row in after if row[4:] == ("users", "delete")]
    (redacted,) = [row for row in after if row[4:] == ("audit", "update")]
    assert (gone[2:4], redacted[2:4]) == ((root[0], lived), (root[0], lived))
    # bob's are as they were.
    bobs = owner.execute("SELECT count(*) FROM app.audit WHERE after ->> 'email' = 'bob@example.com'").fetchone()
    assert bobs == (1,)
    assert owner.execute("SELECT path FROM app.files").fetchall() == [("bobs own moved",)]


def test_who_acted_badly_stays_known_when_their_victim_is_purged(
    run: Run, owner: psycopg.Connection[Any], lived: int
) -> None:
    """What an admin did to a user keeps the login of the admin, the instant, the ids and what changed but names."""
    query = """
        SELECT id, login, at, actor_id, table_name, action,
            ARRAY(SELECT jsonb_object_keys(coalesce(after, before)))
        FROM app.audit WHERE on_behalf_of = %s AND actor_id <> %s ORDER BY id
    """
    before = owner.execute(query, [lived, lived]).fetchall()
    assert len(before) > 10
    run("users", "purge", EMAIL, "--yes")
    assert owner.execute(query, [lived, lived]).fetchall()[: len(before)] == before
    grants = owner.execute(
        "SELECT after FROM app.audit WHERE table_name = 'quota_grants' AND action = 'insert'"
    ).fetchall()
    assert [(row["amount"], row["reason"]) for (row,) in grants] == [(GIFT, "[erased]")]


def test_purging_another_changes_nothing_of_theirs(run: Run, owner: psycopg.Connection[Any], lived: int) -> None:
    run("users", "create", OTHER)
    run("users", "purge", OTHER, "--yes")
    assert {table for table, _ in spoken_of(owner)} >= {"app.users", "app.audit", "app.operations", "role"}
    assert spoken_of(owner, (OTHER,)) == []
    assert owner.execute("SELECT count(*) FROM app.operations WHERE result ->> 'email' = %s", [FORMER]).fetchone() == (
        1,
    )
    run("users", "purge", EMAIL, "--yes")
    assert audit(owner, lived)


def test_every_text_of_a_recorded_table_is_personal_or_not(owner: psycopg.Connection[Any]) -> None:
    """A new column of a recorded table joins app.personal_columns() or this list."""
    found = owner.execute("""
        SELECT c.relname, a.attname FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND attnum > 0
        WHERE c.relnamespace = 'app'::regnamespace AND c.relkind = 'r' AND NOT attisdropped
            AND atttypid IN ('text'::regtype, 'jsonb'::regtype)
            AND relname NOT IN (SELECT table_name FROM app.audit_exceptions())
    """).fetchall()
    personal = set(owner.execute("SELECT * FROM app.personal_columns()").fetchall())
    assert set(found) == personal | {(table, column) for table, columns in NOT_PERSONAL.items() for column in columns}
    assert personal.isdisjoint({(table, column) for table, columns in NOT_PERSONAL.items() for column in columns})


NOT_PERSONAL = {
    "users": {"role", "status"},
    "logins": {"kind", "duty"},
    "installation": {"prefix"},
    "pods": {"name", "primary_provider", "secondary_provider", "bucket", "secondary_bucket", "prefix"},
    "probes": {"provider", "endpoint", "bucket", "proof", "found", "measured", "lost"},
    "provider_defaults": {"provider", "endpoint", "region", "bucket"},
    "credentials": {"provider", "endpoint", "region", "key_id"},
    "plans": {
        "name",
        "description",
        "currency",
        "interval",
        "stripe_product_id",
        "stripe_price_id",
        "lookup_key",
        "other_prices",
    },
    "plan_prices": {"price_id", "currency", "interval", "other_prices"},
    "billing_accounts": {"account"},
    "customers": {"stripe_customer_id"},
    "subscriptions": {
        *("status", "stripe_subscription_id", "stripe_customer_id"),
        *("pause_collection", "unknown_status", "stripe_schedule_id"),
    },
    "quota_limits": {"metric"},
    "quota_grants": {"metric"},
    "files": {"upload_status", "content_type"},
    "versions": {"status", "key", "etag", "content_type", "upload_id", "part_etags"},
    "presets": {"hash", "name", "definition"},
    "transcodes": {"damage", "preset", "preset_hash", "status"},
    "renditions": {"name", "kind", "prefix", "entry", "rungs"},
}


def test_role_that_cannot_be_dropped_is_named_anew(run: Run, owner: psycopg.Connection[Any], embedded: Servers) -> None:
    run("users", "create", EMAIL)
    login = run("users", "grant-login", EMAIL, "--password-file", "-", "-o", "json", stdin=PASSWORD).data["login"]
    with psycopg.connect(embedded.admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE SCHEMA kept_by_a_role AUTHORIZATION {}").format(sql.Identifier(login)))
        try:
            run("users", "purge", EMAIL, "--yes")
            assert spoken_of(owner) == []
            left = admin.execute("SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'kept_by_a_role'")
            assert "_ended_" in str(left.fetchone())
        finally:
            row = admin.execute("SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'kept_by_a_role'")
            (name,) = row.fetchone() or ("",)
            admin.execute("DROP SCHEMA kept_by_a_role")
            admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.mark.parametrize(
    ("op_id", "replaced"),
    [
        ("tim@tmail.example", True),
        ("grant-tim@tmail.example", True),
        ("tim@tmail.example-1", True),
        ("20261129tim@tmail.example", True),
        ("tim@tmail.example2", True),
        ("TIM%40tmail.example", True),
        ("for tim tester", True),
        ("jotim@tmail.example", False),
        ("jo.tim@tmail.example", False),
        ("tim@tmail.example.org", True),
        ("nightly-2026-11-29", False),
        ("maintime", False),
    ],
)
def test_an_id_that_names_them_is_replaced_and_others_stay(
    op_id: str, replaced: bool, run: Run, owner: psycopg.Connection[Any]
) -> None:
    run("users", "create", "tim@tmail.example", "--name", "Tim Tester")
    run("users", "create", "bob@example.com", "--op-id", op_id)
    run("users", "purge", "tim@tmail.example", "--yes")
    found = owner.execute("SELECT count(*) FROM app.operations WHERE id = %s", [op_id]).fetchone()
    recorded = owner.execute("SELECT count(*) FROM app.audit WHERE operation_id = %s", [op_id]).fetchone()
    assert (found == (0,), recorded == (0,)) == (replaced, replaced)


def test_a_user_called_as_a_pod_takes_nothing_from_results_of_others(run: Run, owner: psycopg.Connection[Any]) -> None:
    run("users", "create", "ann@example.com", "--name", "admin")
    run("users", "create", "eve@example.com", "--name", "films")
    run("users", "create", "joann@example.com", "--role", "admin", "--op-id", "joann-made")
    run("pods", "create", "films", "--capacity", "1GiB")
    run("pods", "grant", "films", "joann@example.com", "--op-id", "granted")
    query = "SELECT id, result FROM app.operations WHERE id IN ('joann-made', 'granted') ORDER BY id"
    before = owner.execute(query).fetchall()
    run("users", "purge", "ann@example.com", "--yes")
    run("users", "purge", "eve@example.com", "--yes")
    assert owner.execute(query).fetchall() == before
    assert len(before) == 2


def test_what_others_are_about_to_write_of_them_is_waited_for(
    run: Run, owner: psycopg.Connection[Any], owner_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUMACLE_LOCK_TIMEOUT", "0.2")
    run("users", "create", EMAIL)
    planted = "INSERT INTO app.operations (id, command, fingerprint, result) VALUES ('late', 'c', 'f', %s)"
    with psycopg.connect(owner_url) as other:
        other.execute(planted, [psycopg.types.json.Jsonb({"email": EMAIL})])
        run("users", "purge", EMAIL, "--yes", expect=10)
        other.commit()
    run("users", "purge", EMAIL, "--yes")
    assert spoken_of(owner) == []
