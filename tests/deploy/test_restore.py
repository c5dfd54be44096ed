"""What the documents say of backups, typed: a dump comes to life in another cluster, with all that no dump holds."""

import json
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest

from dumacle_cli.errors import Exit
from dumacle_cli.local import cluster, postgres
from dumacle_cli.local import folder as folders
from dumacle_cli.local.servers import Servers
from tests.deploy.grammar import TOP
from tests.deploy.hosts import Host, blocks
from tests.deploy.site import PAGE, TLS, Site, managed, prepare, shown_password, type_for_people
from tests.films import Films, films

__all__ = ["films"]
pytestmark = pytest.mark.e2e

OPERATE = (TOP / "docs" / "operate.md").read_text("utf-8")
KEEPING = OPERATE.partition("## What to keep")[2].partition("\n## ")[0]
BACKUP, RESTORE = (blocks(KEEPING)[heading] for heading in ("Backup", "Restore"))
ROTATE = blocks(OPERATE.partition("## The key")[2].partition("\n## ")[0])["Rotating it"]
PEOPLE = blocks(OPERATE.partition("## People")[2])


def with_programs(host: Host, up: Servers) -> None:
    """Put PostgreSQL's programs of the server's version on a machine."""
    programs = cluster.programs(up.folder, folders.account_of(up.folder))
    for name in ("pg_dump", "pg_restore"):
        (host.root / "bin" / name).symlink_to(programs / name)


def move(site: Site, new: Servers) -> None:
    """Let the names of the documents lead to another server."""
    for host in (site.superadmin, site.admin, site.ingest):
        host.names.update({"server=new.example.com": "server=", TLS: f"host={new.host}&port={new.port}"})


def downloaded(site: Site, file: str) -> str:
    """Return the SHA-256 of a file as it comes back."""
    target = site.superadmin.home / "back" / file
    target.parent.mkdir(exist_ok=True)
    target.unlink(missing_ok=True)
    files = json.loads(site.superadmin.type_("dumacle files list --owner ada@example.com -o json"))["data"]
    [number] = [each["id"] for each in files if each["path"] == file]
    site.superadmin.type_(f"dumacle files download {number} --to {target}")
    return sha256(target.read_bytes()).hexdigest()


def test_a_dump_comes_to_life_elsewhere(films: Films, tmp_path: Path) -> None:
    film, photo = films(2), b"\xff\xd8\xff\xe0 a photo of the days after"
    with managed() as old, managed() as new:
        site = prepare(old, tmp_path, film)
        with_programs(site.superadmin, old)
        type_for_people(site)
        site.ingest.type_(PAGE["The ingest host"])
        site.superadmin.type_(BACKUP)
        postgres.stop(old.folder)

        # Nothing but the dump, the passwords' files and the key come over; the bucket stayed where it was.
        move(site, new)
        ask_root = {"Password of dumacle_root: ": partial(shown_password, "dumacle_root")}
        screen = site.superadmin.type_(RESTORE, ask_root)
        assert "roles made  yes" in screen
        ask_admin = {"Password of dumacle_admin: ": lambda _: shown_password("dumacle_admin", screen)}
        site.admin.type_("\n".join(PAGE["The admin's machine"].splitlines()[:2]), ask_admin)
        assert "films" in site.admin.type_("dumacle pods list")

        # The old film is there, a new photo goes up, both come back as they were.
        (site.ingest.home / "holiday" / "photo.jpg").write_bytes(photo)
        site.ingest.type_(PAGE["The ingest host"])
        assert downloaded(site, "film.mp4") == sha256(film).hexdigest()
        assert downloaded(site, "photo.jpg") == sha256(photo).hexdigest()

        # The key is rotated, a laptop is stolen, and a colleague leaves.
        site.superadmin.type_(ROTATE, {"Go on? [y/N] ": lambda _: "y"})
        assert downloaded(site, "film.mp4") == sha256(film).hexdigest()
        site.superadmin.type_(PEOPLE["The superadmin's laptop is stolen"])
        site.superadmin.type_(PEOPLE["A service's password"])
        site.superadmin.type_(PEOPLE["Somebody leaves"])
        site.admin.type_("dumacle pods list", expect=Exit.LOGIN)
