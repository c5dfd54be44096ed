"""The context of one run: settings, sessions, stores and screen, each made when it is first needed."""

import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from dumacle_cli import errors, invocation
from dumacle_cli.escapes import readings, safe, visible
from dumacle_cli.output.forms import Form, Shown, View
from dumacle_cli.output.streams import Outlet
from dumacle_cli.plain import dumped

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from dumacle_cli.clients.envelope import Key
    from dumacle_cli.clients.locations import Keys
    from dumacle_cli.clients.object_store import Location, ObjectStore
    from dumacle_cli.clients.stripe import StripeAccount
    from dumacle_cli.settings import Settings
    from dumacle_cli.sources import Resolved
    from dumacle_cli.store.database import Database
    from dumacle_cli.store.places import Place

T = TypeVar("T")
B = TypeVar("B")
KEYS_SECONDS = 60.0
"""How long keys to a bucket are used until they are looked up again; a worker outlives many."""


class Context:
    """Wires the settings of one run to what its command needs; nothing is opened before it is asked for."""

    def __init__(self, out: TextIO | None, err: TextIO | None, environ: Mapping[str, str] | None = None) -> None:
        self.out = Outlet.of(out, data=True)
        self.err = Outlet.of(err, deaf=True)
        self.environ = os.environ if environ is None else environ
        self.started = time.monotonic()
        self.command = ""
        self.view: View | None = None
        self.parameters: dict[str, Any] = {}
        self.options: dict[str, Any] = {}
        self.starts = True
        self.outside = False
        self.configures = False
        self.shown: Shown | None = None
        self._stores: dict[Place, tuple[ObjectStore, float]] = {}
        self._making = threading.Lock()

    def enter(
        self,
        command: str,
        view: View | None,
        parameters: dict[str, Any],
        options: dict[str, Any],
        *,
        starts: bool,
        configures: bool,
    ) -> None:
        """Learn which command runs, what was typed, and with which options; raises NoOutput before anything is done."""
        self.command, self.view, self.parameters, self.options = command, view, parameters, options
        self.starts, self.configures = starts, configures
        if not self.quiet:
            self._open()

    # Options

    @property
    def form(self) -> Form:
        """The form of output that was asked for."""
        return Form(self.options.get("output", Form.TABLE))

    @property
    def quiet(self) -> bool:
        """Whether success prints nothing."""
        return bool(self.options.get("quiet"))

    @property
    def verbosity(self) -> int:
        """How much more is said: 1 with -v, 2 with -vv."""
        return int(self.options.get("verbose", 0))

    @property
    def dry_run(self) -> bool:
        """Whether nothing may be changed."""
        return bool(self.options.get("dry_run"))

    @property
    def color(self) -> bool | None:
        """Whether to colour: yes, no, or as the terminal is (None)."""
        choice = str(self.options.get("color", "auto"))
        if choice != "auto":
            return choice == "always"
        return False if self.environ.get("NO_COLOR") or self.environ.get("TERM") == "dumb" else None

    @property
    def maximum(self) -> int:
        """How many items a bulk command may touch."""
        return int(self.options.get("max_", 1000))

    @cached_property
    def operation(self) -> str:
        """The id of this run's operation, made before its first try."""
        return str(self.options.get("op_id") or uuid.uuid4())

    # Settings and the database

    @cached_property
    def resolved(self) -> "Resolved":
        """The settings in force with their origins.

        Raises UsageError, UnreadableConfig, NoSuchProfile or InvalidValue.
        """
        from dumacle_cli import sources

        flags, profile = self.options.get("settings") or (), self.options.get("profile")
        found = sources.resolve(flags, profile, self.environ, configures=self.configures)
        for variable in found.unknown:
            self.warn(f"{variable} is no setting, and sets nothing (see: dumacle config list)")
        return found

    @property
    def settings(self) -> "Settings":
        """The settings in force."""
        return self.resolved.settings

    @property
    def data_dir(self) -> "Path":
        """Where the embedded servers keep their data; raises SettingsContradict."""
        from dumacle_cli import settings

        self.resolved.require("folder")
        return (self.settings.embedded or settings.data_dir(self.settings, self.environ)).absolute()

    @cached_property
    def servers(self) -> Any:
        """The embedded servers of this profile, started on demand; only `demo` and `local start` make new ones.

        Raises NoServers where there are none, EmbeddedStopped for cron and services.
        """
        from dumacle_cli.local import folder, servers

        found = servers.running(self.data_dir)
        if found:
            return found
        if not folder.is_ours(self.data_dir):
            raise errors.NoServers(folder=self.data_dir)
        if not self.starts:
            raise errors.EmbeddedStopped()
        from dumacle_cli import embedded

        return embedded.ensure(self.data_dir)

    @cached_property
    def database(self) -> "Database":
        """The database of this profile; raises NoDatabase where none is configured."""
        return self.database_at(self.database_url)

    def database_at(self, url: str) -> "Database":
        """Return the database at a URL, with this run's limits; whoever asks closes it."""
        from dumacle_cli.store.database import Database, Timeouts

        limits = Timeouts(self.settings.connect_timeout, self.settings.lock_timeout, self.settings.statement_timeout)
        database = Database(url, limits)
        if self.verbosity > 1:
            database.watch(self.say)
        return database

    @cached_property
    def database_url(self) -> str:
        """The connection URL with the password of its login or of the session that is kept.

        Raises NoDatabase, SettingsContradict, LoginExpired, NotLoggedIn, PasswordFileRefused or ToolFailed.
        """
        self.resolved.require("database")
        if self.settings.database_url:
            self.resolved.require("password")
            from dumacle_cli.clients import passwords

            url = self.settings.database_url.get_secret_value()
            return passwords.complete(url, passwords.source(url, self.settings, self.environ))
        if self.settings.embedded:
            from dumacle_cli import embedded
            from dumacle_cli.local import servers

            return str(servers.login_url(embedded.keep_current(self.servers)))
        raise errors.NoDatabase()

    @property
    def owner_url(self) -> str:
        """The connection URL for who makes and judges the schema: in the embedded database, its owner's."""
        self.resolved.require("database")
        if self.settings.embedded and not self.settings.database_url:
            from dumacle_cli.local import servers

            return str(servers.owner_url(self.servers))
        return self.database_url

    @contextmanager
    def session(self) -> "Iterator[Session]":
        """Open one transaction that only reads."""
        with self.database.session(read_only=True) as session:
            yield session

    @contextmanager
    def connection(self) -> "Iterator[Connection]":
        """Connect without comparing schemas, for the commands that make or judge the schema."""
        from dumacle_cli.store.database import Database, Timeouts, translated

        database = Database(self.owner_url, Timeouts(self.settings.connect_timeout))
        try:
            with translated(), database.engine.connect() as connection:
                yield connection
        finally:
            database.close()

    def change(self, work: "Callable[[Session], tuple[T, bool]]", **more: Any) -> Shown:
        """Run a mutation of the database as this run's operation, or roll it back on a dry run."""
        from dumacle_cli.store.operations import Request

        request = Request(self.operation, self.command, {**self.parameters, **more})
        done = self.database.change(request, work, dry_run=self.dry_run)
        return Shown(done.data, done.changed, done.operation, dry_run=self.dry_run)

    def change_many(
        self, batches: "Iterable[B]", work: "Callable[[Session, B], tuple[T, bool]]"
    ) -> "Iterator[tuple[T, bool]]":
        """Run a mutation batch by batch, each as an operation `<operation>:<number>`; a dry run rolls all back."""
        if self.dry_run:
            with self.database.rehearsal() as session:
                for batch in batches:
                    yield work(session, batch)
            return
        for number, batch in enumerate(batches, 1):
            yield self._change_one(number, batch, work)

    def _change_one(self, number: int, batch: B, work: "Callable[[Session, B], tuple[T, bool]]") -> "tuple[T, bool]":
        from dumacle_cli.store.operations import Request

        request = Request(f"{self.operation}:{number}", self.command, {**self.parameters, "batch": batch})
        done = self.database.change(request, lambda session: work(session, batch))
        return done.data, done.changed

    # Object stores

    def location(self, place: "Place") -> "Location":
        """Return where a bucket is, with the keys to it: of a credential, else of the settings.

        Raises NotConfigured, SettingsContradict, and NoKeys where a credential is missing or does not open.
        """
        from dumacle_cli.clients import locations

        keys = self._keys(place)
        found = self.servers if place.provider == "local" and self.resolved.store_is_embedded else None
        return locations.locate(self.settings, place.provider, place.bucket, keys=keys, servers=found)

    def _keys(self, place: "Place") -> "Keys | None":
        if place.pod_id is None and not self.settings.key_source:
            return None  # Without the key no credential opens, so the database need not be asked for one.
        from dumacle_cli.services import credentials

        with self.session() as session:
            row = credentials.keys_to(session, place)
        return credentials.opened(self.key, row) if row else None

    @cached_property
    def key(self) -> "Key":
        """The key that credentials are encrypted with; raises NotConfigured, KeyUnusable."""
        from dumacle_cli.clients import keys

        if not self.settings.key_source:
            raise errors.NotConfigured(what="the key that credentials are encrypted with", setting="key_source")
        return keys.load(self.settings.key_source, self.environ)

    def store(self, place: "Place") -> "ObjectStore":
        """Return the objects of a bucket, by one client while the keys stay the same; raises NotConfigured, NoKeys."""
        from dumacle_cli.clients.object_store import ObjectStore

        with self._making:
            opened, since = self._stores.get(place, (None, 0.0))
            if opened is None or time.monotonic() - since > KEYS_SECONDS:
                location = self.location(place)
                opened = opened if opened and opened.location == location else ObjectStore(location)
                self._stores[place] = opened, time.monotonic()
        return opened

    # Stripe

    @cached_property
    def billing(self) -> "StripeAccount":
        """The account at Stripe; raises NotConfigured where there is no key."""
        from dumacle_cli.clients.stripe import StripeAccount

        if not self.settings.stripe_secret_key:
            raise errors.NotConfigured(what="Stripe", setting="stripe_secret_key")
        return StripeAccount(self.settings.stripe_secret_key.get_secret_value(), self.settings.stripe_api_base)

    @property
    def webhook_secrets(self) -> list[str]:
        """The secrets that sign deliveries; raises NotConfigured, or InvalidValue for what is no such secret."""
        if not self.settings.stripe_webhook_secrets:
            raise errors.NotConfigured(what="the webhook", setting="stripe_webhook_secrets")
        secrets = [secret.strip() for secret in self.settings.stripe_webhook_secrets.get_secret_value().split(",")]
        if not all(secret.startswith("whsec_") for secret in secrets):
            reason = "a signing secret begins with whsec_"
            raise errors.InvalidValue(name="stripe_webhook_secrets", value="that", reason=reason)
        return secrets

    # The screen

    def show(self, shown: Shown) -> int:
        """Write the result in the form that was asked for, and return the exit status."""
        self.shown = shown
        if shown.target and self.form is not Form.JSON:
            self.say(f"at {shown.target}")
        if self.view and not (self.quiet and shown.exit is errors.Exit.DONE):
            with self._writing():
                self._write(shown, self.view)
        return int(shown.exit)

    def _open(self) -> Outlet:
        if self.out is None:
            raise errors.NoOutput()
        return self.out

    def _write(self, shown: Shown, view: View) -> None:
        out = self._open()
        if self.form is Form.TABLE:
            from dumacle_cli.output import tables

            tables.write(shown, view, out, self.color)
        else:
            from dumacle_cli.output import documents

            documents.write(shown, view, self.form, out)
        out.flush()
        self._note(shown, view)

    def _note(self, shown: Shown, view: View) -> None:
        if self.form is not Form.TABLE:
            return
        if view.many and shown.data == []:
            self.say(self.runnable(view.empty))
        if shown.dry_run:
            self.say("dry run: nothing was changed")
        if shown.next:
            self.say(f"more: repeat with --after {shown.next}")
        if shown.note:
            self.say(*map(self.runnable, shown.note.split("\n")))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Say of a fault that it is the output's; a reader that left a mere listing keeps its BrokenPipeError."""
        try:
            yield
        except BrokenPipeError:
            if not (self.view and self.view.mutates):
                raise
            raise self._unwritten("the reader closed the pipe") from None
        except OSError as error:
            raise self._unwritten(error.strerror) from None

    def _unwritten(self, reason: str | None) -> errors.OutputFailed:
        """Say what stands, now that its result could not be written."""
        result = self.shown
        if result is None or result.changed is None:
            outcome = "what was done is kept"
        elif result.dry_run or not result.changed:
            outcome = "nothing was changed"
        else:
            outcome = "the change was made"
        return errors.OutputFailed(reason=reason, outcome=outcome)

    def columns(self, *names: str) -> None:
        """Show other columns in this run's table."""
        if self.view:
            self.view = replace(self.view, columns=names)

    def write(self, text: str) -> None:
        """Write raw text to standard output."""
        out = self._open()
        with self._writing():
            out.write(text + "\n")
            out.flush()

    def typed(self, value: str, name: str) -> str:
        """Return a value that was typed, or standard input where it is `-`, which keeps secrets out of argv."""
        from dumacle_cli import settings

        if value == "-" and sys.stdin:
            return sys.stdin.read().rstrip("\n")
        if name in settings.Settings.model_fields and settings.reveals_secret(name, value):
            raise errors.SecretTyped(name=name)
        return value

    def say(self, *lines: str) -> None:
        """Tell a person something on standard error, unless quiet."""
        if not self.quiet:
            self.log(*lines)

    def log(self, *lines: str) -> None:
        """Write lines to standard error in one piece, because several threads may; none holds a control character."""
        if self.err is not None:
            self.err.write("".join(f"{safe(line)}\n" for line in lines))
            self.err.flush()

    def warn(self, sentence: str, **facts: object) -> None:
        """Tell about trouble on standard error, also when quiet: cron mails it; as JSON where that was asked for.

        `facts` say in JSON what the sentence is about; `fix` is a command, and stands on a line of its own.
        """
        fix = self.runnable(str(facts.pop("fix", "")))
        if self.form in (Form.JSON, Form.JSONL):
            self.log(dumped({"schema": "dumacle.warning.v1", "message": sentence, "fix": fix, **facts}))
        else:
            self.log(f"dumacle: {sentence}", *([f"  fix: {fix}"] if fix else []))

    @cached_property
    def program(self) -> str:
        """What is typed to start this program on the same installation from where the person stands."""
        from dumacle_cli.settings import reveals_secret

        profile, flags = str(self.options.get("profile") or ""), self.options.get("settings") or ()
        shown = [pair for pair in invocation.places(flags) if not reveals_secret(*pair)]
        return invocation.program(sys.argv[0], self.environ) + invocation.located(profile, shown)

    def runnable(self, text: str) -> str:
        """Return a text whose commands of this program run as they are printed."""
        return invocation.runnable(text, self.program)

    def tell_unheeded(self) -> None:
        """Tell of settings that were given to a command that looked at none."""
        if self.options.get("settings") and "resolved" not in self.__dict__:
            self.warn(f"--set has no effect on: dumacle {self.command.replace('.', ' ')}")

    @property
    def asks(self) -> bool:
        """Whether a person is asked before something is destroyed; then what the question shows is looked up first."""
        return not (self.options.get("yes") or self.dry_run)

    @property
    def target(self) -> str:
        """The database that this run acts on, and the profile, if one is in use; raises what `database_url` raises."""
        from dumacle_cli.clients import passwords

        self.resolved.require("database")
        url, folder, profile = self.settings.database_url, self.settings.embedded, self.resolved.profile
        if url is None and folder is None:
            raise errors.NoDatabase()
        place = passwords.place(url.get_secret_value()) if url else f"embedded servers in {folder}"
        return f"database {place}" + (f", profile {profile}" if profile else "")

    def confirm(self, question: str, *, name: str | None = None, where: str | None = None) -> None:
        """Ask before something is destroyed, with where that is; where `name` is given, it must be typed.

        `where` is by default the database. `--yes` and a dry run skip the question. Raises NoTerminal without a TTY,
        Declined on a no.
        """
        if not self.asks:
            return
        if not (sys.stdin and sys.stdin.isatty() and self.err):
            raise errors.NoTerminal(flag="--yes")
        where = self.target if where is None else where
        expected = name or "y"
        self.log(f"{question}{f' [{where}]' if where else ''}")
        answer = self._answer(f"Type {visible(name)} to go on" if name else "Go on? [y/N]")
        if expected.lower() not in [reading.lower() for reading in readings(answer)]:
            raise errors.Declined()

    def _answer(self, prompt: str) -> str:
        """Return the line that a person types behind a prompt."""
        self._prompt(f"{prompt} ")
        return sys.stdin.readline().strip()

    def _prompt(self, text: str) -> None:
        if self.err is not None:
            self.err.write(safe(text))
            self.err.flush()

    def ask(self, question: str, flag: str) -> str:
        """Ask a person at the terminal; raises NoTerminal without one."""
        if not (sys.stdin and sys.stdin.isatty() and self.err):
            raise errors.NoTerminal(flag=flag)
        return self._answer(f"{question}:")

    def ask_secret(self, question: str, flag: str) -> str:
        """Ask a person at the terminal for a secret, which is not echoed; raises NoPassword without a TTY."""
        if not (sys.stdin and sys.stdin.isatty() and self.err):
            raise errors.NoPassword(flag=flag)
        self._prompt(f"{question}: ")
        with _unechoed(sys.stdin.fileno()):
            answer = sys.stdin.readline()
        self.log("")
        return answer.rstrip("\n")

    def guard(self, count: int, noun: str) -> None:
        """Refuse a bulk command that would touch more than --max; raises TooMany."""
        if count > self.maximum:
            raise errors.TooMany(count=count, noun=noun, maximum=self.maximum)

    def fail(self, error: errors.DumacleError) -> int:
        """Tell the error as one sentence with its fix, or as JSON, and return its exit status."""
        message, fix = self.runnable(str(error)), self.runnable(self._remedy(error))
        if self.form in (Form.JSON, Form.JSONL):
            record = {"schema": "dumacle.error.v1", "code": error.code, "message": message}
            self.log(dumped({**record, "fix": fix, "exit": int(error.exit)}))
        else:
            self.log(f"dumacle: {message}", *([f"  fix: {fix}"] if fix else []))
        return int(error.exit)

    def _remedy(self, error: errors.DumacleError) -> str:
        """Return what to do; where the database broke off, behind what that means for what was asked for."""
        if not isinstance(error, errors.BrokenOff):
            return error.remedy
        return f"{'what was done before is kept' if self.touched else 'nothing was changed'}; {error.remedy}"

    @property
    def touched(self) -> bool:
        """Whether this run may have changed something by now."""
        return self.outside or ("database" in self.__dict__ and self.database.wrote)

    def record(self, status: int) -> None:
        """Write the one summary record of this run where `--log-format json` asks for it, or a line under -v."""
        if self.verbosity:
            self.say(f"{self.command or 'dumacle'}: exit {status}, {time.monotonic() - self.started:.3f} s")
        if str(self.options.get("log_format", "text")) != "json" or self.err is None:
            return
        shown = self.shown
        record = {
            "command": self.command,
            "exit": status,
            "seconds": round(time.monotonic() - self.started, 3),
            "changed": shown.changed if shown else None,
            "operation": shown.operation if shown else None,
            "dry_run": self.dry_run,
        }
        self.log(dumped(record))

    def close(self) -> None:
        """Close what was opened."""
        for store, _ in self._stores.values():
            store.close()
        if "billing" in self.__dict__:
            self.billing.close()
        if "database" in self.__dict__:
            self.database.close()


@contextmanager
def _unechoed(terminal: int) -> Iterator[None]:
    """Show nothing of what is typed."""
    import termios

    before = termios.tcgetattr(terminal)
    hidden = [*before]
    hidden[3] &= ~termios.ECHO
    termios.tcsetattr(terminal, termios.TCSADRAIN, hidden)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
