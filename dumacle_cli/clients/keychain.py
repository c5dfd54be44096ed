"""The system's keyring, used in a child process, because a D-Bus that does not respond would block forever."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Literal

from dumacle_cli.errors import ToolFailed
from dumacle_cli.settings import without_secrets

TIMEOUT = 3.0
SERVICE = "dumacle"
_CHILD = """
import json
import sys

import keyring
from keyring.errors import PasswordDeleteError

verb, service, name, secret = json.load(sys.stdin)
if verb == "store":
    keyring.set_password(service, name, secret)
elif verb == "forget":
    try:
        keyring.delete_password(service, name)
    except PasswordDeleteError:
        pass
ring = keyring.get_keyring()
ring = next(iter(getattr(ring, "backends", ())), ring)  # the first keyring of a chain stores
kinds = [f"{kind.__module__}.{kind.__name__}" for kind in type(ring).__mro__]
json.dump([kinds, keyring.get_password(service, name)], sys.stdout)
"""
_STORES_NOTHING = ("keyring.backends.fail", "keyring.backends.null")


@dataclass(frozen=True, slots=True)
class Backend:
    """The keyring in use, and whether it stores secrets in clear text."""

    name: str
    clear_text: bool

    def __str__(self) -> str:
        return f"{self.name}, which stores secrets in clear text" if self.clear_text else self.name


def backend() -> Backend:
    """Return the keyring in use; raises ToolFailed if there is none."""
    return _run("read", "doctor")[0]


def read(name: str) -> str | None:
    """Return the secret with this name, or None; raises ToolFailed."""
    return _run("read", name)[1]


def store(name: str, secret: str) -> None:
    """Store a secret and check it from another process; raises ToolFailed, also if it would be stored in clear text."""
    found = backend()
    if found.clear_text:
        raise ToolFailed(tool="the keyring", reason=f"it is {found}")
    _run("store", name, secret)
    if read(name) != secret:
        raise ToolFailed(tool="the keyring", reason="it did not store the secret")


def forget(name: str) -> None:
    """Delete the secret with this name, if there is one; raises ToolFailed."""
    _run("forget", name)


def _run(verb: Literal["read", "store", "forget"], name: str, secret: str = "") -> tuple[Backend, str | None]:
    """Use the keyring in a child process, and return the keyring and the secret that it now has under this name."""
    try:
        # -P keeps modules in the working directory from being imported. The secret goes through a pipe: argv is public.
        done = subprocess.run(
            [sys.executable, "-P", "-c", _CHILD],
            input=json.dumps([verb, SERVICE, name, secret]),
            env=without_secrets(os.environ),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ToolFailed(tool="the keyring", reason=f"no response within {TIMEOUT:g} s") from None
    kinds, found = json.loads(done.stdout) if done.returncode == 0 else ([], None)
    if not kinds or kinds[0].startswith(_STORES_NOTHING):
        raise ToolFailed(tool="the keyring", reason="this account has no keyring that stores secrets")
    return Backend(kinds[0], any("plaintext" in kind.lower() for kind in kinds)), found
