"""The context of one run: its options, its console, and what it opens, each when it is first needed."""

import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from dumacle_cli import errors
from dumacle_cli.console import Console
from dumacle_cli.options import Options
from dumacle_cli.output.result import OutputSpec, Result
from dumacle_cli.plain import dumped
from dumacle_cli.stores import Stores

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from dumacle_cli.clients.signatures import Secret
    from dumacle_cli.clients.stripe import StripeAccount
    from dumacle_cli.settings import Settings
    from dumacle_cli.sources import Resolved
    from dumacle_cli.store.database import Change, Database

T = TypeVar("T")
B = TypeVar("B")


class Context:
    """What a command works with: the options, the console, the settings, the database, the object stores and Stripe."""

    def __init__(self, out: TextIO | None, err: TextIO | None, environ: Mapping[str, str] | None = None) -> None:
        self.environ = os.environ if environ is None else environ
        self.console = Console(out, err, self.environ)
        self.stores = Stores(self)
        self.started = time.monotonic()
        self.command = ""
        self.parameters: dict[str, Any] = {}
        self.starts_servers = True
        self.writes_config = False
        self.acts_outside = False

    @property
    def options(self) -> Options:
        """The options of this run."""
        return self.console.options

    @options.setter
    def options(self, options: Options) -> None:
        self.console.options = options

    def begin(self, command: str, spec: OutputSpec | None, parameters: dict[str, Any], options: Options) -> None:
        """Take over which command runs and what was typed; raises NoOutput before anything is done."""
        self.command, self.parameters, self.options = command, parameters, options
        self.console.spec = spec
        if not options.quiet:
            self.console.require_output()

    @cached_property
    def operation(self) -> str:
        """The id of this run's operation, made before its first try."""
        return self.options.op_id or str(uuid.uuid4())

    # Settings

    @cached_property
    def resolved(self) -> "Resolved":
        """The settings in force with their origins.

        Raises UsageError, UnreadableConfig, NoSuchProfile or InvalidValue.
        """
        from dumacle_cli import sources

        options = self.options
        found = sources.resolve(options.settings, options.profile, self.environ, configures=self.writes_config)
        for variable in found.unknown:
            self.console.warn(f"{variable} is not a setting and is ignored (see: dumacle config list)")
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
        if not self.starts_servers:
            raise errors.EmbeddedStopped()
        from dumacle_cli import embedded

        return embedded.ensure(self.data_dir)

    # The database

    @cached_property
    def database(self) -> "Database":
        """The database of this profile; raises NoDatabase where none is configured."""
        return self.database_at(self.database_url)

    def database_at(self, url: str) -> "Database":
        """Return the database at a URL, with this run's limits; the caller closes it."""
        from dumacle_cli.store.database import Database, Timeouts

        limits = Timeouts(self.settings.connect_timeout, self.settings.lock_timeout, self.settings.statement_timeout)
        database = Database(url, limits)
        if self.options.verbose > 1:
            database.watch(self.console.say)
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
        """The connection URL for commands that make or check the schema: in the embedded database, its owner's."""
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
        """Connect without comparing schemas, for the commands that make or check the schema."""
        from dumacle_cli.store.database import Database, Timeouts, translated

        database = Database(self.owner_url, Timeouts(self.settings.connect_timeout))
        try:
            with translated(), database.engine.connect() as connection:
                yield connection
        finally:
            database.close()

    # Operations

    def change(self, work: "Callable[[Session], tuple[T, bool]]", **more: Any) -> "Result[T]":
        """Run a mutation of the database as this run's operation, or roll it back on a dry run."""
        from dumacle_cli.store.operations import Request

        request = Request(self.operation, self.command, {**self.parameters, **more})
        done = self.database.change(request, work, dry_run=self.options.dry_run)
        return Result(done.data, done.changed)

    def change_many(
        self, batches: "Iterable[B]", work: "Callable[[Session, B], tuple[T, bool]]"
    ) -> "Iterator[tuple[T, bool]]":
        """Run a mutation batch by batch, each as an operation `<operation>:<number>`; a dry run rolls all back."""
        if self.options.dry_run:
            with self.database.rehearsal() as session:
                for batch in batches:
                    yield work(session, batch)
            return
        for number, batch in enumerate(batches, 1):
            yield self._change_one(number, batch, work)

    def in_batches(self, step: str, work: "Callable[[Session], tuple[int, bool]]") -> "Iterator[Change[int]]":
        """Yield batches, each a transaction and an operation, so that a repeat continues after the last one."""
        from dumacle_cli.store.operations import Request

        for number in count(1):
            request = Request(f"{self.operation}:{step}{number}", self.command, {})
            batch = self.database.change(request, work)
            yield batch
            if not batch.data:
                return

    def _change_one(self, number: int, batch: B, work: "Callable[[Session, B], tuple[T, bool]]") -> "tuple[T, bool]":
        from dumacle_cli.store.operations import Request

        request = Request(f"{self.operation}:{number}", self.command, {**self.parameters, "batch": batch})
        done = self.database.change(request, lambda session: work(session, batch))
        return done.data, done.changed

    # Stripe

    @cached_property
    def billing(self) -> "StripeAccount":
        """The account at Stripe; raises NotConfigured where there is no key."""
        from dumacle_cli.clients.stripe import StripeAccount

        if not self.settings.stripe_secret_key:
            raise errors.NotConfigured(what="Stripe", setting="stripe_secret_key")
        key, tax = self.settings.stripe_secret_key.get_secret_value(), self.settings.stripe_tax
        return StripeAccount(
            key,
            self.settings.stripe_api_base,
            tax="" if tax == "off" else tax,
            promotion_codes=self.settings.checkout_promotion_codes,
        )

    def webhook_secrets(self) -> "list[Secret]":
        """Read the secrets that sign deliveries, as they are configured now.

        Raises NotConfigured, InvalidValue, or what reading the settings raises.
        """
        from dumacle_cli import sources
        from dumacle_cli.clients import signatures

        found = sources.resolve(self.options.settings, self.options.profile, self.environ).settings
        if not found.stripe_webhook_secrets:
            raise errors.NotConfigured(what="the webhook", setting="stripe_webhook_secrets")
        return signatures.parse(found.stripe_webhook_secrets.get_secret_value())

    @property
    def config_files(self) -> "list[Path]":
        """The configuration files that give settings, whether they exist or not."""
        from dumacle_cli import settings, sources

        return [settings.user_file(self.environ), sources.SYSTEM_FILE]

    # How the run ends

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

    def confirm(self, question: str, *, name: str | None = None) -> None:
        """Ask before something in the database is destroyed, and say in which one; see `Console.confirm`."""
        if self.options.asks:
            self.console.confirm(question, where=self.target, name=name)

    def warn_of_unused_settings(self) -> None:
        """Warn of --set on a command that read no setting."""
        if self.options.settings and "resolved" not in self.__dict__:
            self.console.warn(f"--set has no effect on: dumacle {self.command.replace('.', ' ')}")

    def fail(self, error: errors.DumacleError) -> int:
        """Report the error with its fix, and return its exit status."""
        fix = error.remedy
        if isinstance(error, errors.BrokenOff):
            fix = f"{'what was done before is kept' if self.may_have_changed else 'nothing was changed'}; {fix}"
        self.console.fail(error, fix)
        return int(error.exit)

    @property
    def may_have_changed(self) -> bool:
        """Whether this run may have changed something by now."""
        return self.acts_outside or ("database" in self.__dict__ and self.database.wrote)

    def summarize(self, status: int) -> None:
        """Write the JSON summary of this run where `--log-format json` asks for it, and a line under -v."""
        seconds, result = time.monotonic() - self.started, self.console.result
        if self.options.verbose:
            self.console.say(f"{self.command or 'dumacle'}: exit {status}, {seconds:.3f} s")
        if self.options.logs_json:
            summary = {
                "command": self.command,
                "exit": status,
                "seconds": round(seconds, 3),
                "changed": result.changed if result else None,
                "operation": result.operation if result else None,
                "dry_run": self.options.dry_run,
            }
            self.console.log(dumped(summary))

    def close(self) -> None:
        """Close what was opened."""
        self.stores.close()
        if "billing" in self.__dict__:
            self.billing.close()
        if "database" in self.__dict__:
            self.database.close()
