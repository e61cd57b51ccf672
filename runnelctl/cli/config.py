"""`runnelctl config`: the topology as it will run, every default filled in and every secret hidden."""

from __future__ import annotations

import json
from pathlib import Path

import click

from runnelctl import topology
from runnelctl.cli import options


@click.command()
@options.topology_argument
@options.json_option
def command(file: Path, as_json: bool) -> None:
    """Print the topology as resolved: variables replaced, defaults filled in, paths absolute, passwords as ***."""
    loaded = topology.load(file)
    if as_json:
        click.echo(json.dumps(topology.document(loaded), indent=2, ensure_ascii=False))
    else:
        click.echo(topology.text(loaded), nl=False)
