"""The data folder: its owner, and the secrets in it.

<folder>/bin/<version>/   PostgreSQL's programs     <folder>/secrets.json   0600
<folder>/postgres/        its data and its socket   <folder>/s3.json        port and process of the S3 server
<folder>/s3/<bucket>/     objects as plain files    <folder>/*.log
"""

import json
import os
import pwd
import secrets
import stat
import subprocess
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dumacle_cli import private
from dumacle_cli.errors import FolderUnreachable

SYSTEM_ACCOUNTS = ("dumacle", "postgres", "nobody")
SECRETS = "secrets.json"
DEMO_MEDIA = "demo"
DEMO_MEDIA_UNFINISHED = "demo.part"
# initdb passes its own path to a shell in double quotes.
UNQUOTABLE = frozenset('"$`\\')


@dataclass(frozen=True, slots=True)
class Account:
    """The account that runs the servers and owns the data folder."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Secrets:
    """The random passwords and keys of one data folder; `login` is its owner's PostgreSQL login, or empty."""

    postgres_password: str
    owner_password: str
    s3_access_key: str
    s3_secret_key: str
    login_password: str = ""
    login: str = ""

    def __repr__(self) -> str:
        return "Secrets(…)"


def system_account() -> Account:
    """Return the unprivileged account that runs the servers for root."""
    for name in SYSTEM_ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise FolderUnreachable(
        folder="the data folder", account="root", reason=f"none of the accounts {', '.join(SYSTEM_ACCOUNTS)} exists"
    )


def account_of(folder: Path) -> Account:
    """Return the account that runs the servers of `folder`: its owner, or if new, ours (root: a system account).

    Raises FolderUnreachable if that account is not in passwd, or the folder belongs to another account.
    """
    refuse_foreign(folder)
    uid = folder.stat().st_uid if folder.exists() else os.geteuid()
    if uid == 0:
        return system_account()
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise FolderUnreachable(
            folder=folder, account=f"uid {uid}", reason="PostgreSQL needs an account that is in passwd"
        ) from None
    return Account(entry.pw_name, uid, entry.pw_gid)


def refuse_foreign(folder: Path) -> None:
    """Raise FolderUnreachable if a folder belongs to another account: its files and links cannot be trusted.

    Root may also use folders of its system account. The parents of root's folder must not be writable for other
    accounts, which could otherwise replace the folder.
    """
    try:
        uid = folder.stat().st_uid
    except FileNotFoundError:
        uid = os.geteuid()
    except OSError as error:
        raise FolderUnreachable(folder=folder, account=f"uid {os.geteuid()}", reason=error.strerror) from None
    if not _is_trusted(uid):
        reason = f"it belongs to {_account_name(uid)}, the only account that may run servers in it"
        raise FolderUnreachable(folder=folder, account=_account_name(os.geteuid()), reason=reason)
    if os.geteuid() == 0:
        _refuse_open_parents(folder)


def _refuse_open_parents(folder: Path) -> None:
    for parent in folder.resolve().parents:
        try:
            found = parent.stat()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise FolderUnreachable(folder=folder, account="root", reason=error.strerror) from None
        if not _is_trusted(found.st_uid):
            reason = f"{parent} belongs to {_account_name(found.st_uid)}, which could replace the folder"
            raise FolderUnreachable(folder=folder, account="root", reason=reason)
        if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
            reason = f"every account can write to {parent}, and replace the folder"
            raise FolderUnreachable(folder=folder, account="root", reason=reason)


def _is_trusted(uid: int) -> bool:
    return uid == os.geteuid() or (os.geteuid() == 0 and _name(uid) in SYSTEM_ACCOUNTS)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def _account_name(uid: int) -> str:
    return _name(uid) or f"uid {uid}"


def prepare(folder: Path) -> Account:
    """Ensure that `folder` exists and is private to the account that runs its servers, which is returned.

    Raises FolderUnreachable.
    """
    if UNQUOTABLE.intersection(str(folder)):
        raise FolderUnreachable(
            folder=folder, account="initdb", reason=f"its path contains one of {' '.join(UNQUOTABLE)}"
        )
    try:
        account = account_of(folder)
        _check_access(folder, account)
        if not folder.exists():
            private.make_folder(folder.parent, 0o755 if os.geteuid() == 0 else 0o700)
            make_private(folder, account)
            _check_access(folder, account)
        _check_ours(folder, account)
        folder.chmod(0o700)
    except OSError as error:
        raise FolderUnreachable(folder=folder, account=f"uid {os.geteuid()}", reason=error.strerror) from None
    return account


def is_ours(folder: Path) -> bool:
    """Return whether Dumacle created this data folder."""
    return (folder / SECRETS).is_file()


def make_private(folder: Path, account: Account) -> Path:
    """Create a folder that only `account` can open, unless it exists."""
    if folder.exists():
        return folder
    # It is renamed after its owner is set: otherwise a concurrent start sees a folder that belongs to root.
    fresh = Path(tempfile.mkdtemp(prefix=".dumacle-", dir=folder.parent))
    give(fresh, account)
    try:
        fresh.rename(folder)
    except OSError:
        fresh.rmdir()
        if not folder.is_dir():
            raise
    return folder


def give(path: Path, account: Account) -> None:
    """Change the owner of a file that root created to `account`."""
    if os.geteuid() == 0:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def write_private(path: Path, text: str, account: Account) -> None:
    """Replace a file of the data folder, readable by `account` only; call it while holding the folder's lock."""
    private.sweep(path)
    private.write(path, text, owner=(account.uid, account.gid) if os.geteuid() == 0 else None)


def read_secrets(folder: Path) -> Secrets | None:
    """Return the secrets of a data folder, or None if it has none yet; raises FolderUnreachable."""
    try:
        found = (folder / SECRETS).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FolderUnreachable(folder=folder, account=f"uid {os.geteuid()}", reason=error.strerror) from None
    refuse_foreign(folder)
    return Secrets(**json.loads(found))


def ensure_secrets(folder: Path, account: Account) -> Secrets:
    """Return the secrets of a prepared data folder, generated at random and saved before a server uses them."""
    found = read_secrets(folder) or Secrets(*(secrets.token_hex(size) for size in (32, 32, 24, 32)))
    if not found.login_password:
        found = replace(found, login_password=secrets.token_hex(32))
        save_secrets(folder, found, account)
    return found


def save_secrets(folder: Path, secrets: Secrets, account: Account) -> None:
    """Write the secrets of a data folder."""
    write_private(folder / SECRETS, json.dumps(asdict(secrets)), account)


def _check_access(folder: Path, account: Account) -> None:
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if os.geteuid() != 0:
        return
    # Tested by running as that account: mode bits alone do not show ACLs and mounts.
    probe = subprocess.run(
        ["/bin/sh", "-c", 'test -x "$0"', str(nearest)],
        user=account.uid,
        group=account.gid,
        extra_groups=[],
        cwd="/",
        env={},
        check=False,
    )
    if probe.returncode != 0:
        raise FolderUnreachable(folder=folder, account=account.name, reason=f"that account has no access to {nearest}")


def _check_ours(folder: Path, account: Account) -> None:
    if folder.stat().st_uid != account.uid:
        reason = f"it belongs to root; name a folder that does not exist yet, or chown it to {account.name}"
        raise FolderUnreachable(folder=folder, account=account.name, reason=reason)
    # The folder is listed before the secrets are checked: a concurrent first start writes them before its other files.
    names = {entry.name for entry in folder.iterdir()} - {"lock", SECRETS}
    others = [name for name in names if not name.startswith(f".{SECRETS}.")]  # its temporary files
    if others and not is_ours(folder):
        raise FolderUnreachable(folder=folder, account=account.name, reason="it contains files that are not Dumacle's")
