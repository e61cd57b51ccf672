"""`runnelctl down`: drain and stop the hosts of a topology."""

from __future__ import annotations

import time
from pathlib import Path

import click

from runnelctl import errors, topology
from runnelctl.cli import hosting
from runnelctl.cli.options import topology_argument
from runnelctl.core import membership
from runnelctl.core.model import Topology
from runnelctl.runtime import homes, stopping
from runnelctl.runtime.homes import Home
from runnelctl.store import backlog, connect, operations
from runnelctl.store.reach import EMBEDDED, reach
from runnelctl.topology import units


@click.command()
@topology_argument
@click.option("--all-hosts", is_flag=True, help="Stop the hosts on other machines, too.")
@click.option("--timeout", default="60s", show_default=True, metavar="DURATION", help="How long to wait for the end.")
def command(file: Path, all_hosts: bool, timeout: str) -> int:
    """Drain and stop the hosts of this topology that were started from this directory.

    Handlers finish, cursors are committed, leases released. Exits 0 when they are gone, also when none was up; 1 if one
    is still there after --timeout.
    """
    timeout_ms = units.duration_ms(timeout)
    if timeout_ms is None:
        raise errors.UsageError(f"--timeout {timeout!r} is no duration: write 30s, 2m or 500ms")
    deadline = time.monotonic() + timeout_ms / 1000
    name = hosting.name_of(file)
    asked = [stopping.ask(home) for home in stopping.live(homes.root(), str(file.absolute()), name)]
    there = [each for each in asked if each.answer is stopping.Answer.ASKED]
    others = [each for each in asked if each.answer is not stopping.Answer.ASKED]
    late = stopping.wait(there, deadline, lambda home: click.echo(f"{name}: {home.host} ended", err=True))
    for home in late:
        click.echo(f"{name}: {home.host} still drains after {timeout}; `kill -9 {home.pid}` ends it now", err=True)
    if all_hosts:
        return errors.EXIT_ERROR if _everywhere(topology.load(file), deadline, timeout) or late else errors.EXIT_OK
    return _account(name, others, late, asked_any=bool(asked))


def _account(name: str, others: list[stopping.Asked], late: list[Home], *, asked_any: bool) -> int:
    for each in others:
        click.echo(f"{name}: {each.home.host} {each.answer.value}; `runnelctl down --all-hosts` reaches it", err=True)
    if not asked_any:
        click.echo(f"{name}: nothing is up from here", err=True)
    return errors.EXIT_ERROR if others or late else errors.EXIT_OK


def _everywhere(of: Topology, deadline: float, timeout: str) -> bool:
    """Ask every host by way of Redis and wait until none beats any more. True if some still does at the deadline."""
    if of.redis.strip().lower() == EMBEDDED:
        return False  # its hosts are all on this machine, and asking would start a server
    with (
        reach(of.redis, of.name) as reached,
        connect.client(reached.endpoint) as client,
        connect.translated(reached.endpoint),
    ):
        before = members = backlog.look(client, of, ()).members
        if not before:
            click.echo(f"{of.name}: nothing is up anywhere", err=True)
            return False
        operations.announce(client, of, "down")
        left = _wait_silent(of, client, members, deadline)
    for member in left:
        click.echo(f"{of.name}: {member.rpartition(':')[0]} is still there after {timeout}", err=True)
    return bool(left)


def _wait_silent(of: Topology, client: connect.Client, members: dict[str, bytes], deadline: float) -> set[str]:
    """Wait until the members have left or been silent for a ttl; returns those that still beat at the deadline."""
    ttl_s = of.lease_ttl_ms / 1000
    left, watch = set(members), None
    while True:
        now = time.monotonic()
        watch = membership.look(watch, members, now, ttl_s)
        silent = {member for member, _ in membership.expired(watch, "", now, ttl_s)}
        for member in sorted(left - (members.keys() - silent)):
            click.echo(f"{of.name}: {member.rpartition(':')[0]} ended", err=True)
            left.remove(member)
        if not left or now >= deadline:
            return left
        time.sleep(stopping.POLL_S)
        members = backlog.look(client, of, ()).members
