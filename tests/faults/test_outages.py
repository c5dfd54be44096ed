"""PostgreSQL or the store away in the middle of an upload: it waits, goes on, and loses nothing.

DUMACLE_TEST_OUTAGE is the number of seconds that they are away; a long run takes 30.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from dumacle_cli.clients.objects import Location
from dumacle_cli.local import servers
from dumacle_cli.local.process import wait
from dumacle_cli.local.servers import OWNER, Servers
from dumacle_cli.services import seed as seeds
from dumacle_cli.store import bootstrap, schema
from dumacle_cli.store.database import Database, Timeouts
from tests import buckets
from tests.faults.kills import TO, Place, prepared
from tests.faults.test_upload_faults import finish, uploaded
from tests.faults.workers import is_alive
from tests.ingest import checker
from tests.processes import Begin, Process
from tests.servers import scratch_folder, start_servers, stop_servers

pytestmark = pytest.mark.integration
MIB = 1024**2
AWAY = float(os.environ.get("DUMACLE_TEST_OUTAGE", "4"))
SECONDS = 60 + 3 * AWAY
Start = Callable[..., Process]


@pytest.fixture
def place(
    database: Database, database_url: str, bucket: Location, environment: Callable[..., None], tmp_path: Path
) -> Iterator[Place]:
    """A pod whose database and store are reached through proxies."""
    with prepared(database, database_url, bucket, tmp_path) as place:
        environment(**{name: value for name, value in place.environ.items() if name.startswith("DUMACLE_")})
        yield place


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Small files and a film of several parts."""
    folder = tmp_path / "tree"
    folder.mkdir()
    for number in range(600):
        (folder / f"{number}.jpg").write_bytes(os.urandom(20_000 + number))
    (folder / "film.mp4").write_bytes(os.urandom(36 * MIB))
    return folder


def await_some(database: Database, process: Process) -> None:
    """Wait until some files are recorded, and more are left."""
    wait(lambda: uploaded(database) > 0 or process.poll() is not None, SECONDS)
    assert process.poll() is None, "it ended before it could be disturbed"


def check(place: Place, process: Process, tree: Path) -> None:
    """Check that the upload ended well, without being repeated."""
    code, said = finish(process)
    assert code == 0, said
    assert "Traceback" not in said
    checker.check(place.database, place.store, checker.tree(tree))
    checker.once(place.database)


def slowed(place: Place) -> None:
    """Make each PUT take long enough that an outage finds the upload under way."""
    place.store_proxy.point = lambda point: time.sleep(0.05) if point == "before put" else None


OUTAGES: dict[str, Callable[[Place], AbstractContextManager[None]]] = {
    "database": lambda place: place.database_proxy.away(),
    "database half open": lambda place: place.database_proxy.half_open(),
    "store": lambda place: place.store_proxy.away(),
}


@pytest.mark.parametrize("outage", OUTAGES)
def test_away_in_the_middle(outage: str, place: Place, tree: Path, program: Begin) -> None:
    slowed(place)
    process = program("files", "upload", tree, *TO)
    await_some(place.database, process)
    with OUTAGES[outage](place):
        time.sleep(AWAY)
    check(place, process, tree)


@pytest.mark.parametrize("outage", OUTAGES)
def test_away_at_the_beginning(outage: str, place: Place, tree: Path, program: Begin) -> None:
    """It is away when the first file is to be planned or sent."""
    reached = threading.Event()
    place.store_proxy.point = lambda _: reached.set()
    place.database_proxy.point = lambda point: reached.set() if "runs" in point else None
    process = program("files", "upload", tree, *TO)
    assert reached.wait(SECONDS)
    with OUTAGES[outage](place):
        time.sleep(AWAY)
    check(place, process, tree)


@pytest.mark.parametrize("outage", ["database", "database half open"])
def test_away_when_the_last_is_recorded(outage: str, place: Place, tree: Path, program: Begin) -> None:
    reached = threading.Event()
    place.store_proxy.point = lambda point: reached.set() if point == "after complete" else None
    for small in tree.glob("*.jpg"):
        small.unlink()
    process = program("files", "upload", tree, *TO)
    assert reached.wait(SECONDS)
    with OUTAGES[outage](place):
        time.sleep(AWAY)
    check(place, process, tree)


@pytest.mark.parametrize("nth", range(1, 6))
def test_the_answer_of_a_commit_is_lost(nth: int, place: Place, tree: Path, program: Begin) -> None:
    """Each of the first writing COMMITs takes effect, but its answer is lost."""
    commits = 0

    def point(name: str) -> None:
        nonlocal commits
        if name.startswith("before") and not name.endswith("of nothing"):
            commits += 1
            place.database_proxy.after += commits == nth

    place.database_proxy.point = point
    check(place, program("files", "upload", tree, *TO), tree)
    assert commits > nth


# Servers that are killed


@pytest.fixture
def up() -> Iterator[Servers]:
    """Servers of this test's own."""
    folder = scratch_folder()
    yield start_servers(folder)
    stop_servers(folder)


@pytest.fixture
def killable(up: Servers, environment: Callable[..., None], tmp_path: Path) -> Iterator[Place]:
    """A pod on servers that can be killed."""
    bootstrap.bootstrap(up.admin_url, "killed", OWNER, up.owner_password)
    owner = servers.url(up, OWNER, up.owner_password, "killed")
    schema.upgrade(owner)
    location = Location("local", up.s3_endpoint, "us-east-1", "killed", up.s3_access_key, up.s3_secret_key)
    buckets.create(location)
    database = Database(owner, Timeouts())
    with database.session() as session:
        login = seeds.superadmin(session, "tests@example.com", up.owner_password)
    url = servers.url(up, login, up.owner_password, "killed")
    with prepared(database, url, location, tmp_path) as place:
        environment(**{name: value for name, value in place.environ.items() if name.startswith("DUMACLE_")})
        yield place
    database.close()


@pytest.mark.parametrize("server", ["postgresql", "s3"])
def test_a_server_is_killed_and_away(server: str, up: Servers, killable: Place, tree: Path, program: Begin) -> None:
    slowed(killable)
    process = program("files", "upload", tree, *TO)
    await_some(killable.database, process)
    killable.database.close()
    (pid,) = (int(each.pid or 0) for each in servers.status(up.folder) if each.server.startswith(server))
    os.kill(pid, signal.SIGKILL)
    wait(lambda: not is_alive(pid), SECONDS)
    time.sleep(AWAY)
    again = servers.start(up.folder)
    assert (again.admin_url, again.s3_endpoint) == (up.admin_url, up.s3_endpoint)
    check(killable, process, tree)
