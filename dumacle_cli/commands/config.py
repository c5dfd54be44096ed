"""`dumacle config`: which settings are in force, and where each came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from dumacle_cli import config_file, settings, sources
from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.context import Context
from dumacle_cli.output.result import Result, Rows

app = CommandGroup("config")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as it is in force; a secret is shown as `********`.

    `beaten` are the weaker sources that set it, too.
    """

    name: str
    value: str | None
    origin: str
    place: str | None
    environment: str
    about: str
    beaten: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ConfigPath:
    """A configuration file, and whether it is there."""

    file: str
    exists: bool
    kind: str


@app.reads("list", columns=("name", "value"), example="dumacle config list --show-origin", offline=True)
def list_(
    context: Context,
    show_origin: Annotated[bool, typer.Option("--show-origin", help="Also show which source won.")] = False,
) -> Rows[Setting]:
    """List every setting with its value; secrets are masked."""
    found = [_setting(context, name) for name in settings.Settings.model_fields]
    return Result(found, columns=("name", "value", "origin", "place", "beaten") if show_origin else ())


def _setting(context: Context, name: str) -> Setting:
    value = getattr(context.settings, name)
    said = settings.in_words(name, value) if context.options.is_table else str(value)
    origin = context.resolved.origins.get(name)
    return Setting(
        name=name,
        value=None if value is None else "********" if settings.is_secret(name) else said,
        origin=origin.kind if origin else "default",
        place=origin.place if origin else None,
        environment=settings.environment_names(name)[0],
        about=settings.Settings.model_fields[name].description or "",
        beaten=tuple(map(str, context.resolved.beaten.get(name, ()))),
    )


@app.reads("path", example="dumacle config path", offline=True)
def path(context: Context) -> list[ConfigPath]:
    """Show which configuration files are read, the strongest first."""
    files = [("user", settings.user_file(context.environ)), ("system", sources.SYSTEM_FILE)]
    return [ConfigPath(str(file), sources.exists(file), kind) for kind, file in files]


@app.acts_outside(
    "set",
    example="dumacle config set default_provider wasabi --profile production",
    offline=True,
    writes_config=True,
    may_be_empty=("value",),
)
def set_(
    context: Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A setting, or `profile`.")],
    value: Annotated[
        str, typer.Argument(metavar="VALUE", help="Its value; - reads it from standard input, as secrets need.")
    ],
) -> Result[Setting]:
    """Write a setting to the person's own configuration file, into the profile if --profile is given."""
    change = config_file.prepare(
        settings.user_file(context.environ),
        context.options.profile,
        name,
        context.console.read_value(value, name),
    )
    if not context.options.dry_run:
        change.write()
    secret = name in settings.Settings.model_fields and settings.is_secret(name)
    shown = Setting(name, "********" if secret else change.value, change.kind, str(change.file), "", "")
    return Result(shown, change.changed)
