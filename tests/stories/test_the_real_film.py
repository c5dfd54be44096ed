"""A real film becomes HLS although the first worker is killed over it, and what anybody fetches is as it should be."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin
from urllib.request import urlopen

import av
import pytest

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.store.database import Database
from tests.conftest import Run
from tests.faults.workers import await_encoder, begin
from tests.films import await_status
from tests.processes import ROOT, Begin

__all__ = ["begin"]
pytestmark = pytest.mark.e2e

FILM = ROOT.parent / "shared" / "media" / "big-buck-bunny-480p-30s.mp4"
FRAMES = 720
ADA = "ada@example.com"
JSON = ("-o", "json")


def fetched(url: str) -> bytes:
    with urlopen(url) as answer:
        return bytes(answer.read())


def addresses(url: str) -> Iterator[str]:
    """The addresses in a playlist, in its order, those in attributes too, but not of key frames alone."""
    for line in fetched(url).decode().splitlines():
        if line.startswith("#EXT-X-I-FRAME"):
            continue
        if 'URI="' in line:
            yield urljoin(url, line.split('URI="')[1].split('"')[0])
        elif line and not line.startswith("#"):
            yield urljoin(url, line)


@pytest.mark.skipif(not FILM.exists(), reason="the shared film does not lie beside the checkout")
def test_the_real_film(run: Run, begin: Begin, database: Database, object_store: ObjectStore, tmp_path: Path) -> None:
    run("pods", "create", "films", "--capacity", "1GiB")
    limits = ("--storage", "1GiB", "--upload", "1GiB", "--transcode-minutes", "10")
    run("plans", "create", "family", "--price", "9.99", *limits, "--default-pod", "films")
    run("users", "create", ADA, "--plan", "family")
    run("files", "upload", FILM, "--owner", ADA, "--transcode", "hls")

    killed = begin()
    await_encoder(killed)
    killed.kill()
    another = begin()
    # What may have killed a worker is encoded on one core, size by size.
    await_status(database, "done", seconds=240)
    another.terminate()
    assert another.wait(60) == 0
    [rendition] = run("files", "show", FILM.name, "--owner", ADA, *JSON).data["renditions"]
    stored = [entry.size for entry in object_store.list("films/renditions/")]
    assert (sum(stored), bool(stored)) == (rendition["size"], True)
    run("pods", "check")

    link = run("files", "url", FILM.name, "--owner", ADA, "--rendition", "hls", *JSON).data["url"]
    seen, keys = [], set()
    for number, playlist in enumerate(addresses(link)):
        whole = tmp_path / f"{number}.mp4"
        whole.write_bytes(b"".join(fetched(piece) for piece in addresses(playlist)))
        with av.open(str(whole)) as media:
            stream = media.streams[0]
            if stream.type == "audio":
                assert (stream.codec_context.layout.name, stream.codec_context.sample_rate) == ("stereo", 48_000)
                continue
            assert stream.codec_context.pix_fmt == "yuv420p"
            packets = [packet for packet in media.demux(stream) if packet.dts is not None]
            keys.add(tuple(float(packet.pts * packet.time_base) for packet in packets if packet.is_keyframe))
            seen.append((stream.codec_context.height, len(packets)))
    assert seen == [(234, FRAMES), (360, FRAMES), (432, FRAMES), (480, FRAMES)]
    [grid] = keys
    assert [round(later - sooner, 3) for sooner, later in itertools.pairwise(grid)] == [2.0] * (len(grid) - 1)
