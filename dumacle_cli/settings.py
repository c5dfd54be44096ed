"""Every setting: its default, environment variables and valid values; `sources` says where its value comes from."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
)

from dumacle_cli import addresses
from dumacle_cli.errors import InvalidValue
from dumacle_cli.units import exact_size, parse_duration, parse_size


def _size(given: Any) -> int:
    try:
        return parse_size(given)
    except InvalidValue as error:
        raise ValueError(error.facts["reason"]) from None


def _duration(given: Any) -> int:
    try:
        return 0 if str(given) == "0" else given if isinstance(given, int) else parse_duration(given)
    except InvalidValue as error:
        raise ValueError(error.facts["reason"]) from None


def _database(url: SecretStr | None) -> SecretStr | None:
    if url and url.get_secret_value():
        addresses.database(url.get_secret_value())
    return url


Size = Annotated[int, BeforeValidator(_size)]
Patience = Annotated[int, BeforeValidator(_duration)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
# As a path, the empty text would be the working directory.
OptionalPath = Annotated[Path | None, BeforeValidator(lambda given: given or None)]
DatabaseUrl = Annotated[SecretStr | None, AfterValidator(_database)]
Url = Annotated[str | None, AfterValidator(lambda given: given and addresses.web(given))]
Region = Annotated[str | None, AfterValidator(lambda given: given and addresses.region(given))]


def _setting(default: Any, about: str, *aliases: str) -> Any:
    return Field(default, description=about, json_schema_extra={"aliases": list(aliases)})


class Settings(BaseModel):
    """All settings, validated; secrets are `SecretStr` and never shown."""

    # The validator is built when it is first used: what reads names and descriptions only, as --help does, needs none.
    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True, defer_build=True
    )

    database_url: DatabaseUrl = _setting(None, "URL of PostgreSQL: postgresql://user@host/database", "DATABASE_URL")
    password_file: OptionalPath = _setting(None, "file of mode 0600 with the password for database_url")
    password_command: str | None = _setting(None, "command that prints the password for database_url on its first line")
    admin_database_url: DatabaseUrl = _setting(None, "URL of PostgreSQL for a superuser, used by `db bootstrap` only")
    embedded: OptionalPath = _setting(None, "data folder of the embedded servers that this profile uses")
    data_dir: OptionalPath = _setting(None, "data folder of the embedded servers for `demo` and `local`")
    connect_timeout: Seconds = _setting(5, "seconds to wait for a connection to PostgreSQL")
    lock_timeout: Seconds = _setting(5, "seconds to wait for a lock in PostgreSQL")
    statement_timeout: Seconds = _setting(60, "seconds one statement may take")

    key_source: str | None = _setting(
        None, "key that encrypts credentials: file:/path, credential:NAME (from systemd) or keyring:NAME"
    )
    default_provider: Literal["s3", "wasabi", "oracle", "local"] = _setting(
        "s3", "provider of new pods unless one is given: s3, wasabi, oracle or local"
    )
    s3_endpoint: Url = _setting(None, "endpoint URL of an S3-compatible store; default: AWS", "AWS_ENDPOINT_URL")
    s3_region: Region = _setting(None, "region of the s3 provider", "AWS_REGION", "AWS_DEFAULT_REGION")
    s3_bucket: str | None = _setting(
        None, "bucket of new pods at s3 unless one is given", "AWS_S3_BUCKET", "S3_BUCKET_NAME"
    )
    s3_access_key: SecretStr | None = _setting(None, "access key of the s3 provider", "AWS_ACCESS_KEY_ID")
    s3_secret_key: SecretStr | None = _setting(None, "secret key of the s3 provider", "AWS_SECRET_ACCESS_KEY")
    wasabi_endpoint: Url = _setting(None, "endpoint URL of Wasabi; default: from the region", "WASABI_ENDPOINT_URL")
    wasabi_region: Region = _setting(None, "region of the wasabi provider", "WASABI_REGION")
    wasabi_bucket: str | None = _setting(None, "bucket of new pods at wasabi unless one is given", "WASABI_BUCKET_NAME")
    wasabi_access_key: SecretStr | None = _setting(None, "access key of the wasabi provider", "WASABI_ACCESS_KEY_ID")
    wasabi_secret_key: SecretStr | None = _setting(
        None, "secret key of the wasabi provider", "WASABI_SECRET_ACCESS_KEY"
    )
    oracle_endpoint: Url = _setting(
        None, "endpoint URL of Oracle; default: from namespace and region", "ORACLE_ENDPOINT_URL"
    )
    oracle_namespace: str | None = _setting(None, "object storage namespace at Oracle", "ORACLE_NAMESPACE")
    oracle_region: Region = _setting(None, "region of the oracle provider", "ORACLE_REGION")
    oracle_bucket: str | None = _setting(None, "bucket of new pods at oracle unless one is given", "ORACLE_BUCKET_NAME")
    oracle_access_key: SecretStr | None = _setting(None, "access key of the oracle provider", "ORACLE_ACCESS_KEY_ID")
    oracle_secret_key: SecretStr | None = _setting(
        None, "secret key of the oracle provider", "ORACLE_SECRET_ACCESS_KEY"
    )
    local_endpoint: Url = _setting(None, "endpoint URL of the local provider; the embedded profile sets it")
    local_region: Region = _setting(None, "region of the local provider")
    local_bucket: str | None = _setting(None, "bucket of new pods at local unless one is given")
    local_access_key: SecretStr | None = _setting(None, "access key of the local provider")
    local_secret_key: SecretStr | None = _setting(None, "secret key of the local provider")

    max_file_size: Size = _setting(
        "5TiB", "largest file that can be uploaded, in bytes or as 50GiB", "MAX_FILE_SIZE_MB"
    )
    upload_concurrency: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)] = _setting(
        "auto", "maximum number of small files uploaded at once; auto: as many as help"
    )
    patience: Patience = _setting(
        "5min", "how long an outage of the store or of PostgreSQL is waited out, such as 90s or 5min; 0: not at all"
    )
    upload_bandwidth: Size = _setting("0", "most bytes uploaded in a second, such as 50MiB; 0: no limit")
    large_file_size: Size = _setting("16MiB", "files of this size or larger are uploaded in parts")
    resume_days: int = Field(7, ge=0, le=365, description="days for which the parts of an interrupted upload are kept")
    url_expiry: int = Field(3600, ge=1, le=604_800, description="seconds for which a presigned link is valid")
    retention_days: int = Field(30, ge=0, le=36_500, description="days for which a deleted file can be restored")
    ffmpeg: OptionalPath = _setting(None, "FFmpeg to use; default: the installed wheel, else PATH", "FFMPEG_PATH")

    worker_slots: int = Field(1, ge=1, le=256, description="work units that one worker processes at once")
    scratch_dir: OptionalPath = _setting(None, "folder for a worker's temporary files; default: the system's")
    lease_seconds: Seconds = _setting(60, "seconds without a heartbeat after which a worker's units go to another")
    transcode_hook: str | None = _setting(
        None, "command or URL that a worker tells of each transcode that ended; see docs/operate.md"
    )
    transcode_hook_secret: SecretStr | None = _setting(None, "secret that signs what the URL of transcode_hook is told")
    media_max_seconds: int = Field(21_600, ge=1, description="longest media that is transcoded, in seconds")
    media_max_pixels: int = Field(40_000_000, ge=1, description="largest picture that is transcoded, in pixels")

    stripe_secret_key: SecretStr | None = _setting(None, "secret key of the Stripe account", "STRIPE_SECRET_KEY")
    stripe_webhook_secrets: SecretStr | None = _setting(
        None, "signing secrets of the webhook, separated by commas", "STRIPE_WEBHOOK_SECRET"
    )
    stripe_api_base: Url = _setting(None, "URL of Stripe's API; default: Stripe's own")
    checkout_success_url: str | None = _setting(None, "page that a customer sees after a paid checkout")
    checkout_cancel_url: str | None = _setting(None, "page that a customer sees after a cancelled checkout")
    checkout_promotion_codes: bool = _setting(False, "whether customers may enter a promotion code when they pay")
    stripe_tax: Literal["off", "inclusive", "exclusive"] = _setting(
        "off", "Stripe Tax on what is sold: none, included in the prices of plans, or added to them"
    )
    portal_return_url: str | None = _setting(None, "page to which Stripe's customer portal returns")
    # A counted repetition of Unicode's letters would take 30 ms to compile, at each start.
    installation: str = Field(
        "dumacle",
        pattern=r"^[\w.-]+$",
        max_length=64,
        description="name of this installation, kept with its objects at Stripe",
    )
    listen_host: str = _setting("127.0.0.1", "address on which the webhook listens")
    listen_port: int = Field(8484, ge=0, le=65_535, description="port on which the webhook listens")
    webhook_max_size: Size = _setting("256KiB", "largest webhook delivery that is accepted")


def environment_names(name: str) -> list[str]:
    """Return the environment variables of a setting, the preferred one first."""
    extra = Settings.model_fields[name].json_schema_extra
    aliases = extra["aliases"] if isinstance(extra, dict) else []
    return [f"DUMACLE_{name.upper()}", *(str(alias) for alias in aliases)]  # type: ignore[union-attr]


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the variables that hold secrets, for a child process that needs none of them."""
    secret = {variable for name in Settings.model_fields if is_secret(name) for variable in environment_names(name)}
    return {variable: value for variable, value in environ.items() if variable not in secret}


def password_of(url: str) -> str:
    """Return the password in a database URL, before its host or among its parameters; empty without one."""
    try:
        parts = urlsplit(url)
    except ValueError:  # the whole URL is refused elsewhere
        return ""
    return unquote(parts.password or "") or "".join(parse_qs(parts.query).get("password", ())[:1])


def reveals_secret(name: str, value: str) -> bool:
    """Tell whether this value may not be on a command line, which every user of the machine can read."""
    if name.endswith("database_url"):
        text = re.sub(r"^\w+(\+\w+)?://", "", unquote(value))
        return ":" in text.rpartition("@")[0] or re.search(r"(?i)password\s*=", text) is not None
    return bool(value) if is_secret(name) else without_passwords(value) != value


def without_passwords(text: str) -> str:
    """Return a text with `…` in place of anything before the host of a URL that may be a password."""
    return re.sub(r"(\w://)[^/?#\s]*(:|%3[aA])[^\s]*@", r"\1…@", text)


def is_secret(name: str) -> bool:
    """Tell whether a setting holds a secret, which never appears in argv or in output."""
    return "SecretStr" in str(Settings.model_fields[name].annotation)


def readable(name: str, value: object) -> str:
    """Return the value of a setting as people write it, such as `5TiB`."""
    if isinstance(value, int) and any(getattr(mark, "func", None) is _size for mark in _marks(name)):
        return exact_size(value)
    return f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)


def _marks(name: str) -> list[Any]:
    return Settings.model_fields[name].metadata


def user_file(environ: Mapping[str, str]) -> Path:
    """Return the user's configuration file, which need not exist."""
    if override := environ.get("DUMACLE_CONFIG"):
        return Path(override)
    base = environ.get("XDG_CONFIG_HOME") or home(environ) / ".config"
    return Path(base) / "dumacle" / "config.toml"


def home(environ: Mapping[str, str]) -> Path:
    """Return the home folder, even in an empty environment."""
    if home := environ.get("HOME"):
        return Path(home)
    import pwd  # used only without HOME, as under `env -i`

    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return Path("/")  # as container engines do for a uid that is not in passwd


def data_dir(settings: Settings, environ: Mapping[str, str]) -> Path:
    """Return the data folder of the embedded servers."""
    if settings.data_dir:
        return settings.data_dir.absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/dumacle-local")  # not /var/lib/dumacle, the home of the account `dumacle`
    base = environ.get("XDG_DATA_HOME") or home(environ) / ".local" / "share"
    return Path(base) / "dumacle"
