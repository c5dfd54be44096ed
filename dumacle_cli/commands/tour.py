"""The steps of `dumacle demo`, each done by what the commands of the same name do."""

import hashlib
import os
import shlex
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dumacle_cli import embedded, settings
from dumacle_cli.commands import uploads
from dumacle_cli.commands.pods import bar
from dumacle_cli.context import Context
from dumacle_cli.errors import ContentDiffers, InvalidValue, StoreUnavailable
from dumacle_cli.ingest.items import Item
from dumacle_cli.ingest.scan import scan
from dumacle_cli.local import servers
from dumacle_cli.output.forms import Form, Shown
from dumacle_cli.output.steps import Step, Steps
from dumacle_cli.services import demo as world
from dumacle_cli.services import downloads, files, pods, quotas, seed
from dumacle_cli.units import Bytes, show_duration, show_size

if TYPE_CHECKING:
    from dumacle_cli.store.files import Content

STEPS = 8
CHUNK = 1024**2


@dataclass(frozen=True, slots=True)
class Demo:
    """What the demo showed; on a dry run, what cannot be known before is null.

    `uploaded` and `repeated` are the files that the first and the second upload sent. `sha256` is the film's, found
    equal at the source, behind the link and in the download.
    """

    source: str
    files: int | None
    size: Bytes | None
    uploaded: int | None
    repeated: int | None
    film: str | None
    sha256: str | None
    steps: list[Step]
    operator: str = world.OPERATOR
    user: str = world.USER
    plan: str = world.PLAN
    pod: str = world.POD


@dataclass(frozen=True, slots=True)
class Survey:
    """What can be read at a source, in bytes; the largest file is the film."""

    source: Path
    files: int
    size: int
    film: Item


def survey(source: Path) -> Survey:
    """Count what can be read, in constant memory; raises NotFound, or InvalidValue where that is nothing."""
    number, size, film = 0, 0, None
    for item in scan([os.fsencode(source)], ""):
        if isinstance(item, Item) and os.access(item.source, os.R_OK):
            number, size = number + 1, size + item.size
            film = item if film is None or item.size > film.size else film
    if film is None:
        raise InvalidValue(name="FOLDER", value=str(source), reason="it holds no file that can be read")
    return Survey(source, number, size, film)


class Tour:
    """One run of the demo on the embedded servers; `hiding` is the variable that hides them from other commands."""

    def __init__(self, context: Context, hiding: str) -> None:
        told = context.form is Form.TABLE and not context.quiet
        self.context, self.hiding = context, hiding
        self.operation = context.operation
        self.steps = Steps(context.err if told else None, STEPS)
        self.changed = False

    def run(self, source: Callable[[], tuple[Survey, bool]]) -> Shown:
        """Take all steps on a source, which may have to be made first; raises what the commands raise."""
        take = self.steps.take
        take("servers", self._start)
        found = take("media", lambda: self._media(source))
        seeded = take("set-up", lambda: self._set_up(found.size))
        if seeded and seeded.password and self.context.form is Form.TABLE:
            self.context.say(f"     password of {seeded.email}, shown once: {seeded.password}")
        first = take("upload", lambda: self._upload(found))
        again = take("again", lambda: self._upload(found))
        standing = take("quotas", self._standing)
        link, sha256 = take("link", lambda: self._link(found))
        take("download", lambda: self._download(found, sha256))
        done = Demo(
            source=str(found.source),
            files=found.files,
            size=found.size,
            uploaded=first.data.uploaded,  # type: ignore[attr-defined]
            repeated=again.data.uploaded,  # type: ignore[attr-defined]
            film=found.film.path,
            sha256=sha256,
            steps=self.steps.done,
        )
        shown = Shown(done, self.changed, self.operation, exit=first.exit)
        if self.context.form is Form.TABLE:
            self.context.say("")
            shown.data = standing | {"film": found.film.path, "SHA-256": sha256}
            shown.note = self._note(found.film.path, link)
        return shown

    # Before the upload

    def _start(self) -> tuple[None, str]:
        folder = self.context.data_dir
        ran = servers.running(folder) is not None
        change = embedded.profile(settings.user_file(self.context.environ), folder)
        embedded.start(folder)
        change.write()
        self.changed |= change.changed or not ran
        return None, f"PostgreSQL and an S3 server {'run already' if ran else 'started'}"

    def _media(self, source: Callable[[], tuple[Survey, bool]]) -> tuple[Survey, str]:
        found, made = source()
        self.changed |= made
        return found, f"{_files(found.files)}, {show_size(found.size)}{', made with FFmpeg' if made else ''}"

    def _set_up(self, size: int) -> tuple[seed.Seeded | None, str]:
        parts = world.parts(self.context.servers.bucket, size)
        changes = self.context.change_many(parts, lambda session, name: parts[name](session))
        results = dict(zip(parts, changes, strict=True))
        made = [name for name, (_, changed) in results.items() if changed]
        self.changed |= bool(made)
        first, _ = results["superadmin"]
        seeded = first if isinstance(first, seed.Seeded) else None
        return seeded, f"made {', '.join(made)}" if made else "operator, pod, plan and user are there already"

    # The upload, and what it changed

    def _upload(self, found: Survey) -> tuple[Shown, str]:
        # Its sets are operations too, and need ids that nothing before them had.
        self.context.operation = str(uuid.uuid4())
        shown = uploads.upload(self.context, [found.source], owner=world.USER, pod=world.POD)
        summary: Any = shown.data
        self.changed |= summary.uploaded > 0
        if not summary.uploaded:
            return shown, f"nothing to upload: {_files(summary.unchanged)} unchanged"
        rate = show_size(round(summary.uploaded_size / max(summary.seconds, 0.001)))
        return shown, f"{_files(summary.uploaded)}, {show_size(summary.uploaded_size)}, {rate}/s"

    def _standing(self) -> tuple[dict[str, str], str]:
        """Return the lines of the last screen that say what exists now."""
        with self.context.session() as session:
            pod = pods.usage(session, world.POD, by_owner=False, after=None, limit=1).items[0]
            rows = {quota.metric: quota for quota in quotas.show(session, world.USER)}
        lines = {
            "operator": world.OPERATOR,
            "user": f"{world.USER}, on plan {world.PLAN}",
            "pod": f"{world.POD}, with {_files(pod.files)}",
            "pod's capacity": _bar(pod.capacity - pod.free, pod.capacity),
            "storage quota": _bar(rows["storage"].used, rows["storage"].limit),
            "upload quota": _bar(rows["upload"].used, rows["upload"].limit) + " this month",
        }
        return lines, f"{world.USER} stores {show_size(rows['storage'].used)}"

    # The bytes, out again

    def _link(self, found: Survey) -> tuple[tuple[downloads.Link, str], str]:
        link = downloads.link(self.context.store, self._content(found), self.context.settings.url_expiry)
        with Path(os.fsdecode(found.film.source)).open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        _compare(found, _fetched(link.url), sha256)
        return (link, sha256), "a link to the film was fetched: SHA-256 is the same"

    def _download(self, found: Survey, sha256: str) -> tuple[None, str]:
        _compare(found, downloads.checked(self.context.store, self._content(found)), sha256)
        return None, f"{show_size(found.film.size)} downloaded: SHA-256 is the same"

    def _content(self, found: Survey) -> "Content":
        with self.context.session() as session:
            film = files.find(session, found.film.path, owner=world.USER, pod=world.POD)
            return downloads.content(session, film)

    def _note(self, film: str, link: downloads.Link) -> str:
        """Return the link and what to try next, as commands that reach the demo's database from here on."""
        default = settings.resolve((), None, self.context.environ).profile
        program = f"env -u {self.hiding} dumacle" if self.hiding else "dumacle"
        program += "" if default == embedded.PROFILE else f" --profile {embedded.PROFILE}"
        life = show_duration(self.context.settings.url_expiry)
        return "\n".join(
            [
                f"\nThis link gives the film to any browser on this machine, for {life}:\n{link.url}",
                "\nTry next:",
                f"  {program} files list --owner {world.USER} --sort size --desc --limit 5",
                f"  {program} users show {world.USER}",
                f"  {program} files download {shlex.quote(film)} --owner {world.USER}",
            ]
        )


def _compare(found: Survey, chunks: Iterable[bytes], sha256: str) -> None:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    if digest.hexdigest() != sha256:
        raise ContentDiffers(path=found.film.path)


def _fetched(url: str) -> Iterator[bytes]:
    """Fetch a link as anybody would; past any proxy, because the embedded server is on this machine."""
    from urllib.request import ProxyHandler, build_opener

    try:
        with build_opener(ProxyHandler({})).open(url) as answer:
            while chunk := answer.read(CHUNK):
                yield chunk
    except OSError as error:
        # The error's own text may hold the signed link.
        raise StoreUnavailable(provider="local", endpoint="loopback", reason=type(error).__name__) from None


def _files(number: int) -> str:
    return f"{number} file{'' if number == 1 else 's'}"


def _bar(used: int, limit: int | None) -> str:
    if limit is None:
        return f"{show_size(used)}, unlimited"
    return f"{bar(100 * used / max(limit, 1))} {show_size(used)} of {show_size(limit)}"
