"""The hook: a command of the operator's, or a URL, that is told of each transcode that ended."""

import hashlib
import hmac
import os
import shlex
import subprocess
import time
from collections.abc import Callable
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from dumacle_cli.clients.proxies import SCHEMES, proxy_of
from dumacle_cli.errors import NotConfigured, ToolFailed

Hook = Callable[[str, bytes], None]
"""Is told of a call by its id and body; raises ToolFailed."""
SETTING = "transcode_hook"
TIMEOUT = 30.0
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")
"""What a command has of the environment: the rest may be secrets."""


def of(target: str, secret: str | None) -> Hook:
    """Return the hook that a setting names; raises NotConfigured for a URL without a secret."""
    if not target.startswith(("https://", "http://")):
        return lambda number, body: _run(target, number, body)
    if not secret:
        raise NotConfigured(what="the secret that signs what the hook is told", setting="transcode_hook_secret")
    return lambda number, body: _post(target, secret.encode(), number, body)


def _run(command: str, number: str, body: bytes) -> None:
    """Run a command with the body on standard input."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    try:
        done = subprocess.run(
            shlex.split(command),
            env={**kept, "DUMACLE_CALL": number},
            input=body,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _failed(f"not finished within {TIMEOUT:g} s") from None
    except (OSError, ValueError) as fault:
        raise _failed(getattr(fault, "strerror", None) or str(fault)) from None
    if done.returncode:
        raise _failed(f"exit {done.returncode}")


class _Stay(HTTPRedirectHandler):
    """Follows no redirection: what is told is meant for the URL in the setting only."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _post(url: str, secret: bytes, number: str, body: bytes) -> None:
    """Post the body, signed as Stripe signs: the time and the HMAC of time, dot and body."""
    stamp = str(int(time.time())).encode()
    signature = hmac.new(secret, stamp + b"." + body, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/json",
        "Dumacle-Call": number,
        "Dumacle-Signature": f"t={stamp.decode()},v1={signature}",
    }
    proxy = proxy_of(url)
    opener = build_opener(ProxyHandler(dict.fromkeys(SCHEMES, proxy) if proxy else {}), _Stay())
    try:
        with opener.open(Request(url, body, headers, method="POST"), timeout=TIMEOUT):  # noqa: S310 - https or http
            return
    except HTTPError as fault:
        with fault:
            raise _failed(f"it answered {fault.code}") from None
    except (OSError, HTTPException) as fault:
        reason = getattr(fault, "reason", None) or fault
        raise _failed(str(getattr(reason, "strerror", None) or reason)) from None


def _failed(reason: str) -> ToolFailed:
    return ToolFailed(tool=SETTING, reason=reason)
