"""CORS: which web pages may send files to the bucket of a pod. The rules are the bucket's, so pods share them."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from dumacle_cli.errors import InvalidValue
from dumacle_cli.services import pods
from dumacle_cli.store import places

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dumacle_cli.clients.object_store import ObjectStore
    from dumacle_cli.store.places import Place

    Stores = Callable[[Place], ObjectStore]

METHODS, HEADERS, EXPOSED = ["PUT", "GET", "HEAD"], ["*"], ["ETag"]
NEEDED_HEADERS = ("content-type", "content-md5")
MAX_AGE = 3600
"""Seconds for which a browser keeps the answer."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What pages from these origins may do; `max_age` in seconds."""

    origins: list[str]
    methods: list[str]
    headers: list[str]
    exposed_headers: list[str]
    max_age: int | None


@dataclass(frozen=True, slots=True)
class Cors:
    """The CORS rules of a pod's bucket."""

    pod: str
    provider: str
    rules: list[Rule]


@dataclass(frozen=True, slots=True)
class Origin:
    """Whether pages from an origin may send files to the bucket of a pod, and which rule is missing if not."""

    pod: str
    origin: str
    allowed: bool
    missing: str | None


def checked_origin(origin: str) -> str:
    """Return an origin such as https://app.example.com, or *; raises InvalidValue."""
    if origin != "*" and not re.fullmatch(r"https?://[a-z0-9*]([a-z0-9.-]*[a-z0-9])?(:\d{1,5})?", origin):
        reason = "an origin is a scheme and a host, without a path, such as https://app.example.com"
        raise InvalidValue(name="--origin", value=repr(origin), reason=reason)
    return origin


def place(session: "Session", pod: str, *, changing: bool = False) -> "tuple[str, Place]":
    """Return the name of a pod and its bucket; `changing` is only for those who may change the pod. Raises NotFound."""
    found = pods.get(session, pod, lock=changing)
    return found.name, places.of(found)


def show(objects: "ObjectStore", pod: str) -> Cors:
    """Return the CORS rules of a bucket; raises CorsUnsupported."""
    return _cors(objects, pod, objects.cors())


def allow(objects: "ObjectStore", pod: str, origins: Sequence[str], *, dry_run: bool) -> tuple[Cors, bool]:
    """Let pages from exactly these origins send files to the bucket; other rules stay. Raises CorsUnsupported."""
    rule = {
        "AllowedOrigins": list(origins),
        "AllowedMethods": METHODS,
        "AllowedHeaders": HEADERS,
        "ExposeHeaders": EXPOSED,
        "MaxAgeSeconds": MAX_AGE,
    }
    before = objects.cors()
    wanted = [*(each for each in before if "PUT" not in each["AllowedMethods"]), rule]
    changed = list(map(_rule, before)) != list(map(_rule, wanted))
    if changed and not dry_run:
        objects.set_cors(wanted)
    return _cors(objects, pod, wanted), changed


def check(objects: "ObjectStore", pod: str, origins: Sequence[str]) -> list[Origin]:
    """Return whether pages from these origins may send files, by default all origins of the bucket's rules."""
    rules = list(map(_rule, objects.cors()))
    named = origins or sorted({origin for rule in rules for origin in rule.origins})
    return [_judged(rules, pod, origin) for origin in named]


def _judged(rules: Sequence[Rule], pod: str, origin: str) -> Origin:
    mine = [rule for rule in rules if any(fnmatchcase(origin, pattern) for pattern in rule.origins)]
    puts = [rule for rule in mine if "PUT" in rule.methods]
    sends = [rule for rule in puts if all(_takes(rule, header) for header in NEEDED_HEADERS)]
    missing = "no rule for the origin" if not mine else "no PUT" if not puts else None if sends else "not all headers"
    return Origin(pod, origin, missing is None, missing)


def _takes(rule: Rule, header: str) -> bool:
    return any(fnmatchcase(header, pattern.lower()) for pattern in rule.headers)


def _cors(objects: "ObjectStore", pod: str, rules: Sequence[dict[str, Any]]) -> Cors:
    return Cors(pod, objects.location.provider, list(map(_rule, rules)))


def _rule(rule: dict[str, Any]) -> Rule:
    return Rule(
        origins=list(rule["AllowedOrigins"]),
        methods=list(rule["AllowedMethods"]),
        headers=list(rule.get("AllowedHeaders", ())),
        exposed_headers=list(rule.get("ExposeHeaders", ())),
        max_age=rule.get("MaxAgeSeconds"),
    )
