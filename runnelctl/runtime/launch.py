"""From a checked topology to a running host: home, board, pipes, then the supervisor's loop."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Collection, Mapping
from pathlib import Path

from runnelctl.core.model import Topology
from runnelctl.core.plan import Plan
from runnelctl.core.plan import plan as make_plan
from runnelctl.runtime import homes, signals
from runnelctl.runtime.board import Board, Shape
from runnelctl.runtime.homes import Home
from runnelctl.runtime.host import Host
from runnelctl.runtime.supervisor import Supervisor
from runnelctl.store.reach import Reached


def host_of(
    topology: Topology,
    reached: Reached,
    home: Home,
    digest: str,
    *,
    only: Collection[str] | None,
    drain: bool,
    partitions: Mapping[str, Collection[int]] | None = None,
) -> Host:
    """The frozen values of a host, its board and its pipes; nothing runs yet. `only`, `partitions`: as in core/plan."""
    plan = make_plan(topology, only, partitions)
    return Host(
        plan=plan,
        endpoint=reached.endpoint,
        member=home.member,
        board=Board(Shape(len(plan.places), len(plan.units), len(plan.tasks))),
        directory=str(home.directory),
        wakes=tuple(signals.pipe() for _ in range(len(plan.places) + 2)),
        drain=drain,
        embedded_root=str(homes.root()) if reached.embedded is not None else None,
        digest=digest,
        began=time.monotonic(),
    )


def launch(host: Host, reached: Reached, lock: int, notes: Collection[str]) -> int:
    """Run a host until it ends; returns the exit code of `up`."""
    _preload()
    keep = {lock} | ({reached.embedded.fd} if reached.embedded is not None else set())
    supervisor = Supervisor(
        host, lambda: _keeper(host), lambda slot, incarnation: _child(host, slot, incarnation), keep
    )
    for note in notes:
        supervisor.output.say(note)
    return supervisor.run()


def _preload() -> None:
    """What every child needs is loaded once, before the fork, and shared."""
    import asyncio
    import concurrent.futures.thread

    import jsonschema_rs
    import uvloop

    from runnelctl.runtime import keeper, slice, tasks

    assert all((asyncio, concurrent.futures.thread, jsonschema_rs, uvloop, keeper, slice, tasks))


def _keeper(host: Host) -> int:
    from runnelctl.runtime import keeper

    return keeper.run(host)


def _child(host: Host, slot: int, incarnation: int) -> int:
    from runnelctl.runtime import slice, tasks

    if host.plan.places[slot].runs_tasks:
        return tasks.run(host, incarnation)

    return slice.run(host, slot, incarnation)


def summary(plan: Plan, redis: str) -> str:
    """One line on what is about to run."""
    parts = [", ".join(f"{name} x{len(plan.slots_of(name))}" for name in plan.processors)]
    parts += [f"{len(plan.units)} partitions to own"] if plan.units else []
    parts += [f"tasks {', '.join(task.name for task in plan.tasks)}"] if plan.tasks else []
    return f"{plan.topology.name}: {'; '.join(part for part in parts if part)}; Redis {redis}"


def detach(base: Path, name: str) -> int:
    """Go to the background: 0 in the process that stays, its pid in the one that returns to the shell.

    What the one that stays writes goes to the early log of a home, and from there into the home.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if pid := os.fork():
        return pid
    os.setsid()
    early = homes.early_log(base, name, os.getpid())
    early.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = os.open(early, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.close(null)
    return 0
