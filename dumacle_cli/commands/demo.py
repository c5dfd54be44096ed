"""`dumacle demo`: the whole product on this machine, in one command."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from dumacle_cli import embedded, precedence
from dumacle_cli.commands.contract import GROUP, command
from dumacle_cli.commands.tour import Demo, Survey, Tour, survey
from dumacle_cli.context import Context
from dumacle_cli.local import ffmpeg, media
from dumacle_cli.output.forms import Shown

app = typer.Typer(**GROUP)  # type: ignore[arg-type]
app.path = ""  # type: ignore[attr-defined]


@command(app, "demo", returns=Demo, example="dumacle demo", mutates=True, outside=True, offline=True, configures=True)
def demo(
    context: Context,
    folder: Annotated[
        Path | None, typer.Argument(metavar="FOLDER", help="What to upload; without it media is made with FFmpeg.")
    ] = None,
) -> Shown:
    """Show the whole product on this machine: servers, users, plans, uploads, links, a transcode, quotas.

    It always uses the embedded servers, never a database that is configured, and can be repeated at will.
    """
    source = _source(context, folder)
    hiding = _use_embedded(context)
    return _foreseen(context, folder) if context.dry_run else Tour(context, hiding).run(source)


def _source(context: Context, folder: Path | None) -> Callable[[], tuple[Survey, bool]]:
    """Return what finds the source or makes it; raises NotFound, InvalidValue or MissingExtra before all else."""
    if folder:
        found = survey(folder)
        return lambda: (found, False)
    program = ffmpeg.locate(os.fspath(context.settings.ffmpeg or ""))

    def library() -> tuple[Survey, bool]:
        place, made = media.library(context.data_dir, program)
        return survey(place), made

    return library


def _use_embedded(context: Context) -> str:
    """Leave a configured database alone; returns the environment variable that names one, empty where none does."""
    before = context.resolved
    context.resolved = before.embedded_in(context.data_dir.resolve(), embedded.PROFILE)
    if told := [before.origins[name].place for name in precedence.LOCAL if getattr(before.settings, name)]:
        context.say(f"The store of {' and '.join(dict.fromkeys(told))} is left alone: the demo uses the embedded one.")
    origin = before.origins.get("database_url")
    if origin is None or before.settings.database_url is None:
        return ""
    context.say(f"The database of {origin.place} is left alone: the demo uses the embedded one.")
    return origin.place if origin.kind == "environment" else ""


def _foreseen(context: Context, folder: Path | None) -> Shown:
    source = folder or context.data_dir / media.FOLDER
    found = survey(source) if source.exists() else None
    planned = Demo(
        source=str(source),
        files=found.files if found else None,
        size=found.size if found else None,
        refused=None,
        uploaded=None,
        repeated=None,
        film=found.film.path if found else None,
        sha256=None,
        video=found.video.path if found and found.video else None,
        transcoded=None,
        played=None,
        played_size=None,
        steps=[],
        folder=str(context.data_dir),
    )
    return Shown(planned, True, context.operation, dry_run=True)
