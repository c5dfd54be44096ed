"""`dumacle files upload`: upload files and folders into a pod."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from dumacle_cli import errors, paths
from dumacle_cli.commands import upload_options as given
from dumacle_cli.commands import upload_report
from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.commands.recorded import STANDARD_INPUT, kept, recorded
from dumacle_cli.context import Context
from dumacle_cli.escapes import visible
from dumacle_cli.ingest.items import NoProgress, Summary, Tally
from dumacle_cli.ingest.scan import LONGEST
from dumacle_cli.output.result import Result
from dumacle_cli.units import parse_age, parse_size

if TYPE_CHECKING:
    from dumacle_cli.ingest.items import Progress
    from dumacle_cli.ingest.runs import OnChange
    from dumacle_cli.ingest.selection import Rules
    from dumacle_cli.services.transcode_request import TranscodeRequest

app = CommandGroup("files")

UPLOAD = "dumacle files upload"


@app.acts_outside(
    "upload", example="dumacle files upload ./photos --pod films --owner ada@example.com", may_be_empty=("prefix",)
)
def upload(
    context: Context,
    sources: given.Sources = None,
    *,
    owner: given.Owner,
    pod: given.Pod = "",
    results: given.Results = None,
    stop_after: given.StopAfter = 0,
    checksum: given.Checksum = False,
    force: given.Force = False,
    on_change: given.OnChange = "version",
    dedupe: given.Dedupe = False,
    delete_source: given.DeleteSource = False,
    yes: given.Yes = False,
    join: given.Join = False,
    concurrency: given.Concurrency = None,
    bandwidth: given.Bandwidth = "",
    transcode: given.Transcode = "",
    progress: given.Progress = False,
    include: given.Include = None,
    exclude: given.Exclude = None,
    min_size: given.MinSize = "",
    max_size: given.MaxSize = "",
    newer_than: given.NewerThan = "",
    older_than: given.OlderThan = "",
    no_hidden: given.NoHidden = False,
    links: given.Links = "skip",
    allow_empty: given.AllowEmpty = False,
    prefix: given.Prefix = "",
    keep_name: given.KeepName = False,
    flatten: given.Flatten = False,
    files_from: given.FilesFrom = None,
    null: given.Null = False,
    manifest: given.Manifest = None,
    stdin_name: given.StdinName = "",
) -> Result[Summary]:
    """Upload files and folders into a pod; repeating it uploads only new and changed files.

    GLOB is as in a .gitignore and is compared with the path below the source; --exclude wins over --include.
    """
    from dumacle_cli.ingest.lists import Listing
    from dumacle_cli.ingest.selection import Rules

    _refuse_contradictions(
        {
            "PATH": sources,
            "--checksum": checksum,
            "--force": force,
            "--on-change": on_change != "version",
            "--dedupe": dedupe,
            "--delete-source": delete_source,
            "--links": links == "follow",
            "--keep-name": keep_name,
            "--flatten": flatten,
            "--files-from": files_from,
            "--null": null,
            "--manifest": manifest,
            "--stdin-name": stdin_name,
        }
    )
    form: Literal["lines", "null", "manifest"] = "manifest" if manifest else "null" if null else "lines"
    listed = manifest or files_from
    # Its working directory is part of what a list says.
    sources = sources or ([Path.cwd()] if listed else [])
    typed = {**context.parameters, "sources": [source.absolute() for source in sources]}
    _require_usable(results, [*sources, *([listed] if listed else [])])
    now = datetime.now(UTC)
    rules = Rules(
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        min_size=parse_size(min_size, "--min-size") if min_size else 0,
        max_size=parse_size(max_size, "--max-size") if max_size else None,
        since=_instant(newer_than, "--newer-than", now),
        before=_instant(older_than, "--older-than", now),
        hidden=not no_hidden,
        follow=links == "follow",
        flatten=flatten,
        keep_name=keep_name,
        listing=Listing(str(kept(Path(listed))), form) if listed else None,
        name=_file_name(stdin_name),
        allow_empty=allow_empty,
    )
    if delete_source and not yes:
        context.confirm(f"Delete source files once they are uploaded: {_named(sources, listed)}")
    with _standard_input(context, rules) as spooled:
        summary, tally = run_upload(
            context,
            [spooled] if spooled else sources,
            owner=owner,
            pod=pod,
            prefix=prefix,
            rules=rules,
            results=results,
            stop_after=stop_after,
            checksum=checksum,
            force=force,
            on_change=on_change,
            dedupe=dedupe,
            delete_source=delete_source,
            concurrency=concurrency,
            bandwidth=bandwidth,
            transcode=transcode,
            join=join,
            parameters=recorded(typed, without=("results", "join")),
            report=True,
            lines=progress,
        )
    return upload_report.result(context, summary, tally, transcode)


_CONTRADICTIONS = (
    ("--checksum", "--force"),
    ("--force", "--on-change"),
    ("--force", "--dedupe"),
    ("--flatten", "--keep-name"),
    ("--files-from", "--manifest"),
    ("--stdin-name", "--files-from"),
    ("--stdin-name", "--manifest"),
    ("--stdin-name", "PATH"),
    ("--stdin-name", "--delete-source"),
    ("--links", "--delete-source"),
)


def _refuse_contradictions(typed: dict[str, object]) -> None:
    for one, other in _CONTRADICTIONS:
        if typed[one] and typed[other]:
            raise errors.UsageError(f"give either {one} or {other}", UPLOAD)
    listed = typed["--files-from"] or typed["--manifest"]
    if not (typed["PATH"] or listed or typed["--stdin-name"]):
        raise errors.UsageError("give a PATH, --files-from, --manifest or --stdin-name", UPLOAD)
    if typed["--null"] and not typed["--files-from"]:
        raise errors.UsageError("--null needs --files-from", UPLOAD)
    if listed and isinstance(typed["PATH"], list) and len(typed["PATH"]) > 1:
        raise errors.UsageError("give one PATH with a list: the folder that its paths are relative to", UPLOAD)


def _require_usable(results: Path | None, named: list[Path]) -> None:
    """Raise InvalidValue if the results cannot be written, or would overwrite what was named."""
    if results is None:
        return
    reason = "that is a folder" if results.is_dir() else ""
    if str(results) == STANDARD_INPUT:
        reason = "they are written to a file"
    if not results.absolute().parent.is_dir():
        reason = f"there is no folder {visible(str(results.parent))}"
    for each in named:
        with suppress(OSError):
            if not reason and results.samefile(each):
                reason = "it would overwrite what is to be uploaded"
    if reason:
        advice = "name another file"
        raise errors.InvalidValue(name="--results", value=repr(str(results)), reason=reason, advice=advice)


def _instant(age: str, option: str, now: datetime) -> int | None:
    return int(parse_age(age, option, now).timestamp()) * 10**9 if age else None


def _named(sources: list[Path], listed: Path | None) -> str:
    if listed:
        return f"those listed in {'standard input' if str(listed) == STANDARD_INPUT else visible(str(listed))}"
    return ", ".join(visible(str(source)) for source in sources)


@contextmanager
def _standard_input(context: Context, rules: Rules) -> Iterator[Path | None]:
    """Copy standard input to a temporary file if it is to be uploaded."""
    if not rules.name:
        yield None
        return
    from dumacle_cli.ingest.spool import spooled

    if sys.stdin is None:
        raise errors.InvalidValue(name="--stdin-name", reason="standard input is closed")
    limit = context.settings.max_file_size
    with spooled(sys.stdin.buffer, rules.name, limit, allow_empty=rules.allow_empty) as file:
        yield Path(os.fsdecode(file))


def _concurrency(context: Context) -> int:
    chosen = context.settings.upload_concurrency
    return 0 if chosen == "auto" else chosen


def run_upload(
    context: Context,
    sources: list[Path],
    *,
    owner: str,
    pod: str,
    prefix: str = "",
    rules: Rules | None = None,
    results: Path | None = None,
    stop_after: int = 0,
    checksum: bool = False,
    force: bool = False,
    on_change: OnChange = "version",
    dedupe: bool = False,
    delete_source: bool = False,
    concurrency: int | None = None,
    bandwidth: str = "",
    transcode: str = "",
    join: bool = False,
    parameters: Mapping[str, Any] = MappingProxyType({}),
    report: bool = False,
    lines: bool = False,
) -> tuple[Summary, Tally]:
    """Upload, or preview the upload on a dry run, and return the totals; with `report`, warn about each failure."""
    from dumacle_cli.ingest import upload as uploading
    from dumacle_cli.ingest.runs import UploadRequest
    from dumacle_cli.ingest.selection import EVERYTHING

    request = UploadRequest(
        sources=[os.fsencode(source) for source in sources],
        owner=owner,
        pod=pod,
        prefix=_prefix(prefix),
        operation=context.operation,
        max_file_size=context.settings.max_file_size,
        large_file_size=context.settings.large_file_size,
        concurrency=concurrency or _concurrency(context),
        patience=context.settings.patience,
        bandwidth=parse_size(bandwidth, "--bandwidth") if bandwidth else context.settings.upload_bandwidth,
        stop_after=stop_after,
        rules=rules or EVERYTHING,
        checksum=checksum,
        force=force,
        on_change=on_change,
        dedupe=dedupe,
        delete_source=delete_source,
        transcode=_transcode_request(context, transcode) if transcode else None,
        join=join,
        parameters=parameters,
    )
    if context.options.dry_run:
        warnings: Progress = upload_report.Reporter(context, None) if report else NoProgress()
        return uploading.preview(context.database, request, warnings, results)
    with upload_report.bars(context, lines) as bars:
        progress: Progress = upload_report.Reporter(context, bars) if report else bars or NoProgress()
        return uploading.upload(context.database, context.stores.open, request, progress, results)


def _transcode_request(context: Context, preset: str) -> TranscodeRequest:
    from dumacle_cli.services import transcodes

    with context.session() as session:
        return transcodes.request(session, preset)


def _prefix(typed: str) -> str:
    stored = _stored(typed, "--prefix")
    return f"{stored}/" if stored else ""


def _file_name(typed: str) -> str:
    if typed.endswith("/"):
        raise errors.InvalidValue(name="--stdin-name", value=repr(typed), reason="it is the path of a folder")
    return _stored(typed, "--stdin-name")


def _stored(typed: str, option: str) -> str:
    try:
        stored = paths.in_pod(typed)
    except ValueError as error:
        raise errors.InvalidValue(name=option, value=repr(typed), reason=str(error)) from None
    if len(stored.encode()) >= LONGEST:
        raise errors.InvalidValue(name=option, reason=f"it is longer than {LONGEST} bytes")
    return stored
