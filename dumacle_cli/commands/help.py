"""Texts of help pages and usage errors, without the names of Python types and the sentences of pydantic."""

from collections.abc import Iterable, Sequence
from typing import Any

ENDLESS = 2**63 - 1
"""The largest bigint; as a limit not worth showing."""

_STAND_INS = {" ": "\N{NO-BREAK SPACE}", "-": "\N{NON-BREAKING HYPHEN}"}
"""Stand-ins for spaces and hyphens where a line must not break; replaced once the lines are made."""
_WHOLE, _WRITTEN = str.maketrans(_STAND_INS), str.maketrans({stand: char for char, stand in _STAND_INS.items()})

Rows = Sequence[tuple[str, str]]


def write(formatter: Any, title: str, rows: Rows) -> None:
    """Write a titled list of names with their descriptions; nothing if it is empty."""
    if rows:
        with formatter.section(title):
            formatter.write_dl(rows, col_max=formatter.width // 3)
        _written(formatter)


def mention(formatter: Any, title: str, params: Iterable[Any], where: str) -> None:
    """Write only the shortest names of options under a title, and which help explains them."""
    names = ", ".join([*(min(param.opts, key=len) for param in params), "-h"])
    with formatter.section(title):
        formatter.write_text(names.replace("-", _STAND_INS["-"]))
        formatter.write_text(f"Explained in: {where.translate(_WHOLE)}")
    _written(formatter)


def _written(formatter: Any) -> None:
    formatter.buffer[:] = [text.translate(_WRITTEN) for text in formatter.buffer]


def rows(params: Iterable[Any], kind: str) -> Rows:
    """Return the names and descriptions of the parameters of a kind: argument or option."""
    return [
        (_name(param), _meaning(param))
        for param in params
        if param.param_type_name == kind and not getattr(param, "hidden", False)
    ]


def panels(params: Iterable[Any]) -> Iterable[tuple[str, list[Any]]]:
    """Return the titles under which parameters are listed, each with its parameters."""
    found: dict[str, list[Any]] = {"Options": []}
    for param in params:
        found.setdefault(getattr(param, "rich_help_panel", None) or "Options", []).append(param)
    return found.items()


def pieces(params: Iterable[Any]) -> list[str]:
    """Return what follows the command in its usage line."""
    mine = list(params)
    needed = [_wanted(param) for param in mine if param.required and param.param_type_name == "option"]
    return ["[OPTIONS]", *needed, *(_wanted(param) for param in mine if param.param_type_name == "argument")]


def refusal(error: Any) -> str:
    """Say in one sentence what is wrong with the arguments, and what is allowed."""
    from typer._click.exceptions import BadParameter, MissingParameter

    param = getattr(error, "param", None)
    if isinstance(error, MissingParameter) and param:
        words = _listed(choices(param))
        command = error.ctx.command_path.partition(" ")[2] if error.ctx else "dumacle"
        return f"{command} needs {_wanted(param)}" + (f": {words}" if words else "")
    if isinstance(error, BadParameter) and param and hasattr(error.__cause__, "errors"):
        value, reason = _cause(error.__cause__)
        return f"{called(param)} cannot be {value!r}: {_right(param) or reason}"
    message: str = error.format_message()
    return message


def choices(param: Any) -> list[str]:
    """Return the values that a parameter allows; none if it allows any."""
    return [str(choice) for choice in param.type_descriptor.choices or ()]


def _listed(words: Sequence[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def called(param: Any) -> str:
    """Return the name of a parameter: of an option the long one."""
    return max(param.opts, key=len) if param.param_type_name == "option" else _placeholder(param)


def _placeholder(param: Any) -> str:
    return str(param.metavar or max(param.opts, key=len).strip("-").replace("-", "_").upper())


def _wanted(param: Any) -> str:
    """Return how to type a parameter: `--owner USER`, `PATH...`, `[FILE]`."""
    if param.param_type_name == "option":
        return f"{called(param)} {_placeholder(param)}"
    name = _placeholder(param) + ("..." if param.nargs == -1 else "")
    return name if param.required else f"[{name}]"


def _name(param: Any) -> str:
    if param.param_type_name == "argument":
        return _placeholder(param)
    names = ", ".join(sorted(param.opts, key=len))
    if param.is_flag or param.count:
        return names.replace("--", "--[no-]") if param.secondary_opts else names
    return f"{names} {_placeholder(param)}"


def _meaning(param: Any) -> str:
    words = _listed(choices(param))
    about = f"{param.help.removesuffix('.')}: {words}." if words else param.help
    notes = []
    if param.default and not getattr(param, "is_flag", False):
        notes.append(f"default: {param.default}".translate(_WHOLE))
    if param.max not in (None, ENDLESS):
        notes.append(f"at most {param.max}".translate(_WHOLE))
    if param.required and param.param_type_name == "option":
        notes.append("required")
    return f"{about}  [{', '.join(notes)}]" if notes else about


def _right(param: Any) -> str:
    """Say what a parameter allows; empty if only its parser knows."""
    if words := _listed(choices(param)):
        return f"it is {words}"
    kind = {int: "a whole number", float: "a number"}.get(_single(param.type_descriptor.annotation))
    if kind is None:
        return ""
    if param.max not in (None, ENDLESS):
        return f"it is {kind} from {param.min} to {param.max}"
    return f"it is {kind}" + ("" if param.min is None else f", at least {param.min}")


def _single(annotation: Any) -> Any:
    """Return the type of the items of a list, or the type itself."""
    return getattr(annotation, "__args__", (annotation,))[0]


def _cause(fault: Any) -> tuple[object, str]:
    """Return the value that pydantic refused, and why; for a list, that of its item."""
    first = fault.errors()[0]
    inner = first.get("ctx", {}).get("error")
    if hasattr(inner, "errors"):
        return _cause(inner)
    return first["input"], str(inner or first["msg"])
