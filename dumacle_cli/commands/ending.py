"""The last screen of `dumacle demo`: what exists now, the links, and what to try next."""

from dumacle_cli import embedded
from dumacle_cli.commands.pods import bar
from dumacle_cli.context import Context
from dumacle_cli.escapes import quoted
from dumacle_cli.services import demo as world
from dumacle_cli.services import downloads, pods, quotas
from dumacle_cli.services import standing as standings
from dumacle_cli.units import show_duration, show_size


def standing(context: Context) -> tuple[dict[str, str], str]:
    """Return the lines that say what exists now, and a sentence about them."""
    with context.session() as session:
        pod = pods.usage(session, world.POD, by_owner=False, after=None, limit=1).items[0]
        plan = standings.show(session, world.USER).plan
        rows = {quota.metric: quota for quota in quotas.show(session, world.USER)}
    shown = {metric: _bar(row.used, row.limit, seconds=row.unit == "seconds") for metric, row in rows.items()}
    lines = {
        "operator": world.OPERATOR,
        "user": f"{world.USER}, on {f'plan {plan}' if plan else 'no plan'}",
        "pod": f"{world.POD}, with {counted(pod.files, 'file')}",
        "pod's capacity": _bar(pod.capacity - pod.free, pod.capacity),
        "storage quota": shown["storage"],
        "upload quota": f"{shown['upload']} this month",
        "transcoding": f"{shown['transcode']} this month",
    }
    return lines, f"{world.USER} stores {show_size(rows['storage'].used)}"


def note(context: Context, hiding: str, link: downloads.Link, playing: downloads.Link | None) -> str:
    """Return the links and what to try next, as commands that reach the demo's database from here on."""
    from dumacle_cli import sources

    default = sources.resolve((), None, context.environ).profile
    program = f"env -u {hiding} dumacle" if hiding else "dumacle"
    program += "" if default == embedded.PROFILE else f" --profile {embedded.PROFILE}"
    life = show_duration(context.settings.url_expiry)
    lines = [f"\nThis link gives the film to any browser on this machine, for {life}:\n{link.url}"]
    if playing:
        lines.append(f"\nThis one plays the video as HLS, in Safari, VLC or mpv:\n{playing.url}")
    lines += [
        "\nTry next:",
        f"  {program} files list --owner {world.USER} --sort size --desc --limit 5",
        f"  {program} users show {world.USER}",
        f"  {program} files download {quoted(link.path)} --owner {world.USER}",
    ]
    return "\n".join(lines)


def counted(number: int, noun: str) -> str:
    """Return so many of something in words."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _bar(used: int, limit: int | None, *, seconds: bool = False) -> str:
    show = show_duration if seconds else show_size
    if limit is None:
        return f"{show(used)}, unlimited"
    return f"{bar(100 * used / max(limit, 1))} {show(used)} of {show(limit)}"
