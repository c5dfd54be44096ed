"""Every setting: its default, its environment names, and what it may be; `sources` says where its value comes from."""

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
    ValidationInfo,
)

from dumacle_cli import addresses
from dumacle_cli.errors import InvalidValue
from dumacle_cli.units import exact_size, parse_size


def _size(given: Any, info: ValidationInfo) -> int:
    return parse_size(given, info.field_name or "size")


Size = Annotated[int, BeforeValidator(_size)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
# As a path, the empty text would be the working directory.
Place = Annotated[Path | None, BeforeValidator(lambda given: given or None)]


def _unmistakable(url: SecretStr | None) -> SecretStr | None:
    """Refuse a URL with an @ elsewhere than before its host: there, the rest of a password would pass for the host."""
    text = url.get_secret_value() if url else ""
    host = re.split("[/?#]", text.partition("://")[2])[0]
    if text.count("@") > 1 or text.count("@") > host.count("@"):
        reason = "it is postgresql://user:password@host/database, and in the password @ is %40, / %2F, ? %3F, # %23"
        raise InvalidValue(name="the URL of a database", value="that", reason=reason)
    return url


def _database(url: SecretStr | None) -> SecretStr | None:
    if url and url.get_secret_value():
        addresses.database(url.get_secret_value())
    return url


DatabaseUrl = Annotated[SecretStr | None, AfterValidator(_unmistakable), AfterValidator(_database)]
Url = Annotated[str | None, AfterValidator(lambda given: given and addresses.web(given))]
Region = Annotated[str | None, AfterValidator(lambda given: given and addresses.region(given))]


def _setting(default: Any, about: str, *aliases: str) -> Any:
    return Field(default, description=about, json_schema_extra={"aliases": list(aliases)})


class Settings(BaseModel):
    """All settings, validated; secrets are `SecretStr` and never shown."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)

    database_url: DatabaseUrl = _setting(None, "where PostgreSQL is: postgresql://user@host/database", "DATABASE_URL")
    password_file: Place = _setting(None, "file of mode 0600 that holds the password of the login in database_url")
    password_command: str | None = _setting(None, "command that prints that password on its first line")
    admin_database_url: DatabaseUrl = _setting(None, "a superuser's connection, for `db bootstrap` only")
    embedded: Place = _setting(None, "data folder of the embedded servers that this profile uses")
    data_dir: Place = _setting(None, "where `demo` and `local` keep the embedded servers' data")
    connect_timeout: Seconds = _setting(5, "seconds to wait for a connection to PostgreSQL")
    lock_timeout: Seconds = _setting(5, "seconds to wait for a lock in PostgreSQL")
    statement_timeout: Seconds = _setting(60, "seconds one statement may take")

    key_source: str | None = _setting(
        None, "the key that opens credentials: file:/path, credential:NAME (systemd's) or keyring:NAME"
    )
    default_provider: Literal["s3", "wasabi", "oracle", "local"] = _setting(
        "s3", "provider of a pod that names none: s3, wasabi, oracle or local"
    )
    s3_endpoint: Url = _setting(None, "endpoint URL of an S3-compatible store; empty: AWS", "AWS_ENDPOINT_URL")
    s3_region: Region = _setting(None, "region of the s3 provider", "AWS_REGION", "AWS_DEFAULT_REGION")
    s3_bucket: str | None = _setting(None, "bucket of pods at s3 that name none", "AWS_S3_BUCKET", "S3_BUCKET_NAME")
    s3_access_key: SecretStr | None = _setting(None, "access key of the s3 provider", "AWS_ACCESS_KEY_ID")
    s3_secret_key: SecretStr | None = _setting(None, "secret key of the s3 provider", "AWS_SECRET_ACCESS_KEY")
    wasabi_endpoint: Url = _setting(None, "endpoint URL of Wasabi; empty: from the region", "WASABI_ENDPOINT_URL")
    wasabi_region: Region = _setting(None, "region of the wasabi provider", "WASABI_REGION")
    wasabi_bucket: str | None = _setting(None, "bucket of pods at wasabi that name none", "WASABI_BUCKET_NAME")
    wasabi_access_key: SecretStr | None = _setting(None, "access key of the wasabi provider", "WASABI_ACCESS_KEY_ID")
    wasabi_secret_key: SecretStr | None = _setting(
        None, "secret key of the wasabi provider", "WASABI_SECRET_ACCESS_KEY"
    )
    oracle_endpoint: Url = _setting(
        None, "endpoint URL of Oracle; empty: from namespace and region", "ORACLE_ENDPOINT_URL"
    )
    oracle_namespace: str | None = _setting(None, "object storage namespace at Oracle", "ORACLE_NAMESPACE")
    oracle_region: Region = _setting(None, "region of the oracle provider", "ORACLE_REGION")
    oracle_bucket: str | None = _setting(None, "bucket of pods at oracle that name none", "ORACLE_BUCKET_NAME")
    oracle_access_key: SecretStr | None = _setting(None, "access key of the oracle provider", "ORACLE_ACCESS_KEY_ID")
    oracle_secret_key: SecretStr | None = _setting(
        None, "secret key of the oracle provider", "ORACLE_SECRET_ACCESS_KEY"
    )
    local_endpoint: Url = _setting(None, "endpoint URL of the local provider; the embedded profile sets it")
    local_region: Region = _setting(None, "region of the local provider")
    local_bucket: str | None = _setting(None, "bucket of pods at local that name none")
    local_access_key: SecretStr | None = _setting(None, "access key of the local provider")
    local_secret_key: SecretStr | None = _setting(None, "secret key of the local provider")

    max_file_size: Size = _setting("5TiB", "largest file that is taken, in bytes or as 50GiB", "MAX_FILE_SIZE_MB")
    upload_concurrency: int = Field(
        128, ge=1, le=1024, description="most small objects in flight during an upload; fewer where more are no faster"
    )
    large_file_size: Size = _setting("16MiB", "files from this size on go up in parts")
    url_expiry: int = Field(3600, ge=1, le=604_800, description="seconds that a presigned link is valid")
    retention_days: int = Field(30, ge=0, le=36_500, description="days a deleted file can be restored")
    ffmpeg: Place = _setting(None, "the FFmpeg to use; empty: the wheel's, then the one on PATH", "FFMPEG_PATH")

    worker_slots: int = Field(1, ge=1, le=256, description="units of work that one worker does at once")
    scratch_dir: Place = _setting(None, "where a worker keeps what it works on; empty: the system's place for it")
    lease_seconds: Seconds = _setting(60, "seconds after which the work of a silent worker is given to another")
    media_max_seconds: int = Field(21_600, ge=1, description="longest media that is transcoded, in seconds")
    media_max_pixels: int = Field(40_000_000, ge=1, description="largest picture that is transcoded, width by height")

    stripe_secret_key: SecretStr | None = _setting(None, "key of the account at Stripe", "STRIPE_SECRET_KEY")
    stripe_webhook_secrets: SecretStr | None = _setting(
        None, "signing secrets of the webhook, with commas between them", "STRIPE_WEBHOOK_SECRET"
    )
    stripe_api_base: Url = _setting(None, "URL of Stripe's API; empty: Stripe's own")
    checkout_success_url: str | None = _setting(None, "page to which a paid checkout leads")
    checkout_cancel_url: str | None = _setting(None, "page to which a checkout leads that was given up")
    portal_return_url: str | None = _setting(None, "page to which Stripe's customer portal leads back")
    # A counted repetition of Unicode's letters would take 30 ms to compile, at each start.
    installation: str = Field(
        "dumacle", pattern=r"^[\w.-]+$", max_length=64, description="tag on what this one makes at Stripe"
    )
    listen_host: str = _setting("127.0.0.1", "address on which the webhook listens")
    listen_port: int = Field(8484, ge=0, le=65_535, description="port on which the webhook listens")
    webhook_max_size: Size = _setting("256KiB", "largest delivery to the webhook that is taken")


def environment_names(name: str) -> list[str]:
    """Return the environment variables that set this setting, the preferred one first."""
    extra = Settings.model_fields[name].json_schema_extra
    aliases = extra["aliases"] if isinstance(extra, dict) else []
    return [f"DUMACLE_{name.upper()}", *(str(alias) for alias in aliases)]  # type: ignore[union-attr]


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment less the variables that set secrets, for a child that needs none of them."""
    secret = {variable for name in Settings.model_fields if is_secret(name) for variable in environment_names(name)}
    return {variable: value for variable, value in environ.items() if variable not in secret}


def password_of(url: str) -> str:
    """Return the password in the URL of a database, before its host or among its parameters; empty without one."""
    try:
        parts = urlsplit(url)
    except ValueError:  # it is refused as a whole
        return ""
    return unquote(parts.password or "") or "".join(parse_qs(parts.query).get("password", ())[:1])


def reveals_secret(name: str, value: str) -> bool:
    """Tell whether this value of a setting may not stand on a command line, which everybody on the machine can read."""
    if name.endswith("database_url"):
        text = re.sub(r"^\w+(\+\w+)?://", "", unquote(value))
        return ":" in text.rpartition("@")[0] or re.search(r"(?i)password\s*=", text) is not None
    return bool(value) if is_secret(name) else without_passwords(value) != value


def without_passwords(text: str) -> str:
    """Return a text with `…` for what stands before the host of a URL in it, where that may be a password."""
    return re.sub(r"(\w://)[^/?#\s]*(:|%3[aA])[^\s]*@", r"\1…@", text)


def is_secret(name: str) -> bool:
    """Tell whether a setting holds a secret, which never appears in argv or on a screen."""
    return "SecretStr" in str(Settings.model_fields[name].annotation)


def in_words(name: str, value: object) -> str:
    """Return the value of a setting as a person writes it, such as `5TiB`."""
    if isinstance(value, int) and any(getattr(mark, "func", None) is _size for mark in _marks(name)):
        return exact_size(value)
    return f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)


def _marks(name: str) -> list[Any]:
    return Settings.model_fields[name].metadata


def user_file(environ: Mapping[str, str]) -> Path:
    """Return the person's own configuration file, which need not exist."""
    if override := environ.get("DUMACLE_CONFIG"):
        return Path(override)
    base = environ.get("XDG_CONFIG_HOME") or home(environ) / ".config"
    return Path(base) / "dumacle" / "config.toml"


def home(environ: Mapping[str, str]) -> Path:
    """Return the home folder, also where the environment is empty."""
    if home := environ.get("HOME"):
        return Path(home)
    import pwd  # without HOME, as under `env -i`, the account's own entry says where it lives

    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return Path("/")  # as container engines do for a user who is in no passwd


def data_dir(settings: Settings, environ: Mapping[str, str]) -> Path:
    """Return where the embedded servers keep their data."""
    if settings.data_dir:
        return settings.data_dir.absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/dumacle-local")  # beside the home of the account `dumacle`, which is another's
    base = environ.get("XDG_DATA_HOME") or home(environ) / ".local" / "share"
    return Path(base) / "dumacle"
