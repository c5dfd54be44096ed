"""`dumacle config`: which settings are in force, and where each value came from."""

from dataclasses import dataclass
from typing import Annotated

import typer

from dumacle_cli import settings
from dumacle_cli.commands.contract import command, group
from dumacle_cli.context import Context
from dumacle_cli.output.forms import Form, Shown

app = group("config", "Show and change settings.")


@dataclass(frozen=True, slots=True)
class Setting:
    """The value of one setting in force; a secret is shown as `********`.

    `origin` is the kind of source, `place` its file or variable, `overridden` the weaker sources that also set it.
    """

    name: str
    value: str | None
    origin: str
    place: str | None
    environment: str
    description: str
    overridden: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ConfigPath:
    """A configuration file, and whether it exists."""

    file: str
    exists: bool
    kind: str


@command(
    app,
    "list",
    returns=Setting,
    many=True,
    columns=("name", "value"),
    example="dumacle config list --show-origin",
    offline=True,
)
def list_(
    context: Context,
    show_origin: Annotated[bool, typer.Option("--show-origin", help="Also show where each value came from.")] = False,
) -> Shown:
    """List every setting with its value; secrets are masked."""
    if show_origin:
        context.columns("name", "value", "origin", "place", "overridden")
    return Shown([_setting(context, name) for name in settings.Settings.model_fields])


def _setting(context: Context, name: str) -> Setting:
    value = getattr(context.settings, name)
    shown = settings.readable(name, value) if context.form is Form.TABLE else str(value)
    origin = context.resolved.origins.get(name)
    return Setting(
        name=name,
        value=None if value is None else "********" if settings.is_secret(name) else shown,
        origin=origin.kind if origin else "default",
        place=origin.place if origin else None,
        environment=settings.environment_names(name)[0],
        description=settings.Settings.model_fields[name].description or "",
        overridden=tuple(map(str, context.resolved.overridden.get(name, ()))),
    )


@command(app, "path", returns=ConfigPath, many=True, example="dumacle config path", offline=True)
def path(context: Context) -> list[ConfigPath]:
    """Show which configuration files are read; the first takes precedence."""
    from dumacle_cli import sources

    files = [("user", settings.user_file(context.environ)), ("system", sources.SYSTEM_FILE)]
    return [ConfigPath(str(file), sources.exists(file), kind) for kind, file in files]


@command(
    app,
    "set",
    returns=Setting,
    example="dumacle config set default_provider wasabi --profile production",
    mutates=True,
    outside=True,
    offline=True,
    configures=True,
    blank=("value",),
)
def set_(
    context: Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A setting, or `profile` for the default profile.")],
    value: Annotated[
        str, typer.Argument(metavar="VALUE", help="New value; - reads it from standard input, which secrets require.")
    ],
) -> Shown:
    """Write a setting to your configuration file, into a profile if --profile is given."""
    from dumacle_cli import config_file

    change = config_file.prepare(
        settings.user_file(context.environ), context.options.get("profile"), name, context.typed(value, name)
    )
    if not context.dry_run:
        change.write()
    secret = name in settings.Settings.model_fields and settings.is_secret(name)
    shown = Setting(name, "********" if secret else change.value, change.kind, str(change.file), "", "")
    return Shown(shown, change.changed, dry_run=context.dry_run)
