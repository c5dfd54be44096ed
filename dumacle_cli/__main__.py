"""The only door: `main(argv)` runs a command, and every error becomes one message and one exit status."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dumacle_cli.context import Context


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program with these arguments (less its name) and return the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments in (["--version"], ["-V"]):
        return _version()
    from dumacle_cli.context import Context

    context = Context(sys.stdout, sys.stderr)
    try:
        status = _guarded(context, arguments)
    finally:
        context.close()
    context.record(status)
    return status


def _version() -> int:
    from dumacle_cli import __version__

    sys.stdout.write(f"dumacle {__version__}\n")
    return 0


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
        return context.fail(errors.SystemFault(reason=_told(error)))
    except KeyboardInterrupt:
        context.say("interrupted; what was done is kept")
        return int(errors.Exit.INTERRUPTED)
    except signals.Terminated:
        context.say("terminated; what was done is kept")
        return int(errors.Exit.TERMINATED)
    except Exception as error:  # noqa: BLE001 - the last door: a bug, too, ends in one sentence
        return _bug(context, error)


def _dispatch(context: "Context", arguments: list[str]) -> int:
    from typer._click.exceptions import ClickException, NoArgsIsHelpError
    from typer.exceptions import Abort

    from dumacle_cli import commands, errors

    context.options = _scan(arguments)
    try:
        result = commands.root().main(arguments, prog_name="dumacle", standalone_mode=False, obj=context)
    except NoArgsIsHelpError as error:
        sys.stderr.write(error.format_message() + "\n")
        return int(errors.Exit.USAGE)
    except ClickException as error:
        click = getattr(error, "ctx", None)
        raise errors.UsageError(error.format_message(), click.command_path if click else "dumacle") from None
    except Abort:
        raise KeyboardInterrupt from None
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    return result if isinstance(result, int) else 0


def _scan(arguments: list[str]) -> dict[str, object]:
    """Find the output options before parsing, so that a usage error takes the form that was asked for."""
    options: dict[str, object] = {}
    for here, following in zip(arguments, [*arguments[1:], ""], strict=True):
        for form in ("json", "jsonl"):
            if here in (f"-o{form}", f"--output={form}") or (here in ("-o", "--output") and following == form):
                options["output"] = form
    return options


def _timeout(arguments: list[str]) -> float:
    """Find --timeout before parsing, so that it also covers parsing and imports (seconds; 0: none)."""
    for here, following in zip(arguments, [*arguments[1:], ""], strict=True):
        value = following if here == "--timeout" else here.partition("=")[2] if here.startswith("--timeout=") else ""
        if value.replace(".", "", 1).isdigit():
            return float(value)
    return 0


def _reader_left(context: "Context") -> int:
    """The reader of standard output went away, as `head` does: fine for a listing, not for a mutation."""
    import os

    from dumacle_cli import errors

    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, sys.stdout.fileno())  # the interpreter flushes at exit, and would complain once more
    if context.view and context.view.mutates:
        return context.fail(errors.OutputFailed(reason="the reader closed the pipe"))
    return 0


def _told(error: OSError) -> str:
    place = f" ({error.filename})" if error.filename else ""
    return f"{error.strerror or type(error).__name__}{place}"


def _bug(context: "Context", error: Exception) -> int:
    import traceback

    from dumacle_cli import errors

    if context.options.get("verbose") and context.err:
        traceback.print_exception(error, file=context.err)
    return context.fail(errors.Bug(kind=type(error).__name__, place=_place(error)))


def _place(error: Exception) -> str:
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].name}, line {frames[-1].lineno}" if frames else "unknown"


def run() -> None:
    """Run the program for the console script."""
    sys.exit(main())


if __name__ == "__main__":
    run()
