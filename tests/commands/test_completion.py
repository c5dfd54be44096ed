"""`dumacle completion`: the script printed, and put where the shell looks."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dumacle_cli import errors
from dumacle_cli.commands import shells
from tests.conftest import Run

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("shell", shells.SHELLS)
def test_show_prints_the_script(invoke: Run, shell: str) -> None:
    assert invoke("completion", "show", shell).out == shells.script(shell)


@pytest.mark.parametrize(
    ("shell", "place"),
    [
        ("bash", ".local/share/bash-completion/completions/dumacle"),
        ("zsh", ".local/share/zsh/site-functions/_dumacle"),
        ("fish", ".config/fish/completions/dumacle.fish"),
        ("powershell", ".config/dumacle/dumacle.ps1"),
    ],
)
def test_install_puts_it_in_place_once(invoke: Run, tmp_path: Path, shell: str, place: str) -> None:
    file = tmp_path / "home" / place
    assert invoke("completion", "install", shell, "--dry-run", "-o", "json").data["file"] == str(file)
    assert not file.exists()
    assert invoke("completion", "install", shell, "-o", "json").json["changed"] is True
    assert file.read_text("utf-8") == shells.script(shell)
    assert invoke("completion", "install", shell, "-o", "json").json["changed"] is False


def test_the_login_shell_is_taken(invoke: Run, environment: Callable[..., None]) -> None:
    environment(SHELL="/usr/bin/fish")
    assert invoke("completion", "install", "--dry-run", "-o", "json").data["shell"] == "fish"
    environment(SHELL="/bin/dash")
    invoke("completion", "install", expect=errors.Exit.USAGE)
