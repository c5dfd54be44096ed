"""`dumacle demo`: the whole product on this machine, in one command."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dumacle_cli import embedded, precedence
from dumacle_cli.commands import uploads
from dumacle_cli.commands.contract import GROUP, command
from dumacle_cli.context import Context
from dumacle_cli.demo import media
from dumacle_cli.demo.result import Demo
from dumacle_cli.local import ffmpeg
from dumacle_cli.local.folder import DEMO_MEDIA
from dumacle_cli.output.forms import Shown

if TYPE_CHECKING:
    from dumacle_cli.demo.media import Source

app = typer.Typer(**GROUP)  # type: ignore[arg-type]
app.path = ""  # type: ignore[attr-defined]


@command(app, "demo", returns=Demo, example="dumacle demo", mutates=True, outside=True, offline=True, configures=True)
def demo(
    context: Context,
    folder: Annotated[
        Path | None, typer.Argument(metavar="FOLDER", help="Upload this folder instead of media made with FFmpeg.")
    ] = None,
) -> Shown:
    """Show the whole product on this machine: servers, users, plans, uploads, links, a transcode, quotas.

    It uses the embedded servers, never a configured database, and can be run again.
    """
    from dumacle_cli.demo import steps

    find_source = _source(context, folder)
    hiding = _use_embedded(context)
    if context.dry_run:
        return _preview(context, folder)
    return steps.Run(context, uploads.run_upload, uploads.upload).all_steps(find_source, hiding)


def _source(context: Context, folder: Path | None) -> "Callable[[], Source]":
    """Return what finds or makes the source; raises NotFound, InvalidValue or MissingExtra before anything starts."""
    if folder:
        source = media.survey(folder)
        return lambda: source
    program = ffmpeg.locate(os.fspath(context.settings.ffmpeg or ""))
    return lambda: media.library(context.data_dir, program)


def _use_embedded(context: Context) -> str:
    """Ignore a configured database; return the environment variable that names it, or an empty string."""
    configured = context.resolved
    context.resolved = configured.embedded_in(context.data_dir.resolve(), embedded.PROFILE)
    ignored = [configured.origins[name].place for name in precedence.LOCAL if getattr(configured.settings, name)]
    if ignored:
        named = " and ".join(dict.fromkeys(ignored))
        context.say(f"The demo uses the embedded S3 server, not the store configured in {named}.")
    origin = configured.origins.get("database_url")
    if origin is None or configured.settings.database_url is None:
        return ""
    context.say(f"The demo uses the embedded database, not the one configured in {origin.place}.")
    return origin.place if origin.kind == "environment" else ""


def _preview(context: Context, folder: Path | None) -> Shown:
    source = folder or context.data_dir / DEMO_MEDIA
    found = media.survey(source) if source.exists() else None
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
