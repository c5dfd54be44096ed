"""What is taken of the sources, and at which path: patterns, sizes, ages, hidden files, links and names."""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from dumacle_cli.errors import InvalidValue
from dumacle_cli.ingest.lists import Listing

_TOKEN = re.compile(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|\\.|.", re.DOTALL)
_WILD = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


@dataclass(frozen=True, slots=True)
class Rules:
    """What is taken of the sources, and how their paths are made; sizes in bytes, `since` and `before` are mtimes (ns).

    A file is taken if its path below the source matches a pattern of `include`, or there is none, and no pattern of
    `exclude`. With `follow` a walk follows symbolic links. `keep_name` keeps the name of a folder in the paths,
    `flatten` only the name of each file. `listing` names the files in the source folder. `name` is the path of the
    only source. `allow_empty` accepts folders without files. Raises InvalidValue for a pattern that is not valid.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    min_size: int = 0
    max_size: int | None = None
    since: int | None = None
    before: int | None = None
    hidden: bool = True
    follow: bool = False
    flatten: bool = False
    keep_name: bool = False
    listing: Listing | None = None
    name: str = ""
    allow_empty: bool = False

    def __post_init__(self) -> None:
        compiled("--include", self.include)
        compiled("--exclude", self.exclude)

    def identity(self, sources: Sequence[bytes]) -> bytes:
        """Return a hash of the sources and rules that distinguishes runs; the same age is the same rule on any day."""
        named = [] if self.name else sorted(map(self._place, sources))
        rules = repr(replace(self, since=None, before=None)).encode("utf-8", "surrogateescape")
        return hashlib.sha256(b"\0".join([*named, rules])).digest()

    def _place(self, source: bytes) -> bytes:
        """Return a source as it is spelled without links, except where the name of a link is part of the paths."""
        place = absolute(source)
        folder, name = os.path.split(place)
        if self.keep_name or not os.path.isdir(place):  # noqa: PTH112
            return os.path.join(os.path.realpath(folder), name)  # noqa: PTH118
        return os.path.realpath(place)


def absolute(source: bytes) -> bytes:
    """Return the absolute path of a source; after a link `..` leads where the system goes, which is elsewhere."""
    if b".." not in source.split(b"/"):
        return os.path.abspath(source)  # noqa: PTH100 - bytes
    folder, name = os.path.split(source.rstrip(b"/"))
    return os.path.realpath(source) if name == b".." else os.path.join(os.path.realpath(folder), name)  # noqa: PTH118


class Filter:
    """Applies rules to the files of a source."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._include = compiled("--include", rules.include)
        self._exclude = compiled("--exclude", rules.exclude)
        self._by_path = bool(rules.include or rules.exclude) or not rules.hidden

    def prunes(self, folder: bytes) -> bool:
        """Return whether nothing in a folder can be taken; its path is relative to the source."""
        return self._by_path and self._leaves_out(os.fsdecode(folder) + "/")

    def takes_path(self, path: bytes) -> bool:
        """Return whether a file with this path relative to the source can be taken."""
        if not self._by_path:
            return True
        text = os.fsdecode(path)
        return not self._leaves_out(text) and (not self._include or bool(self._include.fullmatch(text)))

    def takes_status(self, size: int, mtime: int) -> bool:
        """Return whether a file of this size (bytes) and mtime (ns) is taken."""
        rules = self._rules
        return (
            rules.min_size <= size
            and (rules.max_size is None or size <= rules.max_size)
            and (rules.since is None or mtime >= rules.since)
            and (rules.before is None or mtime < rules.before)
        )

    def _leaves_out(self, path: str) -> bool:
        if not self._rules.hidden and any(map(_is_hidden, path.split("/"))):
            return True
        return bool(self._exclude and self._exclude.fullmatch(path))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") and name not in (".", "..")


@cache
def compiled(option: str, patterns: tuple[str, ...]) -> re.Pattern[str] | None:
    """Compile the patterns of an option, or return None for none; raises InvalidValue."""
    for pattern in patterns:
        try:
            re.compile(_regex(pattern))
        except re.error:
            reason = "its brackets are not valid; write \\[ for a bracket in a name"
            raise InvalidValue(name=option, value=repr(pattern), reason=reason) from None
    return re.compile("|".join(map(_regex, patterns)), re.DOTALL) if patterns else None


def _regex(pattern: str) -> str:
    """Translate a pattern as in a .gitignore: with a slash it starts at the source, without one it matches any name.

    What matches a folder matches everything in it.
    """
    anchored = "/" in pattern.rstrip("/")
    body = "".join(_piece(token) for token in _TOKEN.findall(pattern.strip("/")))
    return ("" if anchored else "(?:.*/)?") + body + ("/.*" if pattern.endswith("/") else "(?:/.*)?")


def _piece(token: str) -> str:
    if token in _WILD:
        return _WILD[token]
    if token[0] == "[" and len(token) > 1:
        negated = token[1] == "!"
        chars = token[1 + negated : -1].replace("\\", "\\\\").replace("[", "\\[").replace("^", "\\^")
        chars = f"\\{chars}" if chars.startswith("]") else chars
        return f"(?!/)[{'^' if negated else ''}{chars}]"
    return re.escape(token[1:] if token[0] == "\\" and len(token) > 1 else token)


EVERYTHING = Rules()
