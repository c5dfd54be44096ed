"""The system's keyring, asked in a child of its own: a silent D-Bus would hang this process for ever."""

import subprocess
import sys

from dumacle_cli.errors import ToolFailed

PATIENCE = 3.0
_ASK = """
import keyring
found = keyring.get_keyring()
keyring.get_password("dumacle", "doctor")
print(type(found).__module__)
"""
_STORES_NOTHING = ("keyring.backends.fail", "keyring.backends.null")


def backend() -> str:
    """Return the module of the keyring that keeps secrets here; raises ToolFailed where none does."""
    try:
        # -P: no module of the working directory may pass for the keyring.
        done = subprocess.run(
            [sys.executable, "-P", "-c", _ASK],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ToolFailed(tool="the keyring", reason=f"no answer within {PATIENCE:g} s") from None
    name = done.stdout.strip()
    if done.returncode or name in _STORES_NOTHING:
        raise ToolFailed(tool="the keyring", reason="this account has none that stores anything")
    return name
