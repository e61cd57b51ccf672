"""`runnelctl pause`: stop handling events of a processor, on every host, until `resume`."""

from __future__ import annotations

from pathlib import Path

import click

from runnelctl import errors, topology
from runnelctl.cli import names, options, targets
from runnelctl.core import pauses
from runnelctl.runtime import mending
from runnelctl.store import connect, meta, operations, pausing
from runnelctl.store.reach import reach


@click.command()
@click.argument("target", metavar="PROCESSOR[:PARTITION]", shell_complete=names.processors)
@click.option("--reason", default="", metavar="TEXT", help="Why; shown by `status`, and kept in the audit.")
@options.topology_option
def command(file: Path, target: str, reason: str) -> int:
    """Stop handling events of PROCESSOR, or of one PARTITION of it, on every host, until `resume`.

    Hosts finish the event in hand, commit and let go. It lasts over restarts of hosts and of Redis. Events wait.
    """
    of = topology.load(file)
    chosen = targets.parse(of, target)
    with (
        reach(of.redis, of.name) as reached,
        connect.client(reached.endpoint, client_name="runnelctl:pause") as client,
        connect.translated(reached.endpoint),
    ):
        meta.agree(client, of)
        field = pauses.field(chosen.processor.name, chosen.partition)
        about = {"who": mending.who(), "reason": reason, "time": mending.now()}
        whole = chosen.processor.name in pausing.paused(client, of)
        if whole or not pausing.pause(client, of, field, **about):
            click.echo(f"{chosen.name} is paused already", err=True)
            return errors.EXIT_OK
        operations.announce(client, of, "pause", target=field)
        operations.audit(
            client, of, what="pause", processor=chosen.processor.name,
            partition="" if chosen.partition is None else str(chosen.partition), **about,
        )  # fmt: skip
    click.echo(f"{chosen.name} is paused, as soon as the event in hand is done; `runnelctl resume {target}`", err=True)
    return errors.EXIT_OK
