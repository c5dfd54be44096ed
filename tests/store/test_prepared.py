"""Transactions that are prepared, where a server has them, outlive their connection."""

import psycopg
import pytest
from sqlalchemy import URL, Connection, text

pytestmark = pytest.mark.integration

WRITES = "INSERT INTO app.users (email, role) VALUES ('backdoor@example.com', 'superadmin')"


def test_a_login_prepares_no_transaction(migrated: Connection, pg_url: URL) -> None:
    """Nobody could take a right from it: it would keep the user locked, and commit later."""
    owner = pg_url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(owner, autocommit=True) as superuser:
        verifier = superuser.pgconn.encrypt_password(b"secret-secret", b"", b"scram-sha-256").decode()
        make = "INSERT INTO app.users (email, role) VALUES ('root@example.com', 'superadmin') RETURNING id"
        row = superuser.execute(make).fetchone()
        assert row
        login = superuser.execute("SELECT login.grant_personal(%s, %s)", [row[0], verifier]).fetchone()
        assert login
        url = pg_url.set(drivername="postgresql", username=login[0], password="secret-secret")
        with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as root:
            for begin in ("BEGIN", "BEGIN; SET CONSTRAINTS ALL IMMEDIATE"):
                root.execute(begin)
                root.execute(WRITES)
                with pytest.raises(psycopg.errors.FeatureNotSupported, match="cannot PREPARE a transaction"):
                    root.execute("PREPARE TRANSACTION 'mine'")
            assert root.execute("SELECT pg_listening_channels()").fetchall() == []
            root.execute("BEGIN; " + WRITES + "; COMMIT")
        # Whom the schema belongs to, can.
        superuser.execute("BEGIN")
        superuser.execute("UPDATE app.users SET name = 'Root'")
        superuser.execute("PREPARE TRANSACTION 'lawful'")
        superuser.execute("ROLLBACK PREPARED 'lawful'")
    assert migrated.scalar(text("SELECT count(*) FROM app.users WHERE email LIKE 'backdoor%'")) == 1
