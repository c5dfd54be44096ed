"""What a store can do to an upload: it ends whole, or says why not, and the next one makes it whole."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.objects import Location
from dumacle_cli.store.database import Database
from tests.conftest import Result, Run
from tests.faults import store_proxy
from tests.faults.store_proxy import Action, StoreProxy, names, store_proxied
from tests.ingest import checker
from tests.ingest.conftest import Fill

pytestmark = pytest.mark.integration
MIB = 1024**2
FOR_EVER = float("inf")
Upload = Callable[..., Result]


@pytest.fixture
def proxy(bucket: Location, environment: Callable[..., None], upload: Upload) -> Iterator[StoreProxy]:
    """The program reaches its store through a proxy that can fail."""
    with store_proxied(bucket.endpoint or "") as proxy:
        environment(DUMACLE_LOCAL_ENDPOINT=proxy.endpoint)
        yield proxy


@pytest.fixture
def folder(fill: Fill) -> Path:
    """Files for single requests, and one that is sent in parts."""
    return fill(film=33 * MIB, **{f"n{number}": 1000 + number for number in range(20)})


def whole(database: Database, object_store: ObjectStore, folder: Path) -> None:
    checker.check(database, object_store, checker.tree(folder))
    checker.once(database)


PASSING: list[tuple[str, Action]] = [
    ("put", store_proxy.drop),
    ("put", store_proxy.lose_answer),
    ("put", store_proxy.delay(1)),
    ("put", store_proxy.truncate_body),
    ("put", store_proxy.slow_down),
    ("put", store_proxy.internal_error),
    ("put", store_proxy.chunked_error),
    ("put", store_proxy.trickle),
    ("part", store_proxy.drop),
    ("part", store_proxy.lose_answer),
    ("part", store_proxy.truncate_body),
    ("part", store_proxy.slow_down),
    ("create", store_proxy.drop),
    ("create", store_proxy.lose_answer),
    ("create", store_proxy.slow_down),
    ("create", store_proxy.truncate_answer),
    ("complete", store_proxy.drop),
    ("complete", store_proxy.lose_answer),
    ("complete", store_proxy.truncate_answer),
    ("complete", store_proxy.internal_error),
    ("complete", store_proxy.error_in_200),
    ("complete", store_proxy.chunked_error),
    ("complete", store_proxy.trickle),
    ("head", store_proxy.drop),
    ("head", store_proxy.slow_down),
]


@pytest.mark.parametrize(("kind", "action"), PASSING, ids=names(PASSING))
def test_a_fault_that_passes(
    kind: str,
    action: Action,
    upload: Upload,
    proxy: StoreProxy,
    folder: Path,
    database: Database,
    object_store: ObjectStore,
) -> None:
    proxy.inject(kind, action)
    assert upload(folder).data["uploaded"] == 21
    whole(database, object_store, folder)


DAMAGING: list[tuple[str, Action]] = [
    ("put", store_proxy.corrupt_body),
    ("put", store_proxy.corrupt_store),
    ("put", store_proxy.login_page),
    ("part", store_proxy.corrupt_body),
    ("part", store_proxy.corrupt_store),
    ("part", store_proxy.login_page),
    ("complete", store_proxy.login_page),
    ("create", store_proxy.login_page),
]


@pytest.mark.parametrize(("kind", "action"), DAMAGING, ids=names(DAMAGING))
def test_a_fault_that_damages_one_file(
    kind: str,
    action: Action,
    run: Run,
    proxy: StoreProxy,
    folder: Path,
    database: Database,
    object_store: ObjectStore,
) -> None:
    """One answer cannot be trusted: its file may fail, with all others uploaded, and the next run makes it whole."""
    proxy.inject(kind, action)
    argv = ("files", "upload", folder, "--pod", "films", "--owner", "ada@example.com", "-o", "json")
    try:
        done = run(*argv, expect=3)
        assert (done.data["uploaded"], done.data["failed"] + done.data["cancelled"]) == (20, 1)
    except AssertionError as ended:
        if not str(ended).startswith("exit 0, expected 3"):
            raise
    checker.Claims(database, object_store).check()
    checker.books(database)
    run(*argv)
    whole(database, object_store, folder)


LASTING: list[tuple[str, Action]] = [
    ("put part", store_proxy.login_page),
    ("put part create complete", store_proxy.skewed_clock),
    ("create", store_proxy.login_page),
    ("complete", store_proxy.login_page),
    ("complete", store_proxy.error_in_200),
    ("put part", store_proxy.corrupt_store),
    ("put part", store_proxy.corrupt_body),
    ("put", store_proxy.error(403, "AccessDenied")),
]


@pytest.mark.parametrize(
    ("kinds", "action"), LASTING, ids=[f"{number}-{kinds}" for number, (kinds, _) in enumerate(LASTING)]
)
def test_a_fault_that_lasts(
    kinds: str,
    action: Action,
    upload: Upload,
    proxy: StoreProxy,
    folder: Path,
    database: Database,
    object_store: ObjectStore,
    environment: Callable[..., None],
) -> None:
    """The run ends with a sentence and nothing is claimed that is not there; the next run makes it whole."""
    environment(DUMACLE_PATIENCE="3s")
    proxy.inject(kinds, action, times=FOR_EVER)
    with pytest.raises(AssertionError, match=r"exit (1|2|3|5|10|12), expected 0") as ended:
        upload(folder)
    assert "Traceback" not in str(ended.value)
    checker.Claims(database, object_store).check()
    checker.books(database)
    proxy.heal()
    upload(folder)
    whole(database, object_store, folder)


@pytest.mark.parametrize("kind", ["put", "part", "complete"])
def test_a_store_that_does_not_answer_for_a_while(
    kind: str, upload: Upload, proxy: StoreProxy, folder: Path, database: Database, object_store: ObjectStore
) -> None:
    proxy.inject(kind, store_proxy.hang, times=3)
    threading.Timer(3, proxy.heal).start()
    assert upload(folder).data["uploaded"] == 21
    whole(database, object_store, folder)


@pytest.mark.parametrize("action", [store_proxy.slow_down, store_proxy.drop], ids=["slow_down", "drop"])
def test_a_storm(
    action: Action,
    upload: Upload,
    proxy: StoreProxy,
    folder: Path,
    database: Database,
    object_store: ObjectStore,
) -> None:
    """Every request is refused for eight seconds, longer than a client repeats one by itself."""
    proxy.inject("put part create complete head", action, times=FOR_EVER, after=5)
    threading.Timer(8, proxy.heal).start()
    began = time.monotonic()
    assert upload(folder).data["uploaded"] == 21
    assert time.monotonic() - began > 8
    whole(database, object_store, folder)


def test_an_error_in_chunks_is_read(
    fill: Fill, upload: Upload, proxy: StoreProxy, environment: Callable[..., None]
) -> None:
    """AWS answers most errors in chunks over a connection that stays open; what it says must not be waited for."""
    environment(DUMACLE_PATIENCE="0s")
    proxy.inject("put", store_proxy.chunked_error, times=FOR_EVER)
    with pytest.raises(AssertionError, match="SlowDown"):
        upload(fill(n1=1000))
