"""The real servers, a fresh database per test from a template, and `run(...)`: the program through its only door."""

import gc
import io
import json
import os
import signal
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import botocore.hooks
import botocore.session
import hypothesis
import psycopg
import pytest
from psycopg import sql
from sqlalchemy.orm import Session

from dumacle_cli.__main__ import main
from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.objects import Location
from dumacle_cli.local import servers
from dumacle_cli.local.servers import OWNER, SUPERUSER, Servers
from dumacle_cli.services import seed as seeds
from dumacle_cli.store import bootstrap, rights, schema
from dumacle_cli.store.database import Database, Timeouts
from tests import buckets, seed
from tests.processes import program as program
from tests.servers import scratch_folder, start_servers, stop_servers

if TYPE_CHECKING:
    from tests.stripe_double.double import StripeDouble

TEMPLATE, SEEDED = "dumacle_template", "dumacle_seeded"
ROOT, ROOT_EMAIL = "dumacle_template_tests", "tests@example.com"
"""The login and the user of the superadmin whom tests act as."""
FOREIGN = ("DUMACLE_", "PG", "AWS_", "WASABI_", "ORACLE_", "RCLONE_", "XDG_", "STRIPE_", "DATABASE_URL")

# A shell ignores SIGINT for tests in the background, `nohup` ignores SIGHUP, and what tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# What an example takes, with the first import of a library in it, is no property of the code.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


# As the program does: the objects of all tests and libraries are many, and none of them is garbage.
gc.set_threshold(200_000, 20, 50)


def pytest_collection_finish() -> None:
    """Leave what was imported and collected out of every later search for garbage."""
    gc.freeze()


def pytest_runtest_setup() -> None:
    """Take away what hypothesis hangs into the collector: a signal that raises in there would be lost."""
    gc.callbacks[:] = [each for each in gc.callbacks if not getattr(each, "__module__", "").startswith("hypothesis")]


@pytest.fixture(scope="session", autouse=True)
def shared_models() -> Iterator[None]:
    """Load botocore's models of S3, and name its events, once per process: each client would take 0.15 s of CPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", cache(botocore.session.create_loader))
        aliases: dict[str, str] = {}
        shared = property(lambda _: aliases, lambda *_: None)
        patch.setattr(botocore.hooks.EventAliaser, "_alias_name_cache", shared, raising=False)
        yield


@pytest.fixture(scope="session")
def embedded() -> Iterator[Servers]:
    """The embedded PostgreSQL and S3 server, for all tests of this process."""
    folder = scratch_folder()
    yield start_servers(folder)
    stop_servers(folder)


@pytest.fixture(scope="session")
def template(embedded: Servers) -> str:
    """A database with the present schema and a superadmin, to be copied."""
    bootstrap.bootstrap(embedded.admin_url, TEMPLATE, OWNER, embedded.owner_password)
    url = servers.url(embedded, OWNER, embedded.owner_password, TEMPLATE)
    schema.upgrade(url)
    database = Database(url, Timeouts())
    with database.session() as session:
        assert seeds.superadmin(session, ROOT_EMAIL, embedded.owner_password) == ROOT
    database.close()
    _shrink(embedded, TEMPLATE)
    _hasten(embedded)
    return TEMPLATE


def _hasten(embedded: Servers) -> None:
    """Let the logins of tests connect with one round of hashing instead of 4096, which take 2 ms of CPU each time."""
    passwords = {SUPERUSER: embedded.postgres_password, OWNER: embedded.owner_password, ROOT: embedded.owner_password}
    with psycopg.connect(embedded.admin_url) as admin:
        admin.execute("SET scram_iterations = 1")
        for role, password in passwords.items():
            admin.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(password)))


def _shrink(embedded: Servers, name: str) -> None:
    """Drop what migrations left behind in the tables of a template, since each test copies it."""
    with psycopg.connect(embedded.admin_url, dbname=name, autocommit=True) as admin:
        admin.execute("VACUUM (FULL, ANALYZE)")


@pytest.fixture(scope="session")
def seeded_template(embedded: Servers, template: str) -> seed.Template:
    """A database with the installation that the examples of the help speak of, to be copied."""
    with psycopg.connect(embedded.admin_url, autocommit=True) as admin:
        _copy(admin, template, SEEDED)
    location = _bucket(embedded)
    database = Database(servers.url(embedded, OWNER, embedded.owner_password, SEEDED), Timeouts())
    with ObjectStore(location) as store, database.session() as session:
        seed.fill(session, location.bucket, store)
        session.flush()
        made = seed.Template(SEEDED, location.bucket, seed.objects(store), seed.unfinished(session))
    database.close()
    return made


@pytest.fixture
def copied(request: pytest.FixtureRequest, embedded: Servers, template: str) -> Iterator[str]:
    """The name of a copy of the template that is this test's own."""
    if "seeded" in request.fixturenames:
        template = request.getfixturevalue("seeded_template").name
    name = f"test_{uuid4().hex[:12]}"
    with psycopg.connect(embedded.admin_url, autocommit=True) as admin:
        _copy(admin, template, name)
        yield name
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _copy(admin: psycopg.Connection, template: str, name: str) -> None:
    copy, owner = sql.Identifier(name), sql.Identifier(OWNER)
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy OWNER {}")
    admin.execute(create.format(copy, sql.Identifier(template), owner))
    # A copy has the rights of its template on everything but itself.
    groups = sql.SQL(", ").join(sql.Identifier(rights.group(TEMPLATE, role)) for role in rights.EVERYBODY)
    admin.execute(sql.SQL("REVOKE CONNECT, TEMPORARY ON DATABASE {} FROM PUBLIC").format(copy))
    admin.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(copy, groups))


@pytest.fixture
def owner_url(embedded: Servers, copied: str) -> str:
    """The URL of this test's database for its owner, whom no policy binds."""
    return servers.url(embedded, OWNER, embedded.owner_password, copied)


@pytest.fixture
def database_url(embedded: Servers, copied: str) -> str:
    """The URL of this test's database for a superadmin."""
    return servers.url(embedded, ROOT, embedded.owner_password, copied)


@pytest.fixture
def database(owner_url: str) -> Iterator[Database]:
    """A fresh database under its owner, who may plant any rows; commands are run by a superadmin (`run`)."""
    opened = Database(owner_url, Timeouts(), pool_size=20)
    yield opened
    opened.close()


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    """A session on a fresh database, for services; what it does is committed at the end."""
    with database.session() as opened:
        yield opened


@pytest.fixture
def bucket(embedded: Servers) -> Location:
    """A bucket that is this test's own."""
    return _bucket(embedded)


def _bucket(embedded: Servers) -> Location:
    location = Location(
        "local",
        embedded.s3_endpoint,
        "us-east-1",
        f"test-{uuid4().hex[:12]}",
        embedded.s3_access_key,
        embedded.s3_secret_key,
    )
    buckets.create(location)
    return location


@pytest.fixture
def object_store(bucket: Location) -> Iterator[ObjectStore]:
    """The objects in this test's bucket."""
    with ObjectStore(bucket) as opened:
        yield opened


@pytest.fixture(scope="session")
def stripe_server() -> Iterator[Callable[[], "StripeDouble"]]:
    """The double of Stripe, for all tests of this process; a call begins a new account."""
    from tests.stripe_double import double

    with double.serving() as fresh:
        yield fresh


@pytest.fixture
def stripe_double(stripe_server: Callable[[], "StripeDouble"]) -> "StripeDouble":
    """An account at Stripe's double that is this test's own."""
    return stripe_server()


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """An environment without settings, and a way to set some, or with None to take them away."""
    for name in list(os.environ):
        if name.startswith(FOREIGN):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("NO_COLOR", raising=False)

    def put(**settings: str | None) -> None:
        for name, value in settings.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)

    return put


@pytest.fixture
def configured(environment: Callable[..., None], database_url: str, bucket: Location) -> None:
    """The environment of this test points to its database and its bucket."""
    environment(
        DUMACLE_DATABASE_URL=database_url,
        DUMACLE_DEFAULT_PROVIDER="local",
        DUMACLE_LOCAL_ENDPOINT=bucket.endpoint or "",
        DUMACLE_LOCAL_BUCKET=bucket.bucket,
        DUMACLE_LOCAL_ACCESS_KEY=bucket.access_key,
        DUMACLE_LOCAL_SECRET_KEY=bucket.secret_key,
    )


@dataclass(frozen=True, slots=True)
class Result:
    """What a run of the program came to."""

    code: int
    out: str
    err: str
    raw: bytes

    @property
    def json(self) -> Any:
        """The document on standard output."""
        return json.loads(self.out)

    @property
    def data(self) -> Any:
        """The `data` of the document."""
        return self.json["data"]

    @property
    def error(self) -> Any:
        """The error on standard error, as JSON."""
        return json.loads(self.err.splitlines()[-1])


Run = Callable[..., Result]


@pytest.fixture
def invoke(environment: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the program in this process with whatever is configured; fails on another exit status than expected."""

    def call(*argv: str | Path, stdin: str | bytes | None = None, expect: int | Collection[int] = 0) -> Result:
        given = stdin.encode() if isinstance(stdin, str) else stdin or b""
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), encoding="utf-8"))
        raw = io.BytesIO()
        out, err = io.TextIOWrapper(raw, encoding="utf-8", newline=""), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = main([str(argument) for argument in argv])
        out.flush()
        printed = raw.getvalue()
        result = Result(code, printed.decode("utf-8", "replace"), err.getvalue(), printed)
        expected = {expect} if isinstance(expect, int) else expect
        assert code in expected, f"exit {code}, expected {expect}\nstdout: {result.out}\nstderr: {result.err}"
        return result

    return call


@pytest.fixture
def run(configured: None, invoke: Run) -> Run:
    """Run the program in this process on this test's database and bucket."""
    return invoke


# In CI a test is skipped for a reason that stands in the list, or the run fails.

ALLOWED_SKIPS = Path(__file__).with_name("allowed_skips.txt")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run where a skip has no listed reason."""
    reporter = session.config.pluginmanager.getplugin("terminalreporter")
    if not os.environ.get("CI") or reporter is None or hasattr(session.config, "workerinput"):
        return
    allowed = set(ALLOWED_SKIPS.read_text().splitlines())
    reasons = {str(report.longrepr[2]).removeprefix("Skipped: ") for report in reporter.stats.get("skipped", ())}
    if unlisted := reasons - allowed:
        reporter.write_line(f"skipped for a reason that is not in {ALLOWED_SKIPS.name}: {sorted(unlisted)}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def here(tmp_path: Path, embedded: Servers, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory that the examples of the help speak of."""
    place = seed.folder(tmp_path / "here", embedded)
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def seeded(
    run: Run,
    here: Path,
    environment: Callable[..., None],
    embedded: Servers,
    database: Database,
    bucket: Location,
    object_store: ObjectStore,
    stripe_double: "StripeDouble",
    seeded_template: seed.Template,
) -> Run:
    """Run the program on the installation that the examples of the help speak of."""
    with database.session() as session:
        seed.move(session, seeded_template, object_store)
        stripe_double.plant_endpoint(session)
        seed.bill(session, stripe_double)
    key_source = f"file:{here / 'dumacle.key'}"
    environment(DUMACLE_ADMIN_DATABASE_URL=embedded.admin_url, DUMACLE_KEY_SOURCE=key_source, **stripe_double.settings)
    return run
