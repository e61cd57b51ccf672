"""`runnelctl schema`: the JSON Schema of topology files, for editors."""

from __future__ import annotations

import click

from runnelctl import topology


@click.command()
def command() -> None:
    """Print the JSON Schema of topology files.

    Save it, and begin a topology with "# yaml-language-server: $schema=FILE" to be helped by an editor.
    """
    click.echo(topology.text_of_schema(), nl=False)
