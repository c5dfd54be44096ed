"""A full disk: one sentence and no trace, nothing half left, and the same command finishes when there is room."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import dumacle_cli
from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.local.servers import Servers
from dumacle_cli.store.database import Database
from tests.conftest import Result, Run
from tests.ingest import checker
from tests.ingest.conftest import Fill

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full"),
]
ROOT = Path(dumacle_cli.__file__).parents[1]
ADA = ("--owner", "ada@example.com")
FULL = Path("/dev/full")
NO_ROOM = "dumacle: the operating system refused: No space left on device"
# The shell's unit is 512 bytes (dash) or 1024 (bash).
CROWDED = ["/bin/sh", "-c", 'ulimit -f 100; exec "$@"', "sh"]
LARGE = 2 * 1024**2
Ended = subprocess.CompletedProcess[str]
Process = Callable[..., Ended]


@pytest.fixture
def process(
    configured: None, embedded: Servers, environment: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> Process:
    """Run `files` as a process of its own, which no file may outgrow where it is crowded."""
    url = os.environ["DUMACLE_DATABASE_URL"].replace(embedded.host, embedded.shared_host or "")
    environment(DUMACLE_DATABASE_URL=url, PYTHONPATH=str(ROOT), PYTHONDONTWRITEBYTECODE="1")
    # A measured process would want to write what it covered, for which there is no room either.
    for name in [name for name in os.environ if name.startswith("COVERAGE_PROCESS")]:
        monkeypatch.delenv(name)

    def call(*argv: str | Path, crowded: bool = False, stdout: Path = Path(os.devnull)) -> Ended:
        command = [sys.executable, "-m", "dumacle_cli", "files", *map(str, argv)]
        with stdout.open("wb") as out:
            return subprocess.run(
                [*(CROWDED if crowded else ()), *command],
                stdout=out,
                stderr=subprocess.PIPE,
                text=True,
                timeout=60,
                check=False,
            )

    return call


def is_one_sentence(ended: Ended, sentence: str) -> bool:
    told = ended.stderr.splitlines()
    return ended.returncode == 1 and len(told) == 2 and told[0].startswith(sentence) and told[1].startswith("  fix: ")


def test_results_have_no_room(
    process: Process,
    upload: Callable[..., Result],
    fill: Fill,
    database: Database,
    object_store: ObjectStore,
) -> None:
    folder = fill(**{f"photo{number}": 3000 for number in range(600)})
    ended = process("upload", folder, "--pod", "films", *ADA, "--results", FULL)
    assert is_one_sentence(ended, NO_ROOM), ended.stderr
    checker.books(database)

    again = upload(folder).data
    assert again["failed"] == 0
    assert again["uploaded"] + again["unchanged"] == 600
    checker.check(database, object_store, checker.tree(folder))


@pytest.fixture
def stored(upload: Callable[..., Result], fill: Fill) -> Path:
    """A folder that was uploaded: one large file and one small one."""
    folder = fill(large=LARGE, small=300)
    assert upload(folder).data["uploaded"] == 2
    return folder


@pytest.mark.parametrize("before", [None, b"mine"])
def test_a_download_has_no_room(before: bytes | None, stored: Path, process: Process, tmp_path: Path, run: Run) -> None:
    place = tmp_path / "down"
    place.mkdir()
    target = place / "large.jpg"
    if before:
        target.write_bytes(before)
    download = ("download", "large.jpg", *ADA, "--to", target, "--force")
    ended = process(*download, crowded=True)
    assert is_one_sentence(ended, "dumacle: the operating system refused: File too large"), ended.stderr
    assert [path.read_bytes() for path in place.iterdir()] == ([before] if before else [])

    run("files", *download)
    assert target.read_bytes() == (stored / "large.jpg").read_bytes()


def test_of_many_downloads_those_that_fit_arrive(stored: Path, process: Process, tmp_path: Path) -> None:
    place, listing = tmp_path / "down", tmp_path / "listing"
    many = ("download", *ADA, "--to", place, "-o", "csv")
    ended = process(*many, crowded=True, stdout=listing)
    assert ended.returncode == 3
    assert "Traceback" not in ended.stderr
    assert "File too large" in next(line for line in listing.read_text().splitlines() if "large.jpg" in line)
    assert [path.name for path in place.iterdir()] == ["small.jpg"]

    assert process(*many, stdout=listing).returncode == 0
    assert checker.tree(place) == checker.tree(stored)


@pytest.mark.parametrize("name", ["large.jpg", "small.jpg"])
def test_standard_output_has_no_room(name: str, stored: Path, process: Process) -> None:
    ended = process("download", name, *ADA, "--to", "-", stdout=FULL)
    assert is_one_sentence(ended, NO_ROOM), ended.stderr
