"""`runnelctl schema`: the JSON Schema of topology files, or of a record class."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from runnelctl import errors, topology
from runnelctl.cli.options import topology_given


@click.command()
@click.option("--record", metavar="module:Class", help="The JSON Schema of this record class instead.")
@topology_given
def command(record: str | None, topology_file: str | None) -> None:
    """Print the JSON Schema of topology files, or of a record class.

    Save it, and begin a topology with "# yaml-language-server: $schema=FILE" to be helped by an editor. A record class
    is looked for in the topology's pythonpath, if there is a topology, and in the current directory.
    """
    if record is None:
        click.echo(topology.text_of_schema(), nl=False)
        return
    from runnelctl.records import classes

    exported = classes.load(record, (*_pythonpath(topology_file), str(Path.cwd()))).schema()
    click.echo(json.dumps(exported, indent=2, ensure_ascii=False))


def _pythonpath(given: str | None) -> tuple[str, ...]:
    try:
        file = topology.find(given, os.environ, Path.cwd())
    except errors.UsageError:
        if given is not None:
            raise
        return ()
    return topology.examine(file).pythonpath
