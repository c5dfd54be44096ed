"""The steps of `dumacle demo`, each done by what the commands of the same name do."""

import hashlib
import os
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dumacle_cli import embedded
from dumacle_cli.commands import ending, local, screening, uploads
from dumacle_cli.commands.ending import counted
from dumacle_cli.context import Context
from dumacle_cli.errors import ContentDiffers, Exit, InvalidValue
from dumacle_cli.ingest.content import content_type
from dumacle_cli.ingest.items import Item
from dumacle_cli.ingest.scan import scan
from dumacle_cli.local import servers
from dumacle_cli.output.forms import Form, Shown
from dumacle_cli.output.steps import Step, Steps
from dumacle_cli.services import demo as world
from dumacle_cli.services import downloads, files, seed, standing, subscriptions, transcodes
from dumacle_cli.units import Bytes, show_size

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dumacle_cli.commands.screening import Played
    from dumacle_cli.store.files import Content

STEPS = 12


@dataclass(frozen=True, slots=True)
class Demo:
    """What the demo showed; on a dry run, what cannot be known before is null.

    `folder` holds the data of the embedded servers.

    `refused` are the files for which the first plan was too small, `uploaded` those that were sent, and `repeated`
    those that were sent again. `sha256` is the film's, equal at the source, behind the link and in the download.
    `transcoded` says whether a worker had to make HLS of `video`; `played` are the objects behind the link to it, with
    `played_size` bytes. What is null there was not done, for want of a video that can be transcoded.
    """

    source: str
    files: int | None
    size: Bytes | None
    refused: int | None
    uploaded: int | None
    repeated: int | None
    film: str | None
    sha256: str | None
    video: str | None
    transcoded: bool | None
    played: int | None
    played_size: Bytes | None
    steps: list[Step]
    folder: str
    operator: str = world.OPERATOR
    user: str = world.USER
    first_plan: str = world.SMALL
    plan: str = world.PLAN
    pod: str = world.POD


@dataclass(frozen=True, slots=True)
class Survey:
    """What can be read at a source, in bytes; the largest file is the film, and the largest video is transcoded."""

    source: Path
    files: int
    size: int
    film: Item
    video: Item | None


def survey(source: Path) -> Survey:
    """Count what can be read, in constant memory; raises NotFound, or InvalidValue where that is nothing."""
    number, size, film, video = 0, 0, None, None
    for item in scan([os.fsencode(source)], ""):
        if isinstance(item, Item) and os.access(item.source, os.R_OK):
            number, size, film = number + 1, size + item.size, _larger(item, film)
            video = _larger(item, video) if content_type(item.path, b"").startswith("video/") else video
    if film is None:
        raise InvalidValue(name="FOLDER", value=str(source), reason="it holds no file that can be read")
    return Survey(source, number, size, film, video)


def _larger(item: Item, other: Item | None) -> Item:
    return item if other is None or item.size > other.size else other


class Tour:
    """One run of the demo on the embedded servers; `hiding` is the variable that hides them from other commands."""

    def __init__(self, context: Context, hiding: str) -> None:
        told = context.form is Form.TABLE and not context.quiet
        self.context, self.hiding = context, hiding
        self.operation = context.operation
        self.steps = Steps(context.err if told else None, STEPS)
        self.changed = False
        self.exit = Exit.DONE

    def run(self, source: Callable[[], tuple[Survey, bool]]) -> Shown:
        """Take all steps on a source, which may have to be made first; raises what the commands raise."""
        take = self.steps.take
        found = self._prepare(source)
        counts = self._fill(found)
        link, sha256 = take("link", lambda: self._link(found))
        take("download", lambda: self._download(found, sha256))
        screened, playing = self._screen(found)
        lines = take("quotas", lambda: ending.standing(self.context))
        done = Demo(
            source=str(found.source),
            files=found.files,
            size=found.size,
            film=found.film.path,
            sha256=sha256,
            steps=self.steps.done,
            folder=str(self.context.data_dir),
            **counts,
            **screened,
        )
        shown = Shown(done, self.changed, self.operation, exit=self.exit)
        if self.context.form is Form.TABLE:
            self.context.say("")
            place = {"servers": f"in {self.context.data_dir}"}
            shown.data = place | lines | {"film": found.film.path, "SHA-256": sha256}
            shown.note = ending.note(self.context, self.hiding, link, playing)
        return shown

    # Before the upload

    def _prepare(self, source: Callable[[], tuple[Survey, bool]]) -> Survey:
        self.steps.take("servers", self._start)
        found = self.steps.take("media", lambda: self._media(source))
        seeded = self.steps.take("set-up", lambda: self._set_up(found))
        if seeded and seeded.password and self.context.form is Form.TABLE:
            self.context.say(f"     password of {seeded.email}, shown once: {seeded.password}")
        return found

    def _start(self) -> tuple[None, str]:
        folder = self.context.data_dir
        ran = servers.running(folder) is not None
        change = local.profile(self.context, folder)
        embedded.start(folder)
        change.write()
        self.changed |= change.changed or not ran
        return None, f"PostgreSQL and an S3 server {'run already' if ran else 'started'}"

    def _media(self, source: Callable[[], tuple[Survey, bool]]) -> tuple[Survey, str]:
        found, made = source()
        self.changed |= made
        return found, f"{counted(found.files, 'file')}, {show_size(found.size)}{', made with FFmpeg' if made else ''}"

    def _set_up(self, found: Survey) -> tuple[seed.Seeded | None, str]:
        parts = world.parts(self.context.servers.bucket, found.size, found.film.size)
        changes = self.context.change_many(parts, lambda session, name: parts[name](session))
        results = dict(zip(parts, changes, strict=True))
        made = [name for name, (_, changed) in results.items() if changed]
        self.changed |= bool(made)
        first, _ = results["superadmin"]
        seeded = first if isinstance(first, seed.Seeded) else None
        return seeded, f"made {', '.join(made)}" if made else "operator, pod, plans and user are there already"

    # The upload, on a plan that is too small and on a bigger one

    def _fill(self, found: Survey) -> dict[str, Any]:
        """Return how many files were refused, sent, and sent again."""
        with self.context.session() as session:
            plan = standing.show(session, world.USER).plan
        refused, begun = self.steps.take("limit", lambda: self._upload_too_much(found, plan))
        self.steps.take("plan", lambda: self._move(plan))
        sent = self.steps.take("upload", lambda: self._upload(found))
        again = self.steps.take("again", lambda: self._upload(found))
        return {"refused": refused, "uploaded": begun + sent, "repeated": again}

    def _upload_too_much(self, found: Survey, plan: str | None) -> tuple[tuple[int, int], str]:
        if plan != world.SMALL:
            return (0, 0), f"nothing refused: plan {world.SMALL} was left before"
        self._renew_operation()
        summary, tally = uploads.run_upload(self.context, [found.source], owner=world.USER, pod=world.POD)
        self.changed |= summary.uploaded > 0
        came = f"{summary.uploaded} uploaded, {tally.limits} refused: no room in plan {plan}"
        return (tally.limits, summary.uploaded), came

    def _move(self, plan: str | None) -> tuple[None, str]:
        if plan != world.SMALL:
            return None, f"{world.USER} is on {f'plan {plan}' if plan else 'no plan'} already"
        self._change(lambda session: subscriptions.give(session, world.USER, world.PLAN))
        return None, f"{world.USER} moved to the bigger plan {world.PLAN}"

    def _upload(self, found: Survey) -> tuple[int, str]:
        self._renew_operation()
        shown = uploads.upload(self.context, [found.source], owner=world.USER, pod=world.POD)
        summary: Any = shown.data
        self.changed |= summary.uploaded > 0
        self.exit = shown.exit
        if not summary.uploaded:
            return 0, f"nothing to upload: {counted(summary.unchanged, 'file')} unchanged"
        rate = show_size(round(summary.uploaded_size / max(summary.seconds, 0.001)))
        size = show_size(summary.uploaded_size)
        before = f", {summary.unchanged} unchanged" if summary.unchanged else ""
        return summary.uploaded, f"{counted(summary.uploaded, 'file')} uploaded, {size}, {rate}/s{before}"

    def _change(self, work: "Callable[[Session], tuple[Any, bool]]") -> Any:
        self._renew_operation()
        shown = self.context.change(work)
        self.changed |= bool(shown.changed)
        return shown.data

    def _renew_operation(self) -> None:
        """Take an id that nothing before had: each step is operations of its own."""
        self.context.operation = str(uuid.uuid4())

    # The bytes, out again

    def _link(self, found: Survey) -> tuple[tuple[downloads.Link, str], str]:
        link = downloads.link(self.context.store, self._content(found), self.context.settings.url_expiry)
        with Path(os.fsdecode(found.film.source)).open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        _compare(found, screening.fetched(link.url), sha256)
        return (link, sha256), "a link to the film was fetched: SHA-256 is the same"

    def _download(self, found: Survey, sha256: str) -> tuple[None, str]:
        _compare(found, downloads.checked(self.context.store, self._content(found)), sha256)
        return None, f"{show_size(found.film.size)} downloaded: SHA-256 is the same"

    def _content(self, found: Survey) -> "Content":
        with self.context.session() as session:
            film = files.find(session, found.film.path, owner=world.USER, pod=world.POD)
            return downloads.content(session, film)

    # The video, on a screen

    def _screen(self, found: Survey) -> tuple[dict[str, Any], downloads.Link | None]:
        """Return what is told of the video, and the link that plays it."""
        made, fresh = self.steps.take("transcode", lambda: self._transcode(found.video))
        if made and made.status != "done":
            self.exit = Exit.FAILED
            self.context.warn(f"{made.path}: {made.error}")
        link, played = self.steps.take("play", lambda: self._play(made))
        told = {
            "video": found.video.path if found.video else None,
            "transcoded": fresh,
            "played": len(played.sizes) if played else None,
            "played_size": sum(played.sizes.values()) if played else None,
        }
        return told, link

    def _transcode(self, video: Item | None) -> tuple[tuple[transcodes.Detail | None, bool | None], str]:
        if video is None:
            return (None, None), "left out: there is no video"
        name = [video.path]
        [submitted] = self._change(
            lambda session: transcodes.submit(session, name, "hls", owner=world.USER, pod=world.POD)
        )
        made = screening.wait(self.context, submitted.id, lambda percent: self.steps.under_way(f"{percent} %"))
        fresh = submitted.is_live
        self.changed |= fresh
        if made.status != "done":
            return (made, fresh), f"transcode {made.id} is {made.status}"
        what = f"the video is HLS in {counted(len(made.rungs), 'size')}, {show_size(made.renditions[0].size)}"
        return (made, fresh), f"{what}{'' if fresh else ', already'}"

    def _play(self, made: transcodes.Detail | None) -> "tuple[tuple[downloads.Link | None, Played | None], str]":
        if made is None or made.status != "done":
            return (None, None), "left out: there is nothing to play"
        # The playlists that are written for a link expire with it, and are no change of the demo's world.
        link, played = screening.play(self.context, made)
        lists, pieces = counted(played.playlists, "playlist"), counted(len(played.sizes), "piece")
        return (link, played), f"{lists} and {pieces} fetched: sizes are right"


def _compare(found: Survey, chunks: Iterable[bytes], sha256: str) -> None:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    if digest.hexdigest() != sha256:
        raise ContentDiffers(path=found.film.path)
