"""Checks of an installation: each returns a finding with its fix."""

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dumacle_cli.clients import keychain
from dumacle_cli.errors import DumacleError, ToolFailed
from dumacle_cli.escapes import quoted
from dumacle_cli.local import ffmpeg as programs
from dumacle_cli.units import show_size

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from dumacle_cli.clients.objects import Location
    from dumacle_cli.store.copies import State
    from dumacle_cli.store.lints import Fault, Lint
    from dumacle_cli.store.models import Pod

CLOCK_SECONDS = 5
PROBE = "dumacle pods probe "
PROBE_DAYS = 90
MOST_PODS = 20
SECRETS = "give secrets by environment or by a file of mode 0600"
LITTLE_DISK = 5 * 1024**3
NO_DISK = 256 * 1024**2
CheckStatus = Literal["ok", "skipped", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its status, the finding, and the fix."""

    check: str
    status: CheckStatus
    finding: str
    fix: str


def tried(name: str, look: Callable[[], Check]) -> Check:
    """Run a check, and return its own failure as a finding."""
    try:
        return look()
    except DumacleError as error:
        return Check(name, "failed", str(error), error.remedy)


def server(connection: "Connection") -> Check:
    """Check the version of PostgreSQL."""
    from dumacle_cli.store import catalog

    version, new_enough = catalog.server(connection)
    fix = "" if new_enough else "upgrade the server to PostgreSQL 16 or newer"
    return Check("database", "ok" if new_enough else "failed", f"PostgreSQL {version}", fix)


def schema(connection: "Connection") -> Check:
    """Check that this program works with the schema; raises SchemaMissing, SchemaTooOld or SchemaTooNew."""
    from dumacle_cli.store import revisions
    from dumacle_cli.store import schema as migrations

    found = migrations.current(connection)
    revisions.require(found)
    return Check("schema", "ok", f"revision {found}", "")


def functions(connection: "Connection") -> Check:
    """Check that the database has every function that the migrations created."""
    from dumacle_cli.store import catalog

    if missing := catalog.missing_functions(connection):
        return Check("functions", "failed", f"missing: {', '.join(missing)}", "restore them, or: dumacle db upgrade")
    return Check("functions", "ok", "all there", "")


def models(connection: "Connection") -> list[Check]:
    """Compare the tables with the program's models; each difference is a finding."""
    from dumacle_cli.store import schema as migrations

    found = migrations.check(connection)
    fix = "undo what was changed by hand, or: dumacle db upgrade"
    return [Check("tables", "failed", difference, fix) for difference in found] or [
        Check("tables", "ok", "as the program expects them", "")
    ]


def clock(connection: "Connection") -> Check:
    """Compare this machine's clock with the database's; presigned links and periods depend on both."""
    from dumacle_cli.store import catalog

    before = datetime.now(UTC)
    there = catalog.clock(connection)
    middle = before + (datetime.now(UTC) - before) / 2
    apart = abs((there - middle).total_seconds())
    fine = apart <= CLOCK_SECONDS
    return Check("clock", "ok" if fine else "warning", f"{apart:.1f} s apart", "" if fine else "set both clocks by NTP")


def disk(folder: Path) -> Check:
    """Check the free space of the embedded servers' folder."""
    usage = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists()))
    status: CheckStatus = "failed" if usage.free < NO_DISK else "warning" if usage.free < LITTLE_DISK else "ok"
    fix = "" if status == "ok" else "free disk space"
    return Check("disk", status, f"{show_size(usage.free)} free at {folder}", fix)


def probes(connection: "Connection") -> list[Check]:
    """Name the pods whose store was not probed lately, or lost what an earlier probe found."""
    from dumacle_cli.store import probes as store

    since = datetime.now(UTC) - timedelta(days=PROBE_DAYS)
    return [
        Check("probe", "warning", f"pod {row.name} {_doubt(row.probed_at, row.lost)}", PROBE + quoted(row.name))
        for row in store.doubtful(connection, since, MOST_PODS)
    ]


def _doubt(probed_at: datetime | None, lost: dict[str, Any] | None) -> str:
    if probed_at is None:
        return "was never probed"
    if lost:
        return f"lost what its store did before: {', '.join(sorted(lost))}"
    return f"was last probed on {probed_at:%Y-%m-%d}"


def provider(name: str, locate: Callable[[], "Location"], prefix: str = "") -> Check:
    """Put, get and delete a scratch object below the prefix."""
    return tried(name, lambda: _round_trip(name, locate(), prefix))


def _round_trip(name: str, location: "Location", prefix: str) -> Check:
    from dumacle_cli.clients import probe

    took = probe.round_trip(location, prefix) * 1000
    return Check(name, "ok", f"bucket {location.bucket}: put, get and delete took {took:.0f} ms", "")


def ffmpeg(configured: str) -> Check:
    """Check that FFmpeg is installed and runs."""

    def look() -> Check:
        found = programs.find(configured)
        return Check("ffmpeg", "ok", f"{found.version} at {found.path}", "")

    return tried("ffmpeg", look)


def keyring() -> Check:
    """Check that this account has a keyring that stores secrets; without one, scripts keep them in files."""
    try:
        found = keychain.backend()
        return Check(
            "keyring", "warning" if found.clear_text else "ok", str(found), SECRETS if found.clear_text else ""
        )
    except ToolFailed as error:
        return Check("keyring", "warning", str(error), SECRETS)


def boundaries(connection: "Connection") -> list[Check]:
    """Check that PostgreSQL enforces all rights; the caller must see all users and logins."""
    from dumacle_cli.store import acls, identity, lints

    if not identity.is_complete(connection):
        return [Check("roles", "failed", "this cluster lacks the roles of this installation", "dumacle db upgrade")]
    found = [check for lint in lints.LINTS for check in _judged_by(connection, lint)]
    return [*found, *_judged("rights", "failed", acls.differences(connection)), _guard(connection)]


def shared(connection: "Connection") -> list[Check]:
    """Check whether one login can exhaust a shared resource; only a caller who sees all logins can tell."""
    from dumacle_cli.store import lints, logins

    if logins.role_of(connection) not in ("owner", "superadmin", "admin"):
        return []
    return _judged_by(connection, lints.SHARED)


def copies(connection: "Connection") -> list[Check]:
    """Check that each pod with a secondary provider has its copies there, and that both of its providers answer."""
    from sqlalchemy.orm import Session

    from dumacle_cli.store import copies as store

    with Session(connection) as session:
        pods = store.with_secondary(session) if store.are_known(session) else []
        return [_copies(pod, store.state(session, pod), store.outages(session, pod.id)) for pod in pods]


def _copies(pod: "Pod", left: "State", outages: "Sequence[Row[Any]]") -> Check:
    found = [f"{row.provider} does not answer since {row.since:%Y-%m-%d %H:%M} UTC: {row.error}" for row in outages]
    if left.waiting and left.since:
        oldest = f"the oldest since {left.since:%Y-%m-%d %H:%M} UTC"
        found.append(f"{left.waiting} copies wait, {left.failed} of them failed, {oldest}")
    status: CheckStatus = "warning" if outages or left.failed else "ok"
    finding = f"pod {pod.name} at {pod.secondary_provider}: " + ("; ".join(found) or "all copies are stored")
    return Check("copies", status, finding, f"dumacle pods replicate {quoted(pod.name)}" if status != "ok" else "")


def transcodes(connection: "Connection") -> list[Check]:
    """Name the pods whose transcodes wait because their store is away."""
    from sqlalchemy.orm import Session

    from dumacle_cli.store import workers

    with Session(connection) as session:
        paused = workers.paused(session)
    return [
        Check(
            "transcodes",
            "warning",
            f"{row.waiting} transcodes of pod {row.pod} wait since {row.since:%Y-%m-%d %H:%M} UTC: {row.error}",
            f"dumacle pods probe {quoted(row.pod)}",
        )
        for row in paused
    ]


def _judged_by(connection: "Connection", lint: "Lint") -> list[Check]:
    from dumacle_cli.store import lints

    return _judged(lint.name, lint.status, lints.faults(connection, lint), lint.clean)


def _judged(name: str, status: CheckStatus, faults: "list[Fault]", clean: str = "nothing found") -> list[Check]:
    found = [Check(name, status, fault.finding, fault.fix) for fault in faults]
    return found or [Check(name, "ok", clean, "")]


def _guard(connection: "Connection") -> Check:
    """Check the guard against DDL (guard.sql), which only a superuser can install."""
    from dumacle_cli.store import lints

    on = lints.is_guarded(connection)
    if on is None:
        return Check("guard", "skipped", "not installed by a superuser: rights alone refuse DDL", "")
    fix = "" if on else "ALTER EVENT TRIGGER dumacle_guard ENABLE"
    return Check("guard", "ok" if on else "failed", "on" if on else "off", fix)


def worst(checks: Iterable[Check]) -> CheckStatus:
    """Return the worst status of the checks."""
    found = {check.status for check in checks}
    return "failed" if "failed" in found else "warning" if "warning" in found else "ok"
