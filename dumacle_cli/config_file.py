"""Edits the user's configuration file in place, with comments kept; it stays readable by its owner only."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit

from dumacle_cli import private, settings, sources


@dataclass(frozen=True, slots=True)
class FileChange:
    """A checked change of the file; changes that other commands make before `write` are kept."""

    file: Path
    edit: Callable[[str], str]
    changed: bool
    value: str
    kind: str
    secret: bool = False

    def write(self) -> None:
        """Write the change to the file; raises UnwritableConfig, ConfigLocked, UnreadableConfig."""
        if self.changed:
            private.change(self.file, self.edit, secret=self.secret)


def prepare(file: Path, profile: str | None, name: str, value: str) -> FileChange:
    """Prepare the change of one setting; raises UsageError, InvalidValue or UnreadableConfig."""
    if name == "profile":
        return _prepare(file, None, {"profile": value})
    sources.known(name, "config set")
    sources.validate({name: value}, "config set")
    return _prepare(file, profile, {name: value}, secret=settings.is_secret(name))


def prepare_profile(file: Path, profile: str, values: Mapping[str, str], *, in_use: bool) -> FileChange:
    """Prepare a profile with these settings; with `in_use`, it becomes the default profile unless there is one."""
    return _prepare(file, profile, values, in_use=in_use)


def _prepare(
    file: Path, profile: str | None, values: Mapping[str, str], *, secret: bool = False, in_use: bool = False
) -> FileChange:
    def edit(text: str) -> str:
        sources.parse(text, file)  # refuses an invalid file with the same error as reading does
        document = tomlkit.parse(text)
        _put(document, profile, values)
        after = tomlkit.dumps(document)
        if in_use and "profile" not in document:
            after = f'profile = "{profile}"\n{after}'
        sources.parse(after, file)
        return after

    before = sources.text(file) or ""
    changed = edit(before) != before
    return FileChange(
        file, edit, changed, next(iter(values.values())), f"profile {profile}" if profile else "file", secret
    )


def _put(document: tomlkit.TOMLDocument, profile: str | None, values: Mapping[str, str]) -> None:
    table: Any = document
    if profile:
        profiles: Any = document.setdefault("profiles", tomlkit.table(is_super_table=True))
        table = profiles.setdefault(profile, tomlkit.table())
    for name, value in values.items():
        table[name] = value
