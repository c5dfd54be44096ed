"""A film that plays: uploaded, transcoded by a worker, handed out by a link, and gone again with all that it took."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

import dumacle_cli
from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.local import ffmpeg
from tests.conftest import Run

pytestmark = pytest.mark.e2e

ADA = "ada@example.com"
JSON = ("-o", "json")
ROOT = Path(dumacle_cli.__file__).parents[1]
SECONDS = 3


def make_film(target: Path) -> None:
    sources = (f"testsrc2=size=480x270:rate=25:duration={SECONDS}", f"sine=duration={SECONDS}")
    inputs = [word for source in sources for word in ("-f", "lavfi", "-i", source)]
    command = [str(ffmpeg.locate()), "-v", "error", "-nostdin", *inputs, "-c:v", "libx264", "-preset", "ultrafast"]
    subprocess.run([*command, str(target)], check=True)


def work() -> None:
    """Let a worker do all that waits."""
    command = [sys.executable, "-m", "dumacle_cli", "worker", "--once", "--queues", "transcode"]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, timeout=120)


def played(url: str) -> Iterator[bytes]:
    """Fetch a playlist or a segment, and all that it names, as any player would: without a login."""
    with urlopen(url) as answer:
        body: bytes = answer.read()
    yield body
    if body.startswith(b"#EXTM3U"):
        lines = body.decode().splitlines()
        named = [line.split('URI="')[1].split('"')[0] for line in lines if 'URI="' in line]
        for each in named + [line for line in lines if line and not line.startswith("#")]:
            yield from played(each)


def disposition(url: str) -> str | None:
    with urlopen(url) as answer:
        return answer.headers.get_content_disposition()


def used(run: Run, metric: str) -> int:
    return int(next(quota["used"] for quota in run("quotas", "show", ADA, *JSON).data if quota["metric"] == metric))


def test_a_film_that_plays(run: Run, tmp_path: Path, object_store: ObjectStore) -> None:
    # Ada's plan has minutes.
    run("pods", "create", "films", "--capacity", "1GiB", "--prefix", "films")
    limits = ("--storage", "1GiB", "--upload", "1GiB", "--transcode-minutes", "10")
    run("plans", "create", "family", "--price", "9.99", *limits, "--default-pod", "films")
    run("users", "create", ADA, "--plan", "family")

    # What arrives is submitted, as far as it moves; a second time there is nothing to do.
    media = tmp_path / "media"
    media.mkdir()
    make_film(media / "film.mp4")
    (media / "still.jpg").write_bytes(b"\xff\xd8\xff\xe0 a picture")
    upload = ("files", "upload", media, "--owner", ADA, "--transcode", "hls", *JSON)
    assert (run(*upload).data["transcodes"], run(*upload).data["transcodes"]) == (1, 0)
    uploaded = used(run, "storage")
    [waiting] = run("transcode", "list", *JSON).data
    assert (waiting["path"], waiting["status"]) == ("film.mp4", "queued")

    # It is not playable yet, which is said with what to do.
    film = waiting["file"]
    assert run("files", "url", film, "--rendition", "hls", *JSON, expect=6).error["code"] == "no-such-rendition"

    # A worker makes it, and minutes and storage are counted.
    work()
    [done] = run("transcode", "watch", waiting["id"], *JSON).data
    assert (done["status"], done["progress"], done["seconds"]) == ("done", 100, SECONDS)
    assert used(run, "transcode") == SECONDS
    shown = run("transcode", "show", waiting["id"], *JSON).data
    assert {rung["frames"] for rung in shown["rungs"]} == {25 * SECONDS}
    [rendition] = run("files", "show", film, *JSON).data["renditions"]
    assert used(run, "storage") == uploaded + rendition["size"]

    # Whoever has the link plays all of it.
    link = run("files", "url", film, "--rendition", "hls", "--expires", "10min", *JSON).data["url"]
    pieces = list(played(link))
    lists = [piece for piece in pieces if piece.startswith(b"#EXTM3U")]
    # The choice, each size, its key frames, and the sound beside them and alone.
    assert len(lists) == 1 + 2 * len(shown["rungs"]) + 2
    assert all(piece[4:8] in (b"ftyp", b"styp", b"moof", b"sidx") for piece in pieces if piece not in lists)
    assert len(pieces) >= len(lists) + 2 * (len(lists) - 1)

    # Changed minds cost nothing.
    [poster] = run("transcode", "submit", film, "--preset", "poster", *JSON).data
    run("transcode", "cancel", poster["id"])
    work()
    assert run("transcode", "watch", poster["id"], *JSON, expect=1).data[0]["status"] == "cancelled"
    [again] = run("transcode", "retry", poster["id"], *JSON).data
    work()
    still = run("files", "url", film, "--rendition", "poster", *JSON).data["url"]
    assert next(played(still)).startswith(b"\xff\xd8\xff")

    # A browser shows it, or saves it if asked to; many files cannot be saved.
    assert disposition(still) == "inline"
    saved = run("files", "url", film, "--rendition", "poster", "--download", *JSON).data["url"]
    assert disposition(saved) == disposition(run("files", "url", film, "--download", *JSON).data["url"]) == "attachment"
    refused = run("files", "url", film, "--rendition", "hls", "--download", *JSON, expect=2).error
    assert refused["message"] == "hls is many files; --download is for one"
    assert run("transcode", "show", again["id"], *JSON).data["status"] == "done"

    # When the film goes for good, so does all that was made of it.
    run("files", "delete", film, "--yes")
    run("files", "purge", film, "--yes")
    assert [entry.key for entry in object_store.list("films/renditions/")] == []
    assert used(run, "storage") == len((media / "still.jpg").read_bytes())
    run("pods", "check")
