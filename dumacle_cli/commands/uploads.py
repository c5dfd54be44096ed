"""`dumacle files upload`: files and folders into a pod."""

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dumacle_cli import errors
from dumacle_cli.commands.contract import command
from dumacle_cli.context import Context
from dumacle_cli.escapes import quoted, visible
from dumacle_cli.ingest.items import TROUBLE, Outcome, Silent, Summary, Tally
from dumacle_cli.output.forms import Form, Shown
from dumacle_cli.transcode import presets

if TYPE_CHECKING:
    from dumacle_cli.ingest import engine
    from dumacle_cli.ingest.items import Attempt
    from dumacle_cli.output.progress import Bars
    from dumacle_cli.services.placement import Target
    from dumacle_cli.services.transcodes import TranscodeRequest


def register(app: typer.Typer) -> None:
    """Add `upload` to the group of files."""
    command(
        app,
        "upload",
        returns=Summary,
        example="dumacle files upload ./photos --pod films --owner ada@example.com",
        mutates=True,
        outside=True,
        blank=("prefix",),
    )(upload)


def upload(
    context: Context,
    sources: Annotated[list[Path], typer.Argument(metavar="PATH", help="Files and folders.")],
    owner: Annotated[str, typer.Option("--owner", metavar="USER", help="Whose files they become.")],
    pod: Annotated[str, typer.Option("--pod", metavar="POD", help="Where to; else the owner's default pod.")] = "",
    prefix: Annotated[str, typer.Option("--prefix", help="Put before each path, such as 2026/holiday.")] = "",
    results: Annotated[
        Path | None, typer.Option("--results", metavar="FILE.jsonl", help="Write one line per planned file.")
    ] = None,
    stop_after: Annotated[int, typer.Option("--stop-after", metavar="N", min=0, help="Stop after N failures.")] = 0,
    transcode: Annotated[
        presets.Name | None,
        typer.Option("--transcode", metavar="PRESET", help="Have what arrives transcoded."),
    ] = None,
) -> Shown:
    """Upload files and folders into a pod; running it again uploads only what is new or changed."""
    done = sent(
        context,
        sources,
        owner=owner,
        pod=pod,
        prefix=prefix,
        results=results,
        stop_after=stop_after,
        transcode=transcode,
        report=True,
    )
    return _shown(context, *done)


def sent(
    context: Context,
    sources: list[Path],
    *,
    owner: str,
    pod: str,
    prefix: str = "",
    results: Path | None = None,
    stop_after: int = 0,
    transcode: presets.Name | None = None,
    report: bool = False,
) -> tuple["engine.Upload", Summary, Tally]:
    """Upload, or foresee it on a dry run, and return what was wanted and what it came to.

    With `report`, each file that needs attention is told with its reason.
    """
    from dumacle_cli.ingest import upload as uploading
    from dumacle_cli.services import placement, transcodes

    with context.session() as session:
        target = placement.target(session, owner, pod or None)
        if transcode:
            transcodes.check_owners(session, [target.owner_id])
    request = _transcode_request(transcode) if transcode else None
    wanted = _wanted(context, target, [os.fsencode(source) for source in sources], prefix, stop_after, request)
    if context.dry_run:
        told = _Reporter(context, wanted, None) if report else Silent()
        return wanted, *uploading.foresee(context.database, wanted, told)
    with _bars(context) as bars:
        progress = _Reporter(context, wanted, bars) if report else bars or Silent()
        return wanted, *uploading.run(context.database, _stores(context, target), wanted, progress, results)


def _wanted(
    context: Context,
    target: "Target",
    sources: list[bytes],
    prefix: str,
    stop_after: int,
    request: "TranscodeRequest | None",
) -> "engine.Upload":
    from dumacle_cli.clients import providers
    from dumacle_cli.ingest import engine, plan

    settings = context.settings
    place = plan.Place(
        target.pod_id, target.pod, target.owner_id, target.owner, 0, target.key_prefix, settings.max_file_size
    )
    return engine.Upload(
        sources=sources,
        prefix=_prefix(prefix),
        place=place,
        operation=context.operation,
        large_file_size=settings.large_file_size,
        concurrency=settings.upload_concurrency,
        needs_md5=providers.known(target.place.provider).proof == "md5-etag",
        stop_after=stop_after,
        transcode=request,
    )


def _transcode_request(preset: str) -> "TranscodeRequest":
    from dumacle_cli.services.transcodes import TranscodeRequest

    kinds = ("video/",) if presets.get(preset).requires_video else ("video/", "audio/")
    return TranscodeRequest(preset, kinds)


def _prefix(given: str) -> str:
    parts = [part for part in given.split("/") if part]
    if any(part in (".", "..") for part in parts):
        raise errors.InvalidValue(name="--prefix", value=repr(given), reason="it may not hold . or ..")
    return "".join(f"{part}/" for part in parts)


def _stores(context: Context, target: "Target") -> "engine.Stores":
    from functools import cache, partial

    from dumacle_cli.clients import providers
    from dumacle_cli.clients.puts import Puts
    from dumacle_cli.ingest import engine

    location = context.location(target.place)
    return engine.Stores(
        puts=lambda: Puts(location, context.settings.upload_concurrency),
        store=cache(lambda: context.store(target.place)),
        proves=partial(providers.proves, target.place.provider),
    )


class _Reporter:
    """Tells of each file that needs attention as it ends, in any form and also when quiet, and moves the bars."""

    def __init__(self, context: Context, wanted: "engine.Upload", bars: "Bars | None") -> None:
        self._context, self._wanted, self._bars = context, wanted, bars

    def planned(self, files: int, size: int) -> None:
        """More files are to be uploaded."""
        if self._bars:
            self._bars.planned(files, size)

    def moved(self, attempt: "Attempt", size: int) -> None:
        """Bytes of an attempt reached the store."""
        if self._bars:
            self._bars.moved(attempt, size)

    def ended(self, outcome: Outcome) -> None:
        """An item ended."""
        if self._bars:
            self._bars.ended(outcome)
        if outcome.ends in TROUBLE:
            self._tell(outcome)

    def _tell(self, outcome: Outcome) -> None:
        path, ends = visible(outcome.path), str(outcome.ends)
        sentence = f"{path}: {ends}: {outcome.error}"
        if self._bars and self._context.form in (Form.TABLE, Form.CSV):
            self._bars.say(f"dumacle: {sentence}")
            return
        fix = (
            _why(self._wanted, outcome.size) if outcome.limit and self._context.form in (Form.JSON, Form.JSONL) else ""
        )
        self._context.warn(sentence, path=outcome.path, result=ends, size=outcome.size, error=outcome.error, fix=fix)


def _why(wanted: "engine.Upload", size: int) -> str:
    """Return the command that says why a file of so many bytes is refused."""
    place = wanted.place
    return f"dumacle users show {quoted(place.owner)} --size {size} --pod {quoted(place.pod)}"


def _bars(context: Context) -> "AbstractContextManager[Bars | None]":
    if context.quiet or context.err is None or not context.err.isatty():
        return nullcontext(None)
    from dumacle_cli.output.progress import Bars

    return Bars(context.err, context.color)


def _shown(context: Context, wanted: "engine.Upload", summary: Summary, tally: Tally) -> Shown:
    status = errors.Exit.DONE
    if tally.troubled:
        only_limits = tally.limits == tally.troubled and not summary.uploaded
        refused = errors.UploadRefused if only_limits else errors.UploadIncomplete
        status = refused.exit
        if context.form in (Form.JSON, Form.JSONL):
            fix = _why(wanted, tally.first_limited) if tally.limits else "correct the causes, then repeat the command"
            context.fail(refused(count=tally.troubled, first=tally.first_error, advice=fix))
        else:
            context.log(f"dumacle: {tally.troubled} not uploaded; the first: {tally.first_error}")
            if tally.limits:
                context.log(f"  why: {context.runnable(_why(wanted, tally.first_limited))}")
    changed = summary.uploaded > 0
    others = summary.uploaded - summary.transcodes
    note = f"{summary.transcodes} to be transcoded, {others} of another kind" if wanted.transcode else ""
    return Shown(summary, changed, context.operation, dry_run=context.dry_run, exit=status, note=note)
