"""What `dumacle files upload` tells while it runs, and at its end."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from dumacle_cli import errors
from dumacle_cli.context import Context
from dumacle_cli.escapes import visible
from dumacle_cli.ingest.items import FAILURES, Outcome, Summary, Tally
from dumacle_cli.output.result import Result

if TYPE_CHECKING:
    from dumacle_cli.ingest.items import Attempt
    from dumacle_cli.output.progress import Bars
    from dumacle_cli.output.progress_lines import Lines


class Reporter:
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


def bars(context: Context, lines: bool) -> AbstractContextManager[Bars | Lines | None]:
    """Return the progress bars of a terminal, or with `lines` a line a second without one."""
    terminal = context.console.terminal
    if terminal is not None:
        from dumacle_cli.output.progress import Bars

        return Bars(terminal, context.console.color)
    if lines and context.console.err and not context.options.quiet:
        from dumacle_cli.output.progress_lines import Lines

        return Lines(context.console.err, as_json=context.options.writes_json)
    return nullcontext(None)


def result(context: Context, summary: Summary, tally: Tally, transcode: str | None) -> Result[Summary]:
    """Return the totals with their exit status, and tell of the first failure."""
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
