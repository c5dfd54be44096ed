"""`dumacle pods credentials`: encrypted access keys for a provider: a pod's own, or the default."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.context import Context
from dumacle_cli.errors import InvalidValue, UsageError
from dumacle_cli.output.result import Result, Rows
from dumacle_cli.services import credentials, keys

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dumacle_cli.clients.locations import Keys
    from dumacle_cli.services.credentials import Trial

app = CommandGroup("pods credentials", "Manage access keys for a provider: a pod's own, or the default.")

FORM = "two lines, access key and secret key, or JSON with access_key and secret_key"
MAX_BYTES = 64 * 1024
Pod = Annotated[str, typer.Argument(metavar="POD", help="The pod's name or id; or give --default.")]
Default = Annotated[bool, typer.Option("--default", help="Use the default credential, of all pods without their own.")]
Provider = Annotated[
    Literal["s3", "wasabi", "oracle"], typer.Option("--provider", help="The provider that issued the keys.")
]


@app.changes("set", example="dumacle pods credentials set archive --provider s3 --from keys.json", role="superadmin")
def set_(
    context: Context,
    provider: Provider,
    pod: Pod = "",
    default: Default = False,
    source: Annotated[
        str,
        typer.Option(
            "--from", metavar="FILE", help=f"Read the keys from this file (- is stdin) instead of asking: {FORM}."
        ),
    ] = "",
    endpoint: Annotated[str, typer.Option("--endpoint", metavar="URL", help="The provider's endpoint.")] = "",
    region: Annotated[str, typer.Option("--region", help="The bucket's region.")] = "",
) -> Result[credentials.Credential]:
    """Encrypt and store access keys; they are tested first if the pod uses its own."""
    reference = _reference(pod, default)
    given = _given(context, source)
    with context.session() as session:
        subject = credentials.owner(session, reference, provider)
        tried = credentials.replacing(session, subject)
    found = _keys(context, provider, {**given, **_filled(endpoint=endpoint, region=region)})
    if tried and not context.options.dry_run:
        _prove(context, tried, found)
    key = context.stores.key

    def work(session: Session) -> tuple[credentials.Credential, bool]:
        return credentials.put(session, key, reference, provider, found, proven=tried is not None)

    return context.change(work)


@app.reads(
    "show",
    columns=("pod", "provider", "endpoint", "region", "access_key", "key_id", "proven_at"),
    empty="no credentials; set one with: dumacle pods credentials set POD --provider PROVIDER",
    example="dumacle pods credentials show archive",
    role="superadmin",
)
def show(context: Context, pod: Pod = "", default: Default = False) -> Rows[credentials.Credential]:
    """Show the credentials of a pod or the defaults, without secrets."""
    reference = _reference(pod, default)
    with context.session() as session:
        return Result(credentials.show(session, context.stores.key, reference))


@app.acts_outside("test", example="dumacle pods credentials test archive --provider s3", role="superadmin")
def prove(
    context: Context, provider: Provider, pod: Pod = "", default: Default = False
) -> Result[credentials.Credential]:
    """Test a credential against the bucket: put, get and delete an object."""
    reference = _reference(pod, default)
    with context.session() as session:
        subject = credentials.owner(session, reference, provider)
        tried = credentials.trial(session, subject)
    if not context.options.dry_run:
        _prove(context, tried)
        with context.database.session() as session:
            credentials.stand(session, tried)
    with context.session() as session:
        shown = credentials.view(credentials.get(session, subject), context.stores.key, subject.pod)
    return Result(shown, changed=True)


@app.changes(
    "clear",
    example="dumacle pods credentials clear --default --provider s3 --yes",
    confirms=True,
    role="superadmin",
)
def clear(context: Context, provider: Provider, pod: Pod = "", default: Default = False) -> Result[credentials.Cleared]:
    """Delete a credential; refused while a pod uses it."""
    reference = _reference(pod, default)
    context.confirm(f"Delete the {f'{provider} credential of pod {pod}' if pod else f'default {provider} credential'}?")
    return context.change(
        lambda session: credentials.clear(session, credentials.owner(session, reference, provider, lock=True)),
    )


@app.acts_outside("rotate-key", example="dumacle pods credentials rotate-key --to file:next.key", role="superadmin")
def rotate_key(
    context: Context,
    to: Annotated[
        str, typer.Option("--to", metavar="SOURCE", help="The new key: file:/path, credential:NAME or keyring:NAME.")
    ],
) -> Result[keys.Rotated]:
    """Re-encrypt all credentials with a new key; if interrupted, repeat it to continue."""
    from dumacle_cli.clients import keys as sources

    with context.session() as session:
        old, new = context.stores.key, sources.load(to, context.environ, "--to")
        planned = keys.preview(session, old, new)
    done = planned if context.options.dry_run else keys.rotate(context.database, old, new)
    note = f"next, on each host: dumacle config set key_source {to}"
    return Result(done, changed=done.rewrapped > 0, note=note)


def switched(context: Context, pod: str, own: Mapping[str, bool]) -> list[Trial]:
    """Test the credentials that a pod is about to use, its own or the defaults, and return the tests.

    A dry run tests nothing. Raises NoCredential, and the errors of the stores.
    """
    with context.session() as session:
        trials = [credentials.switch(session, pod, provider, own=wanted_own) for provider, wanted_own in own.items()]
    wanted = [tried for tried in trials if tried]
    for tried in wanted:
        if not context.options.dry_run:
            _prove(context, tried)
    return wanted


def _prove(context: Context, tried: Trial, keys: Keys | None = None) -> None:
    """Put, get and delete an object with the bucket's keys, or with others."""
    from dumacle_cli.clients import locations, probe

    place = tried.place
    if keys:
        location = locations.locate(context.settings, place.provider, place.bucket, keys=keys)
    else:
        location = context.stores.location(place)
    probe.round_trip(location, tried.prefix, tried.witness)


def _reference(pod: str, default: bool) -> str:
    if bool(pod) == default:
        raise UsageError("give a POD, or --default", "dumacle pods credentials")
    return pod


def _given(context: Context, source: str) -> dict[str, str]:
    """Return the keys, from a file or as answered; they are never printed."""
    if source:
        return _parsed(_read(context, source), source)
    if not (sys.stdin and sys.stdin.isatty() and context.console.err):
        raise UsageError("no keys given: use --from FILE, or --from - for standard input")
    access_key = context.console.ask("Access key", "--from FILE")
    return _parsed(f"{access_key}\n{context.console.ask_secret('Secret key', '--from FILE')}", "")


def _read(context: Context, source: str) -> str:
    if source == "-":
        return context.console.read_value("-", "--from")
    try:
        with Path(source).open(encoding="utf-8") as file:
            return file.read(MAX_BYTES)
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
    return InvalidValue(name="--from", value=source, reason=f"it needs {FORM}")


def _filled(**values: str) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}


def _keys(context: Context, provider: str, given: Mapping[str, str]) -> Keys:
    from dumacle_cli.clients import locations

    url, region = locations.reach(context.settings, provider, given.get("endpoint", ""), given.get("region", ""))
    return locations.Keys(given["access_key"], given["secret_key"], url, region)
