"""The last screen of `dumacle demo`: what exists now, the links, and what to try next."""

from dumacle_cli import embedded, sources
from dumacle_cli.context import Context
from dumacle_cli.demo.result import POD, USER, Demo, counted
from dumacle_cli.escapes import quoted
from dumacle_cli.output.bar import bar
from dumacle_cli.services import downloads, pods
from dumacle_cli.services import quotas as quota_rows
from dumacle_cli.units import show_duration, show_size


def table(demo: Demo) -> dict[str, str | None]:
    """Return the fields that a table shows of the result."""
    names = ("film", "sha256", "folder", "operator", "user", "plan", "pod")
    return {name: getattr(demo, name) for name in names}


def quotas(context: Context) -> tuple[list[str], str]:
    """Return lines that show how full pod and quotas are, and a sentence about them."""
    with context.session() as session:
        pod = pods.usage(session, POD, by_owner=False, after=None, limit=1).items[0]
        rows = {quota.metric: quota for quota in quota_rows.show(session, USER)}
    levels = {metric: _level(row.used, row.limit, seconds=row.unit == "seconds") for metric, row in rows.items()}
    lines = [
        f"pod {POD:<9}  {_level(pod.capacity - pod.free, pod.capacity)}, {counted(pod.files, 'file')}",
        f"storage        {levels['storage']}",
        f"uploads        {levels['upload']} this month",
        f"transcoding    {levels['transcode']} this month",
    ]
    return lines, f"{USER} stores {show_size(rows['storage'].used)}"


def note(context: Context, quotas: list[str], hiding: str, link: downloads.Link, playing: downloads.Link | None) -> str:
    """Return quotas, links and what to try next, as commands that reach the demo's database from this shell."""
    profile = sources.resolve((), None, context.environ).profile
    program = f"env -u {hiding} dumacle" if hiding else "dumacle"
    program += "" if profile == embedded.PROFILE else f" --profile {embedded.PROFILE}"
    life = show_duration(context.settings.url_expiry)
    lines = ["", *quotas, f"\nDownload the film in any browser on this machine, within {life}:\n{link.url}"]
    if playing:
        lines.append(f"\nPlay the video as HLS in Safari, VLC or mpv:\n{playing.url}")
    lines += [
        "\nTry next:",
        f"  {program} files list --owner {USER} --sort size --desc --limit 5",
        f"  {program} users show {USER}",
        f"  {program} files download {quoted(link.path)} --owner {USER}",
    ]
    return "\n".join(lines)


def _level(used: int, limit: int | None, *, seconds: bool = False) -> str:
    show = show_duration if seconds else show_size
    if limit is None:
        return f"{show(used)}, unlimited"
    return f"{bar(100 * used / max(limit, 1))} {show(used)} of {show(limit)}"
