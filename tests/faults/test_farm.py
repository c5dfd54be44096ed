"""A worker is disturbed in a phase of its work: another takes over, and one rendition set is published."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.local.process import wait
from dumacle_cli.local.servers import Servers
from dumacle_cli.store.database import Database
from tests.faults.farm import BEGINS_WITHIN, CELLS, Farm
from tests.faults.store_proxy import StoreProxy, store_proxied
from tests.faults.workers import LEASE, begin
from tests.films import Films, Submit, await_status, check, films, rows, submit
from tests.processes import Begin

__all__ = ["begin", "films", "submit"]
pytestmark = pytest.mark.integration
ROOM = "24m"
STARTED = "SELECT FROM app.units WHERE status = 'done' OR worker LIKE '%{pid}'"


@pytest.fixture
def proxy(embedded: Servers, begin: Begin, environment: Callable[..., None]) -> Iterator[StoreProxy]:
    """Stand between the workers and the store."""
    with store_proxied(embedded.s3_endpoint) as proxy:
        environment(DUMACLE_LOCAL_ENDPOINT=proxy.endpoint)
        yield proxy


@pytest.fixture
def scratch(begin: Begin, environment: Callable[..., None], tmp_path: Path) -> Iterator[Path]:
    """A disk of its own for what workers write, where this account may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", folder], check=False).returncode
    ):
        pytest.skip("only root can mount a disk")
    environment(DUMACLE_SCRATCH_DIR=str(folder))
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize(("fault", "phase"), CELLS, ids=["-".join(cell) for cell in CELLS])
def test_a_disturbed_worker(
    fault: str,
    phase: str,
    begin: Begin,
    proxy: StoreProxy,
    submit: Submit,
    films: Films,
    database: Database,
    object_store: ObjectStore,
    embedded: Servers,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    folder = request.getfixturevalue("scratch") if fault == "full" else tmp_path
    submit(films(6, "640x360"), preset="hls")
    farm = Farm(database, embedded.admin_url, proxy, folder, begin("--drain-timeout", "0"))
    farm.watch(phase)
    with farm.held_in("probe"):
        farm.stand_by(another := begin())
        if phase == "probe":
            getattr(farm, fault)()
    if phase != "probe":
        with farm.held_in(phase):
            getattr(farm, fault)()
            farm.open(phase)
    if fault in ("kill", "stop"):
        allowed = BEGINS_WITHIN + (LEASE if fault == "kill" else 0)
        began = time.monotonic()
        wait(lambda: rows(database, STARTED.format(pid=another.pid)) != [], allowed + 10)
        assert time.monotonic() - began < allowed
    await_status(database, "done", seconds=300)
    for worker in (farm.worker, another):
        worker.terminate()
        said = worker.communicate(timeout=60)[1]
        assert "Traceback" not in said
    [unit] = rows(database, "SELECT status, attempt, crashes FROM app.units")
    # A frozen worker may come back before its unit is taken from it.
    crashes = {"kill": [1], "freeze": [0, 1]}.get(fault, [0])
    assert (unit["status"], unit["attempt"]) == ("done", 1)
    assert unit["crashes"] in crashes
    check(database, object_store, 1)
