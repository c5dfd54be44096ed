"""The record of changes: who, what, before and after, whichever way the change was made; and what is no change."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.rows import dict_row
from sqlalchemy.orm import Session

from dumacle_cli.local import servers
from dumacle_cli.local.servers import Servers
from dumacle_cli.store import logins
from dumacle_cli.store.database import Database
from tests.conftest import ROOT, ROOT_EMAIL
from tests.factories import make_user

pytestmark = pytest.mark.integration

Psql = psycopg.Connection[dict[str, Any]]
Records = Callable[[], list[dict[str, Any]]]

INSERT, DELETE, UPDATE = 4, 8, 16
"""The events of a trigger, as pg_trigger.tgtype has them."""


def connect(url: str) -> Psql:
    return psycopg.connect(url, autocommit=True, row_factory=dict_row)


@pytest.fixture
def psql(database_url: str) -> Iterator[Psql]:
    """A superadmin's own connection, past the program."""
    with connect(database_url) as opened:
        yield opened


@pytest.fixture
def owner(owner_url: str) -> Iterator[Psql]:
    """The connection of the owner of the schema."""
    with connect(owner_url) as opened:
        yield opened


@pytest.fixture
def records(owner: Psql, people: dict[str, int]) -> Records:
    """What was recorded since the last time that this was asked."""
    seen = [scalar(owner, "SELECT coalesce(max(id), 0) FROM app.audit")]

    def fetch() -> list[dict[str, Any]]:
        found = owner.execute("SELECT * FROM app.audit WHERE id > %s ORDER BY id", seen).fetchall()
        seen[0] = max([row["id"] for row in found], default=seen[0])
        return found

    return fetch


@pytest.fixture
def people(owner: Psql) -> dict[str, int]:
    """Ada and Bob, a pod of theirs, and the superadmin who acts."""
    ids = {
        name: scalar(owner, "INSERT INTO app.users (email) VALUES (%s) RETURNING id", f"{name}@example.com")
        for name in ("ada", "bob")
    }
    ids["root"] = scalar(owner, "SELECT id FROM app.users WHERE email = %s", ROOT_EMAIL)
    ids["pod"] = scalar(
        owner,
        "INSERT INTO app.pods (name, capacity, primary_provider, bucket) VALUES ('films', 1000, 'local', 'b') "
        "RETURNING id",
    )
    return ids


def scalar(connection: Psql, query: str, *values: Any) -> Any:
    row = connection.execute(query, values).fetchone()
    assert row is not None
    return next(iter(row.values()))


def add_files(connection: Psql, pod: int, *owners: int) -> list[int]:
    """Insert a file for each of these owners in one statement, and return the ids."""
    found = connection.execute(
        "INSERT INTO app.files (pod_id, owner_id, path, size) "
        "SELECT %s, owner, 'file ' || place, 1 FROM unnest(%s::bigint[]) WITH ORDINALITY AS o (owner, place) "
        "RETURNING id",
        (pod, list(owners)),
    ).fetchall()
    return [row["id"] for row in found]


def add_version(connection: Psql, file: int) -> int:
    key = f"0a/{uuid4().hex}"
    return int(
        scalar(connection, "INSERT INTO app.versions (file_id, size, key) VALUES (%s, 1, %s) RETURNING id", file, key)
    )


def change(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["table_name"], row["row_id"], row["action"], row["before"], row["after"]


# Which tables


def test_each_table_is_recorded_or_is_an_exception_with_a_reason(owner: Psql) -> None:
    found = owner.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'app'::regnamespace AND relkind IN ('r', 'p')"
    )
    tables = {row["relname"] for row in found}
    exceptions = {row["table_name"]: row["reason"] for row in owner.execute("SELECT * FROM app.audit_exceptions()")}
    recorded = set(triggers(owner))
    assert tables == recorded | set(exceptions)
    assert recorded & set(exceptions) == set()
    assert all(exceptions.values())


def triggers(owner: Psql) -> dict[str, int]:
    """Return by table the events that are recorded."""
    found = owner.execute(
        "SELECT relname, bit_or(tgtype) & 28 AS events FROM pg_trigger JOIN pg_class AS c ON c.oid = tgrelid "
        "JOIN pg_proc AS f ON f.oid = tgfoid WHERE relnamespace = 'app'::regnamespace AND tgenabled = 'O' "
        "AND f.proname IN ('audit_row', 'audit_touched', 'audit_files', 'audit_versions') GROUP BY relname"
    )
    return {row["relname"]: row["events"] for row in found}


def test_each_event_of_a_recorded_table_is_recorded(owner: Psql) -> None:
    assert set(triggers(owner).values()) == {INSERT | UPDATE | DELETE}


def test_each_column_of_a_pod_but_what_it_counts_is_recorded(owner: Psql) -> None:
    found = owner.execute(
        "SELECT attname FROM pg_attribute JOIN pg_trigger ON tgrelid = attrelid AND tgname = 'audit' "
        "WHERE attrelid = 'app.pods'::regclass AND attnum > 0 AND NOT attisdropped AND attnum <> ALL (tgattr)"
    )
    assert {row["attname"] for row in found} == {"used", "reserved", "updated_at"}


def test_nobody_calls_what_records(owner: Psql) -> None:
    found = owner.execute(
        "SELECT proname, has_function_privilege(%s, oid, 'EXECUTE') AS may FROM pg_proc "
        "WHERE pronamespace = 'app'::regnamespace AND proname LIKE 'audit%%'",
        [ROOT],
    ).fetchall()
    assert len(found) == 10
    assert [row["proname"] for row in found if row["may"]] == ["audit_of"]


# Who, what, before and after


def test_change_in_raw_sql(psql: Psql, records: Records, people: dict[str, int]) -> None:
    psql.execute("UPDATE app.users SET name = 'Ada', updated_at = now() WHERE email = 'ada@example.com'")
    (row,) = records()
    assert change(row) == ("users", str(people["ada"]), "update", {"name": ""}, {"name": "Ada"})
    assert (row["login"], row["actor_id"], row["on_behalf_of"]) == (ROOT, people["root"], people["ada"])
    assert row["operation_id"] is None


def test_change_of_ones_own_is_on_nobodys_behalf(psql: Psql, records: Records, people: dict[str, int]) -> None:
    psql.execute("UPDATE app.users SET name = 'Root' WHERE id = %s", [people["root"]])
    (row,) = records()
    assert (row["actor_id"], row["on_behalf_of"]) == (people["root"], None)


def test_change_by_the_owner_of_the_schema_names_no_user(owner: Psql, records: Records, people: dict[str, int]) -> None:
    owner.execute("DELETE FROM app.users WHERE id = %s", [people["bob"]])
    (row,) = records()
    assert (row["login"], row["actor_id"], row["on_behalf_of"]) == (servers.OWNER, None, people["bob"])
    assert (row["action"], row["before"]["email"], row["after"]) == ("delete", "bob@example.com", None)


def test_operation_of_the_transaction_is_recorded(psql: Psql, records: Records) -> None:
    with psql.transaction():
        psql.execute("SELECT set_config('dumacle.operation', 'monday', true)")
        psql.execute("UPDATE app.users SET name = 'A'")
    psql.execute("UPDATE app.users SET name = 'B'")
    assert {row["operation_id"] for row in records() if row["after"] == {"name": "A"}} == {"monday"}
    psql.execute("UPDATE app.users SET name = 'C'")
    assert {row["operation_id"] for row in records()} == {None}


def test_nothing_changed_is_nothing_recorded(psql: Psql, owner: Psql, records: Records) -> None:
    psql.execute("UPDATE app.users SET name = name, updated_at = now()")
    psql.execute("UPDATE app.files SET path = path")
    owner.execute("DELETE FROM app.files")
    assert records() == []


def test_who_disables_himself_is_recorded(psql: Psql, records: Records, people: dict[str, int]) -> None:
    psql.execute("INSERT INTO app.users (email, role) VALUES ('second@example.com', 'superadmin')")
    psql.execute("UPDATE app.users SET status = 'disabled' WHERE id = %s", [people["root"]])
    assert [(row["actor_id"], row["action"]) for row in records()] == [
        (people["root"], "insert"),
        (people["root"], "update"),
    ]


def test_key_of_two_columns_is_the_same_in_every_time_zone(
    psql: Psql, records: Records, people: dict[str, int]
) -> None:
    psql.execute("SET timezone = 'Asia/Tokyo'")
    psql.execute("INSERT INTO app.quota_anchors VALUES (%s, '2026-01-01Z', '2026-01-01Z')", [people["ada"]])
    psql.execute("INSERT INTO app.pod_grants (pod_id, user_id) VALUES (%s, %s)", [people["pod"], people["ada"]])
    assert [row["row_id"] for row in records()] == [
        f"{people['ada']}:2026-01-01T00:00:00+00:00",
        f"{people['pod']}:{people['ada']}",
    ]


def test_secrets_of_a_credential_are_not_recorded_but_that_they_changed(psql: Psql, records: Records) -> None:
    added = "INSERT INTO app.credentials (provider, ciphertext, wrapped_key, key_id) VALUES ('s3', 'hush', 'hush', 'a')"
    psql.execute(added)
    psql.execute("UPDATE app.credentials SET ciphertext = 'whisper', key_id = 'b'")
    psql.execute("DELETE FROM app.credentials")
    made, changed, gone = records()
    assert made["after"]["ciphertext"] == made["after"]["wrapped_key"] == gone["before"]["ciphertext"] == "[redacted]"
    assert changed["before"] == {"ciphertext": "[redacted]", "key_id": "a"}
    assert changed["after"] == {"ciphertext": "[redacted]", "key_id": "b"}
    written = str([made, changed, gone])
    assert not any(secret in written for secret in ("hush", b"hush".hex(), "whisper", b"whisper".hex()))


def test_another_password_is_recorded_but_not_which(psql: Psql, records: Records, people: dict[str, int]) -> None:
    """Who administers a user may take his login over, but not unseen."""
    verifier = psql.pgconn.encrypt_password(b"whisper", b"ada", b"scram-sha-256").decode()
    for times in (1, 2):
        login = scalar(psql, "SELECT login.grant_personal(%s, %s)", people["ada"], verifier)
        (row,) = records()
        assert (row["actor_id"], row["on_behalf_of"]) == (people["root"], people["ada"])
        assert (row["table_name"], row["row_id"], row["action"]) == ("logins", login, ("insert", "update")[times - 1])
    assert row["after"] == {"password": "[redacted]"}
    service = scalar(psql, "SELECT login.grant_service('cron', %s)", verifier)
    records()
    psql.execute("SELECT login.grant_service('cron', %s)", [verifier])
    (row,) = records()
    assert (row["row_id"], row["after"]) == (service, {"password": "[redacted]"})


def test_what_a_pod_counts_is_no_change_of_it(owner: Psql, records: Records, people: dict[str, int]) -> None:
    owner.execute("UPDATE app.pods SET used = 5, reserved = 5")
    assert records() == []
    owner.execute("UPDATE app.pods SET capacity = 2000")
    assert [change(row) for row in records()] == [
        ("pods", str(people["pod"]), "update", {"capacity": 1000}, {"capacity": 2000})
    ]


# Sets


def test_one_file_is_recorded_whole(psql: Psql, owner: Psql, records: Records, people: dict[str, int]) -> None:
    (file,) = add_files(psql, people["pod"], people["ada"])
    psql.execute("UPDATE app.files SET path = 'new'")
    owner.execute("DELETE FROM app.files")
    made, moved, gone = records()
    assert (made["row_id"], made["after"]["path"], made["after"]["owner_id"]) == (str(file), "file 1", people["ada"])
    assert change(moved) == ("files", str(file), "update", {"path": "file 1"}, {"path": "new"})
    assert (gone["action"], gone["before"]["path"], gone["after"]) == ("delete", "new", None)
    assert {row["on_behalf_of"] for row in (made, moved, gone)} == {people["ada"]}


def test_many_files_are_one_record_a_statement(
    psql: Psql, owner: Psql, records: Records, people: dict[str, int]
) -> None:
    ids = add_files(psql, people["pod"], people["ada"], people["bob"], people["ada"])
    psql.execute("UPDATE app.files SET deleted_at = '2026-01-01Z' WHERE owner_id = %s", [people["ada"]])
    owner.execute("DELETE FROM app.files")
    made, deleted, gone = records()
    everyone = {"count": 3, "ids": ids, "owners": sorted([people["ada"], people["bob"]])}
    span = f"{ids[0]}..{ids[2]}"
    assert change(made) == ("files", span, "insert", None, everyone)
    assert change(gone) == ("files", span, "delete", everyone, None)
    assert (made["on_behalf_of"], deleted["on_behalf_of"]) == (None, people["ada"])
    assert change(deleted)[:3] == ("files", span, "update")
    assert deleted["before"] == {"first": {"deleted_at": None}}
    assert deleted["after"] == {
        "count": 2,
        "ids": [ids[0], ids[2]],
        "owners": [people["ada"]],
        "columns": ["deleted_at"],
        "first": {"deleted_at": "2026-01-01T00:00:00+00:00"},
    }


def test_theft_does_not_hide_among_deletions(psql: Psql, records: Records, people: dict[str, int]) -> None:
    *_, last = add_files(psql, people["pod"], people["ada"], people["ada"])
    records()
    theft = "UPDATE app.files SET deleted_at = CASE WHEN id <> %(id)s THEN now() END, "
    psql.execute(
        theft + "owner_id = CASE WHEN id = %(id)s THEN %(to)s ELSE owner_id END", {"id": last, "to": people["bob"]}
    )
    (row,) = records()
    assert row["after"]["columns"] == ["owner_id", "deleted_at"]


def test_of_very_many_files_a_thousand_are_named(psql: Psql, records: Records, people: dict[str, int]) -> None:
    ids = add_files(psql, people["pod"], *[people["ada"]] * 1001)
    (row,) = records()
    assert (row["row_id"], row["after"]["count"]) == (f"{ids[0]}..{ids[-1]}", 1001)
    assert row["after"]["ids"] == ids[:1000]


def test_progress_of_an_upload_is_no_change_but_another_content_is(
    psql: Psql, records: Records, people: dict[str, int]
) -> None:
    (file,) = add_files(psql, people["pod"], people["ada"])
    first, second = (add_version(psql, file) for _ in range(2))
    records()
    psql.execute("UPDATE app.files SET upload_status = 'uploading', upload_progress = 50")
    psql.execute("UPDATE app.files SET version_id = %s, sha256 = sha256('a'), upload_status = 'uploaded'", [first])
    assert records() == []
    psql.execute("UPDATE app.files SET version_id = %s", [second])
    (row,) = records()
    assert change(row)[2:] == ("update", {"version_id": first}, {"version_id": second})


def test_what_comes_of_a_content_is_recorded(psql: Psql, owner: Psql, records: Records, people: dict[str, int]) -> None:
    (file,) = add_files(psql, people["pod"], people["ada"])
    records()
    version = add_version(psql, file)
    psql.execute("UPDATE app.versions SET upload_id = 'parts', part_size = 1")
    psql.execute("UPDATE app.versions SET part_size = 2")
    psql.execute("UPDATE app.versions SET status = 'stored', stored_at = now(), sha256 = sha256('a')")
    owner.execute("UPDATE app.versions SET key = 'other'")
    owner.execute("UPDATE app.versions SET sha256 = sha256('b')")
    owner.execute("DELETE FROM app.versions")
    found = records()
    assert {(row["table_name"], row["row_id"], row["on_behalf_of"]) for row in found} == {
        ("versions", str(version), people["ada"])
    }
    assert [(row["action"], set(row["after"] or row["before"])) for row in found[1:-1]] == [
        ("update", {"upload_id", "part_size"}),
        ("update", {"status", "stored_at", "sha256"}),
        ("update", {"key"}),
        ("update", {"sha256"}),
    ]
    assert (found[0]["action"], found[-1]["action"]) == ("insert", "delete")
    assert found[0]["after"]["key"] == found[3]["before"]["key"]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("file_id", "(SELECT max(id) FROM app.files)"),
        ("key", "'other'"),
        ("status", "'failed'"),
        ("size", "2"),
        ("sha256", "sha256('b')"),
        ("md5", "decode(md5('b'), 'hex')"),
        ("etag", "'f'"),
        ("upload_id", "'parts'"),
    ],
)
def test_each_fact_about_a_content_is_recorded_by_itself(
    owner: Psql, records: Records, people: dict[str, int], column: str, value: str
) -> None:
    file, _ = add_files(owner, people["pod"], people["ada"], people["ada"])
    version = add_version(owner, file)
    records()
    owner.execute(f"UPDATE app.versions SET {column} = {value}".encode())
    (row,) = records()
    assert (row["table_name"], row["row_id"], row["action"]) == ("versions", str(version), "update")
    assert set(row["before"]) == set(row["after"]) == {column}
    owner.execute("UPDATE app.versions SET part_size = 3")
    assert records() == []


def test_set_of_contents_is_one_record_a_statement(psql: Psql, records: Records, people: dict[str, int]) -> None:
    files = add_files(psql, people["pod"], *[people["ada"]] * 500)
    records()
    psql.execute(
        "INSERT INTO app.versions (file_id, size, key) "
        "SELECT id, 1, '0a/' || md5(id::text) FROM unnest(%s::bigint[]) AS id",
        [files],
    )
    psql.execute("UPDATE app.versions SET status = 'stored', stored_at = now(), sha256 = sha256('a')")
    made, stored = records()
    assert (made["action"], made["after"]["count"], made["after"]["owners"]) == ("insert", 500, [people["ada"]])
    assert (stored["after"]["count"], stored["after"]["columns"]) == (500, ["status", "sha256"])


def test_what_was_proven_of_a_content_stays(psql: Psql, people: dict[str, int]) -> None:
    (file,) = add_files(psql, people["pod"], people["ada"])
    add_version(psql, file)
    stored = (
        "UPDATE app.versions SET status = 'stored', stored_at = now(), sha256 = sha256('a'), etag = 'e', md5 = NULL"
    )
    for _ in range(2):  # a repeat, because the answer to the first was lost
        psql.execute(stored)
    for change in (
        "sha256 = sha256('b')",
        "etag = 'f'",
        "md5 = decode(md5(''), 'hex')",
        "size = 2",
        "stored_at = NULL",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            psql.execute(f"UPDATE app.versions SET status = 'failed', {change}")
    psql.execute("UPDATE app.versions SET status = 'superseded'")


def test_transcode_is_recorded_where_it_begins_and_ends(owner: Psql, records: Records, people: dict[str, int]) -> None:
    (file,) = add_files(owner, people["pod"], people["ada"])
    version = add_version(owner, file)
    records()
    owner.execute("INSERT INTO app.transcodes (file_id, version_id, preset) VALUES (%s, %s, 'hls')", (file, version))
    owner.execute("UPDATE app.transcodes SET status = 'running', progress = 50, attempts = 1")
    owner.execute("UPDATE app.transcodes SET progress = 99")
    owner.execute("UPDATE app.transcodes SET status = 'failed', error = 'it is no film'")
    begun, ended = records()
    assert (begun["action"], begun["after"]["preset"], begun["on_behalf_of"]) == ("insert", "hls", people["ada"])
    assert ended["after"] == {"status": "failed", "error": "it is no film"}
    assert ended["on_behalf_of"] == people["ada"]


# The record itself


def test_what_cannot_be_recorded_does_not_happen(
    psql: Psql, owner: Psql, records: Records, people: dict[str, int]
) -> None:
    (file,) = add_files(psql, people["pod"], people["ada"])
    records()
    owner.execute("ALTER TABLE app.audit ADD CONSTRAINT full_up CHECK (table_name NOT IN ('users', 'files')) NOT VALID")
    for refused in ("UPDATE app.users SET name = 'A'", "UPDATE app.files SET path = 'new'"):
        with pytest.raises(psycopg.errors.CheckViolation, match="full_up"):
            psql.execute(refused)  # type: ignore[arg-type]
    with pytest.raises(psycopg.errors.CheckViolation, match="full_up"):
        owner.execute("DELETE FROM app.files")
    assert scalar(owner, "SELECT count(*) FROM app.users WHERE name = 'A'") == 0
    assert scalar(owner, "SELECT path FROM app.files WHERE id = %s", file) == "file 1"
    psql.execute("UPDATE app.pods SET name = 'shows'")
    assert [row["table_name"] for row in records()] == ["pods"]


@pytest.mark.parametrize(
    "tampering",
    [
        "INSERT INTO app.audit (table_name, row_id, action) VALUES ('users', '1', 'insert')",
        "UPDATE app.audit SET login = 'another'",
        "DELETE FROM app.audit",
        "TRUNCATE app.audit",
        "ALTER TABLE app.users DISABLE TRIGGER audit",
        "DROP TRIGGER audit ON app.users",
        "SET session_replication_role = 'replica'",
    ],
)
def test_no_login_tampers_with_it(psql: Psql, tampering: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        psql.execute(tampering)  # type: ignore[arg-type]


def test_records_of_a_row_are_found_in_sets_too(psql: Psql, records: Records, people: dict[str, int]) -> None:
    one, two, three = add_files(psql, people["pod"], people["ada"], people["ada"], people["ada"])
    psql.execute("UPDATE app.files SET path = 'new' WHERE id = %s", [two])
    psql.execute("UPDATE app.files SET deleted_at = now() WHERE id IN (%s, %s)", (one, three))
    made, moved, deleted = (row["id"] for row in records())
    of = {file: set_of(psql, "files", file) for file in (one, two, three)}
    assert of == {one: {made, deleted}, two: {made, moved}, three: {made, deleted}}
    assert set_of(psql, "versions", two) == set_of(psql, "files", three + 1) == set()


def test_a_row_that_may_be_in_a_set_is_found_there(psql: Psql, records: Records, people: dict[str, int]) -> None:
    ids = add_files(psql, people["pod"], *[people["ada"]] * 1001)
    (made,) = records()
    assert set_of(psql, "files", ids[-1]) == {made["id"]}


def set_of(connection: Psql, table: str, row: int) -> set[int]:
    found = connection.execute("SELECT * FROM app.audit_of(%s, %s)", (table, str(row)))
    return {next(iter(row.values())) for row in found}


def test_an_admin_reads_none_of_it(database: Database, embedded: Servers, copied: str) -> None:
    with database.session() as session:
        url = servers.url(embedded, admin(session, embedded.owner_password), embedded.owner_password, copied)
    with connect(url) as psql:
        assert scalar(psql, "SELECT app.actor_role()") == "admin"
        for query in ("SELECT * FROM app.audit", "SELECT app.audit_of('users', '1')"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                psql.execute(query)  # type: ignore[arg-type]


def admin(session: Session, password: str) -> str:
    return logins.grant_personal(session, make_user(session, role="admin").id, password)
