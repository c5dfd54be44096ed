"""The options that commands share: declared once, accepted before and after the command, kept in `Options`."""

import functools
import inspect
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

import typer
from typer.main import _get_params_name_from_function  # pinned; test_structure guards it

from dumacle_cli import signals
from dumacle_cli.commands.command import Declaration
from dumacle_cli.options import Options
from dumacle_cli.output.result import OutputFormat


class LogFormat(StrEnum):
    """How messages are written to standard error."""

    TEXT = "text"
    JSON = "json"


class Color(StrEnum):
    """When to use colour."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


def _every_command(
    output: Annotated[
        OutputFormat, typer.Option("--output", "-o", metavar="FORMAT", help="Output format.")
    ] = Options.output,
    profile: Annotated[
        str, typer.Option("--profile", metavar="NAME", help="Use a profile of the configuration file.")
    ] = "",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Override a setting; not for secrets.")
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout", metavar="SECONDS", min=0, max=signals.LONGEST, help="Give up after this long; 0: never."
        ),
    ] = Options.timeout,
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Show how long it took; -vv: also each SQL statement.")
    ] = Options.verbose,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing on success.")] = Options.quiet,
    log_format: Annotated[
        LogFormat, typer.Option("--log-format", metavar="FORMAT", help="Format of the log on standard error.")
    ] = LogFormat.TEXT,
    color: Annotated[
        Color, typer.Option("--color", metavar="WHEN", help="When to use colour (auto respects NO_COLOR).")
    ] = Color.AUTO,
) -> None: ...


def _changing(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change; change nothing.")
    ] = Options.dry_run,
) -> None: ...


def _operation(
    op_id: Annotated[
        str, typer.Option("--op-id", metavar="ID", help="Id of this change; the same id again has no further effect.")
    ] = Options.op_id,
) -> None: ...


def _confirming(yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = Options.yes) -> None: ...


def _bulk(
    maximum: Annotated[
        int, typer.Option("--max", metavar="N", min=1, help="Refuse to change more than this many items.")
    ] = Options.maximum,
) -> None: ...


def _paged(
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=1000, help="Rows per page.")] = Options.limit,
    after: Annotated[
        str, typer.Option("--after", metavar="TOKEN", help="Continue after the page that printed this token.")
    ] = Options.after,
    everything: Annotated[bool, typer.Option("--all", help="Print all rows, as a stream.")] = Options.everything,
) -> None: ...


SHARED = frozenset(inspect.signature(_every_command).parameters)
"""The names of the parameters that every command and group takes."""


def of_every_command() -> list[Any]:
    """Return the options that every command and group takes."""
    return params(_every_command)


def of(declaration: Declaration) -> list[Any]:
    """Return the shared options that a command takes."""
    sources = [
        *([_paged] if declaration.paged else []),
        _every_command,
        *([_changing] if declaration.changes else []),
        *([_operation] if declaration.takes_op_id else []),
        *([_confirming] if declaration.confirms else []),
        *([_bulk] if declaration.bulk else []),
    ]
    return [param for source in sources for param in params(source)]


@functools.cache
def params(source: Callable[..., None]) -> list[Any]:
    """Return the options that a function declares; they are kept in the run's options instead of passed to the body."""
    found: list[Any] = _get_params_name_from_function(source)[0]
    for param in found:
        param.expose_value = False
        param.callback = _remember
        param.handle_parse_result = functools.partial(_only_if_typed, param.name, param.handle_parse_result)
    return found


def _only_if_typed(name: str, handle: Callable[..., Any], click: Any, typed: Any, rest: list[str]) -> Any:
    """Leave defaults to `Options`: to validate one, Typer imports pydantic, half the time of a help page."""
    return handle(click, typed, rest) if name in typed else (None, rest)


def _remember(click: Any, param: Any, value: Any) -> Any:
    given = click.find_root().meta.setdefault("dumacle.options", {})
    given[param.name] = (*given.get(param.name, ()), *value) if param.name == "settings" else value
    return value


def remembered(click: Any) -> Options:
    """Return the options that were typed at any level."""
    given = click.find_root().meta.get("dumacle.options", {})
    return Options(**{**given, "output": OutputFormat(given.get("output", Options.output))})
