"""What a host says of itself: the entry it beats with, which decides ownership, and the report that `status` shows."""

from __future__ import annotations

import json
import os
from time import monotonic
from typing import TYPE_CHECKING, Any

from runnelctl.core.plan import Unit
from runnelctl.runtime import board as cells
from runnelctl.runtime import leadership
from runnelctl.runtime.host import Host
from runnelctl.runtime.standins import absent, starting

if TYPE_CHECKING:
    from runnelctl.runtime.tenure import Tenure

STATES = {
    cells.STATE_NONE: "starting",
    cells.STATE_RUNNING: "running",
    cells.STATE_RELEASED: "released",
    cells.STATE_QUARANTINED: "quarantined",
    cells.STATE_HALTED: "halted",
    cells.STATE_LOST: "lost",
}

#: How the last run of a task ended; nothing where none has.
OUTCOMES = {
    cells.RESULT_OK: "ok",
    cells.RESULT_FAILED: "failed",
    cells.RESULT_TIMED_OUT: "timed out",
    cells.RESULT_DIED: "died",
}

RATE_WINDOW_S = 0.9  # beats may follow each other closely; a rate over less time is noise


class Pace:
    """Events per second of every unit, counted from beat to beat."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._counts: dict[int, int] = {}
        self._rates: dict[int, float] = {}

    def rate(self, unit: int) -> float:
        """Of the last whole window; 0 before there was one."""
        return self._rates.get(unit, 0.0)

    def step(self, counts: dict[int, int], now: float) -> None:
        """Take the counts since `up` (by unit) as of `now`, in seconds of CLOCK_MONOTONIC."""
        if self._began is None:  # the board's counts may be older than this keeper
            self._began, self._counts = now, counts
        elapsed_s = now - self._began
        if elapsed_s < RATE_WINDOW_S:
            return
        self._rates = {
            unit: round((count - self._counts.get(unit, 0)) / elapsed_s, 1) for unit, count in counts.items()
        }
        self._began, self._counts = now, counts


#: Of this process: a host has one keeper, and only that reports.
_pace = Pace()


def entry(host: Host) -> str:
    """The part of a member's entry that seldom changes: its slices per processor, and the digest of its topology."""
    capacity = {name: len(host.plan.slots_of(name)) for name in host.plan.processors}
    if host.board.q[cells.H_STOPPING] or host.plan.partial:
        capacity = {}
    about: dict[str, Any] = {"capacity": capacity, "digest": host.digest}
    if capacity and (unready := starting(host)):
        about["starting"] = unready
    if capacity and (gone := absent(host)):
        about["resting"] = gone
    if host.plan.tasks and not host.board.q[cells.H_STOPPING]:
        about["tasks"] = leadership.able(host)
    return json.dumps(about, separators=(",", ":"))


def report(host: Host, tenure: Tenure) -> bytes:
    """Everything `status` shows of this host: its slices, and its partitions by processor."""
    q, board = host.board.q, host.board
    slots = [
        {
            "slice": slot.name,
            "pid": q[board.slot(slot.index) + cells.S_PID],
            "rss": q[board.slot(slot.index) + cells.S_RSS],
            "restarts": q[board.slot(slot.index) + cells.S_RESTARTS],
            "ready": q[board.slot(slot.index) + cells.S_READY] == q[board.slot(slot.index) + cells.S_INCARNATION],
        }
        for slot in host.plan.slots
        if not slot.retired or q[board.slot(slot.index) + cells.S_PID]
    ]
    units = [_unit(host, unit) for unit in host.plan.units if q[board.unit(unit.index) + cells.U_HELD]]
    _pace.step({unit.index: q[board.unit(unit.index) + cells.U_PROCESSED] for unit in host.plan.units}, monotonic())
    totals = [_totals(host, unit) for unit in host.plan.units]
    about = {
        "host": host.name,
        "pid": os.getppid(),
        "topology": host.plan.topology.file,
        "stopping": bool(q[cells.H_STOPPING]),
        "slots": slots,
        "units": units,
        "totals": [total for total in totals if total is not None],
        "tasks": [_task(host, at) for at in range(len(host.plan.tasks)) if at not in host.plan.gone_tasks],
    }
    return json.dumps(about, separators=(",", ":")).encode()


def _task(host: Host, number: int) -> dict[str, Any]:
    """One task as this host has it; times are ms of the wall clock, None where there is none."""
    q, d, base = host.board.q, host.board.d, host.board.task(number)
    task, since = host.plan.tasks[number], d[base + cells.T_SINCE]
    leads = bool(q[base + cells.T_HELD])
    running_ms = int((monotonic() - since) * 1000) if since else None
    return {
        "task": task.name,
        "leads": leads,
        "next": q[base + cells.T_NEXT] or None if leads or not task.leader else None,
        "ran_at": q[base + cells.T_RAN_AT] or None,
        "took_ms": q[base + cells.T_TOOK_MS] if q[base + cells.T_RESULT] else None,
        "outcome": OUTCOMES.get(q[base + cells.T_RESULT]),
        "running_ms": running_ms,
        "runs": q[base + cells.T_RUNS],
        "failures": q[base + cells.T_FAILED],
        "skipped": q[base + cells.T_SKIPPED],
    }


def _unit(host: Host, unit: Unit) -> dict[str, Any]:
    q, d, base = host.board.q, host.board.d, host.board.unit(unit.index)
    slot = host.plan.slots[q[base + cells.U_SLOT]]
    since = d[base + cells.U_SINCE]
    return {
        "processor": unit.processor,
        "partition": unit.partition,
        "slice": slot.name,
        "pid": q[host.board.slot(slot.index) + cells.S_PID],
        "epoch": q[base + cells.U_EPOCH],
        "state": STATES.get(q[base + cells.U_STATE], "starting"),
        "busy_ms": int((monotonic() - since) * 1000) if since else 0,
        "silent_ms": int((monotonic() - d[host.board.slot(slot.index) + cells.S_BEAT]) * 1000),
        "restarts": q[host.board.slot(slot.index) + cells.S_RESTARTS],
    }


def _totals(host: Host, unit: Unit) -> dict[str, Any] | None:
    """Counts since `up`; also of units that this host has let go."""
    q, base = host.board.q, host.board.unit(unit.index)
    if not any(q[base + cell] for cell in (cells.U_PROCESSED, cells.U_FAILED, cells.U_LOST, cells.U_UNDONE)):
        return None
    latency = q[base + cells.U_LATENCY : base + cells.U_LATENCY + cells.LATENCY_BUCKETS].tolist()
    return {
        "processor": unit.processor,
        "partition": unit.partition,
        "processed": q[base + cells.U_PROCESSED],
        "failed": q[base + cells.U_FAILED],
        "retried": q[base + cells.U_RETRIED],
        "lost": q[base + cells.U_LOST],
        "undone": q[base + cells.U_UNDONE],
        "rate": _pace.rate(unit.index),
        "latency": latency,
    }
