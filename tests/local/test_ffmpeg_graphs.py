"""FFmpeg's command lines: what a name or a value holds never becomes an option, a protocol or a part of the graph."""

import subprocess
from pathlib import Path

import pytest

from dumacle_cli.demo import media
from dumacle_cli.errors import ToolFailed
from dumacle_cli.local import ffmpeg
from dumacle_cli.local import ffmpeg_graphs as graphs

FLAGS = ("-v", "error", "-nostdin")
HOSTILE = [
    "-y.mp4",
    "-.mp4",
    "pipe:1.mp4",
    "a:b.mp4",
    "concat:a|b.mp4",
    'it\'s "50%".mp4',
    "%03d.mp4",
    "a=b,c;[d]@e\\f#g?h&i.mp4",
    "first\nsecond\t.mp4",
    "$(id) `id` é\u202e\U0001f3ac.mp4",
]
VALUES = ["plain", "it's", "a:b=c", "a,b;[c]", "back\\slash", '100%{n} "$x"', "-dash", "é\u202e\U0001f3ac"]


def run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.unit
def test_a_command_line_in_full(tmp_path: Path) -> None:
    film = graphs.read(tmp_path / "film.mp4", {"max_streams": 64, "ss": "1.5"})
    small, large = graphs.split(film["V:0"].filter("fps", fps=25, start_time=0), 2)
    outputs = [
        graphs.write("a.mp4", [small.filter("scale", w=2, h=4), film["a:0"]], {"b:v": 5, "bitexact": None, "f": "mp4"}),
        graphs.write("b.mp4", [large], {}),
        graphs.write("c.mp4", [film["a:0"]], {"af": "aresample=async=1"}),
    ]
    assert graphs.command(Path("/bin/ffmpeg"), FLAGS, outputs) == [
        *("/bin/ffmpeg", "-v", "error", "-nostdin"),
        *("-max_streams", "64", "-ss", "1.5", "-i", f"file:{tmp_path}/film.mp4"),
        "-filter_complex",
        "[0:V:0]fps=fps=25:start_time=0[s0];[s0]split=2[s1][s2];[s1]scale=h=4:w=2[s3]",
        *("-map", "[s3]", "-map", "0:a:0", "-f", "mp4", "-b:v", "5", "-bitexact", "file:a.mp4"),
        *("-map", "[s2]", "file:b.mp4"),
        *("-map", "0:a:0", "-af", "aresample=async=1", "file:c.mp4"),
    ]


@pytest.mark.integration
@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_name_is_only_a_name(tmp_path: Path, name: str) -> None:
    read, written = tmp_path / "read", tmp_path / "written"
    read.mkdir()
    written.mkdir()
    made = graphs.write(name, [graphs.generate("testsrc2=size=64x64:rate=5:duration=1")], {"c:v": "mpeg4"})
    run(graphs.command(ffmpeg.locate(), FLAGS, [made]), read)
    copied = graphs.write(name, [graphs.read(read / name, {"protocol_whitelist": "file"})], {"c": "copy"})
    run(graphs.command(ffmpeg.locate(), FLAGS, [copied]), written)
    assert [path.name for folder in (read, written) for path in folder.iterdir()] == [name, name]


@pytest.mark.integration
@pytest.mark.parametrize("value", VALUES)
def test_a_value_is_only_a_value(tmp_path: Path, value: str) -> None:
    picture = graphs.generate("testsrc2=size=64x64:rate=1:duration=1")
    marked = picture.filter("metadata", mode="add", key="mark", value=value)
    printed = marked.filter("metadata", mode="print", file=f"./{value}")
    run(graphs.command(ffmpeg.locate(), FLAGS, [graphs.write("-", [printed], {"f": "null"})]), tmp_path)
    assert (tmp_path / value).read_text().splitlines()[-1] == f"mark={value}"


@pytest.mark.integration
@pytest.mark.parametrize("name", ["100%d: it's", "-y"])
def test_the_library_is_made_in_a_folder_of_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(media, "RECIPES", [recipe for recipe in media.RECIPES if recipe.name.startswith("thumbnails/")])
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()
    source = media.library(Path(name), ffmpeg.locate())
    assert source.made
    assert len(list((source.folder / "thumbnails").iterdir())) == 300


@pytest.mark.integration
def test_a_recipe_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "RECIPES", (media.Recipe("x.mp4", ("nosuchsource",), {}),))
    with pytest.raises(ToolFailed, match="Filter not found"):
        media.library(tmp_path, ffmpeg.locate())
    assert not (tmp_path / media.DEMO_MEDIA).exists()
