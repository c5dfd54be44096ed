"""Completion scripts that hold the whole grammar as tables, so that a Tab starts no Python."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from dumacle_cli import commands
from dumacle_cli.commands.options import SHARED
from dumacle_cli.commands.tree import Branch

FILES = "@files"
"""Stands in a table for: complete the names of files."""

EVERYWHERE = "everywhere"
"""The key of what follows any path."""

_FILE_NAMES = {"FILE", "FOLDER"}


@dataclass(frozen=True, slots=True)
class Word:
    """A word that can be typed, and what it means."""

    text: str
    about: str = ""


Table = dict[str, list[Word]]


@dataclass(frozen=True)
class Grammar:
    """What may follow what: keys are paths such as ` users create`, in `values` with the option behind them."""

    children: Table = field(default_factory=dict)
    options: Table = field(default_factory=dict)
    values: Table = field(default_factory=dict)
    arguments: Table = field(default_factory=dict)


def grammar() -> Grammar:
    """Read the whole grammar from the program; imports every group."""
    found = Grammar()
    root = commands.root()
    _read(found, "", root)
    shared = [param for param in root.params if param.name in SHARED]
    found.options[EVERYWHERE] = [*_options(shared), Word("--help", "Show help.")]
    for param in shared:
        _read_values(found, EVERYWHERE, param)
    return found


def _read(found: Grammar, path: str, node: Any) -> None:
    own = [param for param in node.params if param.name not in SHARED and not getattr(param, "hidden", False)]
    found.options[path] = _options(param for param in own if param.param_type_name == "option")
    for param in own:
        _read_values(found, path, param)
    children = _children(node)
    found.children[path] = [Word(name, child.get_short_help_str(100)) for name, child in children.items()]
    for name, child in children.items():
        _read(found, f"{path} {name}", child)


def _children(node: Any) -> dict[str, Any]:
    return node.children() if isinstance(node, Branch) else {}


def _options(params: Any) -> list[Word]:
    return [Word(name, param.help or "") for param in params for name in (*param.opts, *param.secondary_opts)]


def _read_values(found: Grammar, path: str, param: Any) -> None:
    choices = _choices(param.type_descriptor.annotation)
    files = FILES if _is_file(param) else ""
    words = [Word(choice) for choice in choices] or ([Word(files)] if files else [])
    if param.param_type_name == "argument":
        found.arguments.setdefault(path, []).extend(words)
    elif not (param.is_flag or param.count):
        found.values.update({f"{path} {name}": words for name in param.opts})


def _is_file(param: Any) -> bool:
    annotation = param.type_descriptor.annotation
    return Path in (annotation, *get_args(annotation)) or param.metavar in _FILE_NAMES


def _choices(annotation: Any) -> list[str]:
    if get_origin(annotation) is Literal:
        return [str(choice) for choice in get_args(annotation)]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [str(choice.value) for choice in annotation]
    return [choice for part in get_args(annotation) for choice in _choices(part)]


# How each shell writes one entry of a table


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _bash(key: str, words: list[Word]) -> str:
    return f"        {_quoted(key)}) REPLY={_quoted(' '.join(word.text for word in words))} ;;"


def _zsh(key: str, words: list[Word]) -> str:
    items = (_quoted(f"{word.text}:{word.about}" if word.about else word.text) for word in words)
    return f"        {_quoted(key)}) reply=({' '.join(items)}) ;;"


def _fish(key: str, words: list[Word]) -> str:
    def quoted(text: str) -> str:
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

    items = " ".join(f"{quoted(word.text)} {quoted(word.about)}" for word in words)
    return f"        case {quoted(key)}\n            " + (f"printf '%s\\t%s\\n' {items}" if words else "true")


def _powershell(key: str, words: list[Word]) -> str:
    def quoted(text: str) -> str:
        return "'" + text.replace("'", "''") + "'"

    return f"        {quoted(key)} = @({', '.join(quoted(word.text) for word in words)})"


@dataclass(frozen=True, slots=True)
class Shell:
    """A shell: the file that holds its script, and how it writes an entry of a table."""

    file: str
    entry: Callable[[str, list[Word]], str]


SHELLS: Mapping[str, Shell] = {
    "bash": Shell("dumacle.bash", _bash),
    "zsh": Shell("_dumacle", _zsh),
    "fish": Shell("dumacle.fish", _fish),
    "powershell": Shell("dumacle.ps1", _powershell),
}


def script(shell: str) -> str:
    """Return the completion script of a shell."""
    found = SHELLS[shell]
    text = resources.files(__name__).joinpath(f"{found.file}.in").read_text("utf-8")
    for name, table in vars(grammar()).items():
        entries = [found.entry(key, words) for key, words in table.items() if words or name == "values"]
        text = text.replace(f"        @{name}@", "\n".join(entries))
    return text
