"""From a checked topology to a running host: home, board, pipes, then the supervisor's loop."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Collection, Mapping
from pathlib import Path

from runnelctl.core.model import Launching, Topology
from runnelctl.core.plan import ROOM, Plan
from runnelctl.core.plan import plan as make_plan
from runnelctl.runtime import homes, signals, spawned
from runnelctl.runtime.board import Board, Shape
from runnelctl.runtime.homes import Home
from runnelctl.runtime.host import KEEPER, SUPERVISOR, Host
from runnelctl.runtime.reloading import Reread
from runnelctl.runtime.supervisor import Supervisor
from runnelctl.store.reach import Reached

#: Units that a reload may add. What nobody touches of the board costs no memory.
UNIT_ROOM = 16_384


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
    shape = Shape(len(plan.slots) + ROOM + 1, len(plan.units) + UNIT_ROOM, len(plan.tasks) + ROOM)
    return Host(
        plan=plan,
        endpoint=reached.endpoint,
        member=home.member,
        board=Board.shared(shape) if topology.start is Launching.SPAWN else Board(shape),
        directory=str(home.directory),
        wakes={at: signals.pipe() for at in (*(slot.index for slot in plan.places), KEEPER, SUPERVISOR)},
        drain=drain,
        embedded_root=str(homes.root()) if reached.embedded is not None else None,
        digest=digest,
        began=time.monotonic(),
        only=None if only is None or {*topology.processors, *topology.tasks} <= {*only} else frozenset(only),
    )


def launch(host: Host, reached: Reached, lock: int, notes: Collection[str], reread: Reread) -> int:
    """Run a host until it ends; returns the exit code of `up`. `reread` is for SIGHUP."""
    if host.board.fd < 0:
        _preload(host.plan)
    keep = {lock} | ({reached.embedded.fd} if reached.embedded is not None else set())
    if host.board.fd >= 0:
        supervisor = Supervisor(host, _spawn_keeper, _spawn_child, keep | {host.board.fd}, reread)
    else:
        supervisor = Supervisor(host, keeper, child_of, keep, reread)
    for note in notes:
        supervisor.output.say(note)
    return supervisor.run()


def _preload(plan: Plan) -> None:
    """What every child needs is loaded once, before the fork, and shared."""
    import asyncio
    import concurrent.futures.thread

    import jsonschema_rs
    import uvloop

    from runnelctl.runtime import keeper, slice
    from runnelctl.store import scripts

    assert all((asyncio, concurrent.futures.thread, jsonschema_rs, uvloop, keeper, slice))
    scripts.load_all()
    if plan.tasks:
        from runnelctl.runtime import tasks  # brings redis-py, for what they send

        assert tasks


def _spawn_keeper(host: Host) -> int:
    spawned.execute(host, KEEPER, 0, "keeper")


def _spawn_child(host: Host, slot: int, incarnation: int) -> int:
    name = next(each.name for each in host.plan.places if each.index == slot)
    spawned.execute(host, slot, incarnation, name)


def keeper(host: Host) -> int:
    """The body of the keeper's process; returns its exit code."""
    from runnelctl.runtime import keeper as keeping

    return keeping.run(host)


def child_of(host: Host, slot: int, incarnation: int) -> int:
    """The body of the process that a slot is for; returns its exit code."""
    if host.plan.tasks_slot is not None and host.plan.tasks_slot.index == slot:
        from runnelctl.runtime import tasks

        return tasks.run(host, incarnation)
    from runnelctl.runtime import slice

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
