"""The installed program, away from the checkout: an empty database and an empty environment are enough."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from dumacle_cli import __version__
from dumacle_cli.local import servers
from dumacle_cli.local.servers import OWNER, Servers
from dumacle_cli.store import bootstrap, revisions

pytestmark = pytest.mark.e2e
PROGRAM = Path(sys.executable).with_name("dumacle")
ADA = "ada@example.com"
Installed = Callable[..., str]


@pytest.fixture
def empty_database_url(embedded: Servers) -> Iterator[str]:
    """The URL of a database without a schema, good for every process."""
    name = f"installed_{uuid4().hex[:12]}"
    bootstrap.bootstrap(embedded.admin_url, name, OWNER, embedded.owner_password)
    yield servers.url(embedded, OWNER, embedded.owner_password, name).replace(embedded.host, embedded.shared_host or "")
    with psycopg.connect(embedded.admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    """Run the console script in a folder that holds nothing, and return what it printed."""
    if not PROGRAM.exists():
        pytest.skip("the package is not installed beside this Python")

    def call(*argv: str, **environ: str) -> str:
        done = subprocess.run(
            [PROGRAM, *argv], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=100, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return call


def test_version(installed: Installed) -> None:
    assert installed("--version") == f"dumacle {__version__}\n"


def test_from_an_empty_database_to_a_user(installed: Installed, empty_database_url: str) -> None:
    def data(*argv: str) -> Any:
        return json.loads(installed(*argv, "-o", "json", DUMACLE_DATABASE_URL=empty_database_url))["data"]

    upgraded = data("db", "upgrade")
    assert (upgraded["before"], upgraded["after"]) == (None, revisions.OWN)
    assert data("db", "current") == {"revision": revisions.OWN, "needed": revisions.OWN, "pending": []}
    data("users", "create", ADA)
    assert [user["email"] for user in data("users", "list")] == [ADA]
