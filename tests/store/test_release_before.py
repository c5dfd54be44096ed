"""A new program works on the schema of the release before, until `db upgrade` ran."""

from collections.abc import Callable

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from sqlalchemy import make_url

from dumacle_cli.store import revisions, schema
from tests.conftest import Run
from tests.store.test_identity_moves import PASSWORD, admin_url, moved, verifier

__all__ = ["admin_url", "moved"]

pytestmark = pytest.mark.integration

DAY = (
    ("users", "create", "bob@example.com"),
    ("users", "set-role", "bob@example.com", "admin"),
    ("users", "update", "bob@example.com", "--name", "Bob"),
    ("users", "disable", "bob@example.com"),
    ("users", "enable", "bob@example.com"),
    ("pods", "create", "films", "--capacity", "1GiB"),
    ("pods", "grant", "films", "bob@example.com"),
    ("pods", "check", "--repair"),
    ("plans", "create", "pro", "--price", "0", "--storage", "1GiB", "--upload", "1GiB"),
    ("plans", "show", "pro"),
    ("plans", "update", "pro", "--price", "5", "--currency", "EUR"),
    ("users", "show", "bob@example.com"),
    ("quotas", "set", "bob@example.com", "--storage", "1GiB"),
    ("quotas", "reset"),
    ("pods", "delete", "films", "--yes"),
    ("plans", "archive", "pro"),
    ("users", "delete", "bob@example.com"),
    ("users", "purge", "bob@example.com", "--yes"),
)


@pytest.fixture
def before(moved: str, environment: Callable[..., None]) -> str:
    """A database with the schema of the release before, and its first superadmin, who is logged in."""
    schema.upgrade(moved, revisions.PREVIOUS)
    with psycopg.connect(moved) as owner:
        owner.execute("INSERT INTO app.users (email, role) VALUES ('ada@example.com', 'superadmin')")
        owner.execute("SELECT login.grant_personal(min(id), %s) FROM app.users", [verifier(PASSWORD)])
        name = owner.info.dbname
    url = make_url(make_conninfo(moved) if "://" not in moved else moved).set(username=f"{name}_ada", password=PASSWORD)
    environment(DUMACLE_DATABASE_URL=url.render_as_string(hide_password=False), DUMACLE_S3_BUCKET="media")
    return moved


def test_a_day_on_the_schema_of_the_release_before(before: str, invoke: Run) -> None:
    for command in DAY:
        invoke(*command)
    schema.upgrade(before)
    invoke("users", "create", "eve@example.com")


def test_what_the_schema_of_the_release_before_lacks_is_an_upgrade(before: str, invoke: Run) -> None:
    invoke("pods", "create", "films", "--capacity", "1GiB")
    invoke("pods", "grant", "films", "ada@example.com")
    refused = invoke("files", "upload", __file__, "--owner", "ada@example.com", "--dry-run", expect=2)
    assert refused.err.splitlines() == [
        f"dumacle: the database schema is {revisions.PREVIOUS}, and this program needs {revisions.OWN}",
        "  fix: dumacle db upgrade",
    ]
    schema.upgrade(before)
    invoke("files", "upload", __file__, "--owner", "ada@example.com", "--dry-run", expect=8)  # Ada has no plan.
