"""An installation of its own on the embedded servers, as `dumacle local start` makes it."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dumacle_cli.__main__ import main
from dumacle_cli.local import servers
from tests.servers import scratch_folder

Program = Callable[..., tuple[int, str, str]]
"""Takes arguments; returns the exit status, standard output and standard error."""


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """No setting from outside, and a configuration file that does not exist yet."""
    from dumacle_cli import settings

    for name in settings.Settings.model_fields:
        for variable in settings.environment_names(name):
            monkeypatch.delenv(variable, raising=False)
    monkeypatch.delenv("DUMACLE_PROFILE", raising=False)
    monkeypatch.setenv("DUMACLE_CONFIG", str(tmp_path / "config" / "config.toml"))
    return monkeypatch


@pytest.fixture
def program(environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Program:
    """The program through its only door, without any configuration."""

    def call(*argv: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(argv)
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A place for the embedded servers of one module; whatever runs there at the end is stopped."""
    place = scratch_folder() / "data"
    yield place
    servers.stop(place)
    shutil.rmtree(place.parent)


@pytest.fixture
def embedded(program: Program, environment: pytest.MonkeyPatch, folder: Path) -> Program:
    """The program after `dumacle local start`."""
    environment.setenv("DUMACLE_DATA_DIR", str(folder))
    assert program("local", "start")[0] == 0
    return program
