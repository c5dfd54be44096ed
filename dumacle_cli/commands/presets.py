"""`dumacle transcode presets`: what can be made of a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.context import Context
from dumacle_cli.errors import BadPreset, UsageError
from dumacle_cli.output.result import Result, Rows
from dumacle_cli.services import definitions, presets

if TYPE_CHECKING:
    from dumacle_cli.services.definitions import Preset

app = CommandGroup("transcode presets", "Manage transcode presets.")

Definition = Annotated[str, typer.Argument(metavar="DEFINITION", help="The definition in JSON; - for stdin.")]
Name = Annotated[str, typer.Argument(metavar="PRESET", help="The preset's name.")]


@app.changes("create", example="dumacle transcode presets create hevc.json")
def create(context: Context, file: Definition) -> Result[presets.Preset]:
    """Create a preset from a definition in JSON."""
    definition = _read(file, "create")
    return context.change(lambda session: presets.create(session, definition))


@app.reads(
    "list",
    columns=("name", "description", "entry", "charged", "requires_video"),
    example="dumacle transcode presets list",
    role="enduser",
)
def list_(context: Context) -> Rows[presets.Preset]:
    """List presets by name."""
    with context.session() as session:
        return Result(presets.list_(session))


@app.reads("show", example="dumacle transcode presets show hls", role="enduser")
def show(
    context: Context,
    preset: Annotated[str, typer.Argument(metavar="PRESET", help="The preset's name, or the hash of a version.")],
) -> Result[presets.Preset]:
    """Show a preset with its definition, which is an example of what `create` takes."""
    with context.session() as session:
        return Result(presets.show(session, preset))


@app.changes("update", example="dumacle transcode presets update hls.json")
def update(context: Context, file: Definition) -> Result[presets.Preset]:
    """Replace the definition of the preset that it names; transcodes that were submitted keep the one they had."""
    definition = _read(file, "update")
    return context.change(lambda session: presets.update(session, definition))


@app.changes("archive", example="dumacle transcode presets archive poster")
def archive(context: Context, preset: Name) -> Result[presets.Preset]:
    """End a preset: what was submitted is still made, and nothing more can be submitted."""
    return context.change(lambda session: presets.archive(session, preset))


def _read(file: str, verb: str) -> Preset:
    try:
        text = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as fault:
        raise UsageError(f"{file} cannot be read: {fault.strerror}", f"dumacle transcode presets {verb}") from None
    try:
        return definitions.parse(json.loads(text))
    except (ValueError, RecursionError):
        raise BadPreset(reason="it is no JSON") from None
