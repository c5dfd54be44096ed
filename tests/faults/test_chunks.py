"""Workers that share a long film, one of which is disturbed: it loses the chunk that it works on, and nothing else."""

from pathlib import Path

import pytest

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.local.servers import Servers
from dumacle_cli.store.database import Database
from tests.faults.farm import Farm, Gate
from tests.faults.store_proxy import Exchange, StoreProxy
from tests.faults.test_farm import proxy
from tests.faults.workers import begin, stop
from tests.films import Submit, await_status, check, rows, submit
from tests.processes import Begin
from tests.transcode.conftest import run_ffmpeg

__all__ = ["begin", "proxy", "submit"]
pytestmark = pytest.mark.integration
CHUNK, FINALIZE = 2, 8
HELD = {CHUNK: ("put", "p/00005.m4s"), FINALIZE: ("get", "inventory.json")}
"""The first segment of the second chunk, and the first of what is fetched to put the film together."""
UNITS = "SELECT kind, status, setbacks FROM app.units ORDER BY number"


def film(folder: Path) -> bytes:
    """Make a film of three chunks, which is encoded in moments: it has five small pictures a second."""
    pictures, sound = "testsrc2=size=64x36:rate=5:duration=190", "sine=duration=190"
    inputs = ("-f", "lavfi", "-i", pictures, "-f", "lavfi", "-i", sound)
    run_ffmpeg(*inputs, "-c:v", "libx264", "-preset", "ultrafast", "-g", "60", str(folder / "film.mp4"))
    return (folder / "film.mp4").read_bytes()


@pytest.mark.parametrize(("fault", "unit"), [("kill", CHUNK), ("freeze", CHUNK), ("kill", FINALIZE)])
def test_a_disturbed_worker_loses_its_unit_only(
    fault: str,
    unit: int,
    begin: Begin,
    proxy: StoreProxy,
    submit: Submit,
    database: Database,
    object_store: ObjectStore,
    embedded: Servers,
    tmp_path: Path,
) -> None:
    submit(film(tmp_path), preset="hls")
    farm = Farm(database, embedded.admin_url, proxy, tmp_path, begin("--drain-timeout", "0"))
    kind, name = HELD[unit]
    gate = Gate(lambda exchange: exchange.request.kind == kind and name in exchange.request.target)

    def answer(exchange: Exchange) -> None:
        gate.hold(exchange)
        exchange.reply(exchange.forward())

    proxy.inject("get put", answer, times=float("inf"))
    assert gate.reached.wait(60)
    assert rows(database, UNITS)[0]["status"] == "done"
    another = begin()
    getattr(farm, fault)()
    gate.opened.set()
    await_status(database, "done", seconds=240)
    stop(another)
    if fault == "freeze":
        stop(farm.worker)
    check(database, object_store, 1)
    found = rows(database, UNITS)
    assert [row["kind"] for row in found] == [*["chunk"] * 6, "audio", "finalize"]
    assert {row["status"] for row in found} == {"done"}
    setbacks = {number: row["setbacks"] for number, row in enumerate(found, 1) if row["setbacks"]}
    # A frozen worker keeps its unit if it comes back before another one has taken it.
    assert setbacks == {unit: 1} or (fault == "freeze" and not setbacks)
