"""A user with a pod, and a folder to upload from."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.objects import Location
from dumacle_cli.ingest.items import Attempt, NoProgress, Progress, Summary
from dumacle_cli.ingest.runs import UploadRequest
from dumacle_cli.ingest.upload import upload as upload_files
from dumacle_cli.store.database import Database
from tests.conftest import Result, Run
from tests.factories import GIB, make_grant, make_plan, make_pod, make_subscription, make_user

Fill = Callable[..., Path]


@dataclass(frozen=True, slots=True)
class Home:
    """Where the tests upload to."""

    pod_id: int
    owner_id: int


@pytest.fixture
def home(database: Database, bucket: Location) -> Home:
    """User ada on a plan without limits, with a grant on pod films of 1 GiB."""
    with database.session() as session:
        owner = make_user(session, "ada@example.com")
        pod = make_pod(session, "films", capacity=GIB, bucket=bucket.bucket)
        make_grant(session, pod, owner)
        make_subscription(session, owner, make_plan(session))
        return Home(pod.id, owner.id)


@pytest.fixture
def upload(run: Run, home: Home) -> Callable[..., Result]:
    """Upload into the pod, with the result as JSON."""

    def call(*arguments: str | Path, expect: int = 0) -> Result:
        return run(
            "files", "upload", *arguments, "--pod", "films", "--owner", "ada@example.com", "-o", "json", expect=expect
        )

    return call


@pytest.fixture
def fill(tmp_path: Path) -> Fill:
    """Make a folder of files of these sizes."""

    def make(name: str = "photos", **sizes: int) -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for file, size in sizes.items():
            (folder / f"{file}.jpg").write_bytes(os.urandom(size))
        return folder

    return make


class Meddler(NoProgress):
    """Watches an upload, and does something to its files when they are planned, or when first bytes have moved."""

    def __init__(self, when_planned: Callable[[], object] = bool, when_moved: Callable[[], object] = bool) -> None:
        self.when_planned, self.when_moved = when_planned, when_moved

    def planned(self, files: int, size: int) -> None:
        self.when_planned()

    def moved(self, attempt: Attempt, size: int) -> None:
        self.when_moved()


Drive = Callable[..., Summary]


@pytest.fixture
def drive(database: Database, bucket: Location, home: Home) -> Drive:
    """Upload with a progress of the test's own."""

    def call(folder: Path, progress: Progress, **values: Any) -> Summary:
        request = UploadRequest(
            **{
                "sources": [os.fsencode(folder)],
                "owner": "ada@example.com",
                "pod": "films",
                "prefix": "",
                "operation": uuid4().hex,
                "max_file_size": 5 * GIB,
                "large_file_size": 16 * 1024**2,
                "concurrency": 16,
                **values,
            }
        )
        with ObjectStore(bucket) as store:
            return upload_files(database, lambda _: store, request, progress)[0]

    return call
