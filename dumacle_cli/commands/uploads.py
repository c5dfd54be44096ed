"""`dumacle files upload`: upload files and folders into a pod."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dumacle_cli import errors, paths
from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.commands.recorded import recorded
from dumacle_cli.context import Context
from dumacle_cli.escapes import visible
from dumacle_cli.ingest.items import FAILURES, NoProgress, Outcome, Summary, Tally
from dumacle_cli.ingest.scan import LONGEST
from dumacle_cli.output.result import Result
from dumacle_cli.transcode import presets
from dumacle_cli.units import parse_age, parse_size

if TYPE_CHECKING:
    from dumacle_cli.ingest.items import Attempt
    from dumacle_cli.ingest.runs import OnChange
    from dumacle_cli.ingest.selection import Rules
    from dumacle_cli.output.progress import Bars
    from dumacle_cli.output.progress_lines import Lines
    from dumacle_cli.services.transcodes import TranscodeRequest


app = CommandGroup("files")

UPLOAD = "dumacle files upload"


SELECTING = "What is taken"
PLACING = "Paths in the pod"
LISTING = "Lists and standard input"


@app.acts_outside(
    "upload", example="dumacle files upload ./photos --pod films --owner ada@example.com", may_be_empty=("prefix",)
)
def upload(
    context: Context,
    sources: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PATH", help="Files and folders; links are followed if named here, patterns expanded."),
    ] = None,
    *,
    owner: Annotated[str, typer.Option("--owner", metavar="USER", help="The owner: e-mail address or id.")],
    pod: Annotated[str, typer.Option("--pod", metavar="POD", help="The pod; default: the owner's default pod.")] = "",
    results: Annotated[
        Path | None, typer.Option("--results", metavar="FILE.jsonl", help="Write the result of each file here.")
    ] = None,
    stop_after: Annotated[
        int, typer.Option("--stop-after", metavar="N", min=0, help="Stop after N failures; 0 never stops.")
    ] = 0,
    checksum: Annotated[bool, typer.Option("--checksum", help="Compare contents, not only size and time.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Upload unchanged files, too.")] = False,
    on_change: Annotated[
        Literal["version", "keep", "fail"],
        typer.Option("--on-change", metavar="WHAT", help="Other content at a path becomes a version, or."),
    ] = "version",
    dedupe: Annotated[
        bool, typer.Option("--dedupe", help="Store contents once that the owner has in the pod already.")
    ] = False,
    delete_source: Annotated[
        bool, typer.Option("--delete-source", help="Delete source files that are proven stored.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before sources are deleted.")] = False,
    join: Annotated[
        bool, typer.Option("--join", help="Share the work with processes that run the same upload, on any machine.")
    ] = False,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", metavar="N", min=1, help="Most small files sent at once.")
    ] = None,
    bandwidth: Annotated[
        str, typer.Option("--bandwidth", metavar="SIZE", help="Most bytes to send in a second, such as 50MiB.")
    ] = "",
    transcode: Annotated[
        presets.Name | None,
        typer.Option("--transcode", metavar="PRESET", help="Transcode uploaded videos (and audio, for audio)."),
    ] = None,
    progress: Annotated[
        bool, typer.Option("--progress", help="Write a line a second without a terminal, too.")
    ] = False,
    include: Annotated[
        list[str] | None,
        typer.Option("--include", metavar="GLOB", help="Take only what matches.", rich_help_panel=SELECTING),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", metavar="GLOB", help="Leave out what matches.", rich_help_panel=SELECTING),
    ] = None,
    min_size: Annotated[
        str, typer.Option("--min-size", metavar="SIZE", help="Only this size or larger.", rich_help_panel=SELECTING)
    ] = "",
    max_size: Annotated[
        str, typer.Option("--max-size", metavar="SIZE", help="Only this size or smaller.", rich_help_panel=SELECTING)
    ] = "",
    newer_than: Annotated[
        str, typer.Option("--newer-than", metavar="AGE", help="Only modified since then.", rich_help_panel=SELECTING)
    ] = "",
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="AGE", help="Only modified before then.", rich_help_panel=SELECTING)
    ] = "",
    no_hidden: Annotated[
        bool, typer.Option("--no-hidden", help="Leave out names that start with a dot.", rich_help_panel=SELECTING)
    ] = False,
    links: Annotated[
        Literal["skip", "follow"],
        typer.Option("--links", metavar="HOW", help="Symbolic links in folders.", rich_help_panel=SELECTING),
    ] = "skip",
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Accept folders without files.", rich_help_panel=SELECTING)
    ] = False,
    prefix: Annotated[str, typer.Option("--prefix", help="Put this before each path.", rich_help_panel=PLACING)] = "",
    keep_name: Annotated[
        bool, typer.Option("--keep-name", help="Keep the names of the given folders.", rich_help_panel=PLACING)
    ] = False,
    flatten: Annotated[
        bool, typer.Option("--flatten", help="Drop all folders from the paths.", rich_help_panel=PLACING)
    ] = False,
    files_from: Annotated[
        str,
        typer.Option(
            "--files-from", metavar="FILE", help="Take the listed files; - is standard input.", rich_help_panel=LISTING
        ),
    ] = "",
    null: Annotated[
        bool, typer.Option("--null", "-0", help="The list has NUL after each path.", rich_help_panel=LISTING)
    ] = False,
    manifest: Annotated[
        str,
        typer.Option(
            "--manifest", metavar="FILE", help="CSV or JSONL: path, key, content_type.", rich_help_panel=LISTING
        ),
    ] = "",
    stdin_name: Annotated[
        str,
        typer.Option(
            "--stdin-name", metavar="PATH", help="Upload standard input to this path.", rich_help_panel=LISTING
        ),
    ] = "",
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
        listing=Listing(listed, form) if listed else None,
        name=_stored(stdin_name, "--stdin-name"),
        allow_empty=allow_empty,
    )
    if delete_source and not yes:
        context.confirm(f"Delete source files once they are uploaded: {_named(sources, listed)}")
    with _standard_input(context, rules) as spooled:
        summary, tally = run_upload(
            context,
            [spooled] if spooled else sources or [],
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
            parameters=recorded(context.parameters, without=("results", "join")),
            report=True,
            lines=progress,
        )
    return _result(context, summary, tally, transcode)


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


def _refuse_contradictions(given: dict[str, object]) -> None:
    for one, other in _CONTRADICTIONS:
        if given[one] and given[other]:
            raise errors.UsageError(f"give either {one} or {other}", UPLOAD)
    listed = given["--files-from"] or given["--manifest"]
    if not (given["PATH"] or listed or given["--stdin-name"]):
        raise errors.UsageError("give a PATH, --files-from, --manifest or --stdin-name", UPLOAD)
    if given["--null"] and not given["--files-from"]:
        raise errors.UsageError("--null needs --files-from", UPLOAD)
    if listed and isinstance(given["PATH"], list) and len(given["PATH"]) > 1:
        raise errors.UsageError("give one PATH with a list: the folder that its paths are relative to", UPLOAD)


def _instant(age: str, option: str, now: datetime) -> int | None:
    return int(parse_age(age, option, now).timestamp()) * 10**9 if age else None


def _named(sources: list[Path] | None, listed: str) -> str:
    if listed:
        return f"those listed in {'standard input' if listed == '-' else visible(listed)}"
    return ", ".join(visible(str(source)) for source in sources or [])


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
    transcode: presets.Name | None = None,
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
        transcode=_transcode_request(transcode) if transcode else None,
        join=join,
        parameters=parameters,
    )
    if context.options.dry_run:
        return uploading.preview(context.database, request, _Reporter(context, None) if report else NoProgress())
    with _bars(context, lines) as bars:
        progress = _Reporter(context, bars) if report else bars or NoProgress()
        return uploading.upload(context.database, context.stores.open, request, progress, results)


def _transcode_request(preset: str) -> TranscodeRequest:
    from dumacle_cli.services.transcodes import TranscodeRequest

    kinds = ("video/",) if presets.get(preset).requires_video else ("video/", "audio/")
    return TranscodeRequest(preset, kinds)


def _prefix(given: str) -> str:
    stored = _stored(given, "--prefix")
    return f"{stored}/" if stored else ""


def _stored(given: str, option: str) -> str:
    try:
        stored = paths.in_pod(given)
    except ValueError as error:
        raise errors.InvalidValue(name=option, value=repr(given), reason=str(error)) from None
    if len(stored.encode()) >= LONGEST:
        raise errors.InvalidValue(name=option, reason=f"it is longer than {LONGEST} bytes")
    return stored


class _Reporter:
    """Warns about each failure, in every output format and also when quiet, and updates the progress bars."""

    def __init__(self, context: Context, bars: Bars | Lines | None) -> None:
        self._context, self._bars = context, bars

    def planned(self, files: int, size: int) -> None:
        """More files will be uploaded."""
        if self._bars:
            self._bars.planned(files, size)

    def moved(self, attempt: Attempt, size: int) -> None:
        """The store received bytes of an attempt."""
        if self._bars:
            self._bars.moved(attempt, size)

    def ended(self, outcome: Outcome) -> None:
        """An item ended."""
        if self._bars:
            self._bars.ended(outcome)
        if outcome.result in FAILURES:
            self._warn(outcome)

    def say(self, line: str) -> None:
        """The upload waits for something, or goes on."""
        if self._bars:
            self._bars.say(f"dumacle: {line}")
        else:
            self._context.console.log(f"dumacle: {line}")

    def _warn(self, outcome: Outcome) -> None:
        path, result = visible(outcome.path), str(outcome.result)
        sentence = f"{path}: {result}: {outcome.error}"
        if self._bars and not self._context.options.writes_json:
            self._bars.say(f"dumacle: {sentence}")
            return
        fix = outcome.fix if self._context.options.writes_json else ""
        self._context.console.warn(
            sentence, path=outcome.path, result=result, size=outcome.size, error=outcome.error, fix=fix
        )


def _bars(context: Context, lines: bool) -> AbstractContextManager[Bars | Lines | None]:
    terminal = context.console.terminal
    if terminal is not None:
        from dumacle_cli.output.progress import Bars

        return Bars(terminal, context.console.color)
    if lines and context.console.err and not context.options.quiet:
        from dumacle_cli.output.progress_lines import Lines

        return Lines(context.console.err, as_json=context.options.writes_json)
    return nullcontext(None)


def _result(context: Context, summary: Summary, tally: Tally, transcode: str | None) -> Result[Summary]:
    status = errors.Exit.DONE
    if tally.failures:
        only_limits = tally.limits == tally.failures and not summary.uploaded
        refused = errors.UploadRefused if only_limits else errors.UploadIncomplete
        status = refused.exit
        if context.options.writes_json:
            fix = tally.first_fix or "correct the causes, then repeat the command"
            context.fail(refused(count=tally.failures, first=tally.first_error, advice=fix))
        else:
            context.console.log(f"dumacle: {tally.failures} not uploaded; the first: {tally.first_error}")
            if tally.first_fix:
                context.console.log(f"  why: {context.console.runnable(tally.first_fix)}")
    if summary.sources_kept:
        context.console.warn(f"{summary.sources_kept} sources were not deleted; the first: {tally.first_kept}")
        status = status or errors.Exit.PARTIAL
    changed = summary.uploaded + summary.sources_deleted > 0
    others = summary.uploaded - summary.transcodes
    note = f"{summary.transcodes} queued for transcoding, {others} of another type" if transcode else ""
    return Result(summary, changed, exit=status, note=note)
