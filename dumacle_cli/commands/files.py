"""`dumacle files`: list, show, move, rename, delete, restore and purge files."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dumacle_cli.commands import direct, downloads, runs, uploads, verification
from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.commands.file_options import AGE, OlderThan, Status, VersionId, instant, patience
from dumacle_cli.commands.paging import listing, streamed
from dumacle_cli.commands.parameters import Descending, File, InPod, Owner, Prefix
from dumacle_cli.context import Context
from dumacle_cli.errors import Exit, UsageError
from dumacle_cli.output.result import Result, Rows
from dumacle_cli.services import files, purge, relocation, versions
from dumacle_cli.units import show_minute, show_size

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dumacle_cli.store.files import Selection

app = CommandGroup("files")
app.include(uploads.app)
app.include(runs.app)
app.add(runs.group)
app.include(direct.app)

WATCH_SECONDS = 1


@app.lists(
    "list",
    columns=("id", "owner", "pod", "path", "size", "status", "created_at"),
    empty="no files found",
    example="dumacle files list --owner ada@example.com --prefix holiday/",
    role="enduser",
)
def list_(
    context: Context,
    owner: Owner = "",
    pod: InPod = "",
    prefix: Annotated[
        str, typer.Option("--prefix", help="Filter by path prefix, sorted by path; needs --owner or --pod.")
    ] = "",
    status: Status = None,
    deleted: Annotated[
        bool, typer.Option("--deleted", help="Show deleted files, which can be restored, sorted by deletion.")
    ] = False,
    sort: Annotated[
        files.Sort | None,
        typer.Option("--sort", metavar="ORDER", help="Sort order (path and size need --owner or --pod)."),
    ] = None,
    descending: Descending = False,
) -> Rows[files.File]:
    """List files."""
    with context.session() as session:
        chosen = files.select(session, owner=owner, pod=pod, prefix=prefix, status=status, deleted=deleted)
    return listing(context, files.list_, chosen, sort=sort, descending=descending).without(owner=owner, pod=pod)


@app.reads("show", example="dumacle files show holiday/beach.jpg --owner ada@example.com", role="enduser")
def show(
    context: Context,
    file: File,
    owner: Owner = "",
    pod: InPod = "",
    watch: Annotated[bool, typer.Option("--watch", help="Wait until the upload has finished.")] = False,
) -> Result[files.Detail]:
    """Show a file, its versions and its renditions."""
    with context.session() as session:
        file_id = files.find(session, file, owner=owner, pod=pod)
        detail = files.show(session, file_id)
    while watch and detail.status in files.UNDER_WAY:
        context.console.say(f"{detail.status} {detail.progress} %")
        time.sleep(WATCH_SECONDS)
        with context.session() as session:
            detail = files.show(session, file_id)
    return Result(detail)


@app.reads(
    "versions",
    columns=("id", "current", "status", "size", "created_at", "key"),
    empty="no versions found",
    example="dumacle files versions holiday/beach.jpg --owner ada@example.com",
    role="enduser",
)
def versions_(context: Context, file: File, owner: Owner = "", pod: InPod = "") -> Rows[versions.Version]:
    """List the versions of a file that still exist, latest first."""
    with context.session() as session:
        return Result(versions.list_(session, files.find(session, file, owner=owner, pod=pod)))


app.include(downloads.app)


@app.changes("move", example="dumacle files move --owner bob@example.com --to-owner ada@example.com", bulk=True)
def move(
    context: Context,
    to_owner: Annotated[str, typer.Option("--to-owner", metavar="USER", help="The new owner: e-mail address or id.")],
    file: File = "",
    owner: Owner = "",
    pod: InPod = "",
    prefix: Prefix = "",
) -> Result[files.Affected]:
    """Give files to another owner; no bytes are moved."""

    def work(session: Session) -> tuple[files.Affected, bool]:
        chosen = files.choose(session, file, owner=owner, pod=pod, prefix=prefix)
        return files.move(session, chosen, to_owner, maximum=context.options.maximum)

    return context.change(work)


@app.acts_outside(
    "relocate",
    columns=("id", "new_id", "path", "size", "result", "error"),
    empty="no files to relocate",
    example="dumacle files relocate holiday/beach.jpg --owner ada@example.com --to-pod archive",
    role="superadmin",
    bulk=True,
)
def relocate(
    context: Context,
    to_pod: Annotated[str, typer.Option("--to-pod", metavar="POD", help="The new pod: name or id.")],
    file: File = "",
    owner: Owner = "",
    pod: InPod = "",
    prefix: Prefix = "",
) -> Rows[relocation.Relocated]:
    """Move files into another pod, with their bytes; if interrupted, repeat it.

    Each file gets a new id. The old one is deleted, and keeps older versions and renditions until it is purged.
    """
    with context.session() as session:
        chosen = files.choose(session, file, owner=owner, pod=pod, prefix=prefix)
        if file:
            versions.content(session, *chosen.ids or ())
        to = relocation.target(session, to_pod)
    maximum, write = context.options.maximum, not context.options.dry_run
    options: dict[str, Any] = {"maximum": maximum, "write": write, "patience": patience(context)}
    options["reading"] = context.stores.read
    found = relocation.run(context.database, context.stores.open, chosen, to, **options)
    result: Rows[relocation.Relocated] = Result((), False)
    return streamed(context, _relocated(found, result), result)


def _relocated(
    found: Iterator[relocation.Relocated], result: Rows[relocation.Relocated]
) -> Iterator[relocation.Relocated]:
    """Yield the results, and count them in `result`."""
    number = failed = renditions = 0
    for each in found:
        number += 1
        if each.result == "relocated":
            result.changed = True
            renditions += each.renditions
        else:
            failed += 1
            result.exit = Exit.PARTIAL
        yield each
    again = (
        f"; {renditions} renditions stay behind: make them again with `dumacle transcode submit`" if renditions else ""
    )
    result.note = f"{number} files, {failed} not relocated{again}"


@app.changes(
    "rename", example="dumacle files rename holiday/beach.jpg 2026/beach.jpg --owner ada@example.com", bulk=True
)
def rename(
    context: Context,
    file: File = "",
    path: Annotated[str, typer.Argument(metavar="PATH", help="The new path of FILE.")] = "",
    owner: Owner = "",
    pod: InPod = "",
    prefix: Prefix = "",
    to: Annotated[str, typer.Option("--to", metavar="PREFIX", help="Replaces --prefix in the paths.")] = "",
) -> Result[files.Affected]:
    """Rename a file, or replace the prefix of many paths; no bytes are moved."""
    if not (file and path and not prefix and not to) and not (prefix and to and not file):
        raise UsageError("give FILE and PATH, or --prefix and --to", "dumacle files rename")

    def work(session: Session) -> tuple[files.Affected, bool]:
        maximum = context.options.maximum
        if file:
            return files.rename(session, files.find(session, file, owner=owner, pod=pod, deleted=False), path)
        chosen = files.select(session, owner=owner, pod=pod, prefix=prefix)
        return files.rename_prefix(session, chosen, to, maximum=maximum)

    return context.change(work)


@app.changes(
    "delete",
    example="dumacle files delete holiday/beach.jpg --owner ada@example.com --yes",
    confirms=True,
    bulk=True,
    role="enduser",
)
def delete(
    context: Context,
    file: File = "",
    owner: Owner = "",
    pod: InPod = "",
    prefix: Prefix = "",
    older_than: OlderThan = "",
) -> Result[files.Affected]:
    """Delete files; until they are purged, they can be restored and use storage."""
    before = instant(older_than)

    def choose(session: Session) -> Selection:
        return files.choose(session, file, owner=owner, pod=pod, prefix=prefix, before=before)

    if context.options.asks:
        with context.session() as session:
            number, words = files.summary(session, choose(session))
        context.options.guard(number, "file")
        context.confirm(f"Delete {words}{_older(before)}")
    _say_age(context, before)
    return context.change(lambda session: files.delete(session, choose(session), maximum=context.options.maximum))


@app.changes("restore", example="dumacle files restore old/lost.txt --owner ada@example.com", bulk=True, role="enduser")
def restore(
    context: Context,
    file: File = "",
    owner: Owner = "",
    pod: InPod = "",
    prefix: Prefix = "",
    version: VersionId = None,
) -> Result[files.Affected]:
    """Restore deleted files that are not purged yet, or an older version of a file with --version."""
    if version and (prefix or not file):
        raise UsageError("--version needs one FILE", "dumacle files restore")

    def work(session: Session) -> tuple[files.Affected, bool]:
        if version:
            return files.restore_version(session, files.find(session, file, owner=owner, pod=pod), version)
        chosen = files.choose(session, file, owner=owner, pod=pod, prefix=prefix, deleted=True)
        return files.restore(session, chosen, maximum=context.options.maximum)

    return context.change(work)


@app.acts_outside(
    "purge",
    example="dumacle files purge --older-than 30d --max 10000 --yes",
    confirms=True,
    bulk=True,
    cron=True,
)
def purge_(
    context: Context,
    file: File = "",
    owner: Owner = "",
    pod: InPod = "",
    prefix: Prefix = "",
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="AGE", help=f"{AGE.format('deleted')}; default: retention_days.")
    ] = "",
) -> Result[purge.Purged]:
    """Permanently remove deleted files, old versions and their renditions; if interrupted, repeat it."""
    maximum = None if file else context.options.maximum
    with context.session() as session:
        age = older_than or ("" if file else f"{context.settings.retention_days}d")
        before = instant(age)
        chosen = files.choose(session, file, owner=owner, pod=pod, prefix=prefix, before=before, deleted=True)
        scope = _scope(chosen)
        planned = purge.plan(session, **scope, maximum=maximum)
        words = files.summary(session, chosen)[1] if context.options.asks else ""
    removed = f"{planned.versions} versions and {planned.renditions} renditions"
    freed = f"{removed}, freeing {show_size(planned.bytes)}"
    context.confirm(f"Permanently remove {words}{_older(before)}: {freed}")
    _say_age(context, before)
    done = (
        planned
        if context.options.dry_run
        else purge.run(context.database, context.stores.open, **scope, maximum=maximum)
    )
    exit_ = Exit.PARTIAL if done.skipped else Exit.DONE
    note = f"{done.skipped} skipped: locked by another process; run the same command again" if done.skipped else ""
    return Result(done, replace(done, skipped=0) != purge.NOTHING, exit=exit_, note=note)


def _older(before: datetime | None) -> str:
    return f", older than {show_minute(before)}" if before else ""


def _say_age(context: Context, before: datetime | None) -> None:
    """Say on a dry run which date an age stands for."""
    if before and context.options.dry_run:
        context.console.say(f"this concerns files older than {show_minute(before)}")


def _scope(chosen: Selection) -> dict[str, Any]:
    """Return the filters that a purge takes: old versions belong to live files, and have no upload status."""
    return {name: getattr(chosen, name) for name in ("ids", "owner_id", "pod_id", "prefix", "before")}


app.include(verification.app)
