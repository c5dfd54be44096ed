"""`dumacle schema`: the JSON Schema of what a command prints under `-o json`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from dumacle_cli import commands
from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.context import Context
from dumacle_cli.errors import NotFound

app = CommandGroup("schema")


@app.prints("", example="dumacle schema users.list", offline=True)
def schema(
    context: Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A command such as users.list, or error.")] = "",
) -> int:
    """Print the JSON Schema of a command's output, or the names of all schemas."""
    from dumacle_cli.output import schemas

    declared = [leaf.declaration for _, leaf in commands.walk() if leaf.declaration]
    specs = {each.name: each.output for each in declared if each.output}
    wanted = name.removeprefix("dumacle.").removesuffix(".v1")
    if not wanted:
        context.console.write("\n".join(sorted([*specs, "error"])))
    elif wanted == "error":
        context.console.write(json.dumps(schemas.ERROR_SCHEMA, indent=2))
    elif wanted in specs:
        context.console.write(json.dumps(schemas.schema(specs[wanted]), indent=2))
    else:
        raise NotFound("schema", name)
    return 0
