"""`dumacle completion`: scripts that complete groups, commands, options and values in four shells."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from dumacle_cli import private, settings
from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.context import Context
from dumacle_cli.errors import UsageError
from dumacle_cli.output.result import Result

app = CommandGroup("completion")

Name = Literal["bash", "zsh", "fish", "powershell"]


@dataclass(frozen=True, slots=True)
class Installed:
    """The installed completion script, and the next step."""

    shell: str
    file: str
    next: str


@app.prints("show", example="dumacle completion show bash", offline=True)
def show(context: Context, shell: Annotated[Name, typer.Argument(metavar="SHELL", help="The shell.")]) -> None:
    """Print the completion script of a shell."""
    from dumacle_cli.commands import shells

    context.console.write(shells.script(shell).rstrip("\n"))


@app.acts_outside("install", example="dumacle completion install bash", offline=True)
def install(
    context: Context,
    shell: Annotated[Name | None, typer.Argument(metavar="SHELL", help="The shell, if not $SHELL.")] = None,
) -> Result[Installed]:
    """Install the completion script; repeat it after an upgrade."""
    from dumacle_cli.commands import shells

    name = shell or _login_shell(context)
    file, following = _place(name, context)
    text = shells.script(name)
    changed = not file.exists() or file.read_text("utf-8") != text
    if changed and not context.options.dry_run:
        private.make_folder(file.parent, 0o755)
        with open(file, "w", encoding="utf-8", opener=_closed_to_writers) as script:
            script.write(text)
    return Result(Installed(name, str(file), following), changed)


def _closed_to_writers(file: str, flags: int) -> int:
    return os.open(file, flags, 0o644)


def _login_shell(context: Context) -> str:
    name = Path(context.environ.get("SHELL", "")).name
    if name not in ("bash", "zsh", "fish"):
        raise UsageError(
            "the shell is unclear from $SHELL: give bash, zsh, fish or powershell", "dumacle completion install"
        )
    return name


def _place(shell: str, context: Context) -> tuple[Path, str]:
    """Return the path of a shell's completion script, and the next step."""
    home = settings.home(context.environ)
    data = Path(context.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    config = Path(context.environ.get("XDG_CONFIG_HOME") or home / ".config")
    if shell == "bash":
        return data / "bash-completion" / "completions" / "dumacle", "open a new shell; needs bash-completion"
    if shell == "zsh":
        file = data / "zsh" / "site-functions" / "_dumacle"
        return file, f"add to ~/.zshrc before compinit: fpath=({file.parent} $fpath)"
    if shell == "fish":
        return config / "fish" / "completions" / "dumacle.fish", "open a new shell"
    file = config / "dumacle" / "dumacle.ps1"
    return file, f"add to $PROFILE: . '{file}'"
