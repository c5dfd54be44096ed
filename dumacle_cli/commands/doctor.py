"""`dumacle doctor`: check everything Dumacle depends on."""

from __future__ import annotations

import stat
from functools import partial
from typing import TYPE_CHECKING

from dumacle_cli import settings
from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.context import Context
from dumacle_cli.errors import DatabaseUnavailable, DumacleError, Exit, Forbidden, NoDatabase, NotConfigured
from dumacle_cli.output.result import Result, Rows
from dumacle_cli.services import checks

if TYPE_CHECKING:
    from dumacle_cli.store.catalog import Bucket

START = "start the server, or correct DUMACLE_DATABASE_URL (see: dumacle config list --show-origin)"
COLUMNS = ("check", "status", "finding", "fix")
app = CommandGroup("doctor")


@app.reads("", columns=COLUMNS, example="dumacle doctor", role="enduser")
def doctor(context: Context) -> Rows[checks.Check]:
    """Check everything Dumacle depends on, with a fix for each finding; exit 1 if a check fails."""
    database, buckets = _database(context)
    found = [
        _configuration(context),
        *database,
        *_billing(context),
        *_providers(context, buckets),
        checks.ffmpeg(str(context.settings.ffmpeg or "")),
        checks.tried("confinement", _confinement),
        checks.keyring(),
    ]
    return _result(found)


@app.reads("rls", columns=COLUMNS, example="dumacle doctor rls")
def rls(context: Context) -> Rows[checks.Check]:
    """Check the rights and row-level security in PostgreSQL; exit 1 if a boundary is broken."""
    from dumacle_cli.store import logins

    with context.session() as session:
        if logins.acting_role(session) not in ("owner", "superadmin", "admin"):
            raise Forbidden(what="doctor rls", role="admin")
        return _result(checks.boundaries(session.connection()))


def _result(found: list[checks.Check]) -> Rows[checks.Check]:
    return Result(found, exit=Exit.FAILED if checks.worst(found) == "failed" else Exit.DONE)


def _confinement() -> checks.Check:
    """Check whether the system confines programs that read media."""
    from dumacle_cli.transcode.boundary import boundary

    held = boundary()
    holes = [
        name for name, holds in (("files of this account", held.files), ("the network", held.network)) if not holds
    ]
    if not holes:
        return checks.Check("confinement", "ok", "FFmpeg is kept from other files and from the network", "")
    finding = f"an exploited decoder could use {' and '.join(holes)}"
    return checks.Check(
        "confinement", "warning", finding, "run workers on Linux with Landlock (5.13 or later; 6.7 for TCP)"
    )


def _configuration(context: Context) -> checks.Check:
    file = settings.user_file(context.environ)
    origin = f"profile {context.resolved.profile}" if context.resolved.profile else "no profile"
    if file.exists() and stat.S_IMODE(file.stat().st_mode) & 0o077:
        return checks.Check("configuration", "warning", f"{file} can be read by others", f"chmod 600 {file}")
    return checks.Check("configuration", "ok", origin, "")


def _database(context: Context) -> tuple[list[checks.Check], list[Bucket]]:
    """Check the database, and return the buckets that its pods use; raises NoDatabase."""
    from dumacle_cli.clients import stripe
    from dumacle_cli.services.billing import diagnosis
    from dumacle_cli.store import catalog

    found = [checks.disk(context.data_dir)] if context.settings.embedded else []
    try:
        with context.connection() as connection:
            found += [checks.server(connection), checks.clock(connection)]
            found.append(checks.schema(connection))
            found += [
                *checks.shared(connection),
                *checks.probes(connection),
                *checks.copies(connection),
                *checks.transcodes(connection),
            ]
            found += diagnosis.secrets(connection, stripe.api_version)
            return found, catalog.buckets(connection)
    except NoDatabase:
        raise
    except DumacleError as error:
        name = "schema" if len(found) > 1 else "database"
        fix = START if isinstance(error, DatabaseUnavailable) else error.remedy
        return [*found, checks.Check(name, "failed", str(error), fix)], []


def _billing(context: Context) -> list[checks.Check]:
    """Check billing, for who sees all of it: what was found before, and with a key also the account at Stripe."""
    from dumacle_cli.commands.billing import unchecked
    from dumacle_cli.services.billing import diagnosis
    from dumacle_cli.store import logins

    try:
        with context.session() as session:
            if logins.acting_role(session) not in ("owner", "superadmin", "admin"):
                return []
            found = diagnosis.stored(session)
        return found + (diagnosis.account(unchecked(context)) if context.settings.stripe_secret_key else [])
    except DumacleError:
        return []  # the checks of the database report it


def _providers(context: Context, buckets: list[Bucket]) -> list[checks.Check]:
    """Check the default bucket of each configured provider, and every other bucket of the pods."""
    from dumacle_cli.clients.providers import PROVIDERS
    from dumacle_cli.store.places import Place

    found, seen, used = [], set(), {bucket.provider for bucket in buckets}
    for name in PROVIDERS:
        try:
            seen.add((name, context.stores.location(Place(name)).bucket))
        except NotConfigured:
            if name != context.settings.default_provider or name in used:  # each pod may have its own bucket
                continue
        except DumacleError:
            pass  # the check below reports it
        found.append(checks.provider(name, partial(context.stores.location, Place(name))))
    others = [bucket for bucket in buckets if (bucket.provider, bucket.name) not in seen]
    return found + [_pods_bucket(context, bucket) for bucket in others]


def _pods_bucket(context: Context, bucket: Bucket) -> checks.Check:
    from dumacle_cli.store.places import Place

    place = Place(bucket.provider, bucket.name)
    return checks.provider(bucket.provider, partial(context.stores.location, place), bucket.prefix)
