"""`runnelctl plan`: what an `up` of this file would find in Redis, and whether it would start."""

from __future__ import annotations

import json
from pathlib import Path

import click

from runnelctl import errors, topology
from runnelctl.cli.options import json_option, topology_argument
from runnelctl.core.changes import Change, changes
from runnelctl.core.model import Topology
from runnelctl.core.status import host_of
from runnelctl.runtime import homes
from runnelctl.store import admission, comparison, connect, preflight
from runnelctl.store.reach import Reached, reach

_MARKS = {"new": "+", "changed": "~", "gone": "-"}


@click.command()
@topology_argument
@json_option
def command(file: Path, as_json: bool) -> int:
    """Hold the topology against what is in Redis: new, changed and gone streams and processors, and the events that
    processors of Redis which the file has no more have not read.

    Changes nothing. Exits 0 if `up` would start, 2 if it would refuse, and says why.
    """
    of = topology.load(file)
    with reach(of.redis, of.name) as reached:
        found, refusals = _look(of, reached)
    if as_json:
        listed = [
            {"kind": each.kind, "what": each.what, "name": each.name, "detail": each.detail, "lag": each.lag}
            for each in found
        ]
        about = {"schema_version": 1, "topology": of.name, "starts": not refusals}
        click.echo(json.dumps({**about, "changes": listed, "refusals": refusals}, ensure_ascii=False))
    else:
        for each in found:
            click.echo(f"{_MARKS[each.kind]} {each.what} {each.name}: {each.detail}")
    for refusal in refusals:
        click.echo(f"up would refuse: {refusal}", err=True)
    if not refusals:
        click.echo("up would start" + ("" if found else ", and go on where it stopped: nothing changes"), err=True)
    return errors.EXIT_USAGE if refusals else errors.EXIT_OK


def _look(of: Topology, reached: Reached) -> tuple[list[Change], list[str]]:
    """What changes, and why `up` would refuse."""
    here = topology.describe(of)
    gone = {home.member for home in homes.found(homes.root(), of.name) if not home.alive}
    refusals = []
    with connect.client(reached.endpoint, client_name="runnelctl:plan") as client:
        try:
            preflight.check(client, reached.endpoint, of.name, of.durability)
        except errors.RedisUnfit as error:
            refusals.append(str(error))
        with connect.translated(reached.endpoint):
            stored = comparison.read(client, of)
            other = admission.other_version(client, of, topology.digest(of), gone.__contains__)
    refusals += stored.conflicts
    if other is not None:
        refusals.append(f"host {host_of(other)} runs another version of this topology: stop it first")
    if not of.processors:
        refusals.append(f"{of.file} declares no processors: there is nothing to run")
    return changes(of, stored.streams, stored.lags, here, stored.description), refusals
