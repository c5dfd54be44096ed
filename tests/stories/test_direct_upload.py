"""A client sends a file to the store itself, as docs/direct-uploads.md says: with curl alone, and from a browser."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest

import dumacle_cli
from dumacle_cli.clients.objects import Location
from tests import buckets
from tests.browser import CHROMIUM, browser
from tests.clients.conftest import moto
from tests.commands.test_duties import by, log_in
from tests.conftest import Run
from tests.deploy.grammar import FENCED, TOP, fenced

__all__ = ["by", "log_in", "moto"]

pytestmark = pytest.mark.e2e

DOCUMENT = (TOP / "docs" / "direct-uploads.md").read_text("utf-8")
ADA, JSON = "ada@example.com", ("-o", "json")
FILM = b"\x00\x00\x00\x20ftypisom" + bytes(range(256)) * 40_000
# Chooses a file in the page as a person does, and tells the server what the page says in the end.
DRIVER = """
<!doctype html><iframe src="/" id="page"></iframe><script>
document.getElementById("page").onload = async event => {
  const page = event.target.contentWindow, input = page.document.getElementById("file"), chosen = new DataTransfer();
  const bytes = await (await fetch("/dance.mp4")).blob();
  chosen.items.add(new page.File([bytes], "dance.mp4", { type: "video/mp4" }));
  input.files = chosen.files;
  input.dispatchEvent(new page.Event("change"));
  setInterval(() => {
    const said = page.document.getElementById("status").textContent;
    if (/^(Stored|Failed)/.test(said)) fetch("/said", { method: "POST", body: said });
  }, 50);
};
</script>
"""


def block(heading: str) -> str:
    """The commands below a heading of the document."""
    section = FENCED.sub("", DOCUMENT).partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return "\n".join(line[4:] for line in section.splitlines() if line.startswith("    "))


@pytest.fixture
def ada(run: Run) -> Run:
    run("users", "create", ADA)
    run("quotas", "set", ADA, "--storage", "1GiB", "--upload", "1GiB")
    return run


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Run a text in a shell that finds this program; returns what it printed."""
    program = tmp_path / "bin" / "dumacle"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dumacle_cli "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(dumacle_cli.__file__).parents[1]))

    def call(script: str) -> str:
        done = subprocess.run(["sh", "-eu", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    return call


# A shell


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on this machine")
@pytest.mark.parametrize(("heading", "name"), [("With curl", "dance.mp4"), ("In parts", "film.mp4")])
def test_with_curl_alone(ada: Run, shell: Callable[[str], str], tmp_path: Path, heading: str, name: str) -> None:
    ada("pods", "create", "films", "--capacity", "1GiB")
    ada("pods", "grant", "films", ADA)
    (tmp_path / name).write_bytes(FILM)
    shell(block(heading))
    ada("files", "download", f"clips/{name}", "--owner", ADA, "--to", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == FILM
    assert ada("files", "show", f"clips/{name}", "--owner", ADA, *JSON).data["status"] == "uploaded"
    ada("files", "verify", "--pod", "films", "--read")
    ada("pods", "check")


def test_a_mistake_is_told_and_can_be_repeated(ada: Run) -> None:
    ada("pods", "create", "films", "--capacity", "1MiB")
    ada("pods", "grant", "films", ADA)
    small = ("files", "initiate", "a.mp4", "--owner", ADA, "--type", "video/mp4", *JSON)
    assert ada(*small, "--size", "2MiB", expect=8).error["code"] == "pod-full"
    assert ada(*small, "--size", "2MiB", "--set", "max_file_size=1MiB", expect=8).error["code"] == "file-too-large"
    assert ada(*small, "--size", "1MiB", "--expires", "2d", expect=2).error["code"] == "invalid-value"
    first, again = (ada(*small, "--size", "1MiB", "--op-id", "one").json for _ in range(2))
    assert (first["changed"], again["changed"]) == (True, False)
    assert (first["data"]["id"], bool(again["data"]["url"])) == (again["data"]["id"], True)
    assert ada(*small, "--size", "1MiB", expect=7).error["code"] == "conflict"
    assert ada("files", "confirm", "a.mp4", "--owner", ADA, *JSON, expect=7).error["code"] == "conflict"
    assert ada("files", "sign-parts", "a.mp4", "--owner", ADA, "--parts", "2", *JSON, expect=2)
    assert ada("files", "sign-parts", "a.mp4", "--owner", ADA, "--parts", "x", *JSON, expect=2)
    assert ada("files", "abort", "a.mp4", "--owner", ADA, *JSON).data["released"] == 1024**2
    assert ada("pods", "show", "films", *JSON).data["reserved"] == 0


def test_an_upload_leaves_a_path_that_a_client_is_sending(ada: Run, tmp_path: Path) -> None:
    ada("pods", "create", "films", "--capacity", "1GiB")
    ada("pods", "grant", "films", ADA)
    (tmp_path / "a.mp4").write_bytes(FILM)
    upload = ("files", "upload", tmp_path / "a.mp4", "--owner", ADA, *JSON)
    wanted = ("files", "initiate", "a.mp4", "--owner", ADA, "--size", len(FILM), "--type", "video/mp4", *JSON)
    links = ada(*map(str, wanted)).data
    assert f"dumacle files abort {links['id']}" in ada(*upload, expect=3).err
    send(links)
    ada("files", "confirm", str(links["id"]))
    assert ada(*upload).data["unchanged"] == 1
    links = ada(*map(str, wanted)).data
    ada("files", "abort", str(links["id"]))
    (tmp_path / "a.mp4").write_bytes(FILM[:-1])
    assert ada(*upload).data["uploaded"] == 1


def test_a_pod_takes_only_what_it_accepts(ada: Run) -> None:
    ada("pods", "create", "films", "--capacity", "1GiB", "--allow-types", "video/*", "--max-file-size", "2MiB")
    ada("pods", "grant", "films", ADA)
    wanted = ("files", "initiate", "a.mp4", "--owner", ADA, *JSON)
    refused = ada(*wanted, "--size", "1MiB", "--type", "image/png", expect=8).error
    assert (refused["code"], refused["fix"].split(": ")[1]) == (
        "type-not-allowed",
        "dumacle pods update films --allow-types LIST",
    )
    assert ada(*wanted, "--size", "3MiB", "--type", "video/mp4", expect=8).error["code"] == "file-too-large"
    assert ada("files", "list", "--owner", ADA, *JSON).data == []
    ada("pods", "update", "films", "--allow-types", "any", "--max-file-size", "unlimited")
    ada(*wanted, "--size", "3MiB", "--type", "image/png")


def send(links: Any) -> None:
    with urlopen(Request(links["url"], data=FILM, headers=links["headers"], method="PUT"), timeout=10) as answer:
        assert answer.status == 200


def test_only_those_who_may_upload_make_links(ada: Run, by: Callable[..., Any]) -> None:
    ada("pods", "create", "films", "--capacity", "1GiB")
    ada("pods", "grant", "films", ADA)
    ada("users", "create", "admin@example.com", "--role", "admin")
    wanted = ("files", "initiate", "a.mp4", "--owner", ADA, "--size", len(FILM), "--type", "video/mp4")
    for who in ("ingest", "admin@example.com"):
        links = by(who, *map(str, wanted)).data
        send(links)
        by(who, "files", "sign-parts", str(links["id"]))
        assert by(who, "files", "progress", str(links["id"])).data["progress"] == 100
        assert by(who, "files", "confirm", str(links["id"])).data["size"] == len(FILM)
        file_id = by(who, *map(str, wanted)).data["id"]
        assert by(who, "files", "abort", str(file_id)).data["released"] == len(FILM)
    links = by("ingest", *map(str, wanted)).data
    send(links)
    for who in (ADA, "worker", "cron", "listener"):
        by(who, *map(str, wanted), expect=5)
        by(who, "files", "confirm", str(links["id"]), expect=5)
        by(who, "files", "abort", str(links["id"]), expect=5)
    assert by("ingest", "files", "confirm", str(links["id"])).data["size"] == len(FILM)


# A browser


class Backend(ThreadingHTTPServer):
    """The page of the document, and the two requests that it makes of its backend."""

    daemon_threads = True

    def __init__(self, dumacle: Callable[..., Any]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.dumacle, self.said = dumacle, Queue[str]()
        (self.page,) = fenced(DOCUMENT, "html")


class _Handler(BaseHTTPRequestHandler):
    server: Backend

    def do_GET(self) -> None:
        pages = {"/": self.server.page.encode(), "/drive": DRIVER.encode(), "/dance.mp4": FILM}
        self.answer(pages.get(self.path, b""), "video/mp4" if self.path.endswith("mp4") else "text/html")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.path == "/said":
            self.server.said.put(body)
        elif self.path == "/uploads":
            wanted = json.loads(body)
            sent = ("--size", wanted["size"], "--type", wanted["type"], "--part-size", "5MiB")
            self.reply("initiate", f"clips/{wanted['name']}", "--owner", ADA, *sent)
        else:
            self.reply("confirm", self.path.split("/")[2])

    def reply(self, *words: str) -> None:
        self.answer(json.dumps(self.server.dumacle(*words)).encode(), "application/json")

    def answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test output clean."""


@contextmanager
def serving(dumacle: Callable[..., Any]) -> Iterator[Backend]:
    backend = Backend(dumacle)
    thread = Thread(target=backend.serve_forever, daemon=True)
    thread.start()
    yield backend
    backend.shutdown()
    backend.server_close()
    thread.join()


def test_page_is_short() -> None:
    (page,) = fenced(DOCUMENT, "html")
    assert len(page.splitlines()) <= 40


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not on this machine")
def test_from_a_browser(
    ada: Run, shell: Callable[[str], str], moto: Location, environment: Callable[..., None], tmp_path: Path
) -> None:
    bucket = f"test-{uuid4().hex[:12]}"
    buckets.create(Location("s3", moto.endpoint, moto.region, bucket, moto.access_key, moto.secret_key))
    keys = {"DUMACLE_S3_ACCESS_KEY": moto.access_key, "DUMACLE_S3_SECRET_KEY": moto.secret_key}
    environment(DUMACLE_S3_ENDPOINT=moto.endpoint, DUMACLE_S3_REGION=moto.region, **keys)
    ada("pods", "create", "films", "--capacity", "1GiB", "--provider", "s3", "--bucket", bucket)
    ada("pods", "grant", "films", ADA)

    def dumacle(*words: str) -> Any:
        return json.loads(shell(" ".join(["dumacle files", *map(str, words), "-o json"])))["data"]

    with serving(dumacle) as backend:
        origin = f"http://127.0.0.1:{backend.server_port}"
        ada("pods", "cors", "check", "films", "--origin", origin, expect=12)
        shell(block("From a browser").replace("https://app.example.com", origin))
        with browser(f"{origin}/drive", tmp_path / "chromium"):
            said = backend.said.get(timeout=60)
    file = ada("files", "show", "clips/dance.mp4", "--owner", ADA, *JSON).data
    assert said == f"Stored: {file['sha256']}"
    ada("files", "download", "clips/dance.mp4", "--owner", ADA, "--to", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == FILM
