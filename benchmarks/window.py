"""How a drain is measured: between 20 and 90 % of a backlog, from outside."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import psutil

LOOK_S = 0.02
PATIENCE_S = 60.0


def window(
    count: Callable[[], int],
    events: int,
    watched: Callable[[], Mapping[str, Sequence[psutil.Process]]],
    ended: Callable[[], str | None],
) -> dict[str, float]:
    """Waits until `count` of `events` are handled, and returns `events_per_s` and, for each group of processes that
    `watched` names, its CPU time per event as `…_us_per_event`. Ends the program with what `ended` returns, if that
    is not None, when it takes longer than a minute, and when it was over before it could be measured."""
    until = time.monotonic() + PATIENCE_S

    def look() -> None:
        reason = ended()
        if reason is not None or time.monotonic() > until:
            raise SystemExit(reason or f"{count():,} of {events:,} events handled after {PATIENCE_S:.0f} s")
        time.sleep(LOOK_S)

    first, last = events // 5, events * 9 // 10
    while count() < first:
        look()
    groups = watched()
    before = {name: cpu_s(processes) for name, processes in groups.items()}
    at, began = count(), time.perf_counter()
    if at >= last:
        raise SystemExit(f"{at:,} of {events:,} events were handled before the processes were found: take more events")
    while (done := count()) < last:
        look()
    took = time.perf_counter() - began
    handled = done - at
    spent = {name: cpu_s(processes) - before[name] for name, processes in groups.items()}
    per_event = {f"{name}_us_per_event": seconds / handled * 1e6 for name, seconds in spent.items()}
    return {"events_per_s": handled / took, **per_event}


def cpu_s(processes: Sequence[psutil.Process]) -> float:
    """CPU time of these processes so far, in user and system mode, in seconds."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)
