"""A worker that is killed while it publishes leaves objects: they stay while it may be alive, and are removed after."""

import pytest

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.local.process import wait
from dumacle_cli.local.servers import Servers
from dumacle_cli.store.database import Database
from tests.conftest import Run
from tests.faults.farm import Farm
from tests.faults.store_proxy import StoreProxy
from tests.faults.test_farm import proxy
from tests.faults.workers import LAPSED, begin
from tests.films import SECONDS, Films, Submit, check, films, rows, submit
from tests.processes import Begin

__all__ = ["begin", "films", "proxy", "submit"]
pytestmark = pytest.mark.integration
JSON = ("-o", "json")


def test_killed_in_the_middle_of_publishing(
    run: Run,
    begin: Begin,
    proxy: StoreProxy,
    submit: Submit,
    films: Films,
    database: Database,
    object_store: ObjectStore,
    embedded: Servers,
    tmp_path: object,
) -> None:
    submit(films(2), preset="hls")
    farm = Farm(database, embedded.admin_url, proxy, tmp_path, begin())  # type: ignore[arg-type]
    farm.watch("finalize")
    farm.open("probe")
    with farm.held_in("finalize"):
        written = {entry.key for entry in object_store.list("renditions/")}
        assert written
        assert run("files", "reap", *JSON).data["outputs"] == 0
        assert {entry.key for entry in object_store.list("renditions/")} == written
        farm.kill()
    proxy.heal()
    wait(lambda: rows(database, LAPSED) != [], SECONDS)
    run("transcode", "reap")
    assert run("files", "reap", *JSON).data["outputs"] == 1
    assert list(object_store.list("renditions/")) == []
    run("worker", "--once")
    check(database, object_store, 1)
    assert run("files", "reap", *JSON).data["outputs"] == 0
    check(database, object_store, 1)
