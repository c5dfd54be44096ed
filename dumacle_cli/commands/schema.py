"""`dumacle schema`: the JSON Schema of what a command prints under `-o json`."""

import json
from typing import Annotated

import typer

from dumacle_cli import commands
from dumacle_cli.commands.contract import GROUP, Kind, command
from dumacle_cli.context import Context
from dumacle_cli.errors import NoSuchSchema

app = typer.Typer(**GROUP)  # type: ignore[arg-type]
app.path = ""  # type: ignore[attr-defined]


@command(app, "schema", example="dumacle schema users.list", kind=Kind.RAW, offline=True)
def schema(
    context: Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A command such as users.list, or error.")] = "",
) -> int:
    """Print the JSON Schema of a command's output, or the names of all schemas."""
    from dumacle_cli.output import schemas

    views = {leaf.promise.name: leaf.promise.view for _, leaf in commands.walk() if leaf.promise and leaf.promise.view}
    wanted = name.removeprefix("dumacle.").removesuffix(".v1")
    if not wanted:
        context.write("\n".join(sorted([*views, "error"])))
    elif wanted == "error":
        context.write(json.dumps(schemas.ERROR_SCHEMA, indent=2))
    elif wanted in views:
        context.write(json.dumps(schemas.schema(views[wanted]), indent=2))
    else:
        raise NoSuchSchema(noun="schema", name=name)
    return 0
