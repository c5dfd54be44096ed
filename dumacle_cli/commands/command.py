"""Declare commands: `@group.reads("list", ...)` says what a command does, needs and prints.

The body takes the Context and what was typed, and returns what is to be shown; its annotation says of which type.
"""

import inspect
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal, TypedDict, TypeVar, Unpack

from dumacle_cli.output.result import OutputSpec, Result

Role = Literal["enduser", "admin", "superadmin", "owner"]
RANKS = typing.get_args(Role)
Body = TypeVar("Body", bound=Callable[..., Any])


class Effect(StrEnum):
    """What a command does."""

    READS = "reads"
    PRINTS = "prints raw text"
    CHANGES = "changes the database only"
    ACTS_OUTSIDE = "acts outside the database"
    SERVES = "serves until it is stopped"


class Details(TypedDict, total=False):
    """What else can be declared of a command; see Declaration."""

    role: Role
    columns: tuple[str, ...]
    empty: str
    confirms: bool
    bulk: bool
    offline: bool
    cron: bool
    writes_config: bool
    may_be_empty: tuple[str, ...]


@dataclass(frozen=True)
class Declaration:
    """What the program promises of one command; the contract tests walk all of them.

    `role` is the least one that may run it, `owner` being the owner of the schema. `takes_op_id`: it is an operation,
    which a repeat with the same id does not carry out twice. `paged`: takes --limit, --after and --all. `confirms`:
    asks first. `bulk`: takes --max. `offline`: needs no database. `cron`: starts the embedded servers only at a
    terminal. `writes_config`: works without a configuration file, and makes one. `may_be_empty` names the parameters
    that may be given as ''; `empty` is printed if no row is found.
    """

    name: str
    effect: Effect
    body: Callable[..., Any]
    example: str
    takes_op_id: bool = False
    paged: bool = False
    role: Role = "admin"
    columns: tuple[str, ...] = ()
    empty: str = "nothing to show"
    confirms: bool = False
    bulk: bool = False
    offline: bool = False
    cron: bool = False
    writes_config: bool = False
    may_be_empty: tuple[str, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether the command changes something, and so takes --dry-run."""
        return self.effect in (Effect.CHANGES, Effect.ACTS_OUTSIDE)

    @property
    def names_target(self) -> bool:
        """Whether the result names the database: of what may destroy much, and of what changes the schema."""
        return self.changes and not self.offline and (self.confirms or self.name.startswith("db."))

    @property
    def help(self) -> str:
        """The help of the command; its first paragraph is the summary."""
        return inspect.getdoc(self.body) or ""

    @property
    def summary(self) -> str:
        """The first paragraph of the help."""
        return " ".join(self.help.split("\n\n")[0].split())

    @cached_property
    def output(self) -> OutputSpec | None:
        """How the results look, by the type that the body returns: a dataclass, a list, or a Result of either."""
        if self.effect in (Effect.PRINTS, Effect.SERVES):
            return None
        kind = inspect.signature(self.body, eval_str=True).return_annotation
        if typing.get_origin(kind) is Result:
            (kind,) = typing.get_args(kind)
        many = typing.get_origin(kind) in (list, Iterable)
        returns = typing.get_args(kind)[0] if many else kind
        return OutputSpec(f"dumacle.{self.name}.v1", returns, many, self.changes, self.columns, self.empty)


class CommandGroup:
    """A group of commands and of further groups; `path` is what is typed, such as `files runs`.

    A command named "" is what the group itself does.
    """

    def __init__(self, path: str, about: str = "") -> None:
        self.path, self.about = path, about
        self.commands: dict[str, Declaration] = {}
        self.groups: dict[str, CommandGroup] = {}

    def reads(self, name: str, *, example: str, **details: Unpack[Details]) -> Callable[[Body], Body]:
        """Declare a command that only reads."""
        return self._declare(name, Effect.READS, example, **details)

    def lists(self, name: str, *, example: str, **details: Unpack[Details]) -> Callable[[Body], Body]:
        """Declare a command that reads rows page by page."""
        return self._declare(name, Effect.READS, example, paged=True, **details)

    def prints(self, name: str, *, example: str, **details: Unpack[Details]) -> Callable[[Body], Body]:
        """Declare a command that prints raw text."""
        return self._declare(name, Effect.PRINTS, example, **details)

    def changes(self, name: str, *, example: str, **details: Unpack[Details]) -> Callable[[Body], Body]:
        """Declare an operation on the database: a dry run rolls it back."""
        return self._declare(name, Effect.CHANGES, example, takes_op_id=True, **details)

    def acts_outside(
        self, name: str, *, example: str, takes_op_id: bool = False, **details: Unpack[Details]
    ) -> Callable[[Body], Body]:
        """Declare a command that changes more than the database: a dry run shows the plan."""
        return self._declare(name, Effect.ACTS_OUTSIDE, example, takes_op_id=takes_op_id, **details)

    def serves(self, name: str, *, example: str, **details: Unpack[Details]) -> Callable[[Body], Body]:
        """Declare a service, which runs until it is stopped."""
        return self._declare(name, Effect.SERVES, example, **details)

    def _declare(
        self,
        name: str,
        effect: Effect,
        example: str,
        *,
        takes_op_id: bool = False,
        paged: bool = False,
        **details: Unpack[Details],
    ) -> Callable[[Body], Body]:
        dotted = f"{self.path} {name}".strip().replace(" ", ".")

        def declare(body: Body) -> Body:
            self.commands[name] = Declaration(
                dotted, effect, body, example, takes_op_id=takes_op_id, paged=paged, **details
            )
            return body

        return declare

    def add(self, group: "CommandGroup") -> None:
        """Add a group below this one."""
        self.groups[group.path.split()[-1]] = group

    def include(self, part: "CommandGroup") -> None:
        """Take over the commands of a part of this group, which another module declares."""
        self.commands |= part.commands
