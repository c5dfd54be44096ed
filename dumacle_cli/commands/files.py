"""`dumacle files`: list, link, download, move, delete and verify files."""

import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dumacle_cli.commands import uploads
from dumacle_cli.commands.contract import command, group
from dumacle_cli.commands.listing import After, All, Limit, listing
from dumacle_cli.context import Context
from dumacle_cli.errors import Exit, OutputFailed, UsageError
from dumacle_cli.output.forms import Shown
from dumacle_cli.services import downloads, files, purge, renditions, verification
from dumacle_cli.store.files import Selection
from dumacle_cli.units import parse_age, parse_duration, show_minute, show_size

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dumacle_cli.store.paging import Page
    from dumacle_cli.store.transcodes import Published

app = group("files", "Upload, list, link, download, move and remove files.")
uploads.register(app)

WATCH_SECONDS = 1

FileName = Annotated[str, typer.Argument(metavar="FILE", help="A file's id, or its path with --owner.")]
OneOrFilter = Annotated[str, typer.Argument(metavar="FILE", help="A file's id, or its path with --owner.")]
Owner = Annotated[str, typer.Option("--owner", metavar="USER", help="Whose files: e-mail or id.")]
Pod = Annotated[str, typer.Option("--pod", metavar="POD", help="In which pod: name or id.")]
Prefix = Annotated[str, typer.Option("--prefix", help="Only paths that begin so.")]
AGE = "Only those {} longer ago than this: 90s, 15min, 12h, 365d, 2w, 12mo, 1y"
OlderThan = Annotated[str, typer.Option("--older-than", metavar="AGE", help=f"{AGE.format('created')}.")]


@command(
    app,
    "list",
    returns=files.File,
    many=True,
    columns=("id", "owner", "pod", "path", "size", "status", "created_at"),
    empty="no files",
    example="dumacle files list --owner ada@example.com --prefix holiday/",
    role="enduser",
)
def list_(
    context: Context,
    owner: Owner = "",
    pod: Pod = "",
    prefix: Annotated[
        str, typer.Option("--prefix", help="Only paths that begin so, sorted by path; needs --owner or --pod.")
    ] = "",
    status: Annotated[
        files.UploadStatus | None, typer.Option("--status", help="Only files of this upload status.")
    ] = None,
    deleted: Annotated[bool, typer.Option("--deleted", help="Those that can be restored, sorted by deletion.")] = False,
    sort: Annotated[
        files.Sort | None,
        typer.Option("--sort", metavar="ORDER", help="What to sort by; path and size need --owner or --pod."),
    ] = None,
    descending: Annotated[bool, typer.Option("--desc", help="The last first.")] = False,
    limit: Limit = 50,
    after: After = "",
    everything: All = False,
) -> Shown:
    """List files."""
    with context.session() as session:
        chosen = files.select(session, owner=owner, pod=pod, prefix=prefix, status=status, deleted=deleted)

    def fetch(session: "Session", token: str | None) -> "Page[files.File]":
        return files.list_(session, chosen, sort=sort, descending=descending, after=token, limit=limit)

    return listing(context, fetch, after, everything, owner=owner, pod=pod)


@command(
    app,
    "show",
    returns=files.Detail,
    example="dumacle files show holiday/beach.jpg --owner ada@example.com",
    role="enduser",
)
def show(
    context: Context,
    file: FileName,
    owner: Owner = "",
    pod: Pod = "",
    watch: Annotated[bool, typer.Option("--watch", help="Wait until its upload has ended.")] = False,
) -> Shown:
    """Show a file, where its bytes lie, and its contents."""
    with context.session() as session:
        file_id = files.find(session, file, owner=owner, pod=pod)
        detail = files.show(session, file_id)
    while watch and detail.status in files.UNDER_WAY:
        context.say(f"{detail.status} {detail.progress} %")
        time.sleep(WATCH_SECONDS)
        with context.session() as session:
            detail = files.show(session, file_id)
    return Shown(detail)


@command(
    app,
    "url",
    returns=downloads.Link,
    example="dumacle files url holiday/beach.jpg --owner ada@example.com --expires 1h",
    mutates=True,
    outside=True,
    role="enduser",
)
def url(
    context: Context,
    file: FileName,
    owner: Owner = "",
    pod: Pod = "",
    rendition: Annotated[
        str, typer.Option("--rendition", metavar="NAME", help="Of what was made of it, such as hls; see: files show.")
    ] = "",
    expires: Annotated[
        str, typer.Option("--expires", metavar="AGE", help="How long it is good, up to 7d: 90s, 15min, 1h, 7d.")
    ] = "",
) -> Shown:
    """Make a link that downloads a file, or plays a rendition, without a login; HLS gets playlists of its own."""
    seconds = parse_duration(expires, "--expires") if expires else context.settings.url_expiry
    if rendition:
        with context.session() as session:
            file_id = files.find(session, file, owner=owner, pod=pod)
            published = renditions.published(session, file_id, rendition)
        return _rendition_url(context, published, seconds)
    with context.session() as session:
        wanted = downloads.content(session, files.find(session, file, owner=owner, pod=pod))
    return _outside(context, downloads.link(context.store, wanted, seconds), changed=False)


def _rendition_url(context: Context, published: "Published", seconds: int) -> Shown:
    if published.kind != "hls":
        return _outside(context, renditions.link(context.store, published, seconds), changed=False)
    from dumacle_cli.transcode import playlists

    write = not context.dry_run
    link = renditions.playing_link(context.store, published, seconds, playlists.signed, write=write)
    return _outside(context, link, changed=True)


@command(
    app,
    "download",
    returns=downloads.Downloaded,
    many=True,
    columns=("id", "path", "size", "result", "error"),
    example="dumacle files download holiday/beach.jpg --owner ada@example.com --to beach.jpg",
    role="enduser",
)
def download(
    context: Context,
    file: OneOrFilter = "",
    owner: Owner = "",
    pod: Pod = "",
    prefix: Prefix = "",
    to: Annotated[
        str, typer.Option("--to", metavar="PATH", help="File or folder to write; - is standard output.")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there with other content.")] = False,
) -> Shown:
    """Download a file, or with --owner and --prefix many into a folder, and check every byte."""
    if not file:
        return _download_many(context, owner, pod, prefix, to, force)
    if prefix:
        raise UsageError("name one FILE, or give filters", "dumacle files download")
    with context.session() as session:
        wanted = downloads.content(session, files.find(session, file, owner=owner, pod=pod))
    if to == "-":
        return Shown([_to_standard_output(context, wanted)])
    return Shown([downloads.to_file(context.store, wanted, Path(to) if to else None, force=force)])


def _to_standard_output(context: Context, wanted: Any) -> downloads.Downloaded:
    """Write the bytes to standard output, and turn what is said of them to standard error."""
    stream = context.out.binary if context.out else None
    if stream is None:
        raise OutputFailed(reason="standard output takes no bytes", outcome="nothing was read")
    context.out = context.err
    return downloads.to_stream(context.store, wanted, stream)


def _download_many(context: Context, owner: str, pod: str, prefix: str, to: str, force: bool) -> Shown:
    if not owner or to in ("", "-"):
        raise UsageError("name a FILE, or give --owner USER and --to FOLDER", "dumacle files download")
    with context.session() as session:
        chosen = files.select(session, owner=owner, pod=pod, prefix=prefix)
    found = list(downloads.to_folder(context.database, context.store, chosen, Path(to), force=force))
    failed = sum(each.error is not None for each in found)
    return Shown(found, exit=Exit.PARTIAL if failed else Exit.DONE, note=f"{len(found)} files, {failed} failed")


@command(
    app,
    "move",
    returns=files.Affected,
    example="dumacle files move --owner bob@example.com --to-owner ada@example.com",
    mutates=True,
    bulk=True,
)
def move(
    context: Context,
    to_owner: Annotated[str, typer.Option("--to-owner", metavar="USER", help="Who gets them: e-mail or id.")],
    file: OneOrFilter = "",
    owner: Owner = "",
    pod: Pod = "",
    prefix: Prefix = "",
) -> Shown:
    """Give files to another owner; the bytes stay where they are."""

    def work(session: "Session") -> tuple[files.Affected, bool]:
        chosen = files.choose(session, file, owner=owner, pod=pod, prefix=prefix)
        return files.move(session, chosen, to_owner, maximum=context.maximum)

    return context.change(work)


@command(
    app,
    "delete",
    returns=files.Affected,
    example="dumacle files delete holiday/beach.jpg --owner ada@example.com --yes",
    mutates=True,
    confirms=True,
    bulk=True,
    role="enduser",
)
def delete(
    context: Context,
    file: OneOrFilter = "",
    owner: Owner = "",
    pod: Pod = "",
    prefix: Prefix = "",
    older_than: OlderThan = "",
) -> Shown:
    """Delete files; they can be restored, and count against storage, until they are purged."""
    before = _before(older_than)

    def choose(session: "Session") -> Selection:
        return files.choose(session, file, owner=owner, pod=pod, prefix=prefix, before=before)

    if context.asks:
        with context.session() as session:
            number, words = files.summary(session, choose(session))
        context.guard(number, "file")
        context.confirm(f"Delete {words}{_older(before)}")
    _say_age(context, before)
    return context.change(lambda session: files.delete(session, choose(session), maximum=context.maximum))


@command(
    app,
    "restore",
    returns=files.Affected,
    example="dumacle files restore old/lost.txt --owner ada@example.com",
    mutates=True,
    bulk=True,
    role="enduser",
)
def restore(
    context: Context,
    file: OneOrFilter = "",
    owner: Owner = "",
    pod: Pod = "",
    prefix: Prefix = "",
) -> Shown:
    """Take the deletion of files back."""

    def work(session: "Session") -> tuple[files.Affected, bool]:
        chosen = files.choose(session, file, owner=owner, pod=pod, prefix=prefix, deleted=True)
        return files.restore(session, chosen, maximum=context.maximum)

    return context.change(work)


@command(
    app,
    "purge",
    returns=purge.Purged,
    example="dumacle files purge --older-than 30d --max 10000 --yes",
    mutates=True,
    outside=True,
    confirms=True,
    bulk=True,
    cron=True,
)
def purge_(
    context: Context,
    file: OneOrFilter = "",
    owner: Owner = "",
    pod: Pod = "",
    prefix: Prefix = "",
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="AGE", help=f"{AGE.format('given up')}; else retention_days.")
    ] = "",
) -> Shown:
    """Remove deleted files and old contents for good, and what was made of them; finishes what a kill cut short."""
    maximum = None if file else context.maximum
    with context.session() as session:
        age = older_than or ("" if file else f"{context.settings.retention_days}d")
        before = _before(age)
        chosen = files.choose(session, file, owner=owner, pod=pod, prefix=prefix, before=before, deleted=True)
        scope = _scope(chosen)
        planned = purge.plan(session, **scope, maximum=maximum)
        words = files.summary(session, chosen)[1] if context.asks else ""
    gone = f"{planned.versions} contents and {planned.renditions} renditions"
    room = f"{gone}, {show_size(planned.bytes)} become free"
    context.confirm(f"Purge for good {words}{_older(before)}; {room}")
    _say_age(context, before)
    done = planned if context.dry_run else purge.run(context.database, context.store, **scope, maximum=maximum)
    exit_ = Exit.PARTIAL if done.skipped else Exit.DONE
    note = f"{done.skipped} skipped: locked by another process; run the same command again" if done.skipped else ""
    return _outside(context, done, changed=replace(done, skipped=0) != purge.NOTHING, exit_=exit_, note=note)


def _before(age: str) -> datetime | None:
    """Return the instant that an age means, once for all that a command does; raises InvalidValue."""
    return parse_age(age, "--older-than", datetime.now(UTC)) if age else None


def _older(before: datetime | None) -> str:
    return f", older than {show_minute(before)}" if before else ""


def _say_age(context: Context, before: datetime | None) -> None:
    """Tell on a dry run which date an age was taken for."""
    if before and context.dry_run:
        context.say(f"this is about what is older than {show_minute(before)}")


def _scope(chosen: Selection) -> dict[str, Any]:
    """Say of a selection what a purge heeds: old contents belong to live files, and have no upload status."""
    return {name: getattr(chosen, name) for name in ("ids", "owner_id", "pod_id", "prefix", "before")}


def _outside(context: Context, data: object, *, changed: bool, exit_: Exit = Exit.DONE, note: str = "") -> Shown:
    return Shown(data, changed, dry_run=context.dry_run, exit=exit_, note=note)


@command(
    app,
    "verify",
    returns=verification.Verified,
    many=True,
    columns=("id", "path", "size", "result", "error"),
    empty="no files to verify",
    example="dumacle files verify --pod films --limit 100",
    mutates=True,
    outside=True,
    cron=True,
)
def verify(
    context: Context,
    file: OneOrFilter = "",
    owner: Owner = "",
    pod: Pod = "",
    prefix: Prefix = "",
    read: Annotated[bool, typer.Option("--read", help="Read all bytes and compare their SHA-256.")] = False,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most so many files.")] = 1000,
) -> Shown:
    """Compare files with what the stores hold, those that were verified longest ago first."""
    with context.session() as session:
        if file:
            chosen = files.choose(session, file, owner=owner, pod=pod, prefix=prefix)
        else:
            chosen = files.select(session, owner=owner, pod=pod, prefix=prefix)
    record = not context.dry_run
    found = list(verification.run(context.database, context.store, chosen, limit, read=read, record=record))
    bad = [each for each in found if each.result in ("missing", "differs")]
    failed = [each for each in found if each.result == "failed"]
    exit_ = Exit.INTEGRITY if bad else Exit.PARTIAL if failed else Exit.DONE
    note = f"{len(found)} files, {len(bad)} missing or different, {len(failed)} not looked at"
    return _outside(context, found, changed=len(found) > len(failed), exit_=exit_, note=note)
