"""Run a command: what Typer calls, the role that a refusal asks for, and the admission of services."""

import inspect
import sys
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import typer

from dumacle_cli import errors
from dumacle_cli.commands import options
from dumacle_cli.commands.command import RANKS, Declaration, Effect
from dumacle_cli.context import Context
from dumacle_cli.output.result import Result


def callback(declaration: Declaration) -> Callable[..., int]:
    """Wrap the body of a command so that Typer sees its parameters and its result is shown."""
    body = declaration.body

    def call(click: typer.Context, **given: Any) -> int:
        context: Context = click.find_root().obj
        context.starts_servers = _starts_servers(declaration)
        context.writes_config = declaration.writes_config
        context.begin(declaration.name, declaration.output, given, options.remembered(click))
        context.acts_outside = declaration.effect is Effect.ACTS_OUTSIDE and not context.options.dry_run
        with _naming_role(context, declaration):  # also while it is shown: a stream reads its rows only then
            return _show(context, declaration, body(context, **given))

    types = _parameter_types(body)
    lead = inspect.Parameter("click", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    _, *rest = inspect.signature(body).parameters.values()
    call.__name__, call.__doc__ = body.__name__, body.__doc__
    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [lead, *(each.replace(annotation=types[each.name]) for each in rest)]
    )
    call.__annotations__ = {"click": typer.Context, **{each.name: types[each.name] for each in rest}}
    return call


def _parameter_types(body: Callable[..., Any]) -> dict[str, Any]:
    """Return the types of the parameters only: that of the result may need the ORM, which help does without."""
    written = {name: kind for name, kind in body.__annotations__.items() if name != "return"}
    holder: Any = SimpleNamespace(__annotations__=written)
    hints: dict[str, Any] = typing.get_type_hints(holder, body.__globals__, include_extras=True)
    return hints


def _show(context: Context, declaration: Declaration, returned: Any) -> int:
    context.warn_of_unused_settings()
    if declaration.output is None:
        return int(returned or 0)
    result: Result[Any] = returned if isinstance(returned, Result) else Result(returned)
    result.dry_run = declaration.changes and context.options.dry_run
    result.operation = context.operation if declaration.takes_op_id else None
    if declaration.names_target:
        result.target = context.target
    return context.console.show(result, declaration.output)


def _starts_servers(declaration: Declaration) -> bool:
    """Whether the command may start the embedded servers: no service does, and cron's jobs only at a terminal."""
    at_terminal = bool(sys.stdin and not sys.stdin.closed and sys.stdin.isatty())
    return declaration.effect is not Effect.SERVES and (not declaration.cron or at_terminal)


@contextmanager
def _naming_role(context: Context, declaration: Declaration) -> Iterator[None]:
    """Let a refusal by PostgreSQL name the role that is needed: the command's, or where they have it, the next one.

    A lower role does not see the rows of others, so their "not found" means that another role is needed, too.
    """
    what = declaration.name.replace(".", " ")
    try:
        yield
    except errors.Forbidden:
        raise
    except errors.NotFound as missing:
        if declaration.offline or declaration.role not in ("admin", "superadmin"):
            raise
        if not 0 <= _rank(context) < RANKS.index(declaration.role):
            raise
        raise errors.Forbidden(what=what, role=declaration.role) from missing
    except errors.DatabaseForbidden as refusal:
        least, own = RANKS.index(declaration.role), _rank(context)
        needed = next((role for rank, role in enumerate(RANKS) if rank >= least and rank > own), None)
        if needed is None:
            raise
        raise errors.Forbidden(what=what, role=needed) from refusal


def _rank(context: Context) -> int:
    """Return the place of the acting role in RANKS; -1 for the duty of a service."""
    acting = _acting_role(context)
    return RANKS.index(acting) if acting in RANKS else -1


def _acting_role(context: Context) -> str:
    from dumacle_cli.store import logins

    with context.session() as session:
        return logins.acting_role(session)


def admit(context: Context, duty: str) -> None:
    """Refuse everyone but superadmins, the owner and this duty; raises DatabaseForbidden.

    For services: they continue after a refusal by PostgreSQL, so without this they would run and do nothing.
    """
    if (acting := _acting_role(context)) not in ("owner", "superadmin", duty):
        raise errors.DatabaseForbidden(reason=f"role {acting} may not do the work of {duty}")
