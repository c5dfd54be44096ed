"""`dumacle pods probe`: what the store of a pod keeps and enforces."""

from __future__ import annotations

from dumacle_cli.commands.command import CommandGroup
from dumacle_cli.commands.parameters import Pod
from dumacle_cli.context import Context
from dumacle_cli.output.result import Result
from dumacle_cli.services import probes

app = CommandGroup("pods")


@app.acts_outside("probe", example="dumacle pods probe films")
def probe(context: Context, pod: Pod) -> Result[probes.Probe]:
    """Find out what a pod's store keeps and enforces, and remember it.

    Uploads into the pod are then proven by what the store was found to enforce. The objects that it puts below
    dumacle-probe/ are deleted at the end, and those that a killed probe left by the next one.
    """
    from dumacle_cli.clients.examination import examine

    with context.session() as session:
        wanted = probes.target(session, pod)
        if context.options.dry_run:
            return Result(probes.show(session, wanted), changed=True)
    location = context.stores.location(wanted.place)
    examined = examine(location, wanted.prefix)
    with context.database.session() as session:
        return Result(probes.record(session, wanted, location, examined), changed=True)
