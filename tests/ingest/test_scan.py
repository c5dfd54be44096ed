"""Scanning: every kind of thing at a source is named once, and nothing stops the walk."""

import os
import shutil
import socket
from pathlib import Path

import pytest

from dumacle_cli import paths
from dumacle_cli.errors import NotFound
from dumacle_cli.ingest.items import Item, Problem, Result
from dumacle_cli.ingest.scan import LONGEST, opened, reason, scan
from dumacle_cli.ingest.selection import EVERYTHING, Rules

pytestmark = pytest.mark.unit


def found(*sources: Path, prefix: str = "") -> dict[str, Item | Problem]:
    listed = list(scan([os.fsencode(source) for source in sources], prefix))
    assert len({each.path for each in listed}) + sum(isinstance(each, Problem) for each in listed) >= len(listed)
    return {each.path: each for each in listed}


def test_a_tree(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "deep.jpg").write_bytes(b"12345")
    (tmp_path / "top.jpg").write_bytes(b"")
    os.utime(tmp_path / "top.jpg", ns=(0, 1_234_567_891))
    listed = found(tmp_path)
    assert set(listed) == {"a/b/deep.jpg", "top.jpg"}
    assert listed["a/b/deep.jpg"].size == 5
    assert (listed["top.jpg"].size, listed["top.jpg"].mtime_ns) == (0, 1_234_567_891)


def test_prefix_and_single_file(tmp_path: Path) -> None:
    (tmp_path / "one.jpg").write_bytes(b"1")
    assert set(found(tmp_path / "one.jpg", prefix="2026/")) == {"2026/one.jpg"}
    assert set(found(tmp_path, prefix="2026/")) == {"2026/one.jpg"}


def test_folder_given_in_other_ways_has_the_same_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "one.jpg").write_bytes(b"1")
    monkeypatch.chdir(tmp_path / "sub")
    for source in (Path(), Path("../sub"), tmp_path / "sub"):
        assert set(found(source)) == {"one.jpg"}


def test_dots_after_a_link_lead_where_the_system_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "real" / "one.jpg").write_bytes(b"1")
    (tmp_path / "other.jpg").write_bytes(b"2")
    (tmp_path / "link").symlink_to("real/deep")
    (tmp_path / "latest").symlink_to("other.jpg")
    monkeypatch.chdir(tmp_path)
    assert set(found(Path("link/.."))) == set(found(Path("link/../one.jpg"))) == {"one.jpg"}
    assert set(found(Path("link/../../latest"))) == {"latest"}
    identities = {EVERYTHING.identity([each]) for each in (b"real", b"link/..", b"real/deep/../")}
    assert len(identities) == 1


@pytest.mark.parametrize(
    "name",
    [b"caf\xe9.jpg", b"two\nlines.jpg", b"back\\slash.jpg", b"\xff" * 255, b"x" * 251 + b".jpg", b" ", b"-o", b"*"],
)
def test_any_name(tmp_path: Path, name: bytes) -> None:
    (tmp_path / os.fsdecode(name)).write_bytes(b"here")
    (only,) = found(tmp_path).values()
    assert isinstance(only, Item)
    assert (only.source, paths.decode(only.path)) == (os.fsencode(tmp_path) + b"/" + name, name)


def test_what_is_no_file_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "real.jpg").write_bytes(b"1")
    (tmp_path / "link").symlink_to("real.jpg")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        listed = found(tmp_path)
    assert isinstance(listed.pop("real.jpg"), Item)
    assert {path: (each.result, each.reason) for path, each in listed.items()} == {
        "link": (Result.SKIPPED, "a symbolic link is not followed"),
        "dangling": (Result.SKIPPED, "a symbolic link is not followed"),
        "loop": (Result.SKIPPED, "a symbolic link is not followed"),
        "pipe": (Result.SKIPPED, "a named pipe is not a file"),
        "socket": (Result.SKIPPED, "a socket is not a file"),
    }


@pytest.mark.parametrize("target", ["real.jpg", "sub/../real.jpg", "link-to-link"])
def test_a_named_link_is_followed(tmp_path: Path, target: str) -> None:
    (tmp_path / "real.jpg").write_bytes(b"12345")
    (tmp_path / "sub").mkdir()
    (tmp_path / "link-to-link").symlink_to("real.jpg")
    (tmp_path / "latest.jpg").symlink_to(target)
    (only,) = found(tmp_path / "latest.jpg", prefix="2026/").values()
    assert isinstance(only, Item)
    assert (only.path, only.size) == ("2026/latest.jpg", 5)
    with opened(only.source) as handle:
        assert handle.read() == b"12345"


def test_a_named_link_to_a_folder_is_walked(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "one.jpg").write_bytes(b"1")
    (tmp_path / "real" / "link.jpg").symlink_to("one.jpg")
    (tmp_path / "link").symlink_to("real")
    listed = found(tmp_path / "link")
    assert isinstance(listed["one.jpg"], Item)
    assert listed["link.jpg"] == Problem("link.jpg", Result.SKIPPED, "a symbolic link is not followed")


def test_what_is_named_and_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to-pipe").symlink_to("pipe")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "real.jpg").write_bytes(b"1")
    named = [tmp_path / name for name in ("pipe", "to-pipe", "dangling", "circle", "real.jpg", "socket")]
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        listed = found(*named, Path(os.devnull))
    assert isinstance(listed.pop("real.jpg"), Item)
    assert {path: (each.result, each.reason) for path, each in listed.items()} == {
        "pipe": (Result.REFUSED, "a named pipe is not a file"),
        "to-pipe": (Result.REFUSED, "a named pipe is not a file"),
        "socket": (Result.REFUSED, "a socket is not a file"),
        "null": (Result.REFUSED, "a device is not a file"),
        "dangling": (Result.FAILED, "the symbolic link leads to nothing"),
        "circle": (Result.FAILED, "too many levels of symbolic links"),
    }


def test_a_named_folder_without_files_is_refused(tmp_path: Path) -> None:
    for name in ("disk", "card", "deep/deeper", "full"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "full" / "one.jpg").write_bytes(b"1")
    (tmp_path / "link").symlink_to("disk")
    empty = [tmp_path / name for name in ("disk", "card", "deep", "link")]
    listed = found(*empty, tmp_path / "full", prefix="2026/")
    assert isinstance(listed.pop("2026/one.jpg"), Item)
    assert {path: each.result for path, each in listed.items()} == dict.fromkeys(map(str, empty), Result.REFUSED)
    sources = [os.fsencode(source) for source in empty]
    assert list(scan(sources, "", Rules(allow_empty=True))) == []


def test_a_folder_in_which_something_is_skipped_is_not_empty(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    assert {path: each.result for path, each in found(tmp_path).items()} == {"link": Result.SKIPPED}


def test_what_is_skipped_takes_no_path(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "one" / "same.jpg").symlink_to("nowhere")
    (tmp_path / "two" / "same.jpg").write_bytes(b"1")
    skipped, item = scan([os.fsencode(tmp_path / name) for name in ("one", "two")], "")
    assert isinstance(skipped, Problem)
    assert isinstance(item, Item)


def test_folder_that_vanishes_while_walked(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "in.jpg").write_bytes(b"1")
    (tmp_path / "top.jpg").write_bytes(b"1")
    walk = scan([os.fsencode(tmp_path)], "")
    listed = [next(walk)]
    shutil.rmtree(tmp_path / "one")
    listed += walk
    ends = {each.path: each for each in listed}
    assert ends["one"] == Problem("one", Result.FAILED, "it vanished")
    assert isinstance(ends["two/in.jpg"], Item)


def test_file_that_vanishes_while_walked(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(b"1")
    walk = scan([os.fsencode(tmp_path)], "")
    first = next(walk)
    for number in range(3):
        (tmp_path / f"{number}.jpg").unlink()
    rest = list(walk)
    assert isinstance(first, Item)
    assert [(each.result, each.reason) for each in rest if isinstance(each, Problem)] == [
        (Result.FAILED, "it vanished")
    ] * len(rest)
    assert len(rest) == 2


def test_source_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "here.jpg").write_bytes(b"1")
    with pytest.raises(NotFound, match="absent"):
        next(scan([os.fsencode(tmp_path), os.fsencode(tmp_path / "absent")], ""))


def test_same_path_from_two_sources_is_taken_once(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same.jpg").write_bytes(name.encode())
    listed = list(scan([os.fsencode(tmp_path / "one"), os.fsencode(tmp_path / "two")], ""))
    assert isinstance(listed[0], Item)
    assert listed[1] == Problem("same.jpg", Result.REFUSED, "another source of this run has the same path")
    assert len(listed) == 2


def test_path_that_is_too_long(tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*["d" * 250] * 9)
    folder.mkdir(parents=True)
    (folder / "deep.jpg").write_bytes(b"1")
    (only,) = found(tmp_path).values()
    assert isinstance(only, Problem)
    assert (only.result, only.reason) == (Result.REFUSED, f"its path is longer than {LONGEST} bytes")


def test_time_beyond_what_a_column_holds(tmp_path: Path) -> None:
    (tmp_path / "future.jpg").write_bytes(b"1")
    os.utime(tmp_path / "future.jpg", (10_413_792_000, 10_413_792_000))
    assert found(tmp_path)["future.jpg"].mtime_ns <= 2**63 - 1


def test_what_was_swapped_since_the_scan_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "link").symlink_to("secret")
    with pytest.raises(OSError):
        opened(os.fsencode(tmp_path / "link"))
    os.mkfifo(tmp_path / "pipe")
    with opened(os.fsencode(tmp_path / "pipe")) as handle:  # returns at once, without a writer
        assert handle.read(1) == b""


def test_reasons() -> None:
    assert reason(FileNotFoundError(2, "No such file or directory")) == "it vanished"
    assert reason(PermissionError(13, "Permission denied")) == "permission denied"
    assert reason(OSError()) == "oserror"
