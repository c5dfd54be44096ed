"""The key that encrypts credentials, from a file, a systemd credential or the system's keyring.

It is stored as the base64 of its 32 bytes. Every function raises InvalidValue for an unknown kind of source.
"""

import base64
import binascii
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from dumacle_cli import private
from dumacle_cli.clients import keychain
from dumacle_cli.clients.envelope import KEY_BYTES, Key
from dumacle_cli.errors import Conflict, InvalidValue, KeyUnusable

LONGEST = 1024
RING = "key "
"""Prefix of names in the keyring, which also holds logins."""

PRIVATE = "chmod 0400 {}"
RESTORE = "restore it from its escrow copy, or create one: dumacle key create"


def load(source: str, environ: Mapping[str, str], typed: str = "key_source") -> Key:
    """Return the key at a source; raises KeyUnusable if it is missing, damaged or readable by others.

    `typed` is the setting or option that named the source.
    """
    kind, name = _parsed(source, typed)
    if kind == "file":
        text = _read(source, Path(name), private=True)
    elif kind == "credential":
        text = _read(source, Path(_credentials(source, environ), name), private=False)
    else:
        text = keychain.read(RING + name) or ""
    try:
        secret = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if len(secret) != KEY_BYTES:
        reason = f"it is not the base64 of {KEY_BYTES} bytes" if text else "it does not exist"
        raise KeyUnusable(source=source, reason=reason, advice=RESTORE)
    return Key(secret)


def create(source: str) -> Key:
    """Create a key; a file gets mode 0400. Raises Conflict if the source exists."""
    check_free(source)
    kind, name = _parsed(source, "SOURCE")
    key = Key(os.urandom(KEY_BYTES))
    text = base64.b64encode(key.secret).decode()
    if kind == "file":
        _write(source, Path(name), text)
    else:
        keychain.store(RING + name, text)
    return key


def check_free(source: str) -> None:
    """Raise Conflict if the source exists."""
    kind, name = _parsed(source, "SOURCE")
    if kind == "credential":
        reason = "systemd provides credentials from files"
        raise InvalidValue(name="SOURCE", value=repr(source), reason=reason, advice="give file:/path or keyring:NAME")
    if os.path.lexists(name) if kind == "file" else keychain.read(RING + name):
        raise _taken(source)


def _parsed(source: str, typed: str) -> tuple[str, str]:
    kind, _, name = source.partition(":")
    if kind not in ("file", "credential", "keyring") or not name or (kind == "credential" and "/" in name):
        reason = "it must be file:/path, credential:NAME or keyring:NAME"
        raise InvalidValue(name=typed, value=repr(source), reason=reason)
    return kind, name


def _credentials(source: str, environ: Mapping[str, str]) -> str:
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        reason = "CREDENTIALS_DIRECTORY is not set, so systemd did not start this process"
        raise KeyUnusable(source=source, reason=reason, advice="add to the unit file: LoadCredential=NAME:/path")
    return folder


def _read(source: str, path: Path, *, private: bool) -> str:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if private and mode & 0o077:
                reason = f"its mode is {mode:04o}, so other users can access it"
                raise KeyUnusable(source=source, reason=reason, advice=PRIVATE.format(path))
            return file.read(LONGEST).decode("ascii", "replace")
    except OSError as error:
        raise KeyUnusable(source=source, reason=error.strerror or "it cannot be read", advice=RESTORE) from None


def _write(source: str, path: Path, text: str) -> None:
    try:
        private.create(path, text + "\n", mode=0o400)
    except FileExistsError:
        raise _taken(source) from None


def _taken(source: str) -> Conflict:
    return Conflict(reason=f"{source} already exists", advice="choose another source; keys are never overwritten")
