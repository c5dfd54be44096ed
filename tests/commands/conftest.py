"""An installation of its own on the embedded servers, as `dumacle local start` makes it."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dumacle_cli.local import servers
from tests.conftest import Run
from tests.servers import scratch_folder


@pytest.fixture(scope="module")
def data_folder() -> Iterator[Path]:
    """A place for the embedded servers of one module; whatever runs there at the end is stopped."""
    place = scratch_folder() / "data"
    yield place
    servers.stop(place)
    shutil.rmtree(place.parent)


@pytest.fixture
def config_file(tmp_path: Path, environment: Callable[..., None]) -> Path:
    """The person's configuration file, which is not there yet."""
    home = tmp_path / "config"
    home.mkdir()
    environment(XDG_CONFIG_HOME=str(home))
    return home / "dumacle" / "config.toml"


@pytest.fixture
def installed(invoke: Run, environment: Callable[..., None], config_file: Path, data_folder: Path) -> Run:
    """The program after `dumacle local start`."""
    environment(DUMACLE_DATA_DIR=str(data_folder))
    invoke("local", "start")
    return invoke
