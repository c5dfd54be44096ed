"""How Stripe's API is spoken: the key, form parameters, idempotency, refusals, and faults on demand."""

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from tests.stripe_double.account import DAY, Account, Object, Refused

Handler = Callable[..., Object]
ROUTES: list[tuple[str, re.Pattern[str], Handler]] = []


@dataclass(frozen=True)
class Answer:
    """What goes back: a status, a JSON document and headers."""

    status: int
    body: str
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Fault:
    """What the next requests whose `METHOD /path` begins with `route` meet, but the first; `after` they took effect."""

    route: str
    status: int
    times: int
    after: bool
    first: int = 0


class Api:
    """Answers requests about one account to who has its key; `requests` remembers them, `headers` the last one's."""

    def __init__(self, account: Account, key: str) -> None:
        self.account = account
        self.key = key
        self.requests: list[str] = []
        self.headers: Mapping[str, str] = {}
        self.faults: list[Fault] = []
        self._kept: dict[str, tuple[int, str, Answer]] = {}

    def answer(self, method: str, path: str, text: str, headers: Mapping[str, str]) -> Answer:
        """Answer one request; `text` holds the form-encoded parameters."""
        said = f"{method} {path}"
        self.requests.append(said)
        self.headers = headers
        try:
            self._authorize(headers.get("authorization", ""))
            self._fail(said, after=False)
            answer = self._once(method, path, text, headers.get("idempotency-key", ""))
            self._fail(said, after=True)
        except Refused as refused:
            # Nothing is gained in tests by the pause that the SDK makes before it repeats a 500.
            answer = Answer(refused.status, json.dumps({"error": refused.error}), {"stripe-should-retry": "false"})
        return answer

    def _authorize(self, header: str) -> None:
        if not hmac.compare_digest(header.encode(), f"Bearer {self.key}".encode()):
            raise Refused(401, f"Invalid API Key provided: ****{header[-4:]}")

    def _fail(self, said: str, *, after: bool) -> None:
        for fault in self.faults:
            if fault.times and fault.after == after and said.startswith(fault.route):
                if fault.first:
                    fault.first -= 1
                    continue
                fault.times -= 1
                kind = "invalid_request_error" if fault.status < 500 else "api_error"
                raise Refused(fault.status, "a fault that the test asked for", kind=kind)

    def _once(self, method: str, path: str, text: str, key: str) -> Answer:
        said = hashlib.sha256(f"{method} {path} {text}".encode()).hexdigest()
        at, first, answer = self._kept.get(key, (0, "", None))
        if method == "POST" and answer and self.account.now - at < DAY:
            if first != said:
                raise Refused(
                    400,
                    "Keys for idempotent requests can only be used with the same parameters they were first used with.",
                    kind="idempotency_error",
                )
            return Answer(answer.status, answer.body, {"idempotent-replayed": "true"})
        answer = self._act(method, path, nested(text))
        if method == "POST" and key:
            self._kept[key] = self.account.now, said, answer
        return answer

    def _act(self, method: str, path: str, params: Object) -> Answer:
        try:
            handler, names = _route(method, path)
            return Answer(200, json.dumps(handler(self.account, *names, **params)))
        except Refused as refused:
            # Of refusals only a declined card is an outcome, which a repeat is told again.
            if refused.status != 402:
                raise
            return Answer(402, json.dumps({"error": refused.error}))


def nested(text: str) -> Object:
    """Return form-encoded parameters as the nested objects and lists they stand for."""
    found: Object = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        *outer, last = re.findall(r"[^\[\]]+", name)
        inner = found
        for step in outer:
            inner = inner.setdefault(step, {})
        inner[last] = value
    return {name: _lists(value) for name, value in found.items()}


def _lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {name: _lists(each) for name, each in value.items()}
    return list(inner.values()) if inner and all(name.isdigit() for name in inner) else inner


def _route(method: str, path: str) -> tuple[Handler, tuple[str, ...]]:
    for known, pattern, handler in ROUTES:
        if known == method and (found := pattern.fullmatch(path)):
            return handler, found.groups()
    raise Refused(404, f"Unrecognized request URL ({method}: {path}).")


def on(method: str, path: str, *more: str) -> Callable[[Handler], Handler]:
    """Register a handler: it is called with the account, the ids in the path, and the parameters by name.

    Its keyword parameters and `more` are all that may be given; a default of `...` makes one compulsory.
    """

    def register(handler: Handler) -> Handler:
        allowed = (handler.__kwdefaults__ or {}) | dict.fromkeys(more)

        def call(account: Account, *names: str, **params: Any) -> Object:
            for name in params.keys() - allowed.keys():
                raise Refused(400, f"Received unknown parameter: {name}", "parameter_unknown", param=name)
            for name, default in allowed.items():
                if default is ... and not params.get(name):
                    raise Refused(400, f"Missing required param: {name}.", "parameter_missing", param=name)
            return handler(account, *names, **params)

        ROUTES.append((method, re.compile(re.sub(r"{\w+}", "([^/]+)", path)), call))
        return handler

    return register
