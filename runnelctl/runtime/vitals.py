"""What the supervisor reads off the board, and how it words what it finds."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Iterable
from pathlib import Path

from runnelctl.core import lifecycle
from runnelctl.core.lifecycle import Health
from runnelctl.core.plan import Plan, Slot
from runnelctl.runtime import board as cells
from runnelctl.runtime import child
from runnelctl.runtime.host import Host
from runnelctl.runtime.processes import is_stopped

SHORTEST_CHECK_S = 0.02


def check_interval_s(plan: Plan) -> float:
    """How often to look: a quarter of the ttl, a fifth of the shortest timeout, whichever is less."""
    timeouts = [plan.topology.processors[name].timeout_ms / 5000 for name in plan.processors]
    return max(SHORTEST_CHECK_S, min([plan.topology.lease_ttl_ms / 4000, *timeouts]))


def judge(host: Host, slot: Slot, incarnation: int, began: float, now: float, pid: int) -> Health:
    """The health of a live slice."""
    base = host.board.slot(slot.index)
    q, d = host.board.q, host.board.d
    longest = 0.0
    for mine in (unit for unit in host.plan.units if unit.processor == slot.processor):
        cell = host.board.unit(mine.index)
        if q[cell + cells.U_SLOT] == slot.index and q[cell + cells.U_FOR] == incarnation and q[cell + cells.U_HELD]:
            since = d[cell + cells.U_SINCE]
            longest = max(longest, now - since if since else 0.0)
    if q[base + cells.S_STALLED] == incarnation:
        return Health.STUCK
    ttl_s = host.plan.topology.lease_ttl_ms / 1000
    silent_s = now - d[base + cells.S_BEAT]
    return lifecycle.health(
        ready=q[base + cells.S_READY] == incarnation,
        age_s=now - began,
        silent_s=silent_s,
        stopped=silent_s > ttl_s and is_stopped(pid),
        in_flight_s=longest,
        timeout_s=math.inf if slot.runs_tasks else host.plan.processor(slot).timeout_ms / 1000,
        ttl_s=ttl_s,
    )


def in_flight(host: Host, slot: Slot) -> bool:
    """Whether an event was in a handler of this slot when its process ended."""
    q, d = host.board.q, host.board.d
    for unit in (unit for unit in host.plan.units if unit.processor == slot.processor):
        cell = host.board.unit(unit.index)
        if q[cell + cells.U_SLOT] == slot.index and q[cell + cells.U_HELD] and d[cell + cells.U_SINCE]:
            return True
    return False


def killed(status: int, cause: int) -> bool:
    """Whether somebody else did it: the kernel out of memory, an operator. `cause` is set where we did it ourselves."""
    return cause == cells.CAUSE_NONE and os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def cause_of(status: int) -> int:
    return cells.CAUSE_SIGNAL if os.WIFSIGNALED(status) else cells.CAUSE_EXIT


def death_text(slot: Slot, pid: int, status: int, cause: int, tail: Iterable[str], plan: Plan) -> str:
    """How a slice ended, in one line, and its last output below."""
    what = child.describe(status)
    if cause == cells.CAUSE_TIMEOUT:
        timeout_s = plan.processor(slot).timeout_ms / 1000
        what = f"was killed since its handler ran longer than its timeout of {timeout_s:g} s"
    elif cause == cells.CAUSE_STOPPED:
        what = "was killed since it did not run any more"
    text = f"{'the tasks process' if slot.runs_tasks else f'slice {slot.name}'} (pid {pid}) {what}"
    last = "\n".join(f"  {line}" for line in tail).encode("utf-8", "replace")
    if not last:
        return text
    text += "\nlast output:\n"
    # Of what does not fit on the board, the end matters: an exception's message is below its traceback.
    room = cells.TEXT_BYTES - 8 - len(text.encode())
    return text + last[-room:].decode("utf-8", "ignore")


def all_ready(host: Host) -> bool:
    q = host.board.q
    return all(
        q[host.board.slot(slot.index) + cells.S_READY] == q[host.board.slot(slot.index) + cells.S_INCARNATION]
        for slot in host.plan.places
        if not slot.retired
    )


def write_ready(host: Host) -> None:
    """For `up --wait`: this host works."""
    try:
        (Path(host.directory) / "ready").touch()
    except OSError:
        pass  # the directory may be gone; nobody waits then


def up_text(host: Host) -> str:
    """What runs here, once it does."""
    plan, owned = host.plan, host.board.q[cells.H_OWNED]
    tasks = [f"{len(plan.tasks)} task(s)"] if plan.tasks else []
    if not plan.slots:
        return f"up: {tasks[0]}"
    return ", ".join([f"up: {len(plan.slots)} slice(s)", *tasks, f"{owned} of {len(plan.units)} partition(s) here"])
