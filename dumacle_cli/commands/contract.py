"""The contract of a command: its kind, what it returns, and the options that every command shares."""

import functools
import inspect
import sys
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal

import typer
from typer import core
from typer.main import _get_params_name_from_function  # pinned; test_contract guards it

from dumacle_cli import errors, signals
from dumacle_cli.commands import usage
from dumacle_cli.context import Context
from dumacle_cli.output.forms import Form, Shown, View

Role = Literal["enduser", "admin", "superadmin", "owner"]
RANKS = typing.get_args(Role)
EVERYWHERE = "Options that work everywhere"
HELP = ("-h, --help", "Explain the program, a group or a command.")
GROUP = {"rich_markup_mode": None, "no_args_is_help": True, "add_completion": False, "pretty_exceptions_enable": False}


class Kind(StrEnum):
    """What a command prints on standard output, and whether it ends by itself."""

    DOCUMENT = "document"
    RAW = "raw"
    SERVICE = "service"


class LogFormat(StrEnum):
    """How the record of a run is written to standard error."""

    TEXT = "text"
    JSON = "json"


class Color(StrEnum):
    """When to colour."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Contract:
    """What the program promises of one command, for the walk that tests them all."""

    name: str
    kind: Kind
    view: View | None
    example: str
    mutates: bool
    confirms: bool
    bulk: bool
    outside: bool
    recorded: bool
    offline: bool
    cron: bool
    configures: bool
    role: Role
    blank: tuple[str, ...]

    @property
    def tells_target(self) -> bool:
        """Whether the answer names the database: of what may destroy much, and of what makes or changes the schema."""
        return self.mutates and not self.offline and (self.confirms or self.name.startswith("db."))


def _everywhere(
    output: Annotated[
        Form, typer.Option("--output", "-o", metavar="FORM", help="How results are written.")
    ] = Form.TABLE,
    profile: Annotated[str, typer.Option("--profile", metavar="NAME", help="Profile of the configuration file.")] = "",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Override a setting; not for secrets.")
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=0, max=signals.LONGEST, help="Give up after this long.")
    ] = 0,
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Say how long it took; -vv: also each statement.")
    ] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing on success.")] = False,
    log_format: Annotated[
        LogFormat, typer.Option("--log-format", metavar="FORM", help="Record of the run on standard error.")
    ] = LogFormat.TEXT,
    color: Annotated[
        Color, typer.Option("--color", metavar="WHEN", help="When to colour; auto heeds NO_COLOR.")
    ] = Color.AUTO,
) -> None: ...


def _mutating(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change; change nothing.")] = False,
) -> None: ...


def _recorded(
    op_id: Annotated[
        str, typer.Option("--op-id", metavar="ID", help="Id of this operation; a repeat takes effect once.")
    ] = "",
) -> None: ...


def _confirming(yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None: ...


def _bulk(
    max_: Annotated[int, typer.Option("--max", metavar="N", min=1, help="Refuse to touch more than this many.")] = 1000,
) -> None: ...


@functools.cache
def _names(function: Callable[..., None]) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)


SHARED = _names(_everywhere)


def shared_params(*sources: Callable[..., None]) -> list[Any]:
    """Return the options of these declarations, which land in the run's options at whatever level they stand."""
    return [param for source in sources for param in _params(source)]


@functools.cache
def _params(source: Callable[..., None]) -> list[Any]:
    # The same ones at all levels: for each, Typer has pydantic make a validator, which took 4 % of a start.
    params: list[Any] = _get_params_name_from_function(source)[0]
    for param in params:
        param.expose_value = False
        param.callback = _remember
    return params


def _remember(click: Any, param: Any, value: Any) -> Any:
    given = click.find_root().meta.setdefault("dumacle.options", {})
    name = str(param.name)
    source = click.get_parameter_source(name)
    if source is not None and source.name != "DEFAULT":
        given[name] = [*given.get(name, []), *value] if name == "settings" else value
    return value


class Everywhere:
    """A command or group that takes the shared options before and after its name."""

    params: list[Any]
    epilog: str | None
    promise: Contract | None = None

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse what was typed; raises EmptyArgument."""
        if not ctx.resilient_parsing:
            self._refuse_empty(ctx, args)
        return super().parse_args(ctx, args)  # type: ignore[misc,no-any-return]

    def _refuse_empty(self, ctx: Any, args: list[str]) -> None:
        # As it was typed: a Path made of nothing is the working directory already.
        typed = self.make_parser(ctx).parse_args(list(args))[0]  # type: ignore[attr-defined]
        meant = self.promise.blank if self.promise else ()
        for param in self.params:
            if param.name not in meant and _has_blank(typed.get(param.name)):
                raise errors.EmptyArgument(name=usage.called(param), command=ctx.command_path)

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """Write the command's own arguments and options; the shared ones stand at the end."""
        own = [param for param in self.params if param.name not in SHARED]
        usage.write(formatter, "Arguments", usage.rows(own, "argument"))
        usage.write(formatter, "Options", usage.rows(own, "option"))

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the example, whole so that it can be copied, and the shared options: in full only at the top."""
        shared = [param for param in self.params if param.name in SHARED]
        if ctx.parent is None:
            usage.write(formatter, EVERYWHERE, [*usage.rows(shared, "option"), HELP])
        if self.epilog:
            title, _, line = self.epilog.partition(": ")
            with formatter.section(title):
                formatter.write(f"  {line}\n")
        if ctx.parent is not None:
            usage.mention(formatter, EVERYWHERE, shared, "dumacle --help")


def _has_blank(value: Any) -> bool:
    """Whether a text that was typed, or one of several, is empty or blank."""
    if isinstance(value, str):
        return not value.strip()
    return isinstance(value, list | tuple) and any(map(_has_blank, value))


def _promise(callback: Any) -> Contract | None:
    """Return what was declared of a command; Typer keeps the attributes of what it wraps."""
    return getattr(callback, "contract", None)


class Command(Everywhere, core.TyperCommand):
    """A leaf of the grammar."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """Return the line of usage behind the command's name."""
        return usage.pieces(self.params)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.promise = promise = _promise(self.callback)
        sources: list[Callable[..., None]] = [_everywhere]
        if promise and promise.mutates:
            sources.append(_mutating)
        if promise and promise.recorded:
            sources.append(_recorded)
        if promise and promise.confirms:
            sources.append(_confirming)
        if promise and promise.bulk:
            sources.append(_bulk)
        self.params = [*self.params, *shared_params(*sources)]


class Group(Everywhere, core.TyperGroup):
    """A noun of the grammar; a command in it that bears its name is what it does without a further word."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params = [*self.params, *shared_params(_everywhere)]
        self.alone: Any = self.commands.pop(str(self.name), None)
        if self.alone:
            self.no_args_is_help, self.subcommand_metavar = False, "[COMMAND]"
            self.help, self.epilog = self.alone.help, self.alone.epilog

    def summaries(self) -> usage.Rows:
        """Return the names of the commands with their first sentences."""
        return [(name, summary(node)) for name, node in self.commands.items()]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the commands, then the group's own options."""
        usage.write(formatter, "Commands", self.summaries())
        super().format_options(ctx, formatter)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named, or the group's own where none was."""
        return super().invoke(ctx) if ctx._protected_args or not self.alone else self.alone.invoke(ctx)


def summary(node: Any) -> str:
    """Return the first paragraph of a command's or group's help."""
    return str(node.get_short_help_str(limit=1000))


def group(name: str, about: str) -> typer.Typer:
    """Open a group of commands; `name` is the whole path, such as `files runs`."""
    app = typer.Typer(name=name.split()[-1], help=about, cls=Group, **GROUP)  # type: ignore[arg-type]
    app.info.epilog = None
    app.path = name  # type: ignore[attr-defined]
    return app


def command(
    app: typer.Typer,
    name: str,
    *,
    example: str,
    returns: type | None = None,
    many: bool = False,
    columns: tuple[str, ...] = (),
    empty: str = "nothing to show",
    kind: Kind = Kind.DOCUMENT,
    mutates: bool = False,
    confirms: bool = False,
    bulk: bool = False,
    outside: bool = False,
    recorded: bool | None = None,
    offline: bool = False,
    cron: bool = False,
    configures: bool = False,
    role: Role = "admin",
    blank: tuple[str, ...] = (),
) -> Callable[[Callable[..., Any]], Callable[..., int]]:
    """Declare a command: its body takes the Context and what was typed, and returns what is to be shown.

    `outside` marks a mutation that touches more than the database, `recorded` one that is an operation (by default all
    that touch only the database), `cron` a job that starts the embedded servers only at a terminal, `offline` one that
    needs no database, `configures` one that makes the configuration file where there is none; `role` is the least one
    that may run it, `owner` being whom the schema belongs to; `blank` names the parameters that mean something when
    they are given empty, which is refused of all others.
    """
    path = f"{getattr(app, 'path', '')} {name}".strip()
    dotted = path.replace(" ", ".")
    view = View(f"dumacle.{dotted}.v1", returns, many, mutates, columns, empty) if returns else None
    recorded = mutates and not outside if recorded is None else recorded
    promise = Contract(
        dotted, kind, view, example, mutates, confirms, bulk, outside, recorded, offline, cron, configures, role, blank
    )

    def declare(body: Callable[..., Any]) -> Callable[..., int]:
        callback = _callback(body, promise)
        app.command(name, cls=Command, epilog=f"Example: {example}")(callback)
        return callback

    return declare


@contextmanager
def _named(context: Context, promise: Contract) -> Iterator[None]:
    """Let a refusal by PostgreSQL say which role it takes: the command's, or where that was not enough the next one.

    A person of a lower role than the command's does not see what others have, and is told that it takes another role.
    """
    try:
        yield
    except errors.Forbidden:
        raise
    except errors.NotFound as missing:
        if promise.offline or promise.role not in ("admin", "superadmin"):
            raise
        if not 0 <= _rank(context) < RANKS.index(promise.role):
            raise
        raise errors.Forbidden(what=promise.name.replace(".", " "), role=promise.role) from missing
    except errors.DatabaseForbidden as refusal:
        needed = next((role for role in RANKS[RANKS.index(promise.role) :] if RANKS.index(role) > _rank(context)), None)
        if needed is None:
            raise
        raise errors.Forbidden(what=promise.name.replace(".", " "), role=needed) from refusal


def _rank(context: Context) -> int:
    """Return how high the role of whoever acts is; a service's duty is none."""
    from dumacle_cli.store import logins

    with context.session() as session:
        acting = logins.acting_role(session)
    return RANKS.index(acting) if acting in RANKS else -1


def admit(context: Context, duty: str) -> None:
    """Let only a superadmin, the owner or this duty go on; raises DatabaseForbidden.

    For services, which go on after what PostgreSQL refuses them, and would do nothing for ever.
    """
    from dumacle_cli.store import logins

    with context.session() as session:
        if (acting := logins.acting_role(session)) not in ("owner", "superadmin", duty):
            raise errors.DatabaseForbidden(reason=f"{acting} is not {duty}")


def _starts(promise: Contract) -> bool:
    """Whether the command may start the embedded servers: no service does, and cron's jobs only at a terminal."""
    return promise.kind is not Kind.SERVICE and (not promise.cron or _at_a_terminal())


def _at_a_terminal() -> bool:
    return bool(sys.stdin and not sys.stdin.closed and sys.stdin.isatty())


def _callback(body: Callable[..., Any], promise: Contract) -> Callable[..., int]:
    """Wrap a body so that Typer sees its parameters, and its result goes to the output layer."""
    first, *rest = inspect.signature(body, eval_str=True).parameters.values()

    def callback(click: typer.Context, **given: Any) -> int:
        context: Context = click.find_root().obj
        options = click.find_root().meta.get("dumacle.options", {})
        context.enter(
            promise.name, promise.view, given, options, starts=_starts(promise), configures=promise.configures
        )
        context.outside = promise.outside and not context.dry_run
        with _named(context, promise):  # also while it is shown: a stream asks PostgreSQL only then
            result = body(context, **given)
            context.tell_unheeded()
            if promise.view is None:
                return int(result or 0)
            shown = result if isinstance(result, Shown) else Shown(result)
            if not promise.recorded:
                shown.operation = None
            if promise.tells_target:
                shown.target = context.target
            return context.show(shown)

    hints = {
        name: hint for name, hint in typing.get_type_hints(body, include_extras=True).items() if name != first.name
    }
    callback.__name__ = body.__name__
    callback.__doc__ = body.__doc__
    callback.__annotations__ = {"click": typer.Context, **hints, "return": int}
    lead = inspect.Parameter("click", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    callback.__signature__ = inspect.Signature([lead, *rest])  # type: ignore[attr-defined]
    callback.contract = promise  # type: ignore[attr-defined]
    return callback
