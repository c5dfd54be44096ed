"""The commands in the documents work, typed from top to bottom: from nothing to a film that plays, and beyond."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from dumacle_cli.clients.objects import Location
from dumacle_cli.local import servers
from dumacle_cli.local.servers import Servers
from tests.conftest import Result, Run
from tests.deploy.grammar import TOP, fenced, typed
from tests.films import Films, films
from tests.stripe_double.double import StripeDouble
from tests.terminal import ask

__all__ = ["films"]
pytestmark = pytest.mark.e2e

INSTALL, DEPLOY, TROUBLE = (
    (TOP / "docs" / f"{name}.md").read_text() for name in ("install", "deploy", "troubleshooting")
)
# The part before is typed by test_production.py, on machines of its own.
MORE = DEPLOY[DEPLOY.index("## A pooler") :]


@pytest.fixture
def name(embedded: Servers) -> Iterator[str]:
    """The name of a database that does not exist yet."""
    name = f"written_{uuid4().hex[:12]}"
    yield name
    with psycopg.connect(embedded.admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def machine(
    name: str,
    embedded: Servers,
    bucket: Location,
    environment: Callable[..., None],
    stripe_double: StripeDouble,
    here: Path,
) -> None:
    """The settings of the documents, for servers that are here."""
    [example] = fenced(INSTALL, "toml")
    reach = servers.url(embedded, "", "", name).partition("@")[2]
    example = re.sub(r"^s3_.*\n", "", example, flags=re.MULTILINE)
    config = re.sub(r"@db\.example\.com/[^\"]*", f"@{reach}", example).replace("dumacle_root@", f"{name}_root@")
    (here / "config.toml").write_text(config.replace("/etc/dumacle/owner.password", str(here / "owner-password")))
    environment(
        DUMACLE_CONFIG=str(here / "config.toml"),
        DUMACLE_ADMIN_DATABASE_URL=embedded.admin_url,
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
    results: list[Result] = []

    def type_(words: list[str]) -> Result:
        if words[:2] == ["auth", "login"]:
            [password] = re.findall(r"^password +(\S+)$", "".join(result.out for result in results), re.MULTILINE)
            login = ask(password, *words, "--store", "file")  # there is no keyring here
            assert login.code == 0, login.err
            return login
        # The owner's password of these servers lies here, and not in /etc.
        local = [word.replace("/etc/dumacle/owner.password", f"{here}/owner-password") for word in words]
        named = ["--database", name] if words[:2] == ["db", "bootstrap"] else []
        return invoke(*local, *named, stdin="a-password-of-a-service" if words[-1] == "-" else None)

    for words in typed(INSTALL):
        if words != ["--version"]:
            results.append(type_(words))
    assert "film.mp4" in results[-2].out
    [link] = re.findall(r"http\S+", results[-1].out)
    assert urlopen(link).read().startswith(b"#EXTM3U")
    for text in (MORE, TROUBLE):
        for words in typed(text):
            if words[0] != "worker" or "--once" in words:
                type_(words)
