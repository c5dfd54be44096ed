"""An installation made by typing the page about production, each of its machines a folder here."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psycopg
from psycopg import sql

from dumacle_cli.local import servers
from dumacle_cli.local.servers import Servers
from tests.deploy.grammar import TOP
from tests.deploy.hosts import Host, blocks
from tests.servers import scratch_folder, start_servers, stop_servers

DEPLOY = (TOP / "docs" / "deploy.md").read_text("utf-8")
PAGE = blocks(DEPLOY.partition("## Production")[2].partition("\n## ")[0])
TLS = "sslmode=verify-full&sslrootcert=/etc/ssl/certs/ca-certificates.crt"
CLOUD = "the-admin-of-the-cloud"
NEW = "a-password-that-the-admin-chose"
DUTIES = ("ingest", "worker", "listener", "cron")


@contextmanager
def managed() -> Iterator[Servers]:
    """Run a PostgreSQL whose administrator is not a superuser, with a bucket `media`."""
    folder = scratch_folder()
    up = start_servers(folder)
    try:
        with psycopg.connect(up.admin_url, autocommit=True) as admin:
            admin.execute(sql.SQL("CREATE ROLE cloudadmin LOGIN CREATEROLE CREATEDB PASSWORD {}").format(CLOUD))
        yield up
    finally:
        stop_servers(folder)


@dataclass(frozen=True, slots=True)
class Site:
    """All machines of the page; `owner_url` is a superuser's, to whom no row-level security applies."""

    superadmin: Host
    admin: Host
    ingest: Host
    worker: Host
    listener: Host
    cron: Host
    owner_url: str


def prepare(up: Servers, folder: Path, film: bytes, pooler: Path | None = None) -> Site:
    """Make the machines as the page expects them, on which its names lead to the servers that are here."""
    pooled = {f"@db.example.com/dumacle?{TLS}": f"@/dumacle?host={pooler}&port=6432"} if pooler else {}
    names = {
        "server=db.example.com": "server=",
        "@db.example.com/": "@/",
        TLS: f"host={up.host}&port={up.port}",
        "https://s3.eu-central-1.amazonaws.com": up.s3_endpoint,
        "auth login": "auth login --store file",  # there is no keyring here
        '"whsec_..."': '"whsec_..."\nlisten_port = 0',
    }
    people = [Host(folder / f"{name}.example.com", names) for name in ("root", "admin")]
    duties = [
        Host(folder / f"{name}.example.com", (pooled if name != "worker" else {}) | names, serves=True)
        for name in DUTIES
    ]
    (people[0].home / "s3.keys").write_text(f"{up.s3_access_key}\n{up.s3_secret_key}\n")
    (people[0].home / ".pgpass").write_text(f"*:*:*:cloudadmin:{CLOUD}\n")
    (people[0].home / ".pgpass").chmod(0o600)
    (duties[0].home / "holiday").mkdir()
    (duties[0].home / "holiday" / "film.mp4").write_bytes(film)
    return Site(*people, *duties, servers.url(up, "postgres", up.postgres_password, "dumacle"))


def shown_password(login: str, screen: str) -> str:
    """Find the password of a login on the screen that showed it."""
    [found] = re.findall(rf"^login +{login}\n(?:duty.*\n)?password +(\S+)$", screen, re.MULTILINE)
    return str(found)


def type_for_people(site: Site) -> None:
    """Type the page's commands for the superadmin, then for the admin, with the password shown to the superadmin."""
    screen = site.superadmin.type_(
        PAGE["The superadmin's machine"],
        {"Password of dumacle_root: ": partial(shown_password, "dumacle_root"), "Go on? [y/N] ": lambda _: "y"},
    )
    site.admin.type_(
        PAGE["The admin's machine"],
        {
            "Password of dumacle_admin: ": lambda _: shown_password("dumacle_admin", screen),
            "New password: ": lambda _: NEW,
            "Once more: ": lambda _: NEW,
        },
    )


def type_for_services(site: Site) -> None:
    """Type the page's commands on the hosts of the services."""
    for host, heading in (
        (site.ingest, "The ingest host"),
        (site.worker, "The worker's host"),
        (site.listener, "The listener's host"),
        (site.cron, "The host of cron"),
    ):
        host.type_(PAGE[heading])
