"""What the documents tell to type works, typed from top to bottom: from nothing to a film that plays, and beyond."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from dumacle_cli.clients.object_store import Location
from dumacle_cli.local import servers
from dumacle_cli.local.servers import OWNER, Servers
from tests.conftest import Result, Run
from tests.deploy.grammar import TOP, typed
from tests.films import Films, films
from tests.stripe_double.double import StripeDouble

__all__ = ["films"]
pytestmark = pytest.mark.e2e


@pytest.fixture
def name(embedded: Servers) -> Iterator[str]:
    """The name of a database that is not there yet."""
    name = f"written_{uuid4().hex[:12]}"
    yield name
    with psycopg.connect(embedded.admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def machine(
    name: str, embedded: Servers, bucket: Location, environment: Callable[..., None], stripe_double: StripeDouble
) -> None:
    """The settings of the documents, for servers that are here."""
    environment(
        DUMACLE_ADMIN_DATABASE_URL=embedded.admin_url,
        DUMACLE_DATABASE_URL=servers.url(embedded, OWNER, embedded.owner_password, name),
        DUMACLE_DEFAULT_PROVIDER="local",
        DUMACLE_LOCAL_ENDPOINT=bucket.endpoint or "",
        DUMACLE_LOCAL_BUCKET=bucket.bucket,
        DUMACLE_LOCAL_ACCESS_KEY=bucket.access_key,
        DUMACLE_LOCAL_SECRET_KEY=bucket.secret_key,
        **stripe_double.settings,
    )


def test_documents_work_as_written(machine: None, name: str, here: Path, invoke: Run, films: Films) -> None:
    (here / "holiday").mkdir()
    (here / "holiday" / "film.mp4").write_bytes(films(2))

    def type_(words: list[str]) -> Result:
        # The owner's password of these servers lies here, and not in /etc.
        local = [word.replace("/etc/dumacle/", f"{here}/") for word in words]
        return invoke(*local, *(["--database", name] if words[:2] == ["db", "bootstrap"] else []))

    results = [type_(words) for words in typed(TOP / "docs" / "install.md") if words != ["--version"]]
    assert "film.mp4" in results[-2].out
    [link] = re.findall(r"http\S+", results[-1].out)
    assert urlopen(link).read().startswith(b"#EXTM3U")
    for document in ("deploy.md", "troubleshooting.md"):
        for words in typed(TOP / "docs" / document):
            if words[0] != "worker" or "--once" in words:
                type_(words)
