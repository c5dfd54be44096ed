"""`dumacle pods credentials`: encrypted keys to a provider, a pod's own or the system's default."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dumacle_cli.commands.contract import command, group
from dumacle_cli.context import Context
from dumacle_cli.errors import InvalidValue, UsageError
from dumacle_cli.output.forms import Shown
from dumacle_cli.services import credentials, keys

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dumacle_cli.clients.locations import Keys
    from dumacle_cli.services.credentials import Trial

app = group("pods credentials", "Keys to a provider: a pod's own, or the system's default.")

FORM = "it holds two lines, access key and secret key, or JSON with access_key and secret_key"
LONGEST = 64 * 1024
Pod = Annotated[str, typer.Argument(metavar="POD", help="The pod's name or id; else give --default.")]
Default = Annotated[bool, typer.Option("--default", help="The system's own, for all pods without their own.")]
Provider = Annotated[Literal["s3", "wasabi", "oracle"], typer.Option("--provider", help="Where the keys are good.")]


@command(
    app,
    "set",
    returns=credentials.Credential,
    example="dumacle pods credentials set archive --provider s3 --from keys.json",
    mutates=True,
    role="superadmin",
)
def set_(
    context: Context,
    provider: Provider,
    pod: Pod = "",
    default: Default = False,
    source: Annotated[
        str, typer.Option("--from", metavar="FILE", help=f"Where the keys are; - is stdin, else asked. {FORM}.")
    ] = "",
    endpoint: Annotated[str, typer.Option("--endpoint", metavar="URL", help="Where the provider is.")] = "",
    region: Annotated[str, typer.Option("--region", help="The bucket's region.")] = "",
) -> Shown:
    """Encrypt keys and keep them; where the pod uses its own already, they are proven first."""
    reference = _reference(pod, default)
    given = _given(context, source)
    with context.session() as session:
        whose = credentials.owner(session, reference, provider)
        tried = credentials.replacing(session, whose)
    found = _keys(context, provider, {**given, **_filled(endpoint=endpoint, region=region)})
    if tried and not context.dry_run:
        _prove(context, tried, found)
    key = context.key

    def work(session: "Session") -> tuple[credentials.Credential, bool]:
        return credentials.put(session, key, reference, provider, found, proven=tried is not None)

    return context.change(work)


@command(
    app,
    "show",
    returns=credentials.Credential,
    many=True,
    columns=("pod", "provider", "endpoint", "region", "access_key", "key_id", "proven_at"),
    empty="none: dumacle pods credentials set POD --provider PROVIDER",
    example="dumacle pods credentials show archive",
    role="superadmin",
)
def show(context: Context, pod: Pod = "", default: Default = False) -> Shown:
    """Show the credentials of a pod or of the system, less what is secret."""
    reference = _reference(pod, default)
    with context.session() as session:
        return Shown(credentials.show(session, context.key, reference))


@command(
    app,
    "test",
    returns=credentials.Credential,
    example="dumacle pods credentials test archive --provider s3",
    mutates=True,
    outside=True,
    role="superadmin",
)
def prove(context: Context, provider: Provider, pod: Pod = "", default: Default = False) -> Shown:
    """Prove a credential against the bucket: put, get and delete an object."""
    reference = _reference(pod, default)
    with context.session() as session:
        whose = credentials.owner(session, reference, provider)
        tried = credentials.trial(session, whose)
    if not context.dry_run:
        _prove(context, tried)
        with context.database.session() as session:
            credentials.stand(session, tried)
    with context.session() as session:
        shown = credentials.view(credentials.get(session, whose), context.key, whose.pod)
    return Shown(shown, changed=True, dry_run=context.dry_run)


@command(
    app,
    "clear",
    returns=credentials.Cleared,
    example="dumacle pods credentials clear --default --provider s3 --yes",
    mutates=True,
    confirms=True,
    role="superadmin",
)
def clear(context: Context, provider: Provider, pod: Pod = "", default: Default = False) -> Shown:
    """Delete a credential; refused while the pod uses it."""
    reference = _reference(pod, default)
    context.confirm(f"Delete the keys to {provider} of {f'pod {pod}' if pod else 'the system'}?")
    return context.change(
        lambda session: credentials.clear(session, credentials.owner(session, reference, provider, lock=True)),
    )


@command(
    app,
    "rotate-key",
    returns=keys.Rotated,
    example="dumacle pods credentials rotate-key --to file:next.key",
    mutates=True,
    outside=True,
    role="superadmin",
)
def rotate_key(
    context: Context,
    to: Annotated[
        str, typer.Option("--to", metavar="SOURCE", help="The new key: file:/path, credential:NAME or keyring:NAME.")
    ],
) -> Shown:
    """Wrap all credentials by a new key; killed and repeated it goes on where it was."""
    from dumacle_cli.clients import keys as sources

    with context.session() as session:
        old, new = context.key, sources.load(to, context.environ, "--to")
        foreseen = keys.preview(session, old, new)
    done = foreseen if context.dry_run else keys.rotate(context.database, old, new)
    note = f"next, on every host: dumacle config set key_source {to}"
    return Shown(done, changed=done.rewrapped > 0, dry_run=context.dry_run, note=note)


def switched(context: Context, pod: str, own: Mapping[str, bool]) -> "list[Trial]":
    """Prove the keys that a pod is about to use, its own or the system's again, and return what was proven.

    A dry run proves nothing. Raises NoCredential, and the errors of the stores.
    """
    with context.session() as session:
        trials = [credentials.switch(session, pod, provider, own=wish) for provider, wish in own.items()]
    wanted = [tried for tried in trials if tried]
    for tried in wanted:
        if not context.dry_run:
            _prove(context, tried)
    return wanted


def _prove(context: Context, tried: "Trial", keys: "Keys | None" = None) -> None:
    """Put, get and delete an object with the keys of the trial's place, or with others."""
    from dumacle_cli.clients import locations, probe

    place = tried.place
    if keys:
        location = locations.locate(context.settings, place.provider, place.bucket, keys=keys)
    else:
        location = context.location(place)
    probe.round_trip(location, tried.prefix, tried.witness)


def _reference(pod: str, default: bool) -> str:
    if bool(pod) == default:
        raise UsageError("name a POD, or give --default for the system's own", "dumacle pods credentials")
    return pod


def _given(context: Context, source: str) -> dict[str, str]:
    """Return what was given of the keys, asked for or read; nothing of it is ever told."""
    if source:
        return _parsed(_read(context, source), source)
    if not (sys.stdin and sys.stdin.isatty() and context.err):
        raise UsageError("no keys were given: name --from FILE, or --from - for standard input")
    access_key = context.ask("Access key", "--from FILE")
    return _parsed(f"{access_key}\n{context.ask_secret('Secret key', '--from FILE')}", "that")


def _read(context: Context, source: str) -> str:
    if source == "-":
        return context.typed("-", "--from")
    try:
        with Path(source).open(encoding="utf-8") as file:
            return file.read(LONGEST)
    except UnicodeDecodeError:
        raise _unusable(source) from None


def _parsed(text: str, source: str) -> dict[str, str]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    found: Any = dict(zip(("access_key", "secret_key"), lines, strict=False)) if len(lines) == 2 else None
    if text.lstrip().startswith("{"):
        try:
            found = json.loads(text)
        except ValueError:
            found = None
    known = {"access_key", "secret_key", "endpoint", "region"}
    if not found or not {"access_key", "secret_key"} <= set(found) <= known or not _texts(found):
        raise _unusable(source)
    return dict(found)


def _texts(found: Mapping[str, Any]) -> bool:
    return all(isinstance(value, str) and value.isascii() and value.isprintable() and value for value in found.values())


def _unusable(source: str) -> InvalidValue:
    return InvalidValue(name="--from", value=source, reason=FORM)


def _filled(**values: str) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}


def _keys(context: Context, provider: str, given: Mapping[str, str]) -> "Keys":
    from dumacle_cli.clients import locations

    url, region = locations.reach(context.settings, provider, given.get("endpoint", ""), given.get("region", ""))
    return locations.Keys(given["access_key"], given["secret_key"], url, region)
