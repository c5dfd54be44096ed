"""Who owns a data folder, and how long its logs become."""

import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dumacle_cli import errors, settings
from dumacle_cli.local import folder as folders
from dumacle_cli.local.process import LOG_SIZE, rotate
from tests.conftest import Run

pytestmark = pytest.mark.unit
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@as_root
@pytest.mark.parametrize("holds", ["nothing", "data"])
@pytest.mark.parametrize("verb", ["start", "stop", "status", "reset"])
def test_root_keeps_out_of_the_folder_of_another_account(
    verb: str, holds: str, invoke: Run, environment: Callable[..., None], tmp_path: Path
) -> None:
    daemon = pwd.getpwnam("daemon")
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o700)
    if holds == "data":
        (folder / "secrets.json").write_text(
            '{"postgres_password": "", "owner_password": "", "s3_access_key": "", "s3_secret_key": ""}'
        )
    os.chown(folder, daemon.pw_uid, daemon.pw_gid)
    environment(DUMACLE_DATA_DIR=str(folder), XDG_CONFIG_HOME=str(tmp_path))
    more = ["--yes"] if verb == "reset" else []
    if holds == "nothing" and verb in ("stop", "status"):
        invoke("local", verb, *more)
    elif holds == "nothing" and verb == "reset":
        invoke("local", verb, *more, expect=errors.Exit.CONFLICT)
    else:
        refused = invoke("local", verb, *more, "-o", "json", expect=errors.Exit.USAGE)
        assert refused.error["code"] == "folder-unreachable"
        assert "it belongs to daemon" in refused.error["message"]
        assert not (tmp_path / "dumacle").exists()
    assert [path.name for path in folder.iterdir()] == (["secrets.json"] if holds == "data" else [])


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder of root's that every account can enter; pytest's own is closed to the servers' account."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@as_root
@pytest.mark.parametrize("verb", ["start", "stop", "status", "reset"])
@pytest.mark.parametrize("depth", ["data", "sub/deep"])
@pytest.mark.parametrize("by", ["path", "link"])
@pytest.mark.parametrize("fault", ["another's", "open"])
def test_root_keeps_out_of_what_lies_below_the_folder_of_another_account(
    verb: str, depth: str, by: str, fault: str, invoke: Run, environment: Callable[..., None], open_place: Path
) -> None:
    own = open_place / "own"
    own.mkdir(mode=0o755)
    if fault == "open":
        own.chmod(0o777)
    else:
        os.chown(own, pwd.getpwnam("daemon").pw_uid, -1)
    (open_place / "link").symlink_to(own / depth)
    if verb != "start":
        (own / depth).mkdir(parents=True)
        (own / depth / "secrets.json").write_text(
            '{"postgres_password": "", "owner_password": "", "s3_access_key": "", "s3_secret_key": ""}'
        )
    before = sorted(own.rglob("*"))
    named = own / depth if by == "path" else open_place / "link"
    environment(DUMACLE_DATA_DIR=str(named), XDG_CONFIG_HOME=str(open_place))
    more = ["--yes"] if verb == "reset" else []
    refused = invoke("local", verb, *more, "-o", "json", expect=errors.Exit.USAGE)
    assert refused.error["code"] == "folder-unreachable"
    said = f"every account can write to {own}" if fault == "open" else f"{own} belongs to daemon"
    assert said in refused.error["message"]
    assert sorted(own.rglob("*")) == before


@as_root
@pytest.mark.parametrize("owner", ["root", "the servers' account", "sticky"])
def test_root_uses_folders_below_its_own(owner: str, open_place: Path) -> None:
    above = open_place / "above"
    above.mkdir()
    above.chmod(0o1777 if owner == "sticky" else 0o755)
    if owner == "the servers' account":
        account = folders.system_account()
        os.chown(above, account.uid, account.gid)
    assert folders.prepare(above / "sub" / "deep") == folders.system_account()


def test_roots_servers_lie_beside_the_home_of_the_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    install = (Path(__file__).parents[2] / "docs" / "install.md").read_text()
    assert "--home-dir /var/lib/dumacle " in install
    assert settings.data_dir(settings.Settings(), {}) == Path("/var/lib/dumacle-local")


def test_a_log_is_cut_while_its_server_writes_on(tmp_path: Path) -> None:
    log = tmp_path / "postgres.log"
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "wb", buffering=0) as server:
        server.write(b"old\n" + b"x" * (LOG_SIZE - 8) + b"last\n")
        rotate(log)
        assert log.stat().st_size == 0
        server.write(b"new\n")
    assert log.read_text() == "new\n"
    before = log.with_name("postgres.log.1")
    assert before.stat().st_size == LOG_SIZE
    assert before.read_text().endswith("last\n")
    assert stat.S_IMODE(before.stat().st_mode) == 0o600
    rotate(log)
    assert log.read_text() == "new\n"


def test_a_log_that_is_a_link_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"x" * (LOG_SIZE + 1))
    (tmp_path / "s3.log").symlink_to("other")
    rotate(tmp_path / "s3.log")
    rotate(tmp_path / "none.log")
    assert (tmp_path / "other").stat().st_size == LOG_SIZE + 1
