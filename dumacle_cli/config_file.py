"""The person's own configuration file: changed in place, comments kept, readable by its owner only."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit

from dumacle_cli import settings
from dumacle_cli.errors import UsageError


@dataclass(frozen=True, slots=True)
class FileChange:
    """A change of the file that was checked and is ready to be written."""

    file: Path
    text: str
    changed: bool
    value: str
    kind: str

    def write(self) -> None:
        """Write the file whole and durably: a new file, fsync, then rename."""
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self.file.with_name(f"{self.file.name}.{os.getpid()}.new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            handle.write(self.text)
            handle.flush()
            os.fsync(handle.fileno())
        draft.replace(self.file)


def prepare(file: Path, profile: str | None, name: str, value: str) -> FileChange:
    """Work out the file with one setting changed; raises UsageError or InvalidValue where it would not be valid."""
    if name == "profile":
        return _prepare(file, None, {"profile": value})
    if name not in settings.Settings.model_fields:
        raise UsageError(f"there is no setting {name!r}", "dumacle config list")
    settings.validate({name: value}, str(file))
    return _prepare(file, profile, {name: value})


def prepare_profile(file: Path, profile: str, values: Mapping[str, str]) -> FileChange:
    """Work out the file with these settings in a profile, which becomes the one in use where none is."""
    change = _prepare(file, profile, values)
    document = tomlkit.parse(change.text)
    if "profile" in document:
        return change
    document = tomlkit.parse(f'profile = "{profile}"\n' + change.text)
    return FileChange(file, tomlkit.dumps(document), True, change.value, change.kind)


def _prepare(file: Path, profile: str | None, values: Mapping[str, str]) -> FileChange:
    before, document = _read(file)
    table: Any = document
    if profile:
        profiles: Any = document.setdefault("profiles", tomlkit.table(is_super_table=True))
        table = profiles.setdefault(profile, tomlkit.table()) if isinstance(profiles, dict) else profiles
        if not isinstance(table, dict):
            raise UsageError(f"{file}: a profile is a table, such as [profiles.production]")
    for name, value in values.items():
        table[name] = value
    after = tomlkit.dumps(document)
    return FileChange(
        file, after, after != before, next(iter(values.values())), f"profile {profile}" if profile else "file"
    )


def _read(file: Path) -> tuple[str, tomlkit.TOMLDocument]:
    try:
        text = file.read_text("utf-8") if file.exists() else ""
        return text, tomlkit.parse(text)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise UsageError(f"{file} is not valid TOML: {reason}") from None
