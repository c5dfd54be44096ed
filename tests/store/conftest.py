"""A real PostgreSQL for the schema's own tests, and an empty database for each."""

import secrets
from collections.abc import Iterator

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


@pytest.fixture
def pg_url(cluster: dict[str, str]) -> Iterator[URL]:
    """The URL of a new, empty database."""
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(**cluster, dbname="postgres", autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        place = {key: cluster[key] for key in ("host", "port")}
        yield URL.create("postgresql+psycopg", cluster["user"], cluster["password"], database=name, query=place)
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def connection(pg_url: URL) -> Iterator[Connection]:
    """A connection to an empty database."""
    engine = create_engine(pg_url, poolclass=NullPool)
    with engine.connect() as opened:
        yield opened


@pytest.fixture
def migrated(pg_url: URL, connection: Connection) -> Connection:
    """A connection to a database with the present schema."""
    schema.upgrade(pg_url)
    return connection
