"""The twelve steps of `dumacle demo`, each done by what the commands of the same name do."""

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from dumacle_cli import embedded
from dumacle_cli.context import Context
from dumacle_cli.demo import playback, setup, summary, worker
from dumacle_cli.demo.media import Source
from dumacle_cli.demo.result import PLAN, POD, SMALL_PLAN, USER, Demo, counted
from dumacle_cli.errors import Exit
from dumacle_cli.local import servers
from dumacle_cli.output.result import Result
from dumacle_cli.output.steps import Steps
from dumacle_cli.services import account_status, transcodes
from dumacle_cli.services.billing import subscriptions
from dumacle_cli.services.seed import Seeded
from dumacle_cli.units import show_size

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dumacle_cli.services.downloads import Link

STEPS = 12
T = TypeVar("T")


class Run:
    """One run of the demo on the embedded servers.

    `send` and `upload` are what `dumacle files upload` runs, without and with a line for each file that fails.
    """

    def __init__(self, context: Context, send: Callable[..., Any], upload: Callable[..., Result[Any]]) -> None:
        visible = context.options.is_table and not context.options.quiet
        self.context, self.send, self.upload = context, send, upload
        self.operation = context.operation
        self.steps = Steps(context.console.err if visible else None, STEPS)
        self.changed = False
        self.exit = Exit.DONE

    def all_steps(self, find_source: Callable[[], Source], hiding: str) -> Result[Demo]:
        """Take all steps; `hiding` is the variable that hides the embedded servers from other commands, if any.

        Raises what the commands raise.
        """
        take = self.steps.take
        take("servers", self._start)
        source = take("media", lambda: self._find(find_source))
        self._show_password(take("set-up", lambda: self._set_up(source)))
        counts = self._fill(source)
        link, sha256 = take("link", lambda: self._link(source))
        take("download", lambda: self._download(source, sha256))
        playback_facts, playing = self._play_video(source)
        quotas = take("quotas", lambda: summary.quotas(self.context))
        demo = Demo(
            source=str(source.folder),
            files=source.files,
            size=source.size,
            film=source.film.path,
            sha256=sha256,
            steps=self.steps.done,
            folder=str(self.context.data_dir),
            **counts,
            **playback_facts,
        )
        result: Result[Any] = Result(demo, self.changed, self.operation, exit=self.exit)
        if self.context.options.is_table:
            self.context.console.say("")
            result.data = summary.table(demo)
            result.note = summary.note(self.context, quotas, hiding, link, playing)
        return result

    # Before the upload

    def _start(self) -> tuple[None, str]:
        folder = self.context.data_dir
        profile = embedded.profile(self.context.resolved, self.context.environ, folder)
        running = servers.running(folder) is not None
        embedded.start(folder)
        profile.write()
        self.changed |= profile.changed or not running
        return None, f"PostgreSQL and an S3 server {'are already running' if running else 'started'}"

    def _find(self, find_source: Callable[[], Source]) -> tuple[Source, str]:
        source = find_source()
        self.changed |= source.made
        made = ", made with FFmpeg" if source.made else ""
        return source, f"{counted(source.files, 'file')}, {show_size(source.size)}{made}"

    def _set_up(self, source: Source) -> tuple[Any, str]:
        parts = setup.parts(self.context.servers.bucket, source.size, source.film.size)
        changes = self.context.change_many(parts, lambda session, name: parts[name](session))
        results: dict[str, tuple[Any, bool]] = dict(zip(parts, changes, strict=True))
        created = [name for name, (_, changed) in results.items() if changed]
        self.changed |= bool(created)
        finding = f"created {', '.join(created)}" if created else "operator, pod, plans and user already exist"
        return results["superadmin"][0], finding

    def _show_password(self, seeded: object) -> None:
        if isinstance(seeded, Seeded) and seeded.password and self.context.options.is_table:
            self.context.console.say(f"     password of {seeded.email}, shown only once: {seeded.password}")

    # The upload, on a plan that is too small and then on a bigger one

    def _fill(self, source: Source) -> dict[str, Any]:
        """Return how many files were refused, uploaded, and uploaded again."""
        with self.context.session() as session:
            plan = account_status.show(session, USER).plan
        refused, first = self.steps.take("limit", lambda: self._exceed_limit(source, plan))
        self.steps.take("plan", lambda: self._change_plan(plan))
        rest = self.steps.take("upload", lambda: self._upload(source))
        repeated = self.steps.take("again", lambda: self._upload(source))
        return {"refused": refused, "uploaded": first + rest, "repeated": repeated}

    def _exceed_limit(self, source: Source, plan: str | None) -> tuple[tuple[int, int], str]:
        if plan != SMALL_PLAN:
            return (0, 0), f"skipped: {USER} has left plan {SMALL_PLAN}"
        self._renew_operation()
        sent, tally = self.send(self.context, [source.folder], owner=USER, pod=POD)
        self.changed |= sent.uploaded > 0
        return (
            tally.limits,
            sent.uploaded,
        ), f"{sent.uploaded} uploaded, {tally.limits} refused: no room in plan {plan}"

    def _change_plan(self, plan: str | None) -> tuple[None, str]:
        if plan != SMALL_PLAN:
            return None, f"{USER} is already on {f'plan {plan}' if plan else 'no plan'}"
        self._change(lambda session: subscriptions.give(session, USER, PLAN))
        return None, f"{USER} moved to the bigger plan {PLAN}"

    def _upload(self, source: Source) -> tuple[int, str]:
        self._renew_operation()
        result = self.upload(self.context, [source.folder], owner=USER, pod=POD)
        sent: Any = result.data
        self.changed |= sent.uploaded > 0
        self.exit = result.exit
        if not sent.uploaded:
            return 0, f"nothing to upload: {counted(sent.unchanged, 'file')} unchanged"
        rate = show_size(round(sent.uploaded_size / max(sent.seconds, 0.001)))
        unchanged = f", {sent.unchanged} unchanged" if sent.unchanged else ""
        files = counted(sent.uploaded, "file")
        return sent.uploaded, f"{files} uploaded, {show_size(sent.uploaded_size)}, {rate}/s{unchanged}"

    def _change(self, work: "Callable[[Session], tuple[T, bool]]") -> Any:
        self._renew_operation()
        result = self.context.change(work)
        self.changed |= bool(result.changed)
        return result.data

    def _renew_operation(self) -> None:
        """Take a new operation id: each step is an operation of its own."""
        self.context.operation = str(uuid.uuid4())

    # The film, fetched back

    def _link(self, source: Source) -> tuple[tuple["Link", str], str]:
        return playback.follow_link(self.context, source.film), "the link to the film was fetched: same SHA-256"

    def _download(self, source: Source, sha256: str) -> tuple[None, str]:
        playback.download(self.context, source.film, sha256)
        return None, f"{show_size(source.film.size)} downloaded: same SHA-256"

    # The video, transcoded and played

    def _play_video(self, source: Source) -> tuple[dict[str, Any], "Link | None"]:
        """Return what is reported of the video, and the link that plays it."""
        transcode, is_new = self.steps.take("transcode", lambda: self._transcode(source))
        if transcode and transcode.status != "done":
            self.exit = Exit.FAILED
            self.context.console.warn(f"{transcode.path}: {transcode.error}")
        played = self.steps.take("play", lambda: self._play(transcode))
        facts = {
            "video": source.video.path if source.video else None,
            "transcoded": is_new,
            "played": len(played.sizes) if played else None,
            "played_size": sum(played.sizes.values()) if played else None,
        }
        return facts, played.link if played else None

    def _transcode(self, source: Source) -> tuple[tuple[transcodes.Detail | None, bool | None], str]:
        if source.video is None:
            return (None, None), "skipped: there is no video"
        path = [source.video.path]
        [submitted] = self._change(lambda session: transcodes.submit(session, path, "hls", owner=USER, pod=POD))
        done = worker.run_until_done(
            self.context, submitted.id, lambda percent: self.steps.show_progress(f"{percent} %")
        )
        self.changed |= submitted.is_live
        if done.status != "done":
            return (done, submitted.is_live), f"transcode {done.id} is {done.status}"
        finding = f"HLS in {counted(len(done.rungs), 'size')}, {show_size(done.renditions[0].size)}"
        return (done, submitted.is_live), finding if submitted.is_live else f"{finding}, made before"

    def _play(self, transcode: transcodes.Detail | None) -> tuple[playback.Played | None, str]:
        if transcode is None or transcode.status != "done":
            return None, "skipped: there is nothing to play"
        # The playlists that are written for a link expire with it, and do not count as a change.
        played = playback.play(self.context, transcode)
        playlists, segments = counted(played.playlists, "playlist"), counted(len(played.sizes), "segment")
        return played, f"{playlists} and {segments} fetched: same sizes"
