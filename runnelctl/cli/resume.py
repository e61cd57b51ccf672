"""`runnelctl resume`: the end of a `pause`."""

from __future__ import annotations

from pathlib import Path

import click

from runnelctl import errors, topology
from runnelctl.cli import names, options, targets
from runnelctl.runtime import mending
from runnelctl.store import connect, meta, operations, pausing
from runnelctl.store.reach import reach


@click.command()
@click.argument("target", metavar="PROCESSOR[:PARTITION]", shell_complete=names.processors)
@click.option("--reason", default="", metavar="TEXT", help="Why; kept in the audit.")
@options.topology_option
def command(file: Path, target: str, reason: str) -> int:
    """Go on with PROCESSOR, all of its partitions included, or with one PARTITION; hosts begin at once."""
    of = topology.load(file)
    chosen = targets.parse(of, target)
    processor = chosen.processor.name
    with (
        reach(of.redis, of.name) as reached,
        connect.client(reached.endpoint, client_name="runnelctl:resume") as client,
        connect.translated(reached.endpoint),
    ):
        meta.agree(client, of)
        if chosen.partition is not None and processor in pausing.paused(client, of):
            raise errors.RunnelctlError(
                f"the whole of {processor} is paused, not partition {chosen.partition} alone: `runnelctl resume "
                f"{processor}`, and pause the partitions that are to stay so"
            )
        resumed = pausing.resume(client, of, processor, chosen.partition)
        if not resumed:
            click.echo(f"{chosen.name} is not paused", err=True)
            return errors.EXIT_OK
        operations.announce(client, of, "resume", target=chosen.name)
        operations.audit(
            client, of, who=mending.who(), what="resume", processor=processor,
            partition="" if chosen.partition is None else str(chosen.partition), reason=reason, time=mending.now(),
        )  # fmt: skip
    click.echo(f"{', '.join(resumed)}: resumed", err=True)
    return errors.EXIT_OK
