"""The system's keyring, asked in a child of its own: a silent D-Bus would hang this process for ever."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Literal

from dumacle_cli.errors import ToolFailed
from dumacle_cli.settings import without_secrets

PATIENCE = 3.0
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
ring = next(iter(getattr(ring, "backends", ())), ring)  # of a chain, the first one is what stores
kinds = [f"{kind.__module__}.{kind.__name__}" for kind in type(ring).__mro__]
json.dump([kinds, keyring.get_password(service, name)], sys.stdout)
"""
_STORES_NOTHING = ("keyring.backends.fail", "keyring.backends.null")


@dataclass(frozen=True, slots=True)
class Backend:
    """The keyring that keeps secrets here, and whether it keeps them as they are, in a file."""

    name: str
    clear_text: bool

    def __str__(self) -> str:
        return f"{self.name}, which keeps secrets in clear text" if self.clear_text else self.name


def backend() -> Backend:
    """Return the keyring that keeps secrets here; raises ToolFailed where none does."""
    return _ask("read", "doctor")[0]


def read(name: str) -> str | None:
    """Return the secret of this name, or None where there is none; raises ToolFailed."""
    return _ask("read", name)[1]


def store(name: str, secret: str) -> None:
    """Keep a secret and read it back in another process; raises ToolFailed where it is not kept, or in clear text."""
    found = backend()
    if found.clear_text:
        raise ToolFailed(tool="the keyring", reason=f"it is {found}")
    _ask("store", name, secret)
    if read(name) != secret:
        raise ToolFailed(tool="the keyring", reason="it does not keep what it is given")


def forget(name: str) -> None:
    """Forget the secret of this name, if there is one; raises ToolFailed."""
    _ask("forget", name)


def _ask(verb: Literal["read", "store", "forget"], name: str, secret: str = "") -> tuple[Backend, str | None]:
    """Do this with the keyring in a child, and return the keyring and what it then has of this name."""
    try:
        # -P: no module of the working directory may pass for the keyring. The secret goes by a pipe: argv is public.
        done = subprocess.run(
            [sys.executable, "-P", "-c", _CHILD],
            input=json.dumps([verb, SERVICE, name, secret]),
            env=without_secrets(os.environ),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ToolFailed(tool="the keyring", reason=f"no answer within {PATIENCE:g} s") from None
    kinds, found = json.loads(done.stdout) if done.returncode == 0 else ([], None)
    if not kinds or kinds[0].startswith(_STORES_NOTHING):
        raise ToolFailed(tool="the keyring", reason="this account has none that stores anything")
    return Backend(kinds[0], any("plaintext" in kind.lower() for kind in kinds)), found
