"""Where the value of each setting comes from, which source wins, and which of them contradict each other.

Strongest first: `--set NAME=VALUE`, the profile that `--profile` names, the environment, any other profile, the user's
file, `/etc/dumacle/config.toml`, the default. Each is a source of pydantic-settings, which merges and validates them;
origins are kept here, because the origin of each value is part of the answer.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from dumacle_cli import private
from dumacle_cli.errors import (
    InvalidValue,
    NoSuchProfile,
    SecretTyped,
    SettingsContradict,
    UnreadableConfig,
    UsageError,
)
from dumacle_cli.escapes import UNSTORABLE
from dumacle_cli.precedence import LOCAL, Found, Merged, Origin, Subject
from dumacle_cli.settings import (
    Settings,
    environment_names,
    home,
    is_secret,
    reveals_secret,
    user_file,
)

SYSTEM_FILE = Path("/etc/dumacle/config.toml")
PREFIX = "DUMACLE_"
LOCATORS = ("DUMACLE_PROFILE", "DUMACLE_CONFIG")
"""Variables that are not settings, but say where settings are."""
TYPO = 0.88
# What Kubernetes sets in every container for a service whose name begins with dumacle.
_SERVICE_LINK = re.compile(r"\w+(_SERVICE_(HOST|PORT)(_\w+)?|_PORT_\d+_[A-Z]+(_\w+)?)=|\w+_PORT=(tcp|udp|sctp)://")

FOLDERS = ("embedded", "data_dir")
"""Settings that a file must give as absolute paths, since commands run in any folder."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """The settings in force, the origin of each value that is not a default, and the origins that it overrides.

    `unknown` are DUMACLE_ variables that set nothing. `contradictions` matter only to commands that need their subject;
    `require` raises them.
    """

    settings: Settings
    profile: str | None
    origins: Mapping[str, Origin] = field(default_factory=dict)
    overridden: Mapping[str, list[Origin]] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    contradictions: Mapping[Subject, SettingsContradict] = field(default_factory=dict)

    def require(self, subject: Subject) -> None:
        """Raise SettingsContradict where two sources name different ones and neither takes precedence."""
        if subject in self.contradictions:
            raise self.contradictions[subject]

    def rank(self, name: str) -> int:
        """Return how strong the source of a setting is; 0 for a default."""
        return self.origins[name].rank if name in self.origins else 0

    @property
    def store_is_embedded(self) -> bool:
        """Whether the provider `local` is the embedded S3 server; raises SettingsContradict."""
        if not self.settings.embedded:
            return False
        if self.settings.database_url and any(self.rank(name) > self.rank("embedded") for name in LOCAL):
            return False
        self.require("store")
        return True

    def embedded_in(self, folder: Path, profile: str) -> Self:
        """Return these settings on the embedded servers of a folder, whatever else they name."""
        own: dict[str, Any] = {"database_url": None, "embedded": folder, "default_provider": "local"}
        settings = self.settings.model_copy(update=own | dict.fromkeys(LOCAL))
        return replace(self, settings=settings, profile=profile, contradictions={})


def resolve(
    flags: Iterable[str], profile: str | None, environ: Mapping[str, str], *, configures: bool = False
) -> Resolved:
    """Merge all sources into validated settings.

    With `configures`, DUMACLE_CONFIG may name a file that does not exist yet. Raises UsageError, UnreadableConfig,
    NoSuchProfile, InvalidValue.
    """
    _refuse_empty(environ)
    file = user_file(environ)
    system, user = read(SYSTEM_FILE), read(file)
    if user is None and environ.get("DUMACLE_CONFIG") and not configures:
        raise UnreadableConfig(file=file, reason="DUMACLE_CONFIG names it, and it does not exist")
    documents = [(user or {}, file), (system or {}, SYSTEM_FILE)]
    chosen = profile or environ.get("DUMACLE_PROFILE") or _default_profile(documents)
    variables = EnvironmentSource(environ)
    sections = [ProfileSource(documents, chosen, environ)] if chosen else []
    sources = [
        FlagSource(flags),
        *([*sections, variables] if profile else [variables, *sections]),
        *(FileSource(document, path, environ) for document, path in documents),
    ]
    merged = Merged(source.found for source in sources)
    if profile or environ.get("DUMACLE_PROFILE"):
        merged.compare(sections[0].found, variables.found)
    merged.settle()
    settings = _validated([Source(merged.settled), *sources], merged)
    unknown = tuple(_unknown(environ))
    return Resolved(settings, chosen, merged.origins, merged.overridden, unknown, merged.contradictions)


def validate(values: Mapping[str, Any], place: str) -> None:
    """Check single values before they are written to a file; raises InvalidValue."""
    source = Source({name: (value, Origin("argument", place)) for name, value in values.items()}, os.environ)
    _validated([source], Merged([source.found]))


def known(name: str, place: str) -> str:
    """Return the name of a setting; raises UsageError, which quotes only what cannot be a secret."""
    if name in Settings.model_fields:
        return name
    quoted = repr(name) if re.fullmatch(r"[\w-]{1,40}", name) else "of that name"
    raise UsageError(f"{place}: there is no setting {quoted}{_suggestion(name)}", "dumacle config list")


# Sources


class LayeredSettings(Settings, BaseSettings):
    """Settings that pydantic-settings reads from `sources`, given strongest first."""

    model_config = SettingsConfigDict()  # that of both bases

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - as pydantic-settings passes it
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - reads os.environ only, and forgets which name it was
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the sources that the constructor was given, and no others."""
        assert isinstance(init_settings, InitSettingsSource)  # noqa: S101 - tells mypy
        return tuple(init_settings.init_kwargs["sources"])


Documents = Sequence[tuple[Mapping[str, Any], Path]]


class Source(PydanticBaseSettingsSource):
    """The values that one source gives, with their origins; those of files have `~` for the home folder in paths."""

    def __init__(self, found: Found, environ: Mapping[str, str] | None = None) -> None:
        super().__init__(LayeredSettings)
        self.found = (
            found if environ is None else {name: _at_home(name, *each, environ) for name, each in found.items()}
        )
        for name, (value, origin) in self.found.items():
            _refuse_unstorable(name, value, origin)

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """Return the value of a setting as it was written, None where this source does not give it."""
        return self.found.get(field_name, (None, None))[0], field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return all values as they were written."""
        return {name: value for name, (value, _) in self.found.items()}


class FlagSource(Source):
    """`--set NAME=VALUE`; raises UsageError or SecretTyped."""

    def __init__(self, flags: Iterable[str]) -> None:
        found: dict[str, tuple[Any, Origin]] = {}
        for flag in flags:
            name, equals, value = flag.partition("=")
            if not equals:
                raise UsageError("--set takes NAME=VALUE, and there is no =")
            name = known(name.strip().replace("-", "_"), "--set")
            if reveals_secret(name, value):
                raise SecretTyped(name=name)
            if name in found and found[name][0] != value:
                raise UsageError(f"--set gives {name} twice, with different values")
            found[name] = (value, Origin("flag", "--set"))
        super().__init__(found)


class EnvironmentSource(Source):
    """`DUMACLE_NAME`, or another variable that the setting is known by; raises InvalidValue."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        given = {name: [v for v in environment_names(name) if environ.get(v)] for name in Settings.model_fields}
        super().__init__(
            {
                name: (_as_typed(variables[0], environ[variables[0]]), Origin("environment", variables[0]))
                for name, variables in given.items()
                if variables
            }
        )


class FileSource(Source):
    """A configuration file outside of its profiles; raises UsageError for names that are not settings."""

    def __init__(self, document: Mapping[str, Any], path: Path, environ: Mapping[str, str]) -> None:
        values = {name: value for name, value in document.items() if name not in {"profile", "profiles"}}
        super().__init__(_located(values, Origin("file", str(path))), environ)


class ProfileSource(Source):
    """A profile in the configuration files, the first file before the second; raises NoSuchProfile or UsageError."""

    def __init__(self, documents: Documents, profile: str, environ: Mapping[str, str]) -> None:
        names = sorted({name for document, _ in documents for name in document.get("profiles", {})})
        if profile not in names:
            raise NoSuchProfile(profile=profile, known=", ".join(names) or "none")
        found: dict[str, tuple[Any, Origin]] = {}
        for document, path in reversed(documents):
            found |= _located(document.get("profiles", {}).get(profile, {}), Origin(f"profile {profile}", str(path)))
        super().__init__(found, environ)


def _located(values: Mapping[str, Any], origin: Origin) -> Found:
    return {known(name, origin.place): (value, origin) for name, value in values.items()}


def _at_home(name: str, value: Any, origin: Origin, environ: Mapping[str, str]) -> tuple[Any, Origin]:
    starts_at_home = isinstance(value, str) and (value == "~" or value.startswith("~/"))
    return (str(home(environ) / value[2:]) if name in FOLDERS and starts_at_home else value), origin


def _default_profile(documents: Documents) -> str | None:
    return next((document["profile"] for document, _ in documents if document.get("profile")), None)


def _as_typed(variable: str, value: str) -> str:
    if variable != "MAX_FILE_SIZE_MB":
        return value
    if not re.fullmatch(r"\s*\d+(\.\d+)?\s*", value, re.ASCII):
        origin = Origin("environment", variable)
        raise _invalid("max_file_size", value, origin, "it must be a number of MiB, without a unit")
    return f"{value.strip()}MiB"


# Faults


def _validated(sources: Sequence[Source], merged: Merged) -> Settings:
    for name, value in merged.values.items():
        _refuse_relative(name, value, merged.origins[name])
    try:
        return LayeredSettings(sources=sources)  # type: ignore[call-arg]
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name, said = str(first["loc"][0]), first["msg"].removeprefix("Value error, ").partition(", unable")[0]
        reason = re.sub(r"^\w+ should ", "it must ", said)
        raise _invalid(name, merged.values[name], merged.origins[name], reason) from None


def _invalid(name: str, value: Any, origin: Origin, reason: str) -> InvalidValue:
    shown = "" if is_secret(name) else ascii(value) if UNSTORABLE.search(str(value)) else repr(value)
    line = _line(Path(origin.place), origin.profile, name) if origin.is_file else None
    place = f"{origin.place}, line {line}" if line else origin.place
    return InvalidValue(name=name, value=shown, reason=f"{reason} (from {place})", advice=_advice(name, origin, place))


def _advice(name: str, origin: Origin, place: str) -> str:
    if origin.is_file:
        return f"edit {place}"
    return {
        "environment": f"change the variable {place}, or unset it",
        "flag": f"give another value: --set {name}=VALUE",
    }.get(origin.kind, f"give another value for {name}")


def _refuse_unstorable(name: str, value: Any, origin: Origin) -> None:
    if isinstance(value, str) and UNSTORABLE.search(value):
        raise _invalid(name, value, origin, "it must be text, without NUL")


def _refuse_relative(name: str, value: Any, origin: Origin) -> None:
    """Refuse in a file a path that would mean another folder wherever a command is run."""
    stays = origin.kind not in ("flag", "environment")
    if stays and name in FOLDERS and isinstance(value, str) and value and not Path(value).is_absolute():
        raise _invalid(name, value, origin, "in a file it must be an absolute path, or begin with ~/")


def _refuse_empty(environ: Mapping[str, str]) -> None:
    for variable in _our_variables():
        if environ.get(variable) == "":
            raise InvalidValue(name=variable, reason="it is empty", advice=f"give {variable} a value, or unset it")


def _unknown(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the variables that look like ours and set nothing; raises InvalidValue for a likely typing error."""
    ours = _our_variables()
    for variable, value in environ.items():
        name = variable.upper()
        if not name.startswith(PREFIX) or variable in ours or _SERVICE_LINK.match(f"{name}={value}"):
            continue
        if suggestion := _suggestion(name.removeprefix(PREFIX), PREFIX):
            reason = f"there is no such setting{suggestion}"
            raise InvalidValue(name=variable, reason=reason, advice=f"rename {variable}, or unset it")
        yield variable


def _our_variables() -> tuple[str, ...]:
    return (*(environment_names(name)[0] for name in Settings.model_fields), *LOCATORS)


def _suggestion(name: str, prefix: str = "") -> str:
    """Return a question that offers the setting with nearly this name; empty where there is none."""
    names = [*Settings.model_fields, *(other.removeprefix(PREFIX).lower() for other in LOCATORS if prefix)]
    near = difflib.get_close_matches(name.lower().replace("-", "_"), names, 1, TYPO)
    return f"; did you mean {prefix}{near[0].upper() if prefix else near[0]}?" if near else ""


# Files


def _line(path: Path, profile: str, name: str) -> int | None:
    """Return the line on which a setting stands: the first after which the file, cut off there, has it."""
    lines = (text(path) or "").splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        if name not in line:
            continue
        try:
            document = tomllib.loads("".join(lines[:number]))
        except ValueError:  # in the middle of a value
            continue
        if name in (document.get("profiles", {}).get(profile, {}) if profile else document):
            return number
    return None


def read(path: Path) -> dict[str, Any] | None:
    """Return the document in a configuration file, None where there is no such file; raises UnreadableConfig."""
    found = text(path)
    if found is None and exists(path):
        raise UnreadableConfig(file=path, reason=f"it is a link to {path.readlink()}, which does not exist")
    return None if found is None else parse(found, path)


def exists(path: Path) -> bool:
    """Tell whether a configuration file is there, also as a link to nothing; raises UnreadableConfig."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as fault:
        raise UnreadableConfig(file=path, reason=fault.strerror or type(fault).__name__) from None
    return True


def text(path: Path) -> str | None:
    """Return the text of a configuration file, None where there is no such file; raises UnreadableConfig."""
    try:
        return private.read(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as fault:
        raise UnreadableConfig(file=path, reason=fault.strerror or type(fault).__name__) from None
    except UnicodeDecodeError:
        raise UnreadableConfig(file=path, reason="it is not valid TOML: it is not UTF-8") from None


def parse(text: str, path: Path) -> dict[str, Any]:
    """Return the document in the text of a configuration file; raises UnreadableConfig."""
    try:
        document = tomllib.loads(text)
    except ValueError as fault:  # also a number of more digits than Python reads
        # Nothing of the line is quoted: it may hold a secret.
        reason = re.sub(r"'[^']*'", "a value", str(fault))
        raise UnreadableConfig(file=path, reason=f"it is not valid TOML: {reason}") from None
    except RecursionError:
        raise UnreadableConfig(file=path, reason="it is not valid TOML: it is nested too deeply") from None
    profiles = document.get("profiles", {})
    if not isinstance(profiles, dict) or not all(isinstance(table, dict) for table in profiles.values()):
        raise UnreadableConfig(file=path, reason="profiles must be tables, each under a heading [profiles.NAME]")
    if not isinstance(document.get("profile", ""), str):
        raise UnreadableConfig(file=path, reason="profile must be a string")
    return document
