"""The entry point: `main(argv)` runs a command; every error becomes one message and one exit status."""

import gc
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from itertools import pairwise
from typing import TYPE_CHECKING, TextIO, cast

if TYPE_CHECKING:
    from dumacle_cli.context import Context
    from dumacle_cli.options import Options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program with these arguments (less its name) and return the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] in (["--version"], ["-V"]):
        return _version()
    # Imports make some hundred thousand permanent objects; a collection at every 700th took 7 % of a start.
    gc.set_threshold(200_000, 20, 50)
    from dumacle_cli.context import Context

    context = Context(sys.stdout, sys.stderr)
    # Messages of libraries, the help and the interpreter are escaped, too.
    with redirect_stdout(cast("TextIO", context.console.out)), redirect_stderr(cast("TextIO", context.console.err)):
        try:
            status = _guarded(context, arguments)
        finally:
            context.close()
            _drop_unwritten(sys.stdout)
        context.summarize(status)
    _drop_unwritten(sys.stderr)
    return status


def _version() -> int:
    from dumacle_cli import __version__

    try:
        print(f"dumacle {__version__}", flush=True)  # noqa: T201
    except BrokenPipeError:
        _drop_unwritten(sys.stdout)  # the reader left, as `head` does
    except OSError as error:
        _drop_unwritten(sys.stdout)
        if sys.stderr:
            with suppress(OSError):
                print(f"dumacle: the output could not be written ({error.strerror})", file=sys.stderr)  # noqa: T201
            _drop_unwritten(sys.stderr)
        return 1
    return 0


def _drop_unwritten(stream: TextIO | None) -> None:
    """Drop what a standard stream does not take, or the interpreter would exit with 120."""
    if stream is None or stream.closed:
        return
    try:
        stream.flush()
    except OSError:
        import os

        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, stream.fileno())
        os.close(sink)


def _guarded(context: "Context", arguments: list[str]) -> int:
    from dumacle_cli import errors, signals

    try:
        with signals.handled(_timeout(arguments)):
            return _dispatch(context, arguments)
    except errors.DumacleError as error:
        return context.fail(error)
    except BrokenPipeError:
        return _reader_left(context)
    except OSError as error:
        return context.fail(errors.SystemFault(reason=_describe(error)))
    except signals.Terminated:
        context.console.say("terminated; what was done is kept")
        return int(errors.Exit.TERMINATED)
    except KeyboardInterrupt:
        context.console.say("interrupted; what was done is kept")
        return int(errors.Exit.INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - a bug, too, ends in one sentence
        return _bug(context, error)


def _dispatch(context: "Context", arguments: list[str]) -> int:
    from typer import Abort, Exit
    from typer._click.exceptions import ClickException, NoArgsIsHelpError

    from dumacle_cli import commands, errors
    from dumacle_cli.commands import help

    context.options = _scan(arguments)
    program = commands.root()
    try:
        # Its main() would make exit statuses of its own of an interrupt and of a broken pipe.
        with program.make_context("dumacle", arguments, obj=context) as click:
            result = program.invoke(click)
    except Exit as ended:
        return ended.exit_code
    except Abort:
        raise KeyboardInterrupt from None
    except NoArgsIsHelpError as error:
        context.console.say(*error.format_message().split("\n"))
        return int(errors.Exit.USAGE)
    except ClickException as error:
        place = getattr(error, "ctx", None)
        from dumacle_cli import settings

        sentence = settings.without_passwords(help.refusal(error))
        raise errors.UsageError(sentence, place.command_path if place else "dumacle") from None
    return result if isinstance(result, int) else 0


def _scan(arguments: list[str]) -> "Options":
    """Find the output format before parsing, so that a usage error is JSON where that was asked for."""
    from dumacle_cli.options import Options
    from dumacle_cli.output.result import OutputFormat

    options = Options()
    for here, following in pairwise([*arguments, ""]):
        for form in (OutputFormat.JSON, OutputFormat.JSONL):
            if here in (f"-o{form}", f"--output={form}") or (here in ("-o", "--output") and following == form):
                options = Options(output=form)
    return options


def _timeout(arguments: list[str]) -> float:
    """Find --timeout before parsing, so that it also covers parsing and imports (seconds; 0: none)."""
    from dumacle_cli.signals import LONGEST

    for here, following in pairwise([*arguments, ""]):
        value = following if here == "--timeout" else here.partition("=")[2] if here.startswith("--timeout=") else ""
        with suppress(ValueError):  # a wrong value is reported when it is parsed
            if 0 <= float(value) <= LONGEST:
                return float(value)
    return 0


def _reader_left(context: "Context") -> int:
    """The reader closed standard output, as `head` does: fine for a listing, an error for a change."""
    from dumacle_cli import errors

    if context.console.spec and context.console.spec.changes:
        return context.fail(errors.OutputFailed(reason="the reader closed the pipe", outcome="what was done is kept"))
    return 0


def _describe(error: OSError) -> str:
    place = f" ({error.filename})" if error.filename else ""
    return f"{error.strerror or type(error).__name__}{place}"


def _bug(context: "Context", error: Exception) -> int:
    import traceback

    from dumacle_cli import errors

    if context.options.verbose:
        context.console.log(*"".join(traceback.format_exception(error)).splitlines())
    return context.fail(errors.Bug(kind=type(error).__name__, place=_place(error)))


def _place(error: Exception) -> str:
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].name}, line {frames[-1].lineno}" if frames else "unknown"


def run() -> None:
    """Run the program for the console script."""
    status = main()
    # Python ends itself by SIGINT if one arrived while a text was executed, as dataclasses do, though it was handled;
    # unless another text is executed afterwards (run_eval_code_obj in pythonrun.c).
    exec("")  # noqa: S102
    # The process ends anyway; a search for cycles at exit would take 6 % of a start.
    gc.freeze()
    sys.exit(status)


if __name__ == "__main__":
    run()
