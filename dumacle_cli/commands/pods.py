"""`dumacle pods`: storage pods, their grants and their usage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dumacle_cli.commands import copies, cors, credentials, probes
from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.commands.paging import listing
from dumacle_cli.commands.parameters import AllowTypes, MaxFileSize, Pod, User
from dumacle_cli.context import Context
from dumacle_cli.errors import Exit, NotConfigured, UsageError
from dumacle_cli.escapes import visible
from dumacle_cli.output.bar import bar
from dumacle_cli.output.result import Result, Rows
from dumacle_cli.plain import plain
from dumacle_cli.services import credentials as stored_credentials
from dumacle_cli.services import limits, pods
from dumacle_cli.units import parse_size

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dumacle_cli.store.places import Place

app = CommandGroup("pods")
app.add(credentials.app)
app.include(copies.app)
app.include(probes.app)
app.add(cors.app)

OWN = "Use the pod's own credential; see: pods credentials."

SECONDARY = "Copy everything to this second provider, too."
SecondaryBucket = Annotated[
    str, typer.Option("--secondary-bucket", metavar="BUCKET", help="Its bucket; default: the provider's setting.")
]


@app.changes("create", example="dumacle pods create photos --capacity 500GiB", may_be_empty=("prefix",))
def create(
    context: Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The pod's name.")],
    capacity: Annotated[
        str,
        typer.Option("--capacity", metavar="SIZE", help="Capacity, such as 500GiB or 500GB; a bare number is bytes."),
    ],
    provider: Annotated[
        pods.Provider | None, typer.Option("--provider", help="Where to store files, if not at the default provider.")
    ] = None,
    bucket: Annotated[str, typer.Option("--bucket", help="The bucket; default: the provider's setting.")] = "",
    secondary: Annotated[pods.Provider | None, typer.Option("--secondary", help=SECONDARY)] = None,
    secondary_bucket: SecondaryBucket = "",
    prefix: Annotated[
        str | None, typer.Option("--prefix", help="Prefix of its object keys; default: made from its name.")
    ] = None,
    allow_types: AllowTypes = None,
    max_file_size: MaxFileSize = None,
) -> Result[pods.Pod]:
    """Create a pod; a secondary bucket is tested before the pod uses it."""
    size = parse_size(capacity, "capacity")
    chosen = provider or context.settings.default_provider
    second = _secondary(context, secondary, secondary_bucket)
    if second and not context.options.dry_run:
        _prove(context, second, "")
    places: dict[str, Any] = {"provider": chosen, "prefix": prefix, "secondary": second}
    places["accepted"] = limits.columns(allow_types, max_file_size)

    def work(session: Session) -> tuple[pods.Pod, bool]:
        return pods.create(session, name, capacity=size, bucket=bucket or _bucket(context, chosen), **places)

    return context.change(work)


def _secondary(context: Context, provider: str | None, bucket: str) -> Place | None:
    """Return the secondary bucket that was asked for, if any; raises UsageError, NotConfigured."""
    from dumacle_cli.store.places import Place

    if provider:
        return Place(provider, bucket or _bucket(context, provider))
    if bucket:
        raise UsageError("--secondary-bucket needs --secondary PROVIDER", "dumacle pods")
    return None


def _prove(context: Context, place: Place, prefix: str) -> None:
    """Put, get and delete an object in a bucket; raises the errors of the store."""
    from dumacle_cli.clients import probe

    probe.round_trip(context.stores.location(place), f"{prefix}/" if prefix else "")


def _bucket(context: Context, provider: str) -> str:
    """Return the bucket that the settings name for a provider, or the embedded server's own; raises NotConfigured."""
    setting = f"{provider}_bucket"
    if configured := getattr(context.settings, setting, None):
        return str(configured)
    if provider == "local" and context.resolved.store_is_embedded:
        from dumacle_cli.local import s3

        return s3.BUCKET
    raise NotConfigured(what=f"the bucket of {provider}", setting=setting)


@app.lists(
    "list",
    columns=("id", "name", "capacity", "used", "reserved", "free", "provider", "bucket"),
    empty="no pods found; create one with: dumacle pods create NAME --capacity SIZE",
    example="dumacle pods list --provider local",
    role="enduser",
)
def list_(
    context: Context,
    provider: Annotated[pods.Provider | None, typer.Option("--provider", help="Filter by provider.")] = None,
    deleted: Annotated[bool, typer.Option("--deleted", help="Show deleted pods, which can be restored.")] = False,
    sort: Annotated[Literal["id", "name"], typer.Option("--sort", metavar="ORDER", help="Sort by this column.")] = "id",
) -> Rows[pods.Pod]:
    """List pods."""
    return listing(context, pods.list_, provider=provider, deleted=deleted, sort=sort)


@app.reads("show", example="dumacle pods show films", role="enduser")
def show(context: Context, pod: Pod) -> Result[pods.Detail]:
    """Show a pod and its first hundred grants."""
    with context.session() as session:
        return Result(pods.show(session, pod))


@app.changes("update", example="dumacle pods update films --capacity 2TiB")
def update(
    context: Context,
    pod: Pod,
    name: Annotated[str | None, typer.Option("--name", help="The new name; object keys do not change.")] = None,
    capacity: Annotated[
        str | None,
        typer.Option("--capacity", metavar="SIZE", help="Capacity, such as 2TiB; a bare number is bytes."),
    ] = None,
    secondary: Annotated[pods.Provider | None, typer.Option("--secondary", help=SECONDARY)] = None,
    secondary_bucket: SecondaryBucket = "",
    no_secondary: Annotated[
        bool, typer.Option("--no-secondary", help="Stop copying to the secondary provider; objects stay there.")
    ] = False,
    copies: Annotated[
        bool | None,
        typer.Option(
            "--copies-during-uploads/--copies-by-worker", help="Send each file to both providers, or copy it later."
        ),
    ] = None,
    allow_types: AllowTypes = None,
    max_file_size: MaxFileSize = None,
    s3: Annotated[bool | None, typer.Option("--use-custom-s3/--no-use-custom-s3", help=OWN)] = None,
    wasabi: Annotated[bool | None, typer.Option("--use-custom-wasabi/--no-use-custom-wasabi", help=OWN)] = None,
    oracle: Annotated[bool | None, typer.Option("--use-custom-oracle/--no-use-custom-oracle", help=OWN)] = None,
) -> Result[pods.Pod]:
    """Change a pod; a credential or secondary bucket is tested before the pod uses it."""
    own = {
        provider: wish for provider, wish in (("s3", s3), ("wasabi", wasabi), ("oracle", oracle)) if wish is not None
    }
    accepted = limits.columns(allow_types, max_file_size)
    wishes = (name, capacity, secondary, copies)
    if all(wish is None for wish in wishes) and not (own or accepted or no_secondary):
        reason = "nothing to change: give --name, --capacity or another option"
        raise UsageError(reason, "dumacle pods update")
    if secondary and no_secondary:
        raise UsageError("give either --secondary or --no-secondary", "dumacle pods update")
    second = _secondary(context, secondary, secondary_bucket)
    wanted: dict[str, Any] = {
        "name": name,
        "capacity": None if capacity is None else parse_size(capacity, "capacity"),
        "own_credentials": own,
        "secondary": second,
        "copies_during_uploads": copies,
        "accepted": accepted,
    }
    trials = credentials.switched(context, pod, own)
    if second:
        _prove_for(context, pod, second)

    def work(session: Session) -> tuple[pods.Pod, bool]:
        updated, changed = pods.update(session, pod, **wanted)
        for tried in trials:
            stored_credentials.stand(session, tried)
        if no_secondary:
            updated, removed = pods.remove_secondary(session, str(updated.id))
            changed |= removed
        return updated, changed

    return context.change(work)


def _prove_for(context: Context, pod: str, second: Place) -> None:
    """Test a secondary bucket with the keys that a pod would use; a dry run tests nothing."""
    with context.session() as session:
        place, prefix = pods.secondary_place(session, pod, second.provider, second.bucket)
    if not context.options.dry_run:
        _prove(context, place, prefix)


@app.changes("grant", example="dumacle pods grant films bob@example.com")
def grant(
    context: Context,
    pod: Pod,
    user: User,
    default: Annotated[
        bool, typer.Option("--default", help="Make it the user's default pod; the first grant always is.")
    ] = False,
) -> Result[pods.Grant]:
    """Allow a user to upload into a pod."""
    return context.change(lambda session: pods.grant(session, pod, user, default=default))


@app.changes("revoke", example="dumacle pods revoke films ada@example.com")
def revoke(context: Context, pod: Pod, user: User) -> Result[pods.Grant]:
    """Stop a user from uploading into a pod; existing files are kept."""
    return context.change(lambda session: pods.revoke(session, pod, user))


@app.changes("delete", example="dumacle pods delete films --yes", confirms=True)
def delete(context: Context, pod: Pod) -> Result[pods.Pod]:
    """Delete a pod; it accepts no uploads or grants until it is restored."""
    if context.options.asks:
        with context.session() as session:
            found = pods.show(session, pod)
            holds_files = pods.holds_files(session, pod)
        what = f"Delete pod {visible(found.name)}" + (", which holds files?" if holds_files else "?")
        context.confirm(what, name=found.name if holds_files else None)
    return context.change(lambda session: pods.delete(session, pod))


@app.changes("restore", example="dumacle pods restore films")
def restore(context: Context, pod: Pod) -> Result[pods.Pod]:
    """Restore a deleted pod."""
    return context.change(lambda session: pods.restore(session, pod))


@app.lists("usage", empty="no usage found", example="dumacle pods usage", role="enduser")
def usage(
    context: Context,
    pod: Annotated[str, typer.Argument(metavar="POD", help="Filter by pod: name or id.")] = "",
    by_owner: Annotated[bool, typer.Option("--by-owner", help="Show the usage of each owner.")] = False,
) -> Rows[pods.Usage]:
    """Show how full pods are, including deleted files that are not purged yet."""
    if by_owner and not pod:
        raise UsageError("--by-owner needs a POD", "dumacle pods usage")
    result = listing(context, pods.usage, pod, by_owner=by_owner)
    if not context.options.is_table:
        return result
    columns = ("owner" if by_owner else "pod", "bar", "percent", "used", "free", "capacity", "files")
    return replace(result, data=_with_bars(result.data), columns=columns)


def _with_bars(rows: Any) -> list[Any] | Iterator[Any]:
    barred = (plain(row) | {"bar": bar(row.percent)} for row in rows)
    return list(barred) if isinstance(rows, list) else barred


@app.changes(
    "check",
    columns=("pod", "user", "counter", "recorded", "actual", "drift"),
    empty="no drift: all counters match",
    example="dumacle pods check --repair",
)
def check(
    context: Context,
    repair: Annotated[bool, typer.Option("--repair", help="Correct the counters.")] = False,
) -> Rows[pods.Drift]:
    """Recount storage and quotas and compare them with the counters; exit 12 if they differ."""
    if repair:
        return context.change(lambda session: pods.check(session, repair=True))
    with context.session() as session:
        found, _ = pods.check(session)
    return Result(found, changed=False, exit=Exit.INTEGRITY if found else Exit.DONE)
