"""Lists of files, manifests and standard input as sources."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.errors import InvalidValue
from dumacle_cli.ingest.items import Item, Problem, Result
from dumacle_cli.ingest.lists import Entry, Listing, entries
from dumacle_cli.ingest.scan import scan
from dumacle_cli.ingest.selection import Rules
from dumacle_cli.store.database import Database
from tests import conftest
from tests.ingest import checker

TO = ("--pod", "films", "--owner", "ada@example.com", "-o", "json")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with files of all kinds of names; its parent is the working directory."""
    made = tmp_path / "in"
    (made / "x").mkdir(parents=True)
    for name in (b"a.jpg", b"x/b.jpg", b"caf\xe9.jpg", b"two\nlines.jpg", b'comma, "quoted".jpg'):
        (made / os.fsdecode(name)).write_bytes(name)
    monkeypatch.chdir(tmp_path)
    return made


def read(tmp_path: Path, form: Any, content: bytes) -> list[Entry | Problem]:
    (tmp_path / "list").write_bytes(content)
    return list(entries(Listing(str(tmp_path / "list"), form)))


@pytest.mark.unit
def test_lines(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbfa.jpg\n\nx/b.jpg\r\n caf\xe9.jpg\nlast"
    assert read(tmp_path, "lines", content) == [
        Entry(b"a.jpg"),
        Entry(b"x/b.jpg"),
        Entry(b" caf\xe9.jpg"),
        Entry(b"last"),
    ]
    assert read(tmp_path, "null", b"a\nb\r\0\0c\0") == [Entry(b"a\nb\r"), Entry(b"c")]
    assert read(tmp_path, "lines", b"") == []
    assert len(read(tmp_path, "lines", b"a/path/of/some/length.jpg\n" * 10_000)) == 10_000


@pytest.mark.unit
@pytest.mark.parametrize(
    "content",
    [
        b'path,key,content_type\n"comma, ""x"".jpg",k/1,image/jpeg\nb.jpg,,\n',
        b'\xef\xbb\xbfcontent_type,path,key\r\nimage/jpeg,"comma, ""x"".jpg",/k//1\r\n\r\n,b.jpg,\r\n',
        b'\xef\xbb\xbf\r\n{"path": "comma, \\"x\\".jpg", "key": "k/1", "content_type": "Image/JPEG"}\n{"path":"b.jpg"}',
        b'\r\n\npath,key,content_type\n"comma, ""x"".jpg",k/1,image/jpeg\nb.jpg,,\n',
    ],
)
def test_manifests(tmp_path: Path, content: bytes) -> None:
    assert read(tmp_path, "manifest", content) == [
        Entry(b'comma, "x".jpg', "k/1", "image/jpeg"),
        Entry(b"b.jpg"),
    ]


@pytest.mark.unit
def test_manifest_with_names_that_are_not_unicode(tmp_path: Path) -> None:
    assert read(tmp_path, "manifest", b"path,key\ncaf\xe9.jpg,k\xff\n") == [Entry(b"caf\xe9.jpg", r"k\xff")]
    assert read(tmp_path, "manifest", b'{"path": "caf\\udce9.jpg"}') == [Entry(b"caf\xe9.jpg")]


@pytest.mark.unit
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "path among them"),
        (b"key\nx\n", "path among them"),
        (b"path,path\nx,y\n", "each column once"),
        (b"path,title\nx,y\n", "there is no column 'title'; the columns are path, key, content_type"),
        (b"path;key\nx;y\n", "there is no column 'path;key'"),
        (b'path\n"never closed\n', "line 2"),
    ],
)
def test_manifests_that_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(InvalidValue, match="--manifest") as refused:
        read(tmp_path, "manifest", content)
    assert reason in str(refused.value)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"a.jpg", "it has 1 values for 3 columns"),
        (b",k,", "it needs a path"),
        (b"a.jpg,../k,", "it must not contain . or .. as a folder"),
        (b"a.jpg,,jpeg", "'jpeg' is not a content type"),
        (b"a.jpg,,image/jpeg\xff", "is not a content type"),
    ],
)
def test_rows_that_are_refused_do_not_stop_the_others(tmp_path: Path, row: bytes, reason: str) -> None:
    bad, good = read(tmp_path, "manifest", b"path,key,content_type\n" + row + b"\nb.jpg,,\n")
    assert isinstance(bad, Problem)
    assert (bad.path, bad.result) == ("line 2 of the manifest", Result.REFUSED)
    assert reason in bad.reason
    assert good == Entry(b"b.jpg")


@pytest.mark.unit
@pytest.mark.parametrize(
    "row",
    [
        "[]",
        "{",
        '{"path": ' + "[" * 100_000,
        '{"path": 1}',
        '{"path": "a", "size": 1}',
        '{"path": "\\ud800"}',
        '{"key": "k"}',
    ],
)
def test_json_rows_that_are_refused(tmp_path: Path, row: str) -> None:
    good, bad, last = read(tmp_path, "manifest", f'{{"path": "a"}}\n{row}\n{{"path": "b"}}\n'.encode())
    assert isinstance(bad, Problem)
    assert bad.path == "line 2 of the manifest"
    assert (good, last) == (Entry(b"a"), Entry(b"b"))


@pytest.mark.unit
def test_a_list_with_nuls_that_is_read_as_lines(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="--files-from") as refused:
        read(tmp_path, "lines", b"a/path/of/some/length.jpg\0" * 10_000)
    assert "-0" in str(refused.value.remedy)


@pytest.mark.unit
def test_a_list_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="--files-from"):
        list(entries(Listing(str(tmp_path / "absent"), "lines")))


@pytest.mark.unit
def test_what_is_listed_is_taken_or_refused(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.jpg"
    outside.write_bytes(b"1")
    (folder / "link.jpg").symlink_to("a.jpg")
    (folder / "dangling").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")
    names = ["a.jpg", "./x//b.jpg", str(folder / "link.jpg"), "absent", "x", "pipe", "dangling", "../outside.jpg"]
    (tmp_path / "list").write_text("\n".join([*names, str(outside), "a.jpg", "x/../a.jpg", "nul\0.jpg"]))
    listed = list(scan([os.fsencode(folder)], "p/", Rules(listing=Listing(str(tmp_path / "list"), "lines"))))
    assert [each.path for each in listed if isinstance(each, Item)] == ["p/a.jpg", "p/x/b.jpg", "p/link.jpg"]
    found = [(each.path, each.result, each.reason) for each in listed if isinstance(each, Problem)]
    below = f"it is not below {folder}, and has no key"
    assert found == [
        ("p/absent", Result.FAILED, "there is no such file"),
        ("p/x", Result.REFUSED, "a folder is not a file"),
        ("p/pipe", Result.REFUSED, "a named pipe is not a file"),
        ("p/dangling", Result.FAILED, "the symbolic link leads to nothing"),
        ("../outside.jpg", Result.REFUSED, below),
        (str(outside), Result.REFUSED, below),
        ("p/a.jpg", Result.REFUSED, "another source of this run has the same path"),
        ("x/../a.jpg", Result.REFUSED, below),
        (r"p/nul\x00.jpg", Result.FAILED, "no path contains a NUL; if NULs end the listed paths, give -0"),
    ]


@pytest.mark.unit
def test_a_key_places_a_file_from_anywhere(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.jpg").write_bytes(b"1")
    (tmp_path / "list.csv").write_text("path,key\n../outside.jpg,2026/o.jpg\nx/b.jpg,\na.jpg,2026/o.jpg\n")
    listing = Listing(str(tmp_path / "list.csv"), "manifest")
    one, two, clash = scan([os.fsencode(folder)], "", Rules(listing=listing, hidden=False))
    assert (one.path, two.path, clash.path) == ("2026/o.jpg", "x/b.jpg", "2026/o.jpg")
    assert isinstance(clash, Problem)


@pytest.mark.unit
def test_rules_hold_for_lists(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("a.jpg\nx/b.jpg\n")
    listing = Listing(str(tmp_path / "list"), "lines")

    def taken(**rules: Any) -> list[str]:
        return [each.path for each in scan([os.fsencode(folder)], "", Rules(listing=listing, **rules))]

    assert taken(exclude=("x",)) == ["a.jpg"]
    assert taken(flatten=True) == ["a.jpg", "b.jpg"]
    assert taken(min_size=6) == ["x/b.jpg"]


@pytest.mark.unit
def test_a_long_list_is_read_as_it_comes(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    class Endless(io.RawIOBase):
        """A pipe whose writer has not ended; whoever reads to the end would wait for ever."""

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            buffer[: len(line)] = line
            return len(line)

    line = b"in/a.jpg\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Endless())))
    first = next(scan([], "", Rules(listing=Listing("-", "lines"))))
    assert first.path == "in/a.jpg"


# Through the program


@pytest.mark.integration
def test_list_on_standard_input(run: conftest.Run, home: object, folder: Path) -> None:
    names = b"".join(b"in/" + entry.name + b"\0" for entry in os.scandir(b"in") if entry.is_file())
    sent = run("files", "upload", "--files-from", "-", "-0", *TO, stdin=names)
    assert sent.data["uploaded"] == sent.data["planned"] == 4
    again = run("files", "upload", "in", "--files-from", "-", "--prefix", "in", *TO, stdin="a.jpg\nx/b.jpg\n")
    assert (again.data["unchanged"], again.data["uploaded"]) == (1, 1)
    listed = run("files", "list", "--owner", "ada@example.com", "-o", "json").data
    assert {row["path"] for row in listed} == {
        "in/a.jpg",
        "in/x/b.jpg",
        r"in/caf\xe9.jpg",
        r"in/two\x0alines.jpg",
        'in/comma, "quoted".jpg',
    }


@pytest.mark.integration
def test_manifest_sets_paths_and_content_types(
    run: conftest.Run, home: object, folder: Path, database: Database, object_store: ObjectStore
) -> None:
    rows = [
        {"path": "in/a.jpg", "key": "photos/1.jpg", "content_type": "image/x-ours"},
        {"path": "in/x/b.jpg"},
        {"path": "in/absent.jpg"},
    ]
    (folder.parent / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    foreseen = run("files", "upload", "--manifest", "list.jsonl", "--dry-run", *TO, expect=3)
    sent = run("files", "upload", "--manifest", "list.jsonl", *TO, expect=3)
    for result in (foreseen, sent):
        assert (result.data["uploaded"], result.data["failed"]) == (2, 1)
    with database.session() as session:
        rows_of_files = session.execute(text("SELECT path, content_type FROM app.files")).all()
        keys = session.scalars(text("SELECT key FROM app.versions WHERE content_type = 'image/x-ours'")).all()
    assert {row[0]: row[1] for row in rows_of_files} == {"photos/1.jpg": "image/x-ours", "in/x/b.jpg": "image/jpeg"}
    assert len(keys) == 1


@pytest.mark.integration
def test_standard_input_as_a_file(
    run: conftest.Run, home: object, database: Database, object_store: ObjectStore, tmp_path: Path
) -> None:
    body = os.urandom(70_000)
    name = ("files", "upload", "--stdin-name", "2026/film.mp4", *TO)
    assert run(*name, "--prefix", "p", "--dry-run", stdin=body).data["uploaded"] == 1
    assert run(*name, "--prefix", "p", stdin=body).data["uploaded"] == 1
    again = run(*name, "--prefix", "p", stdin=body).data
    assert (again["unchanged"], again["uploaded"]) == (1, 0)
    other = run(*name, "--prefix", "p", stdin=body[1:]).data
    assert (other["uploaded"], other["new_versions"]) == (1, 1)
    (tmp_path / "expected").write_bytes(body[1:])
    digest = checker.tree(tmp_path)[b"expected"]
    checker.check(database, object_store, {b"p/2026/film.mp4": digest})


@pytest.mark.integration
def test_standard_input_that_is_refused(
    run: conftest.Run, home: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spools = tmp_path / "spools"
    spools.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(spools))
    name = ("files", "upload", "--stdin-name", "film.mp4", *TO)
    long = run(*name, "--set", "max_file_size=100", stdin=b"x" * 101, expect=8)
    assert "longer than the limit of 100 B" in long.error["message"]
    assert run(*name, "--set", "max_file_size=100", stdin=b"x" * 100).data["uploaded"] == 1
    assert "standard input is empty" in run(*name, stdin=b"", expect=3).error["message"]
    assert run(*name, "--allow-empty", stdin=b"").data["uploaded"] == 1
    for bad in ("../film.mp4", "a/./b", "films/", "/"):
        assert run("files", "upload", "--stdin-name", bad, *TO, expect=2).error["code"] == "invalid-value"
    assert list(spools.iterdir()) == []


@pytest.mark.integration
@pytest.mark.parametrize("options", [("--files-from", "-"), ("--manifest", "-")])
def test_a_list_that_never_comes_does_not_keep_the_program_from_ending(
    options: tuple[str, str], run: conftest.Run, home: object
) -> None:
    code = """if True:
        import sys
        from dumacle_cli.__main__ import main
        from dumacle_cli.ingest import engine
        engine.GRACE = 600
        sys.exit(main(sys.argv[1:]))
    """
    command = [sys.executable, "-c", code, "files", "upload", *options, *TO, "--timeout", "2"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as waiting:
        assert waiting.stderr
        err = waiting.stderr.read()
        assert (waiting.wait(60), b"Fatal" in err) == (10, False), err
