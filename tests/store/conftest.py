"""A real PostgreSQL for the schema's own tests, and an empty database for each."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import URL, Connection, NullPool, create_engine

from dumacle_cli.local import servers
from dumacle_cli.local.servers import SUPERUSER
from dumacle_cli.store import schema
from tests.servers import scratch_folder, start_servers, stop_servers


@pytest.fixture(scope="session")
def cluster() -> Iterator[dict[str, str]]:
    """How to reach a running cluster of these tests' own as its superuser; it lets transactions be prepared."""
    folder = scratch_folder()
    up = start_servers(folder)
    found = {"host": str(up.shared_host), "port": up.port, "user": SUPERUSER, "password": up.postgres_password}
    with psycopg.connect(**found, dbname="postgres", autocommit=True) as superuser:
        superuser.execute("ALTER SYSTEM SET max_prepared_transactions = 5")
    servers.stop(folder)
    start_servers(folder)
    yield found
    stop_servers(folder)


@pytest.fixture(scope="session")
def present(cluster: dict[str, str]) -> str:
    """The name of a database with the present schema, to be copied."""
    name = "present"
    with psycopg.connect(**cluster, dbname="postgres", autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    schema.upgrade(_url(cluster, name))
    return name


def _url(cluster: dict[str, str], name: str) -> URL:
    place = {key: cluster[key] for key in ("host", "port")}
    return URL.create("postgresql+psycopg", cluster["user"], cluster["password"], database=name, query=place)


@contextmanager
def new_database(cluster: dict[str, str], template: str = "template1") -> Iterator[URL]:
    """The URL of a new database, which is dropped in the end."""
    name = f"test_{secrets.token_hex(6)}"
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
    with psycopg.connect(**cluster, dbname="postgres", autocommit=True) as admin:
        admin.execute(create.format(sql.Identifier(name), sql.Identifier(template)))
        yield _url(cluster, name)
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def pg_url(request: pytest.FixtureRequest, cluster: dict[str, str]) -> Iterator[URL]:
    """The URL of a new database: an empty one, or a copy with the present schema for `migrated`."""
    copied = "migrated" in request.fixturenames
    with new_database(cluster, *([request.getfixturevalue("present")] if copied else [])) as url:
        yield url


@pytest.fixture
def connection(pg_url: URL) -> Iterator[Connection]:
    """A connection to that database."""
    engine = create_engine(pg_url, poolclass=NullPool)
    with engine.connect() as opened:
        yield opened


@pytest.fixture
def migrated(connection: Connection) -> Connection:
    """A connection to a copy with the present schema; it shares its roles, so identity cannot be moved there."""
    return connection
