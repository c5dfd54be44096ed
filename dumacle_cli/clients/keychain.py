"""The system's keyring, asked in a child of its own: a silent D-Bus would hang this process for ever."""

import json
import os
import subprocess
import sys
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
json.dump([type(keyring.get_keyring()).__module__, keyring.get_password(service, name)], sys.stdout)
"""
_STORES_NOTHING = ("keyring.backends.fail", "keyring.backends.null")


def backend() -> str:
    """Return the module of the keyring that keeps secrets here; raises ToolFailed where none does."""
    return _ask("read", "doctor")[0]


def read(name: str) -> str | None:
    """Return the secret of this name, or None where there is none; raises ToolFailed."""
    return _ask("read", name)[1]


def store(name: str, secret: str) -> None:
    """Keep a secret and read it back in another process; raises ToolFailed where it is not kept."""
    _ask("store", name, secret)
    if read(name) != secret:
        raise ToolFailed(tool="the keyring", reason="it does not keep what it is given")


def forget(name: str) -> None:
    """Forget the secret of this name, if there is one; raises ToolFailed."""
    _ask("forget", name)


def _ask(verb: Literal["read", "store", "forget"], name: str, secret: str = "") -> tuple[str, str | None]:
    """Do this with the keyring in a child, and return the keyring's module and what it then has of this name."""
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
    module, found = json.loads(done.stdout) if done.returncode == 0 else ("", None)
    if not module or module in _STORES_NOTHING:
        raise ToolFailed(tool="the keyring", reason="this account has none that stores anything")
    return module, found
