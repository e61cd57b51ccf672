"""`runnelctl restart`: every slice of a processor drained and replaced, one after the other, on every host."""

from __future__ import annotations

import time
from pathlib import Path

import click

from runnelctl import errors, topology
from runnelctl.cli import names, options
from runnelctl.client.reads import declared_processor
from runnelctl.core import membership
from runnelctl.core.model import Processor, Topology
from runnelctl.core.reading import Report
from runnelctl.core.status import host_of
from runnelctl.runtime import mending
from runnelctl.store import connect, meta, operations, rollcall
from runnelctl.store.connect import Client
from runnelctl.store.reach import reach

POLL_S = 0.1
START_LIMIT_S = 60.0

#: A member, and the name of one of its slices.
Place = tuple[str, str]


@click.command()
@click.argument("processor", shell_complete=names.processors)
@options.topology_option
def command(file: Path, processor: str) -> int:
    """Replace the slices of PROCESSOR on every host, one after the other: each finishes its events and commits, and a
    new process imports the handler afresh.

    Stops at the first one that does not come up again, and exits 1: the others run on as they are.
    """
    of = topology.load(file)
    about = declared_processor(of, processor)
    with (
        reach(of.redis, of.name) as reached,
        connect.client(reached.endpoint, client_name="runnelctl:restart") as client,
        connect.translated(reached.endpoint),
    ):
        meta.agree(client, of)
        return _Roll(client, of, about).run()


class _Roll:
    """One restart of one processor, and how far it is."""

    def __init__(self, client: Client, of: Topology, about: Processor) -> None:
        self._client, self._of, self._about = client, of, about
        self._watch: membership.Watch | None = None

    def run(self) -> int:
        """Replace them all; returns the exit code."""
        found = self._alive()
        places = [
            (member, slot.slice, slot.pid)
            for member, report in sorted(found.items())
            for slot in report.slots
            if slot.slice.rpartition(".")[0] == self._about.name and slot.pid and not report.stopping
        ]
        if not places:
            click.echo(f"no host runs {self._about.name}: there is nothing to restart", err=True)
            return errors.EXIT_OK
        operations.audit(
            self._client, self._of, who=mending.who(), what="restart", processor=self._about.name, time=mending.now()
        )
        for number, (member, name, pid) in enumerate(places, start=1):
            after = self._replace((member, name), pid)
            click.echo(f"{number} of {len(places)}: {name} of {host_of(member)}, pid {pid} → {after}", err=True)
        return errors.EXIT_OK

    def _replace(self, place: Place, pid: int) -> int:
        """Ask for it and wait; returns the new pid. Raises RunnelctlError if none comes."""
        member, name = place
        operations.announce(self._client, self._of, "restart", host=member, slice=name, pid=str(pid))
        limit_s = self._about.timeout_ms / 1000 + self._of.drain_ms / 1000 + START_LIMIT_S
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            report = self._alive().get(member)
            if report is None:
                raise errors.RunnelctlError(
                    f"{host_of(member)} is gone, while its {name} was replaced; the others run on as they are"
                )
            for slot in report.slots:
                if slot.slice == name and slot.pid not in (0, pid) and slot.ready:
                    return slot.pid
            time.sleep(POLL_S)
        raise errors.RunnelctlError(
            f"{name} of {host_of(member)} was not replaced in {limit_s:g} s; the others run on as they are"
        )

    def _alive(self) -> dict[str, Report]:
        """What the members report of themselves; without those that have been silent for a ttl."""
        members, reports = rollcall.read(self._client, self._of)
        now, ttl_s = time.monotonic(), self._of.lease_ttl_ms / 1000
        self._watch = membership.look(self._watch, members, now, ttl_s)
        silent = {member for member, _ in membership.expired(self._watch, "", now, ttl_s)}
        return {member: reports.get(member, Report()) for member in members if member not in silent}
