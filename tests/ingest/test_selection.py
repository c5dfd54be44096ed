"""What the rules take and leave out, and the paths that they make."""

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dumacle_cli.errors import InvalidValue, NotFound
from dumacle_cli.ingest.items import Item, Problem, Result
from dumacle_cli.ingest.scan import opened, scan
from dumacle_cli.ingest.selection import Rules, compiled
from tests import conftest
from tests.ingest.conftest import Fill

DAY = 86_400


def tree(folder: Path, files: Mapping[str, int]) -> Path:
    for name, size in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" * size)
    return folder


def taken(*sources: Path | str | bytes, prefix: str = "", **rules: Any) -> list[str]:
    listed = list(scan([os.fsencode(source) for source in sources], prefix, Rules(**rules)))
    assert all(isinstance(each, Item) for each in listed), listed
    return sorted(each.path for each in listed)


def problems(*sources: Path, **rules: Any) -> dict[str, tuple[Result, str]]:
    listed = scan([os.fsencode(source) for source in sources], "", Rules(**rules))
    return {each.path: (each.result, each.reason) for each in listed if isinstance(each, Problem)}


@pytest.mark.unit
@pytest.mark.parametrize(
    ("pattern", "matches", "others"),
    [
        ("*.jpg", ["a.jpg", "x/y/a.jpg", ".jpg"], ["a.jpeg", "a.jpg.txt", "a.JPG"]),
        ("/*.jpg", ["a.jpg"], ["x/a.jpg"]),
        ("raw", ["raw", "raw/a", "x/raw/y/b"], ["raws", "x/raws/a", "draw/a"]),
        ("raw/", ["raw/a", "x/raw/a"], ["raw", "x/raw"]),
        ("x/raw", ["x/raw", "x/raw/a"], ["y/x/raw", "raw"]),
        ("x/*", ["x/a", "x/y/a"], ["a", "y/x/a"]),
        ("x/*.jpg", ["x/a.jpg"], ["x/y/a.jpg"]),
        ("**/raw", ["raw", "x/raw/a", "x/y/raw"], ["raws"]),
        ("x/**/a", ["x/a", "x/y/a", "x/y/z/a"], ["a", "x/ya", "y/x/a"]),
        ("x/**", ["x/a", "x/y/a"], ["x", "xy/a"]),
        ("?.jpg", ["a.jpg", "é.jpg"], ["ab.jpg", ".jpg", "x/ab.jpg"]),
        ("x?y", [], ["x/y"]),
        ("[a-c].jpg", ["a.jpg", "x/b.jpg"], ["d.jpg", "-.jpg"]),
        ("[!a-c].jpg", ["d.jpg", "^.jpg"], ["a.jpg"]),
        ("x[!a]y", ["xby"], ["x/y", "xay"]),
        ("[]].jpg", ["].jpg"], ["a.jpg"]),
        ("[^a].jpg", ["^.jpg", "a.jpg"], ["b.jpg"]),
        (r"\[a\].jpg", ["[a].jpg"], ["a.jpg"]),
        (r"\*.jpg", ["*.jpg"], ["a.jpg"]),
        ("[.jpg", ["[.jpg"], ["x.jpg"]),
        ("a.b+c$", ["a.b+c$"], ["axb+c$", "a.bbc"]),
        ("line\nbreak", ["line\nbreak"], ["line", "break"]),
        ("*", ["a", "line\nbreak", "x/y"], []),
    ],
)
def test_patterns(pattern: str, matches: list[str], others: list[str]) -> None:
    found = compiled("--include", (pattern,))
    assert found
    assert [path for path in matches if not found.fullmatch(path)] == []
    assert [path for path in others if found.fullmatch(path)] == []


@pytest.mark.unit
def test_a_pattern_that_is_not_valid_is_refused() -> None:
    for option in ("include", "exclude"):
        with pytest.raises(InvalidValue, match=f"--{option}"):
            Rules(**{option: ("*.jpg", "[z-a]")})


@pytest.mark.unit
def test_excluding_wins_over_including(tmp_path: Path) -> None:
    tree(tmp_path, {"a.jpg": 1, "b.txt": 1, "raw/c.jpg": 1, "raw/deep/d.jpg": 1, "x/raw.jpg": 1})
    assert taken(tmp_path, include=("*.jpg",)) == ["a.jpg", "raw/c.jpg", "raw/deep/d.jpg", "x/raw.jpg"]
    assert taken(tmp_path, include=("*.jpg",), exclude=("raw/",)) == ["a.jpg", "x/raw.jpg"]
    assert taken(tmp_path, include=("*.jpg", "*.txt"), exclude=("x/**", "raw")) == ["a.jpg", "b.txt"]
    assert taken(tmp_path, exclude=("*",)) == []


@pytest.mark.unit
def test_patterns_match_names_that_are_not_unicode_and_named_files(tmp_path: Path) -> None:
    tree(tmp_path, {os.fsdecode(b"caf\xe9.jpg"): 1, "back\\slash.jpg": 1, "b.txt": 1})
    assert taken(tmp_path, include=("caf?.jpg",)) == [r"caf\xe9.jpg"]
    assert taken(tmp_path, include=(r"back\\slash.jpg",)) == [r"back\\slash.jpg"]
    assert taken(tmp_path / "b.txt", exclude=("*.txt",)) == []


@pytest.mark.unit
def test_patterns_are_relative_to_the_source_and_not_to_the_prefix(tmp_path: Path) -> None:
    tree(tmp_path, {"in/x/a.jpg": 1, "in/y/a.jpg": 1})
    assert taken(tmp_path / "in", prefix="in/", include=("x/*.jpg",)) == ["in/x/a.jpg"]
    assert taken(tmp_path / "in", keep_name=True, include=("x/*.jpg",)) == ["in/x/a.jpg"]
    assert taken(b"/" + os.fsencode(tmp_path / "in"), include=("/y",)) == ["y/a.jpg"]


@pytest.mark.unit
def test_an_excluded_folder_is_not_read(tmp_path: Path) -> None:
    tree(tmp_path, {"a.jpg": 1, "closed/b.jpg": 1})
    os.mkfifo(tmp_path / "closed" / "pipe")
    assert taken(tmp_path, exclude=("closed",)) == ["a.jpg"]
    (tmp_path / "a.jpg").unlink()
    assert taken(tmp_path, exclude=("closed",)) == []  # not taken for the mount point of a missing disk


@pytest.mark.unit
def test_sizes(tmp_path: Path) -> None:
    tree(tmp_path, {"0": 0, "1": 1, "2": 2, "3": 3})
    assert taken(tmp_path, min_size=1) == ["1", "2", "3"]
    assert taken(tmp_path, max_size=1) == ["0", "1"]
    assert taken(tmp_path, min_size=2, max_size=2) == ["2"]
    assert taken(tmp_path, max_size=0) == ["0"]


@pytest.mark.unit
def test_hidden_names_are_taken_unless_left_out(tmp_path: Path) -> None:
    tree(tmp_path, {"a": 1, ".b": 1, ".c/d": 1, "e/.f": 1, "e/.g/h": 1, "i.j": 1})
    assert len(taken(tmp_path)) == 6
    assert taken(tmp_path, hidden=False) == ["a", "i.j"]


@pytest.mark.unit
def test_links_that_are_followed(tmp_path: Path) -> None:
    tree(tmp_path, {"in/a.jpg": 1, "out/b.jpg": 2, "out/deep/c.jpg": 3})
    (tmp_path / "in" / "file.jpg").symlink_to("../out/b.jpg")
    (tmp_path / "in" / "folder").symlink_to("../out")
    (tmp_path / "in" / "again").symlink_to("../out")
    paths = ["a.jpg", "again/b.jpg", "again/deep/c.jpg", "file.jpg", "folder/b.jpg", "folder/deep/c.jpg"]
    assert taken(tmp_path / "in", follow=True) == paths
    for item in scan([os.fsencode(tmp_path / "in")], "", Rules(follow=True)):
        assert isinstance(item, Item)
        with opened(item.source) as handle:
            assert len(handle.read()) == item.size


@pytest.mark.unit
def test_links_that_cannot_be_followed(tmp_path: Path) -> None:
    tree(tmp_path, {"in/x/a.jpg": 1})
    for link, target in {
        "up": "..",
        "x/self": ".",
        "x/there": "../y",
        "dangling": "nowhere",
        "circle": "circle",
    }.items():
        (tmp_path / "in" / link).symlink_to(target)
    (tmp_path / "in" / "y").mkdir()
    (tmp_path / "in" / "y" / "back").symlink_to("../x")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "in" / "to-pipe").symlink_to("../pipe")
    found = problems(tmp_path / "in", follow=True)
    cycle = (Result.SKIPPED, "the symbolic link leads to a folder above it")
    assert found.pop("dangling") == (Result.FAILED, "the symbolic link leads to nothing")
    assert found.pop("circle") == (Result.FAILED, "too many levels of symbolic links")
    assert found.pop("to-pipe") == found.pop("up/pipe") == (Result.SKIPPED, "a named pipe is not a file")
    assert set(found.values()) == {cycle}
    assert {"x/self", "x/there/back", "y/back/there", "up/in"} <= set(found)


@pytest.mark.unit
def test_names_in_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, {"in/a.jpg": 1, "in/x/b.jpg": 1, "more/c.jpg": 1})
    monkeypatch.chdir(tmp_path / "in")
    for source in (tmp_path / "in", f"{tmp_path}/in/", ".", "../in"):
        assert taken(source) == ["a.jpg", "x/b.jpg"]
        assert taken(source, keep_name=True) == ["in/a.jpg", "in/x/b.jpg"]
    assert taken(tmp_path / "in", tmp_path / "more", keep_name=True, prefix="p/") == [
        "p/in/a.jpg",
        "p/in/x/b.jpg",
        "p/more/c.jpg",
    ]
    assert taken(tmp_path / "in" / "a.jpg", keep_name=True) == ["a.jpg"]
    assert taken(tmp_path / "in", tmp_path / "more", flatten=True, prefix="p/") == ["p/a.jpg", "p/b.jpg", "p/c.jpg"]


@pytest.mark.unit
def test_flattened_paths_that_clash_are_refused(tmp_path: Path) -> None:
    tree(tmp_path, {"x/a.jpg": 1, "y/a.jpg": 1})
    assert problems(tmp_path, flatten=True) == {
        "a.jpg": (Result.REFUSED, "another source of this run has the same path")
    }


@pytest.mark.unit
def test_patterns_as_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, {"in/a.jpg": 1, "in/b.txt": 1, "in/x/c.jpg": 1, "in/.d.jpg": 1, "in/[1].jpg": 1, "in/1.jpg": 1})
    monkeypatch.chdir(tmp_path)
    assert taken("in/*.jpg") == ["1.jpg", "[1].jpg", "a.jpg"]
    assert taken("in/**/*.jpg") == ["1.jpg", "[1].jpg", "a.jpg", "c.jpg"]
    assert taken("in/[1].jpg") == ["[1].jpg"]  # what exists is no pattern
    assert taken("in/[2-9a].jpg") == ["a.jpg"]
    assert taken("?n") == taken("in")
    with pytest.raises(NotFound, match="png"):
        taken("in", "in/*.png")


@pytest.mark.unit
def test_paths_that_a_pattern_makes_alike_are_refused(tmp_path: Path) -> None:
    tree(tmp_path, {"x/a.jpg": 1, "y/a.jpg": 1})
    listed = list(scan([os.fsencode(tmp_path / "*" / "a.jpg")], ""))
    assert [type(each) for each in listed] == [Item, Problem]


@pytest.mark.unit
def test_part_files_of_downloads_are_no_media(tmp_path: Path) -> None:
    part = f".dumacle-{'0a' * 8}.part"
    tree(tmp_path, {f"in/{part}": 1, f"in/x/{part}": 1, "in/.dumacle-.part": 1, "in/film.part": 1})
    reason = "it is part of a download that did not end"
    assert problems(tmp_path / "in") == {part: (Result.SKIPPED, reason), f"x/{part}": (Result.SKIPPED, reason)}
    assert problems(tmp_path / "in" / part) == {part: (Result.REFUSED, reason)}
    assert taken(tmp_path / "in", exclude=("*[0-9a].part",)) == [".dumacle-.part", "film.part"]


@pytest.mark.unit
def test_runs_with_other_rules_are_other_runs(tmp_path: Path) -> None:
    sources = [os.fsencode(tmp_path)]
    rules = [Rules(), Rules(include=("a",)), Rules(exclude=("a",)), Rules(flatten=True), Rules(min_size=1)]
    assert len({each.identity(sources) for each in rules}) == len(rules)
    assert Rules(since=1).identity(sources) == Rules(since=2).identity(sources)
    assert Rules(name="x").identity([b"/tmp/1"]) == Rules(name="x").identity([b"/tmp/2"])


@pytest.mark.unit
def test_another_spelling_of_the_same_sources_is_the_same_run(tmp_path: Path) -> None:
    tree(tmp_path, {"in/x/a.jpg": 1})
    (tmp_path / "link").symlink_to("in")
    (tmp_path / "latest.jpg").symlink_to("in/x/a.jpg")

    def runs(*spellings: str, **rules: Any) -> int:
        return len({Rules(**rules).identity([os.fsencode(tmp_path / each)]) for each in spellings})

    assert runs("in", "link", "link/x/..", "in/./") == 1
    assert runs("in/x/a.jpg", "link/x/a.jpg") == 1
    assert runs("in/x/a.jpg", "latest.jpg") == 2, "the name is part of the path"
    assert runs("in", "link", keep_name=True) == 2


Upload = Callable[..., conftest.Result]


@pytest.mark.integration
def test_options_select(upload: Upload, tmp_path: Path) -> None:
    folder = tree(tmp_path / "in", {"a.jpg": 10, "b.txt": 20, ".c.jpg": 30, "x/d.jpg": 2000, "x/e.jpg": 40})
    now = time.time()
    for name, days in {"a.jpg": 1, "x/e.jpg": 3}.items():
        os.utime(folder / name, (now - days * DAY, now - days * DAY))

    def planned(*options: str) -> int:
        result = upload(folder, *options, "--dry-run")
        assert result.data["planned"] == result.data["uploaded"]
        return int(result.data["planned"])

    assert planned() == 5
    assert planned("--include", "*.jpg", "--exclude", "x") == 2
    assert planned("--include", "*.jpg", "--include", "*.txt", "--no-hidden") == 4
    assert planned("--min-size", "20", "--max-size", "1KiB") == 3
    assert planned("--older-than", "12h") == 2
    assert planned("--newer-than", "2d") == 4
    assert planned("--newer-than", "2d", "--older-than", "12h") == 1
    real = upload(folder, "--include", "*.jpg", "--older-than", "12h", "--keep-name", "--prefix", "p")
    assert real.data["uploaded"] == real.data["planned"] == 2


@pytest.mark.integration
@pytest.mark.parametrize(
    "options",
    [
        ["--min-size", "much"],
        ["--older-than", "5"],
        ["--include", "[z-a]"],
        ["--flatten", "--keep-name"],
        ["--force", "--on-change", "keep"],
        ["--checksum", "--force"],
        ["--null"],
        ["--stdin-name", "x"],
        ["--files-from", "x", "--manifest", "y"],
        ["--links", "follow", "--delete-source", "--yes"],
        ["more", "--files-from", "x"],
        ["--results", "-"],
    ],
)
def test_contradictions_are_refused(options: list[str], upload: Upload, fill: Fill) -> None:
    assert upload(fill(one=1), *options, expect=2).error["code"] in ("usage-error", "invalid-value")


@pytest.mark.integration
@pytest.mark.parametrize("size", [50, 60])
def test_on_change(size: int, upload: Upload, fill: Fill, run: conftest.Run, tmp_path: Path) -> None:
    folder = fill(same=10, edited=50)
    upload(folder)
    fill(edited=size, new=70)
    os.utime(folder / "edited.jpg", ns=(0, 7))
    before = run("files", "show", "edited.jpg", "--owner", "ada@example.com", "-o", "json").data
    results = tmp_path / "results.jsonl"
    for options in (["--dry-run"], ["--results", results]):
        kept = upload(folder, "--on-change", "keep", "--exclude", "new.jpg", *options).data
        assert (kept["skipped"], kept["unchanged"], kept["planned"]) == (1, 1, 2)
    assert "its content differs from what is stored" in results.read_text()
    refused = upload(folder, "--on-change", "fail", expect=3)
    assert (refused.data["refused"], refused.data["uploaded"], refused.data["unchanged"]) == (1, 1, 1)
    assert "edited.jpg" in refused.err
    assert run("files", "show", "edited.jpg", "--owner", "ada@example.com", "-o", "json").data == before
    done = upload(folder, "--on-change", "version").data
    assert (done["uploaded"], done["new_versions"], done["unchanged"]) == (1, 1, 2)


@pytest.mark.integration
def test_on_change_keeps_nothing_that_is_lost(upload: Upload, fill: Fill, run: conftest.Run, object_store: Any) -> None:
    folder = fill(lost=50)
    upload(folder)
    object_store.delete([entry.key for entry in object_store.list("")])
    run("files", "verify", "--owner", "ada@example.com", expect=12)
    fill(lost=60)
    assert upload(folder, "--on-change", "keep").data["uploaded"] == 1


@pytest.mark.integration
def test_progress_without_a_terminal(run: conftest.Run, home: object, fill: Fill) -> None:
    upload = ("files", "upload", fill(one=2048), "--pod", "films", "--owner", "ada@example.com", "--progress")
    assert run(*upload).err.startswith("1 of 1 files, 2.00 KiB of 2.00 KiB")
    last = json.loads(run(*upload, "-o", "jsonl").err)
    assert (last["schema"], last["planned"]) == ("dumacle.progress.v1", 0)
    assert run(*upload, "--quiet").err == ""
