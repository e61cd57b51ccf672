"""`runnelctl up`: start the topology, supervise it until it is stopped, drained or halted."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import click

from runnelctl import errors, topology
from runnelctl.cli.options import topology_argument
from runnelctl.core.model import Topology
from runnelctl.runtime import homes, launch
from runnelctl.store import admission, connect
from runnelctl.store.reach import Reached, reach

WAIT_LIMIT_S = 120.0


@click.command()
@topology_argument
@click.option("--only", metavar="P,…", help="Run only these processors.")
@click.option("-d", "--detach", is_flag=True, help="Run in the background; see `runnelctl logs`, `status` and `down`.")
@click.option("--wait", is_flag=True, help="With --detach: return once every slice is ready.")
@click.option("--drain", is_flag=True, help="Exit 0 once everything that is there now is handled.")
def command(file: Path, only: str | None, detach: bool, wait: bool, drain: bool) -> int:
    """Run the topology: one process per slice, restarted by policy, one owner per partition across all hosts.

    The first Ctrl-C drains, a second one forces. Exits 0 done or drained, 3 if a handler cannot start, 4 if halted by
    policy, 69 if Redis cannot be reached, 130 if forced.
    """
    described, warnings = topology.load_with_warnings(file)
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    chosen = _chosen(described, only)
    base = homes.root()
    homes.sweep(base, described.name)
    with reach(described.redis, described.name) as reached:
        notes = _admitted(described, reached, base, chosen)
        if detach:
            return _in_background(described, reached, base, notes, chosen, drain=drain, wait=wait)
        return _run(described, reached, base, notes, chosen, drain=drain, detached=False)


def _chosen(described: Topology, only: str | None) -> list[str]:
    if not described.processors:
        raise errors.UsageError(f"{described.file} declares no processors: there is nothing to run")
    if only is None:
        return list(described.processors)
    names = [name.strip() for name in only.split(",") if name.strip()]
    unknown = [name for name in names if name not in described.processors]
    if unknown or not names:
        known = ", ".join(described.processors)
        listed = ", ".join(map(repr, unknown)) or repr(only)
        raise errors.UsageError(f"--only: no processor {listed}; there are {known}")
    return names


def _admitted(described: Topology, reached: Reached, base: Path, chosen: list[str]) -> list[str]:
    """Settle with Redis what must be settled before anything runs; returns what is worth saying."""
    gone = {home.member for home in homes.found(base, described.name) if not home.alive}
    with connect.client(reached.endpoint, timeout_ms=5_000, client_name="runnelctl:up") as client:
        fitness = admission.admit(
            client, reached.endpoint, described, topology.digest(described), topology.describe(described),
            topology.differences, gone.__contains__,
        )  # fmt: skip
        lifted = admission.lift_halts(client, reached.endpoint, described, chosen)
    server = f"{'embedded ' if reached.embedded else ''}{fitness.server.capitalize()} {fitness.version}"
    notes = [f"{server}, {fitness.durability}"]
    notes += [f"warning: {warning}" for warning in fitness.warnings if warning != fitness.durability]
    notes += [f"{name} was halted; starting it again retries the event that halted it" for name in lifted]
    return notes


def _run(
    described: Topology,
    reached: Reached,
    base: Path,
    notes: list[str],
    chosen: list[str],
    *,
    drain: bool,
    detached: bool,
) -> int:
    home, lock = homes.create(
        base, described.name, str(Path(described.file).absolute()), pid=os.getpid(), detached=detached
    )
    try:
        host = launch.host_of(described, reached, home, topology.digest(described), only=chosen, drain=drain)
        summary = launch.summary(host.plan, reached.endpoint.shown)
        return launch.launch(host, reached, lock, [summary, *notes])
    finally:
        homes.remove(home)


def _in_background(
    described: Topology, reached: Reached, base: Path, notes: list[str], chosen: list[str], *, drain: bool, wait: bool
) -> int:
    before = {home.member for home in homes.found(base, described.name)}
    log = base / homes.FOLDER / described.name / "up.log.partial"
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if launch.detach(log):
        code = 1
        try:
            code = _run(described, reached, base, notes, chosen, drain=drain, detached=True)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return _watch_start(base, described, before, wait=wait)


def _watch_start(base: Path, described: Topology, before: set[str], *, wait: bool) -> int:
    """Return once the detached host lives; with `wait`, once it works."""
    deadline = time.monotonic() + WAIT_LIMIT_S
    mine: homes.Home | None = None
    while time.monotonic() < deadline:
        fresh = [home for home in homes.found(base, described.name) if home.member not in before]
        mine = fresh[-1] if fresh else mine
        if mine is not None and (not wait or mine.ready):
            click.echo(
                f"{described.name} is up in the background (pid {mine.pid}); `runnelctl logs -f`, `runnelctl down`",
                err=True,
            )
            return errors.EXIT_OK
        if mine is not None and not mine.alive:
            break
        time.sleep(0.05)
    if mine is not None and mine.log.exists():
        click.echo(mine.log.read_text(errors="replace")[-4000:], err=True, nl=False)
    raise errors.RunnelctlError("the detached host did not come up; its output is above")
