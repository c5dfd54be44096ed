"""The console of one run: writes results to standard output and messages to standard error, and asks questions."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any, TextIO

from dumacle_cli import errors, invocation
from dumacle_cli.escapes import readings, safe, visible
from dumacle_cli.options import Options
from dumacle_cli.output.result import OutputSpec, Result
from dumacle_cli.output.streams import Outlet
from dumacle_cli.plain import dumped


class Console:
    """Standard output and standard error, with the options that say what goes there."""

    def __init__(self, out: TextIO | None, err: TextIO | None, environ: Mapping[str, str]) -> None:
        self.out = Outlet.of(out, data=True)
        self.err = Outlet.of(err, ignore_errors=True)
        self.environ = environ
        self.options = Options()
        self.spec: OutputSpec | None = None
        self.result: Result[Any] | None = None

    @property
    def color(self) -> bool | None:
        """Whether to colour: yes, no, or as the terminal is (None)."""
        if self.options.color != "auto":
            return self.options.color == "always"
        return False if self.environ.get("NO_COLOR") or self.environ.get("TERM") == "dumb" else None

    @property
    def terminal(self) -> Outlet | None:
        """Standard error where it is a terminal on which progress may be drawn."""
        return None if self.options.quiet or self.err is None or not self.err.isatty() else self.err

    # Results

    def require_output(self) -> Outlet:
        """Return standard output; raises NoOutput where it is closed."""
        if self.out is None:
            raise errors.NoOutput()
        return self.out

    def show(self, result: Result[Any], spec: OutputSpec) -> int:
        """Write a result in the format that was asked for, and return the exit status."""
        self.result = result
        if result.target and self.options.output != "json":
            self.say(f"at {result.target}")
        if not (self.options.quiet and result.exit is errors.Exit.DONE):
            with self._writing():
                self._write(result, spec)
        return int(result.exit)

    def _write(self, result: Result[Any], spec: OutputSpec) -> None:
        out = self.require_output()
        if self.options.is_table:
            from dumacle_cli.output import tables

            tables.write(result, spec, out, self.color)
        else:
            from dumacle_cli.output import documents

            documents.write(result, spec, self.options.output, out)
        out.flush()
        if self.options.is_table:
            self._add_notes(result, spec)

    def _add_notes(self, result: Result[Any], spec: OutputSpec) -> None:
        if spec.many and result.data == []:
            self.say(self.runnable(spec.empty))
        if result.dry_run:
            self.say("dry run: nothing was changed")
        if result.next:
            self.say(f"more: repeat with --after {result.next}")
        if result.note:
            self.say(*map(self.runnable, result.note.split("\n")))

    def write(self, text: str) -> None:
        """Write raw text to standard output."""
        out = self.require_output()
        with self._writing():
            out.write(text + "\n")
            out.flush()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Report a failure to write as OutputFailed; a BrokenPipeError passes where nothing was changed."""
        try:
            yield
        except BrokenPipeError:
            if not (self.spec and self.spec.changes):
                raise
            raise self._unwritten("the reader closed the pipe") from None
        except OSError as error:
            raise self._unwritten(error.strerror) from None

    def _unwritten(self, reason: str | None) -> errors.OutputFailed:
        """Say what was done, now that its result could not be written."""
        result = self.result
        if result is None or result.changed is None:
            outcome = "what was done is kept"
        elif result.dry_run or not result.changed:
            outcome = "nothing was changed"
        else:
            outcome = "the change was made"
        return errors.OutputFailed(reason=reason, outcome=outcome)

    # Messages

    def say(self, *lines: str) -> None:
        """Write lines to standard error, unless quiet."""
        if not self.options.quiet:
            self.log(*lines)

    def log(self, *lines: str) -> None:
        """Write lines to standard error in one piece, because several threads may; control characters are escaped."""
        if self.err is not None:
            self.err.write("".join(f"{safe(line)}\n" for line in lines))
            self.err.flush()

    def warn(self, sentence: str, **facts: object) -> None:
        """Write a warning to standard error, also when quiet: cron mails it; as JSON where that was asked for.

        `facts` are fields of the JSON; `fix` is a command, and has a line of its own.
        """
        self._report("warning", sentence, str(facts.pop("fix", "")), facts)

    def fail(self, error: errors.DumacleError, fix: str) -> None:
        """Write an error as one sentence with its fix, or as JSON."""
        self._report("error", str(error), fix, {"exit": int(error.exit)}, code=error.code)

    def _report(self, kind: str, sentence: str, fix: str, facts: Mapping[str, object], **code: str) -> None:
        sentence, fix = self.runnable(sentence) if kind == "error" else sentence, self.runnable(fix)
        if self.options.writes_json:
            self.log(dumped({"schema": f"dumacle.{kind}.v1", **code, "message": sentence, "fix": fix, **facts}))
        else:
            self.log(f"dumacle: {sentence}", *([f"  fix: {fix}"] if fix else []))

    @cached_property
    def program(self) -> str:
        """What to type in this directory to start this program on the same installation."""
        from dumacle_cli.settings import reveals_secret

        shown = [pair for pair in invocation.places(self.options.settings) if not reveals_secret(*pair)]
        started = invocation.program(sys.argv[0], self.environ)
        return started + invocation.located(self.options.profile or "", shown)

    def runnable(self, text: str) -> str:
        """Return a text whose commands of this program run as they are printed."""
        return invocation.runnable(text, self.program)

    # Questions

    def confirm(self, question: str, *, where: str, name: str | None = None) -> None:
        """Ask before something is destroyed, and say where that is; where `name` is given, it must be typed.

        `--yes` and a dry run skip the question. Raises NoTerminal without a TTY, Declined on a no.
        """
        if not self.options.asks:
            return
        self._require_terminal(errors.NoTerminal(flag="--yes"))
        expected = name or "y"
        self.log(f"{question}{f' [{where}]' if where else ''}")
        answer = self._answer(f"Type {visible(name)} to continue" if name else "Continue? [y/N]")
        if expected.lower() not in [reading.lower() for reading in readings(answer)]:
            raise errors.Declined()

    def ask(self, question: str, flag: str) -> str:
        """Ask at the terminal; raises NoTerminal without one."""
        self._require_terminal(errors.NoTerminal(flag=flag))
        return self._answer(f"{question}:")

    def ask_secret(self, question: str, flag: str) -> str:
        """Ask at the terminal for a secret, which is not echoed; raises NoPassword without a TTY."""
        self._require_terminal(errors.NoPassword(flag=flag))
        self._prompt(f"{question}: ")
        with _without_echo(sys.stdin.fileno()):
            answer = sys.stdin.readline()
        self.log("")
        return answer.rstrip("\n")

    @property
    def is_interactive(self) -> bool:
        """Whether somebody at a terminal can be asked."""
        return bool(sys.stdin and sys.stdin.isatty() and self.err)

    def _require_terminal(self, refusal: errors.DumacleError) -> None:
        if not self.is_interactive:
            raise refusal

    def _answer(self, prompt: str) -> str:
        self._prompt(f"{prompt} ")
        return sys.stdin.readline().strip()

    def _prompt(self, text: str) -> None:
        if self.err is not None:
            self.err.write(safe(text))
            self.err.flush()

    def read_value(self, value: str, name: str) -> str:
        """Return a typed value, or standard input where it is `-`; raises SecretTyped for a secret in argv."""
        from dumacle_cli import settings

        if value == "-" and sys.stdin:
            return sys.stdin.read().rstrip("\n")
        if name in settings.Settings.model_fields and settings.reveals_secret(name, value):
            raise errors.SecretTyped(name=name)
        return value


@contextmanager
def _without_echo(terminal: int) -> Iterator[None]:
    import termios

    before = termios.tcgetattr(terminal)
    hidden = [*before]
    hidden[3] &= ~termios.ECHO
    termios.tcsetattr(terminal, termios.TCSADRAIN, hidden)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
