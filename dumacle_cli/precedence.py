"""Which source of a setting wins, and where two sources contradict each other."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from dumacle_cli.errors import SettingsContradict
from dumacle_cli.settings import reveals_secret

LOCAL = ("local_endpoint", "local_region", "local_access_key", "local_secret_key")
"""Settings of the provider `local`; the embedded S3 server takes their place where it is used."""

Subject = Literal["database", "folder", "store", "password"]
_RIVALS: tuple[tuple[str, Subject, str], ...] = (
    ("database_url", "database", "database_url"),
    ("embedded", "database", "database_url"),
    ("embedded", "folder", "data_dir"),
    ("data_dir", "folder", "data_dir"),
)
"""A setting in a profile, its subject, and the setting whose variable may name another such subject."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the value of a setting came from; the origin with the higher rank wins.

    `kind` is `flag`, `environment`, `file` or `profile NAME`, and `argument` for a value that is to be written.
    """

    kind: str
    place: str
    rank: int = 0

    def __str__(self) -> str:
        return f"{self.kind} in {self.place}" if self.profile else self.place

    @property
    def profile(self) -> str:
        """The profile in a configuration file that holds the value; empty outside of profiles."""
        return self.kind.partition("profile ")[2]

    @property
    def is_file(self) -> bool:
        """Whether the value is in a configuration file."""
        return self.kind == "file" or bool(self.profile)


Found = Mapping[str, tuple[Any, Origin]]
"""The values that one source gives, by setting, with their origins."""


class Merged:
    """The values of all sources, merged from the weakest to the strongest."""

    def __init__(self, sources: Iterable[Found]) -> None:
        """Merge sources that are given strongest first."""
        self.values: dict[str, Any] = {}
        self.settled: dict[str, tuple[Any, Origin]] = {}
        self.origins: dict[str, Origin] = {}
        self.overridden: dict[str, list[Origin]] = {}
        self.contradictions: dict[Subject, SettingsContradict] = {}
        for rank, source in enumerate(reversed(list(sources)), 1):
            for name, (value, origin) in source.items():
                self._override(name, value, replace(origin, rank=rank))

    def _override(self, name: str, value: Any, origin: Origin) -> None:
        if name in self.origins and self.origins[name] != origin:
            self.overridden.setdefault(name, []).insert(0, self.origins[name])
        self.values[name], self.origins[name] = value, origin

    def compare(self, profile: Found, environment: Found) -> None:
        """Find where a profile that was named explicitly has another database or folder than a variable."""
        for name, subject, variable in _RIVALS:
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
            # Within files the order is plain to their author; a variable beside a profile was set on purpose.
            on_purpose = self.origins[name].kind == "environment" and self.origins["embedded"].kind != "flag"
            if self._stronger("embedded", name) and not on_purpose:
                self._drop(name, "embedded")
            else:
                self._contradict("store", name, self.origins[name], self.origins["embedded"])

    def _settle_password(self) -> None:
        """Let the stronger source of a password win; between equals, the order of `auth status` decides."""
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
            self.settled[loser] = self.values[winner] if copies else None, self.origins[winner]
            self._override(loser, *self.settled[loser])

    def _contradict(self, subject: Subject, name: str, first: Origin, second: Origin) -> None:
        self.contradictions[subject] = SettingsContradict(subject=subject, name=name, first=first, second=second)


def _same(first: object, second: object) -> bool:
    """Tell whether two values, which may be paths, name the same thing."""
    return first == second or os.path.realpath(str(first)) == os.path.realpath(str(second))
