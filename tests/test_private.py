"""Private files: one module writes them, only regular files are read, and root leaves none in another's folder."""

import ast
import os
import pwd
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

import dumacle_cli
from dumacle_cli import errors, private
from tests.conftest import Run

pytestmark = pytest.mark.unit
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")

PACKAGE = Path(dumacle_cli.__file__).parent
OTHER_WRITERS = {
    "commands/completion.py": "a script that everybody may read",
    "ingest/upload.py": "results, where the user wants them",
    "local/cluster.py": "a line that is added to initdb's own file",
    "services/part_files.py": "downloads, with the modes of the umask",
    "ingest/spool.py": "what comes on standard input, in a temporary file that only its owner may read",
    "transcode/encode.py": "renditions, in a scratch folder",
    "transcode/pieces.py": "media, in a scratch folder",
    "transcode/chunks.py": "what is known of a chunk, in a scratch folder",
    "transcode/join.py": "renditions, in a scratch folder",
    "transcode/hls.py": "playlists, in a scratch folder",
    "transcode/keyframes.py": "playlists, in a scratch folder",
    "transcode/subtitles.py": "subtitles, in a scratch folder",
    "services/inventory.py": "inventories, in a scratch folder",
    "transcode/boundary.py": "an empty file that a confined program tries to read",
    "transcode/fetch.py": "media, in a scratch folder",
    "transcode/report.py": "media, in a scratch folder",
    "transcode/likeness.py": "sound to be compared, in a scratch folder",
}


def is_writer(node: ast.AST) -> bool:
    """Tell whether an expression makes or writes a file; Click's formatter of help has a `write_text`, too."""
    if not isinstance(node, ast.Call):
        return isinstance(node, ast.Attribute) and node.attr == "O_CREAT"
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name in ("write_text", "write_bytes", "mkstemp", "NamedTemporaryFile"):
        return not ast.unparse(node.func).startswith("formatter.")
    words = [word.value for word in ast.walk(node) if isinstance(word, ast.Constant) and isinstance(word.value, str)]
    return name == "open" and any(len(word) <= 3 and set(word) & set("wax+") for word in words)


def writers() -> set[str]:
    trees = {file: ast.parse(file.read_text()) for file in PACKAGE.rglob("*.py")}
    found = [file for file, tree in trees.items() if any(map(is_writer, ast.walk(tree)))]
    return {file.relative_to(PACKAGE).as_posix() for file in found}


def test_private_files_have_one_writer() -> None:
    assert writers() == {"private.py", *OTHER_WRITERS}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)", True),
        ("Path(name).open('ab')", True),
        ("open(name, 'w')", True),
        ("path.write_text('x')", True),
        ("path.open('rb')", False),
        ("os.open(path, os.O_RDONLY)", False),
    ],
)
def test_a_writer_is_recognised(code: str, expected: bool) -> None:
    assert any(map(is_writer, ast.walk(ast.parse(code)))) == expected


@pytest.mark.parametrize("argv", [("config", "list"), ("config", "set", "url_expiry", "62")])
def test_a_pipe_as_configuration_file_is_refused(
    invoke: Run, environment: Callable[..., None], tmp_path: Path, argv: tuple[str, ...]
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    environment(DUMACLE_CONFIG=str(pipe))
    refused = invoke(*argv, "-o", "json", expect=errors.Exit.USAGE)
    assert f"{pipe} cannot be used: it is not a regular file" in refused.error["message"]
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


@pytest.fixture
def home(environment: Callable[..., None], tmp_path: Path) -> Path:
    """The home of the account daemon, in which root runs a command."""
    folder = tmp_path / "home"
    folder.mkdir()
    os.chown(folder, pwd.getpwnam("daemon").pw_uid, -1)
    environment(HOME=str(folder), XDG_CONFIG_HOME=str(folder / ".config"))
    return folder


@as_root
def test_root_makes_no_file_in_the_home_of_another_account(invoke: Run, home: Path) -> None:
    for argv in (("config", "set", "url_expiry", "62"), ("local", "start", "--dry-run")):
        refused = invoke(*argv, "-o", "json", expect=errors.Exit.USAGE)
        assert f"{home} belongs to daemon; run this as daemon, not as root" in refused.error["message"]
        assert list(home.iterdir()) == []


@as_root
def test_root_changes_the_file_of_another_account_and_leaves_it_theirs(invoke: Run, home: Path) -> None:
    uid = pwd.getpwnam("daemon").pw_uid
    file = home / ".config" / "dumacle" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text("url_expiry = 60\n")
    for path in (file, file.parent, file.parent.parent):
        os.chown(path, uid, -1)
    invoke("config", "set", "url_expiry", "62")
    assert "62" in file.read_text()
    assert {path.name: path.stat().st_uid for path in file.parent.iterdir()} == dict.fromkeys(
        ("config.toml", ".config.toml.lock"), uid
    )


def test_a_new_file_replaces_none(tmp_path: Path) -> None:
    private.create(tmp_path / "key", "first", mode=0o400)
    with pytest.raises(FileExistsError):
        private.create(tmp_path / "key", "second")
    (tmp_path / "link").symlink_to("none")
    with pytest.raises(FileExistsError):
        private.create(tmp_path / "link", "second")
    assert (tmp_path / "key").read_text() == "first"
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o400


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    private.write(tmp_path / "state", "before")
    with pytest.raises(UnicodeEncodeError):
        private.write(tmp_path / "state", "\udcff")
    assert (tmp_path / "state").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_drafts_of_killed_commands_are_deleted(tmp_path: Path) -> None:
    for name in (".state.x1.new", ".other.x1.new"):
        (tmp_path / name).write_text("")
    private.sweep(tmp_path / "state")
    assert [path.name for path in tmp_path.iterdir()] == [".other.x1.new"]
