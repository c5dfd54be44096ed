"""Uploads straight to the store against uploads through a server, as the backend before Dumacle took them.

    python -m tests.bench.proxied DUMACLE PYTHON

PYTHON has fastapi, python-multipart, uvicorn and boto3, and runs the server: one process that takes a form with a file
and puts it into the store with boto3. A client of its own sends 64 files of 8 MiB, 8 at once: with presigned links, as
docs/direct-uploads.md describes, and through the server. `dumacle files upload` sends the same files. The store
(null_store.py) answers after 20 ms and costs nothing. Making the links is not timed: a backend does that before.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.request import urlopen

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.objects import Location
from tests.bench.measure import Run, interleaved, report, run
from tests.bench.null_store import null_store
from tests.bench.upload import KEYS, Bench, Tools, database, tree

ROUNDS, COUNT, SIZE = 3, 64, 8 * 1024**2

SERVER = """
import os
import boto3
from fastapi import FastAPI, UploadFile

app = FastAPI()
store = boto3.client("s3", endpoint_url=os.environ["STORE"])


@app.post("/")
def upload(file: UploadFile):
    store.upload_fileobj(file.file, "b", file.filename)
    return {"uploaded": file.filename}


@app.get("/")
def ready():
    return {}
"""

CLIENT = """
import http.client, pathlib, sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

def send(line):
    path, url = line.split("\\t")
    at, body = urlsplit(url), pathlib.Path(path).read_bytes()
    connection = http.client.HTTPConnection(at.hostname, at.port)
    if sys.argv[2] == "form":
        head = '--x\\r\\nContent-Disposition: form-data; name="file"; filename="f"\\r\\n\\r\\n'.encode()
        form = {"Content-Type": "multipart/form-data; boundary=x"}
        connection.request("POST", "/", head + body + b"\\r\\n--x--\\r\\n", form)
    else:
        connection.request("PUT", f"{at.path}?{at.query}", body, {"Content-Type": "video/mp4"})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    answer.read()

with ThreadPoolExecutor(8) as pool:
    list(pool.map(send, pathlib.Path(sys.argv[1]).read_text().splitlines()))
"""


def main(dumacle: str, python: str) -> None:
    """Measure and print the ratios."""
    with tree(COUNT, SIZE) as files, null_store(0.020) as endpoint, database() as (owner, login):
        bench = Bench(Tools(dumacle), files, endpoint, owner, login, (COUNT, COUNT * SIZE))
        with _server(python, endpoint) as server:
            commands = {
                "through a server": partial(_send, files, dict.fromkeys(_paths(files), server), "form"),
                "presigned links": partial(_send, files, _links(files, endpoint), "put"),
                "dumacle files upload": bench.first,
            }
            found = interleaved(ROUNDS, **commands)
    report(f"{COUNT} x {SIZE // 1024**2} MiB at 20 ms, median of {ROUNDS}", found, "through a server")


def _paths(files: Path) -> list[Path]:
    return sorted(path for path in files.rglob("*") if path.is_file())


def _links(files: Path, endpoint: str) -> dict[Path, str]:
    keys = KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"]
    with ObjectStore(Location("s3", endpoint, "us-east-1", "b", *keys)) as store:
        uploads = {path: store.create_multipart(path.name, "video/mp4") for path in _paths(files)}
        return {path: store.presign_part(path.name, made, 1, SIZE, 3600) for path, made in uploads.items()}


def _send(files: Path, urls: dict[Path, str], way: str) -> Run:
    with tempfile.NamedTemporaryFile("w") as listed:
        listed.write("\n".join(f"{path}\t{url}" for path, url in urls.items()))
        listed.flush()
        return run([sys.executable, "-c", CLIENT, listed.name, way])


@contextmanager
def _server(python: str, endpoint: str) -> Iterator[str]:
    """Run the server until it answers; yields its URL."""
    with tempfile.TemporaryDirectory() as name, socket.create_server(("127.0.0.1", 0)) as free:
        Path(name, "proxy.py").write_text(SERVER)
        port = free.getsockname()[1]
        free.close()
        command = [python, "-m", "uvicorn", "proxy:app", "--port", str(port), "--log-level", "warning"]
        process = subprocess.Popen(command, cwd=name, env={**os.environ, **KEYS, "STORE": endpoint})
        url = f"http://127.0.0.1:{port}"
        try:
            while not _answers(url):
                assert process.poll() is None, "the server ended"
                time.sleep(0.1)
            yield url
        finally:
            process.terminate()
            process.wait()


def _answers(url: str) -> bool:
    try:
        with urlopen(url) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
