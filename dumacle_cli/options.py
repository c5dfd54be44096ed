"""The options that every command shares, as they were typed."""

from dataclasses import dataclass

from dumacle_cli import errors
from dumacle_cli.output.result import OutputFormat


@dataclass(frozen=True)
class Options:
    """The options of one run; the defaults are those of the command line."""

    output: OutputFormat = OutputFormat.TABLE
    profile: str | None = None
    settings: tuple[str, ...] = ()
    timeout: float = 0
    verbose: int = 0
    quiet: bool = False
    log_format: str = "text"
    color: str = "auto"
    dry_run: bool = False
    op_id: str = ""
    yes: bool = False
    maximum: int = 1000
    limit: int = 50
    after: str = ""
    everything: bool = False

    @property
    def is_table(self) -> bool:
        """Whether the output is a table, which a person reads."""
        return self.output is OutputFormat.TABLE

    @property
    def writes_json(self) -> bool:
        """Whether errors and warnings are JSON, too."""
        return self.output in (OutputFormat.JSON, OutputFormat.JSONL)

    @property
    def logs_json(self) -> bool:
        """Whether the log on standard error is JSON."""
        return self.log_format == "json"

    @property
    def asks(self) -> bool:
        """Whether to ask before something is destroyed."""
        return not (self.yes or self.dry_run)

    def guard(self, count: int, noun: str) -> None:
        """Refuse a bulk command that would touch more than --max; raises TooMany."""
        if count > self.maximum:
            raise errors.TooMany(count=count, noun=noun, maximum=self.maximum)
