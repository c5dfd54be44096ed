"""What is written in documents, parsed by the program's own grammar without running it."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from typer import core

from dumacle_cli import commands
from dumacle_cli.commands.tree import Group

TOP = Path(__file__).parents[2]
DOCUMENTS = [*sorted(TOP.glob("*.md")), *sorted(TOP.glob("docs/*.md"))]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TYPED = re.compile(r"^(?:sudo -u \w+ )?(?:\S*/)?dumacle (.*)|^docker compose run (?:-\S+ )*\w+ ([a-z].*)")


def parse(arguments: list[str]) -> str:
    """Return the path of the command that these arguments name; raises UsageError where it would not take them."""
    root = commands.root()
    context = root.make_context("dumacle", list(arguments))
    path = []
    while isinstance(context.command, core.TyperGroup):
        words = [*context._protected_args, *context.args]
        if not words and isinstance(context.command, Group) and context.command.own_command():
            break
        name, command, rest = context.command.resolve_command(context, words)
        assert command is not None
        context = command.make_context(name, rest, parent=context)
        path.append(str(name))
    return " ".join(path)


def fenced(text: str, language: str) -> list[str]:
    """Return the blocks of a document that are fenced and in this language."""
    return [block for found, block in FENCED.findall(text) if found == language]


def typed(text: str) -> Iterator[list[str]]:
    """Yield the arguments of each indented line of a text that runs the program."""
    for line in FENCED.sub("", text).splitlines():
        for part in re.split(r" && | \| ", line.strip()) if line.startswith("    ") else ():
            if found := TYPED.match(part):
                yield shlex.split(re.split(r" [<>&]", found[1] or found[2])[0], comments=True)
