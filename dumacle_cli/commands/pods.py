"""`dumacle pods`: storage pods, who may use them, and how full they are."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dumacle_cli.commands import credentials
from dumacle_cli.commands.contract import command, group
from dumacle_cli.commands.listing import After, All, Limit, listing
from dumacle_cli.context import Context
from dumacle_cli.errors import Exit, NotConfigured, UsageError
from dumacle_cli.escapes import visible
from dumacle_cli.output.bar import bar
from dumacle_cli.output.forms import Form, Shown
from dumacle_cli.plain import plain
from dumacle_cli.services import pods
from dumacle_cli.services.credentials import stand
from dumacle_cli.units import parse_size

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dumacle_cli.store.paging import Page

app = group("pods", "Storage pods: capacity, providers, grants.")
app.add_typer(credentials.app)

OWN = "Whether it uses keys of its own; see: pods credentials."

PodName = Annotated[str, typer.Argument(metavar="POD", help="The pod's name or id.")]
Secondary = Annotated[
    str, typer.Option("--secondary", metavar="PROVIDER", hidden=True, help="Refused: nothing copies to it yet.")
]
UserName = Annotated[str, typer.Argument(metavar="USER", help="The user's e-mail address or id.")]


@command(
    app,
    "create",
    returns=pods.Pod,
    example="dumacle pods create photos --capacity 500GiB",
    mutates=True,
    blank=("prefix",),
)
def create(
    context: Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the pod is called.")],
    capacity: Annotated[
        str,
        typer.Option(
            "--capacity", metavar="SIZE", help="How much it holds, such as 500GiB or 500GB; a bare number is bytes."
        ),
    ],
    provider: Annotated[
        pods.Provider | None, typer.Option("--provider", help="Where its bytes lie, if not at the default one.")
    ] = None,
    secondary: Secondary = "",
    bucket: Annotated[str, typer.Option("--bucket", help="The bucket; else the provider's setting.")] = "",
    prefix: Annotated[str | None, typer.Option("--prefix", help="What its keys begin with; else of its name.")] = None,
) -> Shown:
    """Create a pod."""
    _refuse_secondary(secondary)
    size = parse_size(capacity, "capacity")
    chosen = provider or context.settings.default_provider
    places: dict[str, Any] = {"provider": chosen, "prefix": prefix}

    def work(session: "Session") -> tuple[pods.Pod, bool]:
        return pods.create(session, name, capacity=size, bucket=bucket or _bucket(context, chosen), **places)

    return context.change(work)


def _refuse_secondary(provider: str) -> None:
    if provider:
        reason = "--secondary is refused: nothing copies files to a second provider yet"
        raise UsageError(reason, "dumacle pods")


def _bucket(context: Context, provider: str) -> str:
    """Return the bucket that the settings name for a provider, or the embedded server's own; raises NotConfigured."""
    setting = f"{provider}_bucket"
    if configured := getattr(context.settings, setting, None):
        return str(configured)
    if provider == "local" and context.resolved.store_is_embedded:
        from dumacle_cli.local import s3

        return s3.BUCKET
    raise NotConfigured(what=f"the bucket of {provider}", setting=setting)


@command(
    app,
    "list",
    returns=pods.Pod,
    many=True,
    columns=("id", "name", "capacity", "used", "reserved", "free", "provider", "bucket"),
    empty="there are no pods: dumacle pods create NAME --capacity SIZE",
    example="dumacle pods list --provider local",
    role="enduser",
)
def list_(
    context: Context,
    provider: Annotated[pods.Provider | None, typer.Option("--provider", help="Only pods at this provider.")] = None,
    deleted: Annotated[bool, typer.Option("--deleted", help="Those that were deleted and can be restored.")] = False,
    sort: Annotated[Literal["id", "name"], typer.Option("--sort", metavar="ORDER", help="What to sort by.")] = "id",
    limit: Limit = 50,
    after: After = "",
    everything: All = False,
) -> Shown:
    """List pods."""

    def fetch(session: "Session", token: str | None) -> "Page[pods.Pod]":
        return pods.list_(session, provider=provider, deleted=deleted, sort=sort, after=token, limit=limit)

    return listing(context, fetch, after, everything)


@command(app, "show", returns=pods.Detail, example="dumacle pods show films", role="enduser")
def show(context: Context, pod: PodName) -> Shown:
    """Show a pod and the first hundred users it is granted to."""
    with context.session() as session:
        return Shown(pods.show(session, pod))


@command(app, "update", returns=pods.Pod, example="dumacle pods update films --capacity 2TiB", mutates=True)
def update(
    context: Context,
    pod: PodName,
    name: Annotated[str | None, typer.Option("--name", help="A new name; the keys of its files stay.")] = None,
    capacity: Annotated[
        str | None,
        typer.Option("--capacity", metavar="SIZE", help="How much it holds, such as 2TiB; a bare number is bytes."),
    ] = None,
    secondary: Secondary = "",
    s3: Annotated[bool | None, typer.Option("--use-custom-s3/--no-use-custom-s3", help=OWN)] = None,
    wasabi: Annotated[bool | None, typer.Option("--use-custom-wasabi/--no-use-custom-wasabi", help=OWN)] = None,
    oracle: Annotated[bool | None, typer.Option("--use-custom-oracle/--no-use-custom-oracle", help=OWN)] = None,
) -> Shown:
    """Change a pod; before it uses other keys these are proven against its bucket."""
    _refuse_secondary(secondary)
    own = {
        provider: wish for provider, wish in (("s3", s3), ("wasabi", wasabi), ("oracle", oracle)) if wish is not None
    }
    if name is None and capacity is None and not own:
        reason = "nothing was asked for: give --name, --capacity or --use-custom-PROVIDER"
        raise UsageError(reason, "dumacle pods update")
    wanted = {
        "name": name,
        "capacity": None if capacity is None else parse_size(capacity, "capacity"),
        "own_credentials": own,
    }
    trials = credentials.switched(context, pod, own)

    def work(session: "Session") -> tuple[pods.Pod, bool]:
        updated = pods.update(session, pod, **wanted)  # type: ignore[arg-type]
        for tried in trials:
            stand(session, tried)
        return updated

    return context.change(work)


@command(app, "grant", returns=pods.Grant, example="dumacle pods grant films bob@example.com", mutates=True)
def grant(
    context: Context,
    pod: PodName,
    user: UserName,
    default: Annotated[bool, typer.Option("--default", help="Make it the user's default; the first one is.")] = False,
) -> Shown:
    """Let a user upload into a pod."""
    return context.change(lambda session: pods.grant(session, pod, user, default=default))


@command(app, "revoke", returns=pods.Grant, example="dumacle pods revoke films ada@example.com", mutates=True)
def revoke(context: Context, pod: PodName, user: UserName) -> Shown:
    """Let a user no longer upload into a pod; files that are there stay."""
    return context.change(lambda session: pods.revoke(session, pod, user))


@command(app, "delete", returns=pods.Pod, example="dumacle pods delete films --yes", mutates=True, confirms=True)
def delete(context: Context, pod: PodName) -> Shown:
    """Delete a pod softly: it refuses uploads and grants until it is restored."""
    if context.asks:
        with context.session() as session:
            found = pods.show(session, pod)
            holds_files = pods.holds_files(session, pod)
        what = f"Delete pod {visible(found.name)}" + (", in which files live?" if holds_files else "?")
        context.confirm(what, name=found.name if holds_files else None)
    return context.change(lambda session: pods.delete(session, pod))


@command(app, "restore", returns=pods.Pod, example="dumacle pods restore films", mutates=True)
def restore(context: Context, pod: PodName) -> Shown:
    """Bring a deleted pod back."""
    return context.change(lambda session: pods.restore(session, pod))


@command(
    app,
    "usage",
    returns=pods.Usage,
    many=True,
    empty="there is nothing in use",
    example="dumacle pods usage",
    role="enduser",
)
def usage(
    context: Context,
    pod: Annotated[str, typer.Argument(metavar="POD", help="Only this pod; else all.")] = "",
    by_owner: Annotated[bool, typer.Option("--by-owner", help="Whose bytes lie in the pod.")] = False,
    limit: Limit = 50,
    after: After = "",
    everything: All = False,
) -> Shown:
    """Show how full pods are; what is deleted but not purged counts."""
    if by_owner and not pod:
        raise UsageError("--by-owner needs a POD", "dumacle pods usage")

    def fetch(session: "Session", token: str | None) -> "Page[pods.Usage]":
        return pods.usage(session, pod, by_owner=by_owner, after=token, limit=limit)

    shown = listing(context, fetch, after, everything)
    if context.form is not Form.TABLE:
        return shown
    context.columns("owner" if by_owner else "pod", "bar", "percent", "used", "free", "capacity", "files")
    return replace(shown, data=_barred(shown.data))


def _barred(rows: Any) -> list[Any] | Iterator[Any]:
    barred = (plain(row) | {"bar": bar(row.percent)} for row in rows)
    return list(barred) if isinstance(rows, list) else barred


@command(
    app,
    "check",
    returns=pods.Drift,
    many=True,
    columns=("pod", "user", "counter", "recorded", "actual", "drift"),
    empty="no drift: every counter equals the rows",
    example="dumacle pods check --repair",
    mutates=True,
)
def check(
    context: Context,
    repair: Annotated[bool, typer.Option("--repair", help="Put the counters right.")] = False,
) -> Shown:
    """Compare the counters of pods and quotas with what is stored; exit 12 where they differ."""
    if repair:
        return context.change(lambda session: pods.check(session, repair=True))
    with context.session() as session:
        found, _ = pods.check(session)
    return Shown(found, changed=False, exit=Exit.INTEGRITY if found else Exit.DONE, dry_run=context.dry_run)
