"""`dumacle files upload`: upload files and folders into a pod."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

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
from dumacle_cli.units import parse_size

if TYPE_CHECKING:
    from dumacle_cli.ingest.items import Attempt
    from dumacle_cli.output.progress import Bars
    from dumacle_cli.services.transcodes import TranscodeRequest


app = CommandGroup("files")


@app.acts_outside(
    "upload", example="dumacle files upload ./photos --pod films --owner ada@example.com", may_be_empty=("prefix",)
)
def upload(
    context: Context,
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="PATH", help="Files and folders to upload; links are followed only if named here."),
    ],
    owner: Annotated[str, typer.Option("--owner", metavar="USER", help="The owner: e-mail address or id.")],
    pod: Annotated[str, typer.Option("--pod", metavar="POD", help="The pod; default: the owner's default pod.")] = "",
    prefix: Annotated[str, typer.Option("--prefix", help="Prefix for each path, such as 2026/holiday.")] = "",
    results: Annotated[
        Path | None, typer.Option("--results", metavar="FILE.jsonl", help="Write the result of each file to this file.")
    ] = None,
    stop_after: Annotated[
        int, typer.Option("--stop-after", metavar="N", min=0, help="Stop after N failures; 0 never stops.")
    ] = 0,
    checksum: Annotated[
        bool, typer.Option("--checksum", help="Compare contents (SHA-256), not only size and modification time.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Upload unchanged files too, each as a new version.")] = False,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Accept folders without files, which are otherwise refused.")
    ] = False,
    join: Annotated[
        bool, typer.Option("--join", help="Share the work with processes that run the same upload, on any machine.")
    ] = False,
    bandwidth: Annotated[
        str, typer.Option("--bandwidth", metavar="SIZE", help="Most bytes to send in a second, such as 50MiB.")
    ] = "",
    transcode: Annotated[
        presets.Name | None,
        typer.Option(
            "--transcode", metavar="PRESET", help="Transcode uploaded videos (and audio, for the preset audio)."
        ),
    ] = None,
) -> Result[Summary]:
    """Upload files and folders into a pod; repeating it uploads only new and changed files."""
    if checksum and force:
        raise errors.UsageError("give either --checksum or --force", "dumacle files upload")
    summary, tally = run_upload(
        context,
        sources,
        owner=owner,
        pod=pod,
        prefix=prefix,
        results=results,
        stop_after=stop_after,
        checksum=checksum,
        force=force,
        allow_empty=allow_empty,
        bandwidth=bandwidth,
        transcode=transcode,
        join=join,
        parameters=recorded(context.parameters, without=("results", "join")),
        report=True,
    )
    return _result(context, summary, tally, transcode)


def run_upload(
    context: Context,
    sources: list[Path],
    *,
    owner: str,
    pod: str,
    prefix: str = "",
    results: Path | None = None,
    stop_after: int = 0,
    checksum: bool = False,
    force: bool = False,
    allow_empty: bool = False,
    bandwidth: str = "",
    transcode: presets.Name | None = None,
    join: bool = False,
    parameters: Mapping[str, Any] = MappingProxyType({}),
    report: bool = False,
) -> tuple[Summary, Tally]:
    """Upload, or preview the upload on a dry run, and return the totals; with `report`, warn about each failure."""
    from dumacle_cli.ingest import upload as uploading
    from dumacle_cli.ingest.runs import UploadRequest

    request = UploadRequest(
        sources=[os.fsencode(source) for source in sources],
        owner=owner,
        pod=pod,
        prefix=_prefix(prefix),
        operation=context.operation,
        max_file_size=context.settings.max_file_size,
        large_file_size=context.settings.large_file_size,
        concurrency=0 if context.settings.upload_concurrency == "auto" else context.settings.upload_concurrency,
        patience=context.settings.patience,
        bandwidth=parse_size(bandwidth, "--bandwidth") if bandwidth else context.settings.upload_bandwidth,
        stop_after=stop_after,
        checksum=checksum,
        force=force,
        allow_empty=allow_empty,
        transcode=_transcode_request(transcode) if transcode else None,
        join=join,
        parameters=parameters,
    )
    if context.options.dry_run:
        return uploading.preview(context.database, request, _Reporter(context, None) if report else NoProgress())
    with _bars(context) as bars:
        progress = _Reporter(context, bars) if report else bars or NoProgress()
        return uploading.upload(context.database, context.stores.open, request, progress, results)


def _transcode_request(preset: str) -> TranscodeRequest:
    from dumacle_cli.services.transcodes import TranscodeRequest

    kinds = ("video/",) if presets.get(preset).requires_video else ("video/", "audio/")
    return TranscodeRequest(preset, kinds)


def _prefix(given: str) -> str:
    parts = [part for part in given.split("/") if part]
    if any(part in (".", "..") for part in parts):
        raise errors.InvalidValue(name="--prefix", value=repr(given), reason="it must not contain . or .. as a folder")
    prefix = "".join(f"{paths.encode(part)}/" for part in parts)
    if len(prefix.encode()) > LONGEST:
        raise errors.InvalidValue(name="--prefix", reason=f"it is longer than {LONGEST} bytes")
    return prefix


class _Reporter:
    """Warns about each failure, in every output format and also when quiet, and updates the progress bars."""

    def __init__(self, context: Context, bars: Bars | None) -> None:
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


def _bars(context: Context) -> AbstractContextManager[Bars | None]:
    terminal = context.console.terminal
    if terminal is None:
        return nullcontext(None)
    from dumacle_cli.output.progress import Bars

    return Bars(terminal, context.console.color)


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
    changed = summary.uploaded > 0
    others = summary.uploaded - summary.transcodes
    note = f"{summary.transcodes} queued for transcoding, {others} of another type" if transcode else ""
    return Result(summary, changed, exit=status, note=note)
