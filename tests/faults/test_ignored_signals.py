"""What nohup, `trap ''` or a script's `&` made us ignore stays ignored, in commands and in services."""

import http.client
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from dumacle_cli.local.process import wait
from dumacle_cli.local.servers import Servers
from dumacle_cli.store.database import Database
from tests.conftest import Run
from tests.processes import Begin, Process

pytestmark = pytest.mark.integration

ALL = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
NAMES = "HUP INT TERM"
WAITING = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
# It listens only after its own handlers are in place.
LISTENS = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND query ~* '^listen|fetch_job'"
PATIENT = ("--set", "lock_timeout=60")


@pytest.fixture
def reachable(environment: Callable[..., None], run: Run, embedded: Servers, database_url: str) -> Run:
    """The program on this test's database, which other processes reach, too."""
    environment(DUMACLE_DATABASE_URL=database_url.replace(embedded.host, embedded.shared_host or ""))
    return run


@contextmanager
def locked(database: Database, table: str, began: Callable[[], Process]) -> Iterator[Process]:
    """Let a process wait for a table while inside."""
    with database.session() as other:
        other.execute(text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
        process = began()
        assert wait(lambda: process.poll() is not None or bool(other.scalar(WAITING)), 60)
        assert process.poll() is None
        yield process


def test_a_command_goes_on(reachable: Run, program: Begin, database: Database) -> None:
    begin = lambda: program("users", "list", "-o", "csv", *PATIENT, ignoring=NAMES)  # noqa: E731
    with locked(database, "app.users", begin) as process:
        for number in ALL:
            process.send_signal(number)
    said = process.communicate(timeout=60)
    assert (process.returncode, said[1]) == (0, "")
    assert "tests@example.com" in said[0]


@pytest.mark.parametrize("number", ALL)
def test_only_what_is_ignored_is(number: signal.Signals, reachable: Run, program: Begin, database: Database) -> None:
    others = " ".join(name.name[3:] for name in ALL if name is not number)
    begin = lambda: program("users", "list", "-o", "csv", *PATIENT, ignoring=others)  # noqa: E731
    with locked(database, "app.users", begin) as process:
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == (130 if number is signal.SIGINT else 143)


def test_an_upload_goes_on(reachable: Run, program: Begin, database: Database, tmp_path: Path) -> None:
    reachable("plans", "create", "base", "--price", "0", *(f"--{name}=unlimited" for name in ("storage", "upload")))
    reachable("pods", "create", "films", "--capacity", "1GiB")
    reachable("users", "create", "ada@example.com", "--plan", "base")
    reachable("pods", "grant", "films", "ada@example.com")
    (tmp_path / "src").mkdir()
    for name in "abc":
        (tmp_path / "src" / name).write_text(name)
    upload = ("files", "upload", str(tmp_path / "src"), "--pod", "films", "--owner", "ada@example.com", *PATIENT)
    with locked(database, "app.files", lambda: program(*upload, ignoring=NAMES)) as process:
        for number in ALL:
            process.send_signal(number)
    assert (process.communicate(timeout=60), process.returncode)[1] == 0
    assert len(reachable("files", "list", "--owner", "ada@example.com", "-o", "json").data) == 3


def test_a_worker_goes_on_until_what_is_not_ignored(
    reachable: Run, program: Begin, embedded: Servers, copied: str
) -> None:
    process = program("worker", "--queues", "transcode", ignoring="HUP INT")

    def listens() -> bool:
        with psycopg.connect(embedded.admin_url) as admin:
            return admin.execute(LISTENS, [copied]).fetchone() != (0,)

    assert wait(lambda: process.poll() is not None or listens(), 60)
    for number in (signal.SIGHUP, signal.SIGINT):
        process.send_signal(number)
    assert not wait(lambda: process.poll() is not None, 2)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert (process.returncode, told) == (0, "stopping: signal SIGTERM\n")


def test_a_listener_goes_on(reachable: Run, program: Begin, environment: Callable[..., None]) -> None:
    environment(DUMACLE_STRIPE_WEBHOOK_SECRETS="whsec_x")
    process = program("webhooks", "serve", "--set", "listen_port=0", ignoring=NAMES)
    assert process.stderr
    found = re.search(r":(\d+)/webhooks", process.stderr.readline())
    assert found
    for _ in range(2):  # the first answer shows that its own handlers are in place
        connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=20)
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
        connection.close()
        for number in ALL:
            process.send_signal(number)
    assert process.poll() is None
