"""What `up` has in common with a `replay` that runs the handlers itself: being admitted, having a home, running."""

from __future__ import annotations

import functools
import os
from collections.abc import Collection, Mapping
from pathlib import Path

from runnelctl import errors, topology
from runnelctl.cli import rereading
from runnelctl.core import changes
from runnelctl.core.model import Topology
from runnelctl.runtime import homes, launch
from runnelctl.store import admission, connect
from runnelctl.store.preflight import Fitness
from runnelctl.store.reach import Reached


def admitted(described: Topology, reached: Reached, base: Path, *, rolling: bool = False) -> Fitness:
    """Settle with Redis what must be settled before anything runs. Raises RedisUnfit, RedisUnreachable, and UsageError
    if live hosts run another version of the file; if `rolling`, only where both can't run side by side."""
    gone = {home.member for home in homes.found(base, described.name) if not home.alive}
    with connect.line(reached.endpoint, timeout_ms=5_000, client_name="runnelctl:up") as client:
        return admission.admit(
            client, reached.endpoint, described, topology.digest(described), topology.describe(described),
            topology.differences, gone.__contains__, changes.conflicts if rolling else None,
        )  # fmt: skip


def run(
    described: Topology,
    reached: Reached,
    base: Path,
    notes: Collection[str],
    chosen: Collection[str],
    *,
    drain: bool,
    detached: bool = False,
    partitions: Mapping[str, Collection[int]] | None = None,
    overrides: Mapping[str, str | None] | None = None,
) -> int:
    """Run a host in this process until it ends; returns its exit code. `partitions`: only these of each processor;
    `overrides`: what flags put in the place of the file's, to be put there again when it is reloaded."""
    file = str(Path(described.file).absolute())
    home, lock = homes.create(base, described.name, file, pid=os.getpid(), detached=detached)
    try:
        host = launch.host_of(
            described, reached, home, topology.digest(described), only=chosen, drain=drain, partitions=partitions
        )
        summary = launch.summary(host.plan, reached.endpoint.shown)
        reread = functools.partial(rereading.reread, described, reached.endpoint, overrides or {})
        return launch.launch(host, reached, lock, [summary, *notes], reread)
    finally:
        homes.remove(home)


def name_of(file: Path) -> str:
    """The name of the topology in `file`; of a host that was started from it, if the file can't be read any more.
    Raises TopologyError or UsageError if neither helps."""
    path = str(file.absolute())
    started = [home for home in homes.found(homes.root()) if home.topology == path]
    try:
        return topology.load(file).name
    except errors.RunnelctlError:
        if not started:
            raise
        return started[-1].name
