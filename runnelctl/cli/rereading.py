"""Reading the topology file again for a host that runs: what `check` says of it, and what Redis and others say."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import click

from runnelctl import errors, topology
from runnelctl.core import changes, reload
from runnelctl.core.model import Topology
from runnelctl.store import admission, connect
from runnelctl.store.endpoint import Endpoint


def reread(old: Topology, endpoint: Endpoint, overrides: Mapping[str, str | None]) -> tuple[Topology, str] | None:
    """The topology as its file has it now, and its digest; None if anything is wrong with it, which is on stderr then.
    `old`: what the host was started with, `overrides`: by which flags."""
    from runnelctl.cli import check  # `up` need not wait for what only a reload needs

    examined, problems = check.everything(Path(old.file), dict(overrides))
    for problem in problems:
        click.echo(str(problem), err=True)
    new = examined.topology
    if problems or new is None:
        return None
    refused = reload.refusals(old, new)
    if refused:
        click.echo(f"{old.file}: {'; '.join(refused)}: stop every host, and start it with the new file", err=True)
        return None
    try:
        with connect.line(endpoint, timeout_ms=5_000, client_name="runnelctl:reload") as client:
            admission.readmit(client, endpoint, new, topology.describe(new), changes.conflicts)
    except errors.RunnelctlError as error:
        click.echo(str(error), err=True)
        return None
    # How processes are started is settled for as long as the host runs: its board was made for it.
    return dataclasses.replace(new, start=old.start), topology.digest(new)
