"""Session logins that are stored between runs: a file for each, with the password in the keyring or in the file.

The file tells every run whether there is a session and whether it expired, without using the keyring.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from dumacle_cli import private, settings
from dumacle_cli.errors import NotLoggedIn, SessionNotKept, ToolFailed

Store = Literal["keyring", "file"]


@dataclass(frozen=True, slots=True)
class Session:
    """A session login: the URL (without a password) that it belongs to, when it expires, and where it is stored."""

    url: str
    login: str
    valid_until: datetime
    store: Store
    password: str | None = field(default=None, repr=False)


def find(environ: Mapping[str, str], url: str) -> Session | None:
    """Return the stored session for this URL, or None, without reading a password from the keyring."""
    try:
        note = json.loads(_note(environ, url).read_text("utf-8"))
        return Session(**note | {"valid_until": datetime.fromisoformat(note["valid_until"])})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):
        raise NotLoggedIn(reason=f"{_note(environ, url)} is damaged") from None


def password(session: Session) -> str:
    """Return the session's password; raises NotLoggedIn if the keyring no longer has it."""
    if session.store == "file" and session.password:
        return session.password
    from dumacle_cli.clients import keychain  # its child process takes 0.2 s, so it is started only if needed

    try:
        login, _, secret = (keychain.read(session.url) or "").partition(" ")
    except ToolFailed as fault:
        raise NotLoggedIn(reason=str(fault)) from None
    if login != session.login:
        raise NotLoggedIn(reason="the keyring no longer has the password of this session")
    return secret


def keep(environ: Mapping[str, str], session: Session, secret: str) -> None:
    """Store a session in place of the one before; raises SessionNotKept if the keyring does not store it."""
    note = {
        "url": session.url,
        "login": session.login,
        "valid_until": session.valid_until.isoformat(),
        "store": session.store,
    }
    if session.store == "file":
        note["password"] = secret
    else:
        _store(session, secret)
    file = _note(environ, session.url)
    private.make_folder(file.parent)
    private.write(file, json.dumps(note))


def _store(session: Session, secret: str) -> None:
    from dumacle_cli.clients import keychain

    try:
        keychain.store(session.url, f"{session.login} {secret}")
    except ToolFailed as fault:
        raise SessionNotKept(reason=str(fault)) from None


def forget(environ: Mapping[str, str], session: Session) -> None:
    """Delete a session and its password; raises ToolFailed if the keyring does not respond."""
    if session.store == "keyring":
        from dumacle_cli.clients import keychain

        keychain.forget(session.url)
    _note(environ, session.url).unlink(missing_ok=True)


def _note(environ: Mapping[str, str], url: str) -> Path:
    name = hashlib.sha256(url.encode()).hexdigest()[:16]
    return settings.user_file(environ).parent / "sessions" / f"{name}.json"
