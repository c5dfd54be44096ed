"""`dumacle files url|download`: links, and downloads of one file or many."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.commands.file_options import OlderThan, Status, VersionId, instant, patience
from dumacle_cli.commands.paging import streamed
from dumacle_cli.commands.parameters import File, InPod, Owner, Prefix
from dumacle_cli.context import Context
from dumacle_cli.errors import Exit, OutputFailed, UsageError
from dumacle_cli.output.result import Result, Rows
from dumacle_cli.services import downloads, files, renditions, versions
from dumacle_cli.units import parse_duration

if TYPE_CHECKING:
    from dumacle_cli.store.transcodes import Published

app = CommandGroup("files")

STANDARD_OUTPUT = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


@app.acts_outside(
    "url",
    example="dumacle files url holiday/beach.jpg --owner ada@example.com --expires 1h",
    role="enduser",
)
def url(
    context: Context,
    file: File,
    owner: Owner = "",
    pod: InPod = "",
    rendition: Annotated[
        str, typer.Option("--rendition", metavar="NAME", help="Link to a rendition, such as hls; see: files show.")
    ] = "",
    expires: Annotated[
        str, typer.Option("--expires", metavar="AGE", help="Lifetime of the link, up to 7d: 90s, 15min, 1h, 7d.")
    ] = "",
    version: VersionId = None,
    download: Annotated[
        bool, typer.Option("--download", help="Have browsers save media instead of showing it.")
    ] = False,
) -> Result[downloads.Link]:
    """Create a link to a file or a rendition that needs no login; HLS gets its own playlists.

    Browsers and players show media; files of other kinds are saved.
    """
    seconds = parse_duration(expires, "--expires") if expires else context.settings.url_expiry
    if rendition and version:
        raise UsageError("give either --rendition or --version", "dumacle files url")
    if rendition:
        with context.session() as session:
            file_id = files.find(session, file, owner=owner, pod=pod)
            published = renditions.published(session, file_id, rendition)
        return _rendition_url(context, published, seconds, download=download)
    with context.session() as session:
        wanted = versions.content(session, files.find(session, file, owner=owner, pod=pod), version)
    return Result(downloads.link(context.stores.read, wanted, seconds, download=download), False)


def _rendition_url(context: Context, published: Published, seconds: int, *, download: bool) -> Result[downloads.Link]:
    if published.kind not in ("hls", "sprite"):
        return Result(renditions.link(context.stores.read, published, seconds, download=download), False)
    if download:
        raise UsageError(f"{published.name} is many files; --download is for one", "dumacle files url")
    from dumacle_cli.transcode import playlists

    write = not context.options.dry_run
    link = renditions.playing_link(context.stores.read, published, seconds, playlists.signed, write=write)
    return Result(link, True)


@app.reads(
    "download",
    columns=("id", "path", "size", "result", "error"),
    example="dumacle files download holiday/beach.jpg --owner ada@example.com --to beach.jpg",
    role="enduser",
)
def download(
    context: Context,
    file: File = "",
    owner: Owner = "",
    pod: InPod = "",
    prefix: Prefix = "",
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="PATH",
            help="File, folder or pipe to write to; default: the file's name; - is standard output.",
        ),
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Overwrite regular files with different content.")] = False,
    status: Status = None,
    older_than: OlderThan = "",
    version: VersionId = None,
) -> Rows[downloads.Downloaded]:
    """Download a file, or a folder of files with --owner and --to, and verify every byte.

    If it is interrupted, repeat it: it continues where it stopped.
    """
    if version and not file:
        raise UsageError("--version needs a FILE", "dumacle files download")
    if not file:
        return _download_many(context, owner, pod, prefix, to, force, status=status, before=instant(older_than))
    if prefix or status or older_than:
        raise UsageError("give either one FILE or filters", "dumacle files download")
    with context.session() as session:
        wanted = versions.content(session, files.find(session, file, owner=owner, pod=pod), version)
    if to in STANDARD_OUTPUT:
        return Result([_to_standard_output(context, wanted)])
    target = downloads.made(Path(to)) if to.endswith("/") else Path(to) if to else None
    return Result([downloads.to_file(context.stores.read, wanted, target, force=force, patience=patience(context))])


def _to_standard_output(context: Context, wanted: Any) -> downloads.Downloaded:
    """Write the bytes to standard output, and the result to standard error."""
    stream = context.console.out.binary if context.console.out else None
    if stream is None:
        raise OutputFailed(reason="standard output takes no bytes", outcome="nothing was read")
    context.console.out = context.console.err
    return downloads.to_stream(context.stores.read, wanted, stream, patience(context))


def _download_many(
    context: Context, owner: str, pod: str, prefix: str, to: str, force: bool, **filters: Any
) -> Rows[downloads.Downloaded]:
    if not owner or to in ("", *STANDARD_OUTPUT):
        raise UsageError("give a FILE, or --owner USER and --to FOLDER", "dumacle files download")
    with context.session() as session:
        chosen = files.select(session, owner=owner, pod=pod, prefix=prefix, **filters)
    result: Rows[downloads.Downloaded] = Result(())
    options: dict[str, Any] = {"force": force, "patience": patience(context)}
    found = downloads.to_folder(context.database, context.stores.read, chosen, Path(to), **options)
    return streamed(context, _counted(found, result), result)


def _counted(
    found: Iterator[downloads.Downloaded], result: Rows[downloads.Downloaded]
) -> Iterator[downloads.Downloaded]:
    """Yield the results, and count them in `result`."""
    number = failed = 0
    for each in found:
        number += 1
        if each.error is not None:
            failed += 1
            result.exit = Exit.PARTIAL
        yield each
    result.note = f"{number} files, {failed} failed"
