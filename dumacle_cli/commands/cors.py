"""`dumacle pods cors`: which web pages may send files to the bucket of a pod."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.commands.parameters import Pod
from dumacle_cli.context import Context
from dumacle_cli.errors import Exit
from dumacle_cli.output.result import Result, Rows
from dumacle_cli.services import cors

if TYPE_CHECKING:
    from dumacle_cli.clients.object_store import ObjectStore

app = CommandGroup("pods cors", "Which web pages may send files to the bucket of a pod.")

ORIGIN = "Origin of a page, such as https://app.example.com; can be given several times"
Origins = Annotated[list[str], typer.Option("--origin", metavar="URL", help=f"{ORIGIN}.")]
SomeOrigins = Annotated[
    list[str] | None, typer.Option("--origin", metavar="URL", help=f"{ORIGIN}; default: all that the rules name.")
]


def _bucket(context: Context, pod: str) -> tuple[str, ObjectStore]:
    with context.session() as session:
        name, place = cors.place(session, pod)
    return name, context.stores.open(place)


@app.reads("show", example="dumacle pods cors show films", role="enduser")
def show(context: Context, pod: Pod) -> Result[cors.Cors]:
    """Show the CORS rules of a pod's bucket, which all pods in the bucket share."""
    name, objects = _bucket(context, pod)
    return Result(cors.show(objects, name))


@app.acts_outside("set", example="dumacle pods cors set films --origin https://app.example.com --dry-run")
def set_(context: Context, pod: Pod, origins: Origins) -> Result[cors.Cors]:
    """Let pages from exactly these origins send files to a pod's bucket; rules without PUT are kept."""
    wanted = [cors.checked_origin(origin) for origin in origins]
    with context.database.session() as session:
        name, place = cors.place(session, pod, changing=True)
    objects = context.stores.open(place)
    return Result(*cors.allow(objects, name, wanted, dry_run=context.options.dry_run))


@app.reads(
    "check",
    columns=("pod", "origin", "allowed", "missing"),
    empty="no rule names an origin",
    example="dumacle pods cors check films",
    role="enduser",
)
def check(context: Context, pod: Pod, origins: SomeOrigins = None) -> Rows[cors.Origin]:
    """Check that pages from these origins may send files to a pod's bucket; exit 12 if not."""
    wanted = [cors.checked_origin(origin) for origin in origins or ()]
    name, objects = _bucket(context, pod)
    found = cors.check(objects, name, wanted)
    return Result(found, exit=Exit.DONE if all(each.allowed for each in found) else Exit.INTEGRITY)
