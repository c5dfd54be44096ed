"""Find things by a typed name: exactly as stored, or as a table or JSON shows it."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from dumacle_cli.errors import Conflict, NotFound
from dumacle_cli.escapes import alike, readings
from dumacle_cli.ids import parse_id

T = TypeVar("T")


def resolve(typed: str, find: Callable[[str], T | None]) -> T | None:
    """Return the row that a typed name or id refers to, or None; raises Conflict if there are several."""
    found: dict[Any, T] = {}
    names = [name for name in (*readings(typed), *readings(typed.strip())) if name == typed or parse_id(name) is None]
    for name in dict.fromkeys(names):
        if (one := find(name)) is not None:
            found[getattr(one, "id", one)] = one
    if len(found) > 1:
        raise Conflict(reason=f"{typed} is ambiguous: it may name several things", advice="give its id instead")
    return next(iter(found.values()), None)


def missing(kind: str, typed: str, find: Callable[[str], T | None], called: Callable[[T], str]) -> NotFound:
    """Return the error for a typed name, with an existing one that differs only in its Unicode normal form."""
    guess = next((called(one) for form in _forms(typed) if (one := find(form)) is not None), "")
    return NotFound(kind, typed, guess=guess)


def _forms(typed: str) -> Iterable[str]:
    return dict.fromkeys(form.strip() for form in alike(typed))
