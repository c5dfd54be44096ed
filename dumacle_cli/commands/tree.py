"""The commands and groups as Typer sees them: they take the shared options at every level and write their help."""

from functools import cache
from typing import Any

import typer
from typer import core
from typer.main import get_command

from dumacle_cli import errors
from dumacle_cli.commands import help, options, run
from dumacle_cli.commands.command import CommandGroup, Declaration

SHARED_TITLE = "Options that work everywhere"
HELP_OPTION = ("-h, --help", "Explain the program, a group or a command.")


class Node:
    """A command or group that takes the shared options before and after its name."""

    params: list[Any]
    epilog: str | None
    declaration: Declaration | None = None

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse what was typed; raises EmptyArgument."""
        if not ctx.resilient_parsing:
            self._refuse_empty(ctx, args)
        return super().parse_args(ctx, args)  # type: ignore[misc,no-any-return]

    def _refuse_empty(self, ctx: Any, args: list[str]) -> None:
        # As it was typed: a Path made of nothing is the working directory already.
        typed = self.make_parser(ctx).parse_args(list(args))[0]  # type: ignore[attr-defined]
        allowed = self.declaration.may_be_empty if self.declaration else ()
        for param in self.params:
            if param.name not in allowed and _is_blank(typed.get(param.name)):
                raise errors.EmptyArgument(name=help.called(param), command=ctx.command_path)

    def get_help_option(self, ctx: Any) -> Any:
        """Return the option that shows this help; where it is not typed, its value needs no pydantic."""
        option = super().get_help_option(ctx)  # type: ignore[misc]
        option.default = False
        return option

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """Write the command's own arguments and options; the shared ones follow at the end."""
        own = [param for param in self.params if param.name not in options.SHARED]
        help.write(formatter, "Arguments", help.rows(own, "argument"))
        for title, some in help.panels(own):
            help.write(formatter, title, help.rows(some, "option"))

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the example on one line so that it can be copied, and the shared options: in full only at the top."""
        shared = [param for param in self.params if param.name in options.SHARED]
        if ctx.parent is None:
            help.write(formatter, SHARED_TITLE, [*help.rows(shared, "option"), HELP_OPTION])
        if self.epilog:
            title, _, line = self.epilog.partition(": ")
            with formatter.section(title):
                formatter.write(f"  {line}\n")
        if ctx.parent is not None:
            help.mention(formatter, SHARED_TITLE, shared, "dumacle --help")


def _is_blank(value: Any) -> bool:
    """Whether a text that was typed, or one of several, is empty or blank."""
    if isinstance(value, str):
        return not value.strip()
    return isinstance(value, list | tuple) and any(map(_is_blank, value))


class Leaf(Node, core.TyperCommand):
    """A command."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """Return what follows the command's name in its line of usage."""
        return help.pieces(self.params)


def leaf(name: str, declaration: Declaration) -> Leaf:
    """Make a command."""
    app = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)
    app.command(name, cls=Leaf, epilog=_example(declaration))(run.callback(declaration))
    made: Any = get_command(app)
    made.declaration = declaration
    made.params += options.of(declaration)
    return made  # type: ignore[no-any-return]


def _example(declaration: Declaration) -> str:
    return f"Example: {declaration.example}"


class Branch(Node, core.TyperGroup):
    """The program or a group in it: knows the names of its commands, and makes one when it is used."""

    def __init__(self, summaries: dict[str, str], **attrs: Any) -> None:
        super().__init__(commands=dict.fromkeys(summaries), rich_markup_mode=None, **attrs)  # type: ignore[arg-type]
        self.summaries = summaries
        self.params = [*self.params, *options.of_every_command()]

    def child(self, name: str) -> Any:
        """Make the command or group of this name."""
        raise NotImplementedError

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """Return the command or group of this name, or None."""
        return self.child(cmd_name) if cmd_name in self.summaries else None

    def children(self) -> dict[str, Any]:
        """Return every command and group in this one."""
        return {name: self.child(name) for name in self.summaries}

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the commands, then the group's own options."""
        help.write(formatter, "Commands", list(self.summaries.items()))
        super().format_options(ctx, formatter)


class Group(Branch):
    """A group; the command named "" in it is run where no other is named."""

    def __init__(self, declared: CommandGroup, about: str) -> None:
        commands = {name: each.summary for name, each in declared.commands.items() if name}
        groups = {name: each.about for name, each in declared.groups.items()}
        own = declared.commands.get("")
        attrs = {"help": own.help, "epilog": _example(own), "subcommand_metavar": "[COMMAND]"} if own else {}
        name = declared.path.split()[-1]
        super().__init__(commands | groups, **{"name": name, "help": about, "no_args_is_help": own is None, **attrs})
        self._declared = declared
        self.make = cache(self._make)

    def child(self, name: str) -> Any:
        """Make the command or group of this name."""
        return self.make(name)

    def own_command(self) -> Leaf | None:
        """Return the command that the group itself is."""
        return self.make("") if "" in self._declared.commands else None

    def _make(self, name: str) -> Any:
        if name in self._declared.groups:
            found = self._declared.groups[name]
            return Group(found, found.about)
        return leaf(name or str(self.name), self._declared.commands[name])

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named, or the group's own where none was."""
        own = None if ctx._protected_args else self.own_command()
        return own.invoke(ctx) if own else super().invoke(ctx)


def node(declared: CommandGroup, about: str) -> Leaf | Group:
    """Make what a module declares: a group, or a single command with the module's name."""
    if list(declared.commands) == [""] and not declared.groups:
        return leaf(declared.path, declared.commands[""])
    return Group(declared, about)
