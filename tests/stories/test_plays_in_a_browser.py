"""A film plays in Chromium with hls.js, from a link to a store at another origin.

Picture, sound, sizes, seeks, another language, and subtitles.
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any
from uuid import uuid4

import pytest

from dumacle_cli.clients.objects import Location
from dumacle_cli.local import ffmpeg
from tests import buckets
from tests.browser import CHROMIUM, HLS_JS, browser
from tests.clients.conftest import moto
from tests.conftest import Run
from tests.films import clip
from tests.stories.test_a_film_that_plays import work

__all__ = ["moto"]

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not on this machine"),
    pytest.mark.skipif(not HLS_JS.exists(), reason="hls.js is not on this machine"),
]

ADA, JSON = "ada@example.com", ("-o", "json")
SECONDS = 20
# Plays the film, then moves to each of these seconds at each size, and reports what it sees and hears there.
PAGE = """
<!doctype html><video id="video"></video><script src="/hls.js"></script><script>
const video = document.getElementById("video"), seeks = [1, 13, 6, 18];
const sleep = ms => new Promise(done => setTimeout(done, ms));
async function until(condition, what) {
  for (let turn = 0; turn < 400; turn++) { if (condition()) return; await sleep(50); }
  throw new Error(`${what}: at ${video.currentTime}, state ${video.readyState}, ${video.error && video.error.message}`);
}
function color() {
  const canvas = document.createElement("canvas"), context = canvas.getContext("2d");
  [canvas.width, canvas.height] = [8, 8];
  context.drawImage(video, 0, 0, 8, 8);
  return Array.from(context.getImageData(0, 0, 8, 8).data);
}
async function at(second) {
  const heard = video.webkitAudioDecodedByteCount;
  video.currentTime = second;
  await until(() => !video.seeking && video.currentTime > second + 0.3, `playing from ${second}`);
  await until(() => video.webkitAudioDecodedByteCount > heard, `sound at ${second}`);
  return { second, height: video.videoHeight, color: color() };
}
async function drive() {
  const hls = new Hls({ maxBufferLength: 4, backBufferLength: 0 }), seen = [];
  hls.loadSource(LINK);
  hls.attachMedia(video);
  await new Promise((done, failed) => {
    hls.on(Hls.Events.MANIFEST_PARSED, done);
    hls.on(Hls.Events.ERROR, (_, error) => error.fatal && failed(new Error(error.details)));
  });
  await video.play();
  await until(() => video.currentTime > 0.5, "playing");
  for (const [number, second] of seeks.entries()) {
    const level = number % hls.levels.length;
    hls.currentLevel = level;
    await until(() => video.videoHeight === hls.levels[level].height, `size ${hls.levels[level].height}`);
    seen.push(await at(second));
  }
  const chosen = await choose(hls);
  video.currentTime = video.duration - 1;
  await until(() => video.ended, "the end");
  return { duration: video.duration, heights: hls.levels.map(level => level.height), seen, chosen };
}
async function choose(hls) {
  const named = track => [track.name, track.lang];
  const switched = new Promise(done => hls.on(Hls.Events.AUDIO_TRACK_SWITCHED, (_, track) => done(track.id)));
  hls.audioTrack = 1;
  await until(() => hls.audioTrack === 1, "the other sound");
  await switched;
  await at(9);
  hls.subtitleDisplay = true;
  hls.subtitleTrack = 0;
  const cues = () => Array.from(video.textTracks).flatMap(track => Array.from(track.activeCues || []));
  video.currentTime = 2.5;
  await until(() => cues().length > 0, "a subtitle");
  const text = cues()[0].text, shown = [cues()[0].startTime, cues()[0].endTime];
  video.currentTime = 7;
  await until(() => !video.seeking && cues().length === 0, "no subtitle");
  return { sounds: hls.audioTracks.map(named), subtitles: hls.subtitleTracks.map(named), text, shown };
}
drive().then(said => said, error => ({ error: String(error) }))
  .then(said => fetch("/said", { method: "POST", body: JSON.stringify(said) }));
</script>
"""


class Pages(ThreadingHTTPServer):
    """The page of a company that shows a film, and what it says of it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.link, self.said = "", Queue[str]()
        self.origin = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Pages

    def do_GET(self) -> None:
        page = f"<script>const LINK = {json.dumps(self.server.link)};</script>{PAGE}".encode()
        self.answer(*((HLS_JS.read_bytes(), "text/javascript") if self.path == "/hls.js" else (page, "text/html")))

    def do_POST(self) -> None:
        self.server.said.put(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.answer(b"", "text/plain")

    def answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test output clean."""


@contextmanager
def serving() -> Iterator[Pages]:
    pages = Pages()
    thread = Thread(target=pages.serve_forever, daemon=True)
    thread.start()
    yield pages
    pages.shutdown()
    pages.server_close()
    thread.join()


def two_languages(folder: Path) -> None:
    """Make a film with two sounds, and subtitles from its second to its fourth second."""
    plain = folder / "plain.mp4"
    plain.write_bytes(clip(folder, SECONDS, "640x480"))
    (folder / "text.srt").write_text("1\n00:00:02,000 --> 00:00:04,000\nWhere to?\n")
    sources = ("-i", str(plain), "-f", "lavfi", "-i", f"sine=frequency=880:duration={SECONDS}")
    sources += ("-i", str(folder / "text.srt"), "-map", "0:v", "-map", "0:a", "-map", "1", "-map", "2")
    codecs = ("-c:v", "copy", "-c:a", "aac", "-c:s", "mov_text", "-metadata:s:s", "language=eng")
    languages = ("-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=ger")
    command = [str(ffmpeg.locate()), "-v", "error", "-nostdin", *sources, *codecs, *languages]
    subprocess.run([*command, str(folder / "film.mp4")], check=True)


@pytest.fixture
def film(run: Run, moto: Location, environment: Callable[..., None], tmp_path: Path) -> str:
    """Return the path of a film in a bucket that browsers can be let into, with its renditions."""
    bucket = f"test-{uuid4().hex[:12]}"
    buckets.create(Location("s3", moto.endpoint, moto.region, bucket, moto.access_key, moto.secret_key))
    keys = {"DUMACLE_S3_ACCESS_KEY": moto.access_key, "DUMACLE_S3_SECRET_KEY": moto.secret_key}
    environment(DUMACLE_S3_ENDPOINT=moto.endpoint, DUMACLE_S3_REGION=moto.region, **keys)
    run("pods", "create", "films", "--capacity", "1GiB", "--provider", "s3", "--bucket", bucket)
    limits = ("--storage", "1GiB", "--upload", "1GiB", "--transcode-minutes", "10")
    run("plans", "create", "family", "--price", "9.99", *limits, "--default-pod", "films")
    run("users", "create", ADA, "--plan", "family")
    two_languages(tmp_path)
    run("files", "upload", tmp_path / "film.mp4", "--owner", ADA, "--transcode", "hls")
    work()
    return "film.mp4"


def test_plays_in_a_browser(run: Run, film: str, tmp_path: Path) -> None:
    with serving() as pages:
        pages.link = run("files", "url", film, "--owner", ADA, "--rendition", "hls", *JSON).data["url"]
        run("pods", "cors", "set", "films", "--origin", pages.origin)
        with browser(pages.origin, tmp_path / "chromium"):
            said: dict[str, Any] = json.loads(pages.said.get(timeout=120))
    assert "error" not in said, said["error"]
    assert abs(said["duration"] - SECONDS) < 0.1
    assert len(said["heights"]) > 1
    assert [each["height"] for each in said["seen"]] == [
        said["heights"][number % len(said["heights"])] for number in range(4)
    ]
    chosen = said["chosen"]
    assert chosen["sounds"] == [["English", "en"], ["German", "de"]]
    assert chosen["subtitles"] == [["English", "en"]]
    assert chosen["text"] == "Where to?"
    assert chosen["shown"] == [pytest.approx(2, abs=0.05), pytest.approx(4, abs=0.05)]
    # The test picture moves: no two moments look the same, and none is black.
    pictures = [tuple(each["color"]) for each in said["seen"]]
    assert len(set(pictures)) == len(pictures)
    assert all(max(picture[0::4]) > 100 for picture in pictures)
