"""How a drain is measured: between 20 and 90 % of a backlog, from outside."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import psutil

LOOK_S = 0.02


def window(
    count: Callable[[], int],
    events: int,
    watched: Callable[[], Mapping[str, Sequence[psutil.Process]]],
    ended: Callable[[], str | None],
) -> dict[str, float]:
    """Waits until `count` of `events` are handled, and returns `events_per_s` and, for each group of processes that
    `watched` names, its CPU time per event as `…_us_per_event`. Ends the program with what `ended` returns, if that
    is not None."""
    first, last = events // 5, events * 9 // 10
    while count() < first:
        _look(ended)
    groups = watched()
    before = {name: cpu_s(processes) for name, processes in groups.items()}
    at, began = count(), time.perf_counter()
    while (done := count()) < last:
        _look(ended)
    took = time.perf_counter() - began
    handled = done - at
    spent = {name: cpu_s(processes) - before[name] for name, processes in groups.items()}
    per_event = {f"{name}_us_per_event": seconds / handled * 1e6 for name, seconds in spent.items()}
    return {"events_per_s": handled / took, **per_event}


def cpu_s(processes: Sequence[psutil.Process]) -> float:
    """CPU time of these processes so far, in user and system mode, in seconds."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def _look(ended: Callable[[], str | None]) -> None:
    reason = ended()
    if reason is not None:
        raise SystemExit(reason)
    time.sleep(LOOK_S)
