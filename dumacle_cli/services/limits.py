"""Limits of single files: which media types and sizes the settings, a pod and its owner's plan accept."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from dumacle_cli.errors import FileTooLarge, InvalidValue, TypeNotAllowed
from dumacle_cli.escapes import quoted
from dumacle_cli.store import limits as store
from dumacle_cli.store.limits import Accepted
from dumacle_cli.units import parse_size, show_size

ANY, UNLIMITED = "any", "unlimited"
_TYPE = re.compile(r"[a-z0-9][\w.+-]*/([a-z0-9][\w.+-]*|\*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Limit:
    """What one source accepts, and how it is changed."""

    source: str
    accepted: Accepted
    advice: str


def columns(allow_types: str | None, max_file_size: str | None) -> dict[str, Any]:
    """Return the columns for the options that were given; `any` and `unlimited` take a limit away.

    Raises InvalidValue.
    """
    found: dict[str, Any] = {}
    if allow_types is not None:
        found["allowed_types"] = None if allow_types == ANY else _types(allow_types)
    if max_file_size is not None:
        found["max_file_size"] = None if max_file_size == UNLIMITED else parse_size(max_file_size, "--max-file-size")
    return found


def _types(text: str) -> list[str]:
    types = list(dict.fromkeys(each.strip().lower() for each in text.split(",")))
    for each in types:
        if not _TYPE.fullmatch(each):
            reason = "it is a list of media types such as video/*,image/png, or any"
            raise InvalidValue(name="--allow-types", value=repr(text), reason=reason)
    return types


def allowed(types: Sequence[str] | None, content_type: str) -> bool:
    """Return whether a media type is one of these, of which video/* stands for all videos; None allows any."""
    family = f"{content_type.partition('/')[0]}/*"
    return types is None or content_type in types or family in types


def of_setting(size: int) -> Limit:
    """Return the limit that the setting max_file_size makes (bytes)."""
    return Limit("the setting max_file_size", Accepted(max_file_size=size), "raise the setting max_file_size")


def of_pod(session: Session, pod_id: int) -> Limit:
    """Return the limit of a pod."""
    name, accepted = store.of_pod(session, pod_id)
    return Limit(f"pod {quoted(name)}", accepted, f"to change that: dumacle pods update {quoted(name)}")


def of(session: Session, pod_id: int, user_id: int) -> list[Limit]:
    """Return the limits of a pod and of a user's plan, if they have one."""
    found = [of_pod(session, pod_id)]
    if plan := store.of_user(session, user_id):
        name = quoted(plan[0])
        found.append(Limit(f"plan {name}", plan[1], f"to change that: dumacle plans update {name}"))
    return found


def require(session: Session, pod_id: int, user_id: int, path: str, size: int, content_type: str) -> None:
    """Check a file against the limits of its pod and its owner's plan; raises FileTooLarge, TypeNotAllowed."""
    for limit in of(session, pod_id, user_id):
        require_size([limit], path, size)
        require_type([limit], path, content_type)


def require_size(found: Iterable[Limit], path: str, size: int) -> None:
    """Check a size (bytes) against limits; raises FileTooLarge."""
    for limit in found:
        most = limit.accepted.max_file_size
        if most is not None and size > most:
            raise too_large(path, size, limit)


def require_type(found: Iterable[Limit], path: str, content_type: str) -> None:
    """Check a media type against limits; raises TypeNotAllowed."""
    for limit in found:
        types = limit.accepted.allowed_types
        if types is not None and not allowed(types, content_type):
            what = {"path": path, "type": content_type, "source": limit.source, "allowed": ", ".join(types)}
            raise TypeNotAllowed(**what, advice=f"{limit.advice} --allow-types LIST")


def too_large(path: str, size: int, limit: Limit) -> FileTooLarge:
    """Return the error for a file that is larger than a limit."""
    most = show_size(limit.accepted.max_file_size or 0)
    option = " --max-file-size SIZE" if limit.advice.startswith("to change") else ""
    return FileTooLarge(
        path=path, size=show_size(size), source=limit.source, limit=most, advice=f"{limit.advice}{option}"
    )
