"""Where the value of each setting comes from, which source wins, and which of them contradict each other.

In order: `--set NAME=VALUE`, the profile that `--profile` names, the environment, another profile, the person's file,
`/etc/dumacle/config.toml`, the default. pydantic validates; the layers are read here because the origin of each value
is part of the answer.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ValidationError

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
OTHERS = ("DUMACLE_PROFILE", "DUMACLE_CONFIG")
"""Variables that are no settings, but say where settings are."""
LOCAL = ("local_endpoint", "local_region", "local_access_key", "local_secret_key")
"""Settings of the provider `local`, which the embedded S3 server is where it runs."""
TYPO = 0.88
# What Kubernetes sets in every container for a service whose name begins with dumacle.
_SERVICE_LINK = re.compile(r"\w+(_SERVICE_(HOST|PORT)(_\w+)?|_PORT_\d+_[A-Z]+(_\w+)?)=|\w+_PORT=(tcp|udp|sctp)://")

FOLDERS = ("embedded", "data_dir")
"""Settings that a file must give as absolute paths, since it is read from anywhere."""

Subject = Literal["database", "folder", "store", "password"]
_PLACES: tuple[tuple[str, Subject, str], ...] = (
    ("database_url", "database", "database_url"),
    ("embedded", "database", "database_url"),
    ("embedded", "folder", "data_dir"),
    ("data_dir", "folder", "data_dir"),
)
"""A setting in a profile, what it names, and the setting whose variable names another such."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the value of a setting came from; of two, the one of the higher rank wins."""

    kind: str
    place: str
    rank: int = 0

    def __str__(self) -> str:
        return f"{self.kind} in {self.place}" if self.kind.startswith("profile ") else self.place


@dataclass(frozen=True, slots=True)
class Resolved:
    """The settings in force, the origin of each value that is not a default, and the origins that it beat.

    `unknown` are variables of ours by their name that set nothing. `contradictions` matter to whoever needs their
    subject; `require` raises them.
    """

    settings: Settings
    profile: str | None
    origins: Mapping[str, Origin] = field(default_factory=dict)
    beaten: Mapping[str, list[Origin]] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    contradictions: Mapping[Subject, SettingsContradict] = field(default_factory=dict)

    def require(self, subject: Subject) -> None:
        """Raise SettingsContradict where two sources name different ones, and neither is plainly meant."""
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
    """Merge all sources into validated settings; where the command `configures`, the file may be yet to be made.

    Raises UsageError, UnreadableConfig, NoSuchProfile, InvalidValue.
    """
    _refuse_empty(environ)
    file = user_file(environ)
    system, user = read(SYSTEM_FILE), read(file)
    if user is None and environ.get("DUMACLE_CONFIG") and not configures:
        raise UnreadableConfig(file=file, reason="DUMACLE_CONFIG names it, and it does not exist")
    documents = [(system or {}, SYSTEM_FILE), (user or {}, file)]
    chosen = profile or environ.get("DUMACLE_PROFILE") or _profile_in_use(documents)
    sections = _at_home(_from_profile(documents, chosen), environ) if chosen else {}
    layers = [
        *(_at_home(_from_file(document, path), environ) for document, path in documents),
        {} if profile else sections,
        _from_environment(environ),
        sections if profile else {},
        _from_flags(flags),
    ]
    found = _Merged()
    for rank, layer in enumerate(layers, 1):
        for name, (value, origin) in layer.items():
            _refuse_unstorable(name, value, origin)
            found.put(name, value, replace(origin, rank=rank))
    if profile or environ.get("DUMACLE_PROFILE"):
        found.compare_named(sections, layers[3])
    found.settle()
    settings = _validated(found.values, found.origins)
    unknown = tuple(_unknown(environ))
    return Resolved(settings, chosen, found.origins, found.beaten, unknown, found.contradictions)


def validate(values: Mapping[str, Any], place: str) -> None:
    """Check single values before they are written anywhere; raises InvalidValue or UsageError."""
    origin = Origin("file", place)
    for name, value in values.items():
        _refuse_unstorable(name, value, origin)
    layer = _at_home({name: (value, origin) for name, value in values.items()}, os.environ)
    _validated({name: value for name, (value, _) in layer.items()}, dict.fromkeys(layer, origin))


def known(name: str, place: str) -> str:
    """Return the name of a setting; raises UsageError, which quotes only what can be no secret."""
    if name in Settings.model_fields:
        return name
    quoted = repr(name) if re.fullmatch(r"[\w-]{1,40}", name) else "of that name"
    raise UsageError(f"{place}: there is no setting {quoted}{_meant(name)}", "dumacle config list")


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
        raise UnreadableConfig(file=path, reason="what is under profiles is no table, as [profiles.NAME] begins one")
    if not isinstance(document.get("profile", ""), str):
        raise UnreadableConfig(file=path, reason="profile is no text")
    return document


Layer = dict[str, tuple[Any, Origin]]
Documents = list[tuple[dict[str, Any], Path]]


class _Merged:
    """Values as they are merged, layer by layer."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.origins: dict[str, Origin] = {}
        self.beaten: dict[str, list[Origin]] = {}
        self.contradictions: dict[Subject, SettingsContradict] = {}

    def put(self, name: str, value: Any, origin: Origin) -> None:
        """Let a value take the place of a weaker one."""
        if name in self.origins and self.origins[name] != origin:
            self.beaten.setdefault(name, []).insert(0, self.origins[name])
        self.values[name], self.origins[name] = value, origin

    def compare_named(self, profile: Layer, environment: Layer) -> None:
        """Find where a profile that was named, and not only in use, has another database or folder than a variable."""
        for name, subject, variable in _PLACES:
            ours, theirs = profile.get(name), environment.get(variable)
            if ours and theirs and not _same(ours[0], theirs[0]):
                self._contradict(subject, name, ours[1], theirs[1])

    def settle(self) -> None:
        """Decide between settings that say the same thing by different names: the stronger source wins."""
        if not _same(self.values.get("data_dir"), self.values.get("embedded")):
            self._settle("folder", "data_dir", "embedded", copies=True)
        if self._given("embedded") and not self._stronger("database_url", "embedded"):
            self._settle("database", "embedded", "database_url")
        self._settle_password()
        if self._given("embedded"):
            self._settle_store()

    def _settle(self, subject: Subject, first: str, second: str, *, copies: bool = False) -> None:
        if not (self._given(first) and self._given(second)):
            return
        if self._stronger(first, second):
            self._drop(second, first, copies=copies)
        elif self._stronger(second, first):
            self._drop(first, second, copies=copies)
        else:
            self._contradict(subject, first, self.origins[first], self.origins[second])

    def _settle_store(self) -> None:
        for name in filter(self._given, LOCAL):
            # A file's own order is plain to whoever wrote it; who sets a variable beside a profile means something.
            meant = self.origins[name].kind == "environment" and self.origins["embedded"].kind != "flag"
            if self._stronger("embedded", name) and not meant:
                self._drop(name, "embedded")
            else:
                self._contradict("store", name, self.origins[name], self.origins["embedded"])

    def _settle_password(self) -> None:
        """Let the stronger source of a password win; of two as strong, the order of `auth status` decides."""
        files = [name for name in ("password_file", "password_command") if self._given(name)]
        for name, other in zip(files, reversed(files), strict=True):
            if self._stronger(name, other):
                self._drop(other, name)
        if reveals_secret("database_url", str(self.values.get("database_url") or "")):
            for name in filter(self._given, files):
                if self._stronger(name, "database_url"):
                    self._contradict("password", name, self.origins[name], self.origins["database_url"])

    def _given(self, name: str) -> bool:
        return bool(self.values.get(name))

    def _stronger(self, first: str, second: str) -> bool:
        ranks = [self.origins[name].rank if self._given(name) else 0 for name in (first, second)]
        return ranks[0] > ranks[1]

    def _drop(self, loser: str, winner: str, *, copies: bool = False) -> None:
        if loser in self.origins:
            self.put(loser, self.values[winner] if copies else None, self.origins[winner])

    def _contradict(self, subject: Subject, name: str, first: Origin, second: Origin) -> None:
        self.contradictions[subject] = SettingsContradict(subject=subject, name=name, first=first, second=second)


def _same(first: object, second: object) -> bool:
    """Tell whether two values, which may be paths, name the same."""
    return first == second or os.path.realpath(str(first)) == os.path.realpath(str(second))


# Files


def _profile_in_use(documents: Documents) -> str | None:
    named = [document["profile"] for document, _ in documents if document.get("profile")]
    return named[-1] if named else None


def _from_file(document: Mapping[str, Any], path: Path) -> Layer:
    values = {name: value for name, value in document.items() if name not in {"profile", "profiles"}}
    return _layer(values, Origin("file", str(path)))


def _from_profile(documents: Documents, profile: str) -> Layer:
    names = sorted({name for document, _ in documents for name in document.get("profiles", {})})
    if profile not in names:
        raise NoSuchProfile(profile=profile, known=", ".join(names) or "none")
    layer: Layer = {}
    for document, path in documents:
        layer |= _layer(document.get("profiles", {}).get(profile, {}), Origin(f"profile {profile}", str(path)))
    return layer


def _layer(values: Mapping[str, Any], origin: Origin) -> Layer:
    return {known(name, origin.place): (value, origin) for name, value in values.items()}


def _at_home(layer: Layer, environ: Mapping[str, str]) -> Layer:
    """Return the layer of a file with `~` for the home folder in the paths of data folders."""
    return layer | {
        name: (str(home(environ) / value[2:]), origin)
        for name, (value, origin) in layer.items()
        if name in FOLDERS and isinstance(value, str) and (value == "~" or value.startswith("~/"))
    }


# The environment


def _refuse_empty(environ: Mapping[str, str]) -> None:
    ours = [*(environment_names(name)[0] for name in Settings.model_fields), *OTHERS]
    for variable in ours:
        if environ.get(variable) == "":
            raise UsageError(f"{variable} is empty: give it a value, or unset it", "dumacle config list")


def _from_environment(environ: Mapping[str, str]) -> Layer:
    layer: Layer = {}
    for name in Settings.model_fields:
        for variable in environment_names(name):
            if value := environ.get(variable):
                megabytes = variable == "MAX_FILE_SIZE_MB"
                layer[name] = (f"{value}MiB" if megabytes else value, Origin("environment", variable))
                break
    return layer


def _unknown(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the variables that look like ours and set nothing; raises UsageError for what is a typing error."""
    ours = {*(environment_names(name)[0] for name in Settings.model_fields), *OTHERS}
    for variable, value in environ.items():
        name = variable.upper()
        if not name.startswith(PREFIX) or variable in ours or _SERVICE_LINK.match(f"{name}={value}"):
            continue
        if meant := _meant(name.removeprefix(PREFIX), PREFIX):
            raise UsageError(f"{variable} sets nothing{meant}", "dumacle config list")
        yield variable


def _meant(name: str, prefix: str = "") -> str:
    """Return a question that offers the setting with nearly this name; empty where there is none."""
    names = [*Settings.model_fields, *(other.removeprefix(PREFIX).lower() for other in OTHERS if prefix)]
    near = difflib.get_close_matches(name.lower().replace("-", "_"), names, 1, TYPO)
    return f"; did you mean {prefix}{near[0].upper() if prefix else near[0]}?" if near else ""


# Flags


def _from_flags(flags: Iterable[str]) -> Layer:
    layer: Layer = {}
    for flag in flags:
        name, equals, value = flag.partition("=")
        if not equals:
            raise UsageError("--set takes NAME=VALUE, and there is no =")
        name = known(name.strip().replace("-", "_"), "--set")
        if reveals_secret(name, value):
            raise SecretTyped(name=name)
        if name in layer and layer[name][0] != value:
            raise UsageError(f"--set gives {name} twice, with different values")
        layer[name] = (value, Origin("flag", "--set"))
    return layer


def _refuse_unstorable(name: str, value: Any, origin: Origin) -> None:
    if isinstance(value, str) and UNSTORABLE.search(value):
        reason = f"it must be text, without NUL (from {origin.place})"
        raise InvalidValue(name=name, value="that" if is_secret(name) else ascii(value), reason=reason)


def _refuse_relative(name: str, value: Any, origin: Origin) -> None:
    """Refuse in a file what would be another folder for each place that one stands in."""
    in_file = origin.kind == "file" or origin.kind.startswith("profile ")
    if in_file and name in FOLDERS and isinstance(value, str) and value and not Path(value).is_absolute():
        reason = f"in a file it must be an absolute path, or begin with ~/ (from {origin.place})"
        raise InvalidValue(name=name, value=repr(value), reason=reason)


def _validated(values: Mapping[str, Any], origins: Mapping[str, Origin]) -> Settings:
    for name, value in values.items():
        _refuse_relative(name, value, origins[name])
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = str(first["loc"][0])
        wrong = re.sub(r"^\w+ should ", "it must ", first["msg"].removeprefix("Value error, ")).partition(", unable")[0]
        reason = f"{wrong} (from {origins[name].place})"
        raise InvalidValue(name=name, value="that" if is_secret(name) else repr(values[name]), reason=reason) from None
    except InvalidValue as error:
        raise UsageError(str(error)) from None
