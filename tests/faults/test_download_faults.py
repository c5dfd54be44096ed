"""What a store can do to a download: the right bytes arrive, or a sentence, and never a wrong file."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dumacle_cli import paths
from dumacle_cli.clients.objects import Location
from tests.conftest import Result, Run
from tests.faults import store_proxy
from tests.faults.store_proxy import Action, StoreProxy, store_proxied
from tests.ingest import checker
from tests.ingest.conftest import Fill

pytestmark = pytest.mark.integration
FOR_EVER = float("inf")
ADA = ("--owner", "ada@example.com")
FAULTS: dict[str, Action] = {
    "drop": store_proxy.drop,
    "truncate": store_proxy.truncate_answer,
    "slow down": store_proxy.slow_down,
    "internal error": store_proxy.internal_error,
    "corrupt": store_proxy.corrupt_answer,
    "shorten": store_proxy.shorten_answer,
    "login page": store_proxy.login_page,
}
TEMPORARY = ("drop", "truncate", "slow down", "internal error")


@pytest.fixture
def proxy(bucket: Location, environment: Callable[..., None]) -> Iterator[StoreProxy]:
    """The program reaches its store through a proxy that can fail."""
    with store_proxied(bucket.endpoint or "") as proxy:
        environment(DUMACLE_PATIENCE="3s")
        yield proxy


@pytest.fixture
def folder(fill: Fill, upload: Callable[..., Result], environment: Callable[..., None], proxy: StoreProxy) -> Path:
    """A folder that was uploaded before the faults began."""
    folder = fill(**{f"n{number}": 200_000 + number for number in range(12)})
    upload(folder)
    environment(DUMACLE_LOCAL_ENDPOINT=proxy.endpoint)
    return folder


def right(below: Path, folder: Path) -> int:
    """Check that what was downloaded has the bytes of its source, beside part files; returns how many files."""
    found, source = checker.tree(below), checker.tree(folder)
    found = {path: digest for path, digest in found.items() if not paths.is_part(path)}
    assert {path: source.get(path) for path in found} == found
    return len(found)


@pytest.mark.parametrize("fault", TEMPORARY)
def test_a_fault_that_passes(fault: str, run: Run, proxy: StoreProxy, folder: Path, tmp_path: Path) -> None:
    proxy.inject("get", FAULTS[fault], times=2)
    run("files", "download", *ADA, "--to", tmp_path / "back")
    assert right(tmp_path / "back", folder) == 12


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_lasts(fault: str, run: Run, proxy: StoreProxy, folder: Path, tmp_path: Path) -> None:
    proxy.inject("get", FAULTS[fault], times=FOR_EVER, after=2)
    with pytest.raises(AssertionError, match=r"exit (2|3|10|12), expected 0") as ended:
        run("files", "download", *ADA, "--to", tmp_path / "back")
    assert "Traceback" not in str(ended.value)
    assert right(tmp_path / "back", folder) == 2
    proxy.heal()
    run("files", "download", *ADA, "--to", tmp_path / "back")
    assert right(tmp_path / "back", folder) == 12


@pytest.mark.parametrize("fault", FAULTS)
def test_one_file(fault: str, run: Run, proxy: StoreProxy, folder: Path, tmp_path: Path) -> None:
    """A file that was there keeps its bytes where the new ones do not arrive."""
    target = tmp_path / "n1.jpg"
    target.write_bytes(b"before")
    proxy.inject("get", FAULTS[fault], times=FOR_EVER)
    with pytest.raises(AssertionError, match=r"exit (2|3|10|12), expected 0") as ended:
        run("files", "download", "n1.jpg", *ADA, "--to", target, "--force")
    assert "Traceback" not in str(ended.value)
    assert target.read_bytes() == b"before"
    assert [path.name for path in tmp_path.glob("*n1*")] == ["n1.jpg"]
    proxy.heal()
    run("files", "download", "n1.jpg", *ADA, "--to", target, "--force")
    assert target.read_bytes() == (folder / "n1.jpg").read_bytes()
