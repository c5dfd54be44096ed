"""Attacks in raw SQL over real connections, on a fresh installation and on one upgraded from the release before."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql as sql_words

from dumacle_cli.clients.objects import Location
from dumacle_cli.errors import Exit
from dumacle_cli.local.process import wait
from dumacle_cli.local.servers import Servers
from dumacle_cli.store import places, rights, sql
from tests import enforcement
from tests.conftest import Run
from tests.enforcement import COLUMNS, LOCKING, NOBODYS, READERS, WRITERS, Table
from tests.faults.attacks import ACCEPTED, ATTACKS, NOTHING, Attack
from tests.identity import Installation, installation
from tests.loosening import BOUND, GRANTEES, UNCHECKED, WIDER, loosenings, missing

pytestmark = pytest.mark.integration

BEFORE = "0012"
"""The last schema in which all operators were one group and nothing was recorded."""


@pytest.fixture(scope="module", params=["head", BEFORE], ids=["fresh", "upgraded"])
def everybody(request: pytest.FixtureRequest, embedded: Servers) -> Iterator[Installation]:
    """An installation for all tests of this module: what a test changes, it takes back."""
    with installation(embedded, request.param) as made:
        yield made


@pytest.fixture(scope="module")
def matrix(everybody: Installation) -> list[rights.Right]:
    return enforcement.matrix(everybody)


@pytest.fixture(scope="module")
def promise(everybody: Installation) -> set[tuple[Any, ...]]:
    return enforcement.promised(everybody)


@pytest.fixture(scope="module")
def tables(everybody: Installation) -> list[Table]:
    return enforcement.tables(everybody)


@pytest.fixture(scope="module")
def before(everybody: Installation) -> list[Any]:
    return enforcement.state(everybody)


@pytest.fixture
def superuser(everybody: Installation) -> Iterator[psycopg.Connection[Any]]:
    """Whom nothing binds, in a transaction that is taken back."""
    connection = everybody.as_("superuser")
    with connection.transaction(force_rollback=True):
        connection.execute(enforcement.TRIED)
        yield connection


# Attacks


def rows(connection: psycopg.Connection[Any], statements: str) -> int:
    """Run statements and return how many rows the last of them found or changed; -1 for one that has none."""
    cursor = connection.execute(statements)
    while cursor.nextset():
        pass
    return cursor.rowcount


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: f"{attack.by}: {attack.name}")
def test_attack(attack: Attack, everybody: Installation, promise: set[tuple[Any, ...]], before: list[Any]) -> None:
    attacker = everybody.as_(attack.by)
    if attack.refused == NOTHING:
        with attacker.transaction():
            assert rows(attacker, everybody.say(attack.sql)) <= 0
        assert enforcement.state(everybody) == before
        assert enforcement.differences(everybody.as_("superuser"), promise) == set()
    else:
        with pytest.raises(psycopg.Error) as refusal, attacker.transaction():
            rows(attacker, everybody.say(attack.sql))
        assert refusal.value.sqlstate == attack.refused, refusal.value
    # Who may, can: so the refusal came of who it was.
    lawful = everybody.as_(attack.control)
    with lawful.transaction(force_rollback=True):
        assert rows(lawful, everybody.say(attack.lawful or attack.sql)) != 0


# By construction: every table, every right, every policy


def test_rights_in_force_are_those_of_the_matrix(everybody: Installation, promise: set[tuple[Any, ...]]) -> None:
    assert enforcement.differences(everybody.as_("superuser"), promise) == set()
    assert len(promise) > 500


def test_nobody_names_what_postgresql_gives(everybody: Installation) -> None:
    """Numbers of rows and when they were made: by no group, in no table, nor by their sequences."""
    groups = [rights.group(everybody.database, role) for role in rights.EVERYBODY]
    given = """
        SELECT g, c.oid::regclass || '.' || a.attname AS named,
            bool_or(has_column_privilege(g, c.oid, a.attnum, word)) AS may
        FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0,
            unnest(%s::text[]) AS g, unnest(ARRAY['INSERT', 'UPDATE']) AS word
        WHERE c.relnamespace = 'app'::regnamespace AND c.relkind = 'r'
            AND (a.attidentity <> '' OR (a.attname IN ('created_at', 'at') AND a.atthasdef))
        GROUP BY 1, 2
        UNION ALL
        SELECT g, c.oid::regclass::text, has_sequence_privilege(g, c.oid, 'USAGE, SELECT, UPDATE')
        FROM pg_class AS c, unnest(%s::text[]) AS g WHERE c.relnamespace = 'app'::regnamespace AND c.relkind = 'S'
    """
    found = everybody.as_("superuser").execute(given, [groups, groups]).fetchall()
    assert len(found) > 7 * 25
    assert [(group, named) for group, named, may in found if may] == []


def test_what_decides_over_others_is_written_and_read_by_few(matrix: list[rights.Right]) -> None:
    def whose(table: str, wanted: Callable[[rights.Right], bool]) -> str:
        return " ".join(sorted({right.role for right in matrix if right.name == table and wanted(right)}))

    def writes(right: rights.Right) -> bool:
        return right.privilege != "SELECT" and not set(right.columns or "?") <= LOCKING

    assert {table: whose(table, writes) for table in WRITERS} == WRITERS
    assert {table: whose(table, lambda right: right.privilege == "SELECT") for table in READERS} == READERS
    columns = {(r.name, r.role, r.privilege): set(r.columns) for r in matrix}
    assert {which: columns[which] for which in COLUMNS} == COLUMNS
    assert not {"id", "owner_id", "path", "deleted_at"} & columns["files", "ingest", "UPDATE"]


def test_everybody_reads_and_writes_the_rows_that_he_should(
    superuser: psycopg.Connection[Any], everybody: Installation, matrix: list[rights.Right], tables: list[Table]
) -> None:
    found = {table.name: enforcement.observed(everybody, matrix, table, superuser) for table in tables}
    assert found == {table.name: enforcement.expected(everybody, matrix, table) for table in tables}
    assert all(table.rows for table in tables if table.name not in NOBODYS)


def test_a_new_table_must_join_the_lists(superuser: psycopg.Connection[Any], everybody: Installation) -> None:
    for made in ("(id bigint PRIMARY KEY)", "(id bigint)", "(id bigint) PARTITION BY HASH (id)"):
        superuser.execute(f"CREATE TABLE app.x {made}")
        with pytest.raises(AssertionError, match="in no list"):
            enforcement.tables(everybody)
        superuser.execute("DROP TABLE app.x")


# Loosened in turn: one right or policy more, and the checks above fail


@pytest.mark.parametrize("grantee", GRANTEES)
def test_each_right_more_is_noticed(
    grantee: str, superuser: psycopg.Connection[Any], everybody: Installation, promise: set[tuple[Any, ...]]
) -> None:
    to = grantee if grantee == "PUBLIC" else rights.group(everybody.database, grantee)
    more = missing(superuser, to, promise)
    for _, _, privilege, column, on in more:
        columns = f' ("{column}")' if column else ""
        superuser.execute(f"GRANT {privilege}{columns} ON {on} TO {to}")
    # Each of them, and nothing else: the check names every single one.
    assert enforcement.differences(superuser, promise) == {
        (to, schema, name, privilege, column, False) for schema, name, privilege, column, _ in more
    }
    assert len(more) > 250


@pytest.mark.parametrize("wider", WIDER)
def test_what_else_is_wider_is_noticed(
    wider: str, superuser: psycopg.Connection[Any], everybody: Installation, promise: set[tuple[Any, ...]]
) -> None:
    superuser.execute(everybody.say(WIDER[wider]))
    assert enforcement.differences(superuser, promise)


def test_each_policy_that_lets_everybody_is_noticed(
    superuser: psycopg.Connection[Any],
    everybody: Installation,
    matrix: list[rights.Right],
    promise: set[tuple[Any, ...]],
    tables: list[Table],
) -> None:
    by_name = {table.name: table for table in tables}
    policies = superuser.execute(
        "SELECT tablename, policyname, cmd FROM pg_policies WHERE schemaname = 'app'"
    ).fetchall()
    assert {table for table, *_ in policies} == set(by_name)
    unnoticed = []
    for table, policy, command in policies:
        for loosened in loosenings(table, policy, command):
            with superuser.transaction(force_rollback=True):
                superuser.execute(loosened)
                found = enforcement.observed(everybody, matrix, by_name[table], superuser, BOUND)
                if table not in NOBODYS and found == enforcement.expected(everybody, matrix, by_name[table], BOUND):
                    unnoticed.append(loosened)
                assert enforcement.differences(superuser, promise), loosened
    # What new rows must be does not matter where nobody adds any, or changes by what they are judged; that it went, the
    # catalogs show all the same.
    assert [each for each in unnoticed if "USING" in each or "CHECK" not in each] == []
    assert {each.split()[4] for each in unnoticed} == UNCHECKED


def test_the_key_of_another_is_not_ones_own(everybody: Installation) -> None:
    """Whoever proposes the key of another's object gets a new one, with the extension that was proposed."""
    ingest = everybody.as_("ingest")
    taken = everybody.value("SELECT key FROM app.versions WHERE id = {version_bob}")
    with ingest.transaction(force_rollback=True):
        proposed = "INSERT INTO app.versions (file_id, size, key) VALUES (%s, 0, %s) RETURNING key"
        for extension in ("", ".mp4"):
            key = f"{taken}{extension}"
            (made,) = ingest.execute(proposed, [everybody.facts["file_ada"], key]).fetchone() or ("",)
            assert made[3:35] != taken[3:35]
            assert places.is_own("", made)
            assert made[35:] == extension


# What takes more than one statement, or more than one connection


def test_nobody_makes_any_extension(everybody: Installation) -> None:
    """Each that the server can make: files and other servers as tables, languages, types."""
    found = everybody.as_("superuser").execute("""
        SELECT name FROM pg_available_extension_versions JOIN pg_available_extensions AS a USING (name)
        WHERE version = default_version AND installed_version IS NULL
        AND coalesce(requires, '{}') <@ ARRAY(SELECT name FROM pg_available_extensions)
    """)
    for (name,) in found.fetchall():
        for who in ("admin", "root", "ada"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                everybody.as_(who).execute(f'CREATE EXTENSION "{name}" CASCADE')


@pytest.mark.parametrize(
    ("statement", "undone"),
    [
        ("CREATE DATABASE {P}_x", "DROP DATABASE {P}_x"),
        ("ALTER SYSTEM SET work_mem = '4MB'", "ALTER SYSTEM RESET work_mem"),
        ("SET allow_in_place_tablespaces = on; CREATE TABLESPACE x LOCATION ''", "DROP TABLESPACE x"),
        ("DROP DATABASE {P}", ""),
        ("REINDEX DATABASE {P}", ""),
    ],
)
def test_nobody_does_what_no_transaction_holds(statement: str, undone: str, everybody: Installation) -> None:
    *settings, attempt = everybody.say(statement).split("; ")
    for who in ("admin", "root", "ada", "worker"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            everybody.as_(who).execute(attempt)
    if undone:
        for lawful in (*settings, attempt, everybody.say(undone)):
            everybody.as_("superuser").execute(lawful)


def test_nobody_changes_a_setting_of_superusers(everybody: Installation, superuser: psycopg.Connection[Any]) -> None:
    """Not for a transaction, nor for sessions of their own to come; a library's are known only where it was loaded."""
    query = "SELECT format('%I = %L', name, setting) FROM pg_settings WHERE context = 'superuser' AND name !~ '\\.'"
    settings = [setting for (setting,) in superuser.execute(query).fetchall()]
    assert {"session_replication_role = 'origin'", "lo_compat_privileges = 'off'"} <= set(settings)
    for setting in settings:
        for who in ("admin", "root", "ada", "worker"):
            for statement in (f"SET {setting}", f"ALTER ROLE CURRENT_USER SET {setting}"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    everybody.as_(who).execute(statement)
        superuser.execute(f"SET LOCAL {setting}")


def test_nobody_gets_in(everybody: Installation) -> None:
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        everybody.connect("nobody")


@pytest.fixture
def disable(everybody: Installation) -> Iterator[Callable[[str], None]]:
    """Disable a user, who is enabled again at the end."""
    gone: list[str] = []

    def call(who: str) -> None:
        gone.append(who)
        everybody.as_("root").execute(everybody.say(f"UPDATE app.users SET status = 'disabled' WHERE id = {{{who}}}"))

    yield call
    for who in gone:
        everybody.value(f"UPDATE app.users SET status = 'active' WHERE id = {{{who}}} RETURNING id")


def test_who_is_disabled_is_stopped_at_once(everybody: Installation, disable: Callable[[str], None]) -> None:
    with everybody.connect("bob") as bob:
        bob.execute("DECLARE held CURSOR WITH HOLD FOR SELECT id FROM app.files")
        bob.execute("BEGIN")
        bob.execute("DECLARE running CURSOR FOR SELECT id FROM app.files, generate_series(1, 1000)")
        assert bob.execute("FETCH 1 FROM running").fetchall()
        disable("bob")
        with pytest.raises(psycopg.errors.AdminShutdown):
            bob.execute("FETCH 1 FROM running")
    with everybody.connect("bob") as bob:
        for statement in (
            "SELECT id FROM app.files",
            "UPDATE app.files SET deleted_at = now()",
            everybody.say("SELECT login.open_session('{verifier}', 1)"),
        ):
            with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification, match="disabled"), bob.transaction():
                bob.execute(statement)


def test_session_ends_within_a_statement(everybody: Installation) -> None:
    lasting = everybody.value("SELECT valid_until FROM app.logins WHERE role = '{login_session}'")
    ask = "UPDATE app.logins SET valid_until = {until} WHERE role = '{{login_session}}' RETURNING 1"
    loop = "DO $$ BEGIN FOR n IN 1..600 LOOP PERFORM FROM app.files; PERFORM pg_sleep(0.1); END LOOP; END $$"
    with everybody.connect("session") as session:
        everybody.value(ask.format(until="clock_timestamp() + interval '1 second'"))
        with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification, match="expired"):
            session.execute(loop)
        with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification, match="expired"):
            session.execute("SELECT FROM app.files")
        everybody.value(ask.format(until=f"'{lasting}'"))
        session.execute("SELECT FROM app.files")


def test_one_connection_for_another_login_and_the_same_plan(
    superuser: psycopg.Connection[Any], everybody: Installation
) -> None:
    superuser.execute("SET LOCAL plan_cache_mode = force_generic_plan")
    superuser.execute("PREPARE mine AS SELECT owner_id FROM app.files ORDER BY 1")
    for _ in range(10):
        for who in ("ada", "bob"):
            superuser.execute(f"SET LOCAL SESSION AUTHORIZATION {everybody.logins[who]}")
            assert superuser.execute("EXECUTE mine").fetchall() == [(everybody.facts[who],)]
            superuser.execute("SET LOCAL SESSION AUTHORIZATION DEFAULT")


def test_the_last_superadmin_stays(everybody: Installation) -> None:
    root = everybody.as_("root")
    for last in ("status = 'disabled'", "deleted_at = now()"):
        with root.transaction(force_rollback=True):
            root.execute(everybody.say("UPDATE app.users SET status = 'disabled' WHERE id = {rosa}"))
            with pytest.raises(psycopg.errors.CheckViolation, match="last superadmin"):
                root.execute(everybody.say(f"UPDATE app.users SET {last} WHERE id = {{root}}"))
    with root.transaction(force_rollback=True):
        root.execute(everybody.say("SELECT app.set_role({rosa}, 'enduser')"))
        with pytest.raises(psycopg.errors.CheckViolation, match="last superadmin"):
            root.execute(everybody.say("SELECT app.set_role({root}, 'admin')"))


def test_two_superadmins_cannot_demote_each_other(everybody: Installation) -> None:
    with everybody.connect("root") as root, everybody.connect("rosa") as rosa:
        root.execute("BEGIN")
        root.execute(everybody.say("SELECT app.set_role({rosa}, 'enduser')"))
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(rosa.execute, everybody.say("SELECT app.set_role({root}, 'enduser')"))
            while not everybody.value(
                f"SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = {rosa.info.backend_pid}"
            ):
                assert not other.done(), other.result()
            root.execute("COMMIT")
            # She waited, and is none any more; if she is still connected at all.
            with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.OperationalError)):
                other.result()
    assert everybody.value("SELECT role FROM app.users WHERE id = {root}") == "superadmin"
    everybody.value("UPDATE app.users SET role = 'superadmin' WHERE id = {rosa} RETURNING id")
    everybody.logins["rosa"] = everybody.value("SELECT login.grant_personal({rosa}, '{verifier}')")
    everybody.facts["login_rosa"] = everybody.logins["rosa"]


@pytest.mark.parametrize("database", ["", "postgres"], ids=["here", "in another database"])
def test_who_owns_something_is_revoked_all_the_same(database: str, everybody: Installation) -> None:
    url = everybody.url("ida").replace(f"/{everybody.database}?", f"/{database or everybody.database}?")
    with psycopg.connect(url, autocommit=True) as ida:
        ida.execute("SELECT lo_from_bytea(0, 'mine')")
    everybody.as_("root").execute(everybody.say("SELECT login.revoke('{login_ida}')"))
    with pytest.raises(psycopg.OperationalError):
        everybody.connect("ida")
    if database:
        with psycopg.connect(everybody.servers.admin_url) as admin:
            ended = everybody.value("SELECT rolname FROM pg_roles WHERE rolname LIKE '{P}\\_ended\\_%'")
            admin.execute(sql_words.SQL("DROP OWNED BY {}").format(sql_words.Identifier(ended)))
    everybody.logins["ida"] = everybody.value("SELECT login.grant_personal({ida}, '{verifier}')")
    everybody.facts["login_ida"] = everybody.logins["ida"]


def test_session_lasts_no_longer_than_the_installation_allows(everybody: Installation) -> None:
    ada = everybody.as_("ada")
    with ada.transaction(force_rollback=True):
        query = "SELECT valid_until - now() <= interval '24 hours' FROM login.open_session('{verifier}', 1e9)"
        assert ada.execute(everybody.say(query)).fetchone() == (True,)


@pytest.mark.parametrize("zone", ["<x>-120", "<CET>-167", "<UTC>-100", "Asia/Kolkata"])
@pytest.mark.parametrize("style", ["ISO", "SQL, DMY", "Postgres", "German"])
def test_session_is_not_lengthened_by_settings(style: str, zone: str, everybody: Installation) -> None:
    ada = everybody.as_("ada")
    with ada.transaction(force_rollback=True):
        ada.execute(f"SET LOCAL datestyle = '{style}'; SET LOCAL timezone = '{zone}'")
        opened = ada.execute(everybody.say("SELECT role FROM login.open_session('{verifier}', 24)")).fetchone()
        assert opened
        query = (
            "SELECT rolvaliduntil = valid_until, valid_until - now() FROM pg_roles JOIN app.logins ON role = rolname"
        )
        found = ada.execute(f"{query} WHERE rolname = %s", opened).fetchone()
    assert found == (True, timedelta(hours=24))


def test_enduser_with_the_name_of_a_service_does_not_become_it(
    superuser: psycopg.Connection[Any], everybody: Installation
) -> None:
    superuser.execute("UPDATE app.users SET email = 'x@service.invalid' WHERE email = 'cron@service.invalid'")
    superuser.execute(everybody.say("UPDATE app.users SET email = 'cron@service.invalid' WHERE id = {eve}"))
    with pytest.raises(psycopg.errors.UniqueViolation):
        superuser.execute("SELECT app.service_user('cron')")


def test_operation_of_another_only_annotates(everybody: Installation) -> None:
    admin = everybody.as_("admin")
    with admin.transaction():
        admin.execute("SELECT set_config('dumacle.operation', 'of root', true)")
        admin.execute(everybody.say("UPDATE app.users SET name = 'Robert' WHERE id = {bob}"))
    query = "SELECT login || ' ' || actor_id FROM app.audit WHERE operation_id = 'of root'"
    assert everybody.value(query) == everybody.say("{login_admin} {admin}")


# What one login could take from all others


def test_an_enduser_has_few_connections_whatever_the_login(everybody: Installation) -> None:
    opened: list[psycopg.Connection[Any]] = []
    try:
        for login in ("ada", "session", "idle"):
            with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
                opened.extend(everybody.connect(login) for _ in range(10))
        assert len(opened) <= 9
        with everybody.connect("bob") as bob:
            assert bob.execute("SELECT 1").fetchone() == (1,)
    finally:
        for connection in opened:
            connection.close()
        gone = (
            "SELECT count(*) < 4 FROM pg_stat_activity "
            "WHERE usename IN ('{login_ada}', '{login_session}', '{login_idle}')"
        )
        assert wait(lambda: everybody.value(gone), 30)


def test_who_is_promoted_or_demoted_has_the_connections_of_the_role(
    superuser: psycopg.Connection[Any], everybody: Installation
) -> None:
    superuser.execute("INSERT INTO app.users (email) VALUES ('zoe@example.com')")
    superuser.execute("SET CONSTRAINTS ALL IMMEDIATE")
    limit = "SELECT rolconnlimit FROM pg_roles JOIN app.logins ON role = rolname JOIN app.users ON users.id = user_id"
    found = []
    for role in ("superadmin", "admin", "enduser"):
        superuser.execute(f"SELECT app.set_role(id, '{role}') FROM app.users WHERE email = 'zoe@example.com'".encode())
        if not found:
            granted = "SELECT login.grant_personal(id, '{verifier}') FROM app.users WHERE email = 'zoe@example.com'"
            superuser.execute(everybody.say(granted))
        found += superuser.execute(f"{limit} WHERE email = 'zoe@example.com'".encode()).fetchall()
    assert found == [(20,), (10,), (3,)]


def test_what_all_logins_may_open_is_bounded(everybody: Installation) -> None:
    assert everybody.value("SELECT min(rolconnlimit) FROM pg_roles JOIN app.logins ON role = rolname") > 0
    assert everybody.value("SELECT max(rolconnlimit) FROM pg_roles JOIN app.logins ON role = rolname") <= 60


@pytest.mark.parametrize("instant", ["infinity", "-infinity", "10000-01-01", "2999-01-01", "0044-03-15 BC"])
def test_who_deletes_says_that_and_not_when(instant: str, everybody: Installation) -> None:
    ada = everybody.as_("ada")
    with ada.transaction(force_rollback=True):
        deleted = f"UPDATE app.files SET deleted_at = '{instant}' RETURNING deleted_at = now()"
        assert ada.execute(deleted).fetchall() == [(True,)]


def test_an_enduser_cannot_hold_up_anothers_logging_in(everybody: Installation) -> None:
    # An own connection: attacks that end bob's logins are rolled back, but his connections are gone.
    with everybody.connect("ada") as ada, everybody.connect("bob") as bob:
        for key in ("{bob}", "{ada}"):
            taken = f"SELECT pg_advisory_lock(hashtextextended('dumacle.sessions', {key}))"
            ada.execute(everybody.say(taken))
        with bob.transaction(force_rollback=True):
            bob.execute("SET LOCAL lock_timeout = '2s'")
            assert bob.execute(everybody.say("SELECT role FROM login.open_session('{verifier}', 1)")).fetchone()


@pytest.mark.parametrize(("records", "refused"), [(9000, False), (10001, True)])
def test_an_enduser_fills_the_record_only_so_fast(
    records: int, refused: bool, superuser: psycopg.Connection[Any], everybody: Installation
) -> None:
    planted = "INSERT INTO app.audit (actor_id, table_name, row_id, action) SELECT {ada}, 'x', n, 'insert'"
    superuser.execute(everybody.say(f"{planted} FROM generate_series(1, {records}) AS n"))
    superuser.execute(f"SET LOCAL SESSION AUTHORIZATION {everybody.logins['ada']}")
    toggled = "UPDATE app.files SET deleted_at = CASE WHEN deleted_at IS NULL THEN now() END"
    try:
        with superuser.transaction():
            superuser.execute(f"DO $$ BEGIN FOR n IN 1..101 LOOP {toggled}; END LOOP; END $$".encode())
    except psycopg.errors.ConfigurationLimitExceeded:
        assert refused
    else:
        assert not refused


UNBOUNDED = {
    "acting.role": "only functions write it, the name of a role",
    "audit": "only triggers write it, from rows that are bounded",
    "installation.prefix": "only the owner writes it",
    "logins.role": "the name of a PostgreSQL role, of 63 bytes",
    "versions.part_etags": "the ETags of 10,000 parts, at most 1 MiB",
    "files.deleted_at": "what nobody can read becomes now",
    "users.deleted_at": "what nobody can read becomes now",
    "pods.deleted_at": "what nobody can read becomes now",
}
"""Columns without a CHECK, or tables, each with the reason."""
TOO_MUCH = {
    "timestamp with time zone": "'infinity'",
    "text": "repeat('x', 20000)",
    "jsonb": "to_jsonb(repeat('x', 17000000))",
    "bytea": "convert_to(repeat('x', 17000000), 'UTF8')",
}


def test_each_value_is_bounded_or_has_a_reason(superuser: psycopg.Connection[Any], everybody: Installation) -> None:
    columns = superuser.execute(
        "SELECT table_name, column_name, data_type FROM information_schema.columns "
        "WHERE table_schema = 'app' AND data_type = ANY (%s)",
        [list(TOO_MUCH)],
    ).fetchall()
    assert len(columns) > 100
    taken = set()
    for table, column, kind in columns:
        # One row is enough: of the audit log, every row would hold 17 MB.
        row = f"(SELECT min(ctid) FROM app.{table})"
        if not _refuses(superuser, f'UPDATE app.{table} SET "{column}" = {TOO_MUCH[kind]} WHERE ctid = {row}'):
            taken.add(f"{table}.{column}" if table not in UNBOUNDED else table)
    assert taken == set(UNBOUNDED)


def _refuses(connection: psycopg.Connection[Any], statement: str) -> bool:
    # What else is wrong with it does not count.
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement)
    except psycopg.Error as refusal:
        return isinstance(refusal, psycopg.errors.CheckViolation) and refusal.diag.constraint_name is not None
    return False


def test_no_notification_is_part_of_a_transaction_that_matters(superuser: psycopg.Connection[Any]) -> None:
    notifying = "SELECT count(*) FROM pg_trigger AS t JOIN pg_proc AS f ON f.oid = t.tgfoid WHERE f.prosrc ~* 'notify'"
    assert superuser.execute(notifying).fetchone() == (0,)


def test_copy_gives_ones_own_rows(everybody: Installation) -> None:
    with everybody.as_("ada").cursor().copy("COPY app.files (owner_id) TO STDOUT") as copy:
        assert b"".join(map(bytes, copy)) == f"{everybody.facts['ada']}\n".encode()


@pytest.mark.parametrize("accepted", ACCEPTED)
def test_accepted(accepted: str, everybody: Installation) -> None:
    ada = everybody.as_("ada")
    with ada.transaction(force_rollback=True):
        ada.execute(ACCEPTED[accepted])


def test_what_row_level_security_does_not_hide(everybody: Installation) -> None:
    ada = everybody.as_("ada")
    with ada.transaction(force_rollback=True):
        ada.execute("SET LOCAL enable_seqscan = off")
        told = {}
        for email in ("bob@example.com", "nobody@example.com"):
            asked = f"SELECT FROM app.users WHERE email = '{email}' AND deleted_at IS NULL"
            assert ada.execute(asked).fetchall() == []
            plan = "\n".join(line for (line,) in ada.execute(f"EXPLAIN (ANALYZE) {asked}"))
            told[email] = "Rows Removed by Filter: 1" in plan
    assert told == {"bob@example.com": True, "nobody@example.com": False}


def test_guard_holds_where_rights_were_given(superuser: psycopg.Connection[Any], everybody: Installation) -> None:
    superuser.execute(everybody.say("GRANT CREATE ON SCHEMA app TO {P}_admins"))
    superuser.execute(sql.read("guard").encode())
    superuser.execute(f"SET LOCAL SESSION AUTHORIZATION {everybody.logins['admin']}")
    for refused in (
        "CREATE TABLE app.x (i int)",
        "SELECT lo_from_bytea(0, 'x')",
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), superuser.transaction():
            superuser.execute(refused)


def test_no_link_to_the_file_of_another(
    everybody: Installation, environment: Callable[..., None], bucket: Location, invoke: Run
) -> None:
    environment(
        DUMACLE_DEFAULT_PROVIDER="local",
        DUMACLE_LOCAL_ENDPOINT=bucket.endpoint or "",
        DUMACLE_LOCAL_BUCKET="media",
        DUMACLE_LOCAL_ACCESS_KEY=bucket.access_key,
        DUMACLE_LOCAL_SECRET_KEY=bucket.secret_key,
    )
    film = everybody.facts["file_ada"]
    environment(DUMACLE_DATABASE_URL=everybody.url("bob"))
    refused = invoke("files", "url", str(film), "-o", "json", expect=Exit.NOT_FOUND)
    assert "http" not in refused.out + refused.err
    environment(DUMACLE_DATABASE_URL=everybody.url("admin"))
    assert "Signature" in invoke("files", "url", str(film), "-o", "json").out
