"""Runs the demo's real handlers over records, in order, with nothing of the runtime: state per key and emits only.

As the runtime promises, what a handler wrote takes effect when it returns, and not at all when it raises.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import runnelctl

ROOT = Path(__file__).parents[3]
TOPOLOGIES = ROOT / "topologies"

Record = dict[str, Any]


@dataclass
class FakeEvent:
    value: Record
    key: str


@dataclass
class FakeContext:
    state: dict[str, Any]
    emits: list[tuple[str, Record]] = field(default_factory=list)

    def emit(self, stream: str, record: Record, key: str | None = None, headers: Record | None = None) -> None:
        self.emits.append((stream, record))


@dataclass
class Run:
    """What the two processors left behind, and what became of every record that got in."""

    books: dict[str, Any] = field(default_factory=dict)
    stations: dict[str, Any] = field(default_factory=dict)
    turnarounds: list[Record] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)

    @property
    def dead_letters(self) -> int:
        return self.outcomes["ValueError"] + self.outcomes["Reject"]


async def _run(records: list[Record]) -> Run:
    from flights import handlers

    run = Run()
    for record in records:
        key = record["tailnum"]
        ctx = FakeContext(json.loads(json.dumps(run.books.get(key, {}))))
        try:
            await handlers.logbook(FakeEvent(record, key), ctx)  # type: ignore[arg-type]
        except (runnelctl.Skip, runnelctl.Reject, ValueError) as outcome:
            run.outcomes[type(outcome).__name__] += 1
            continue
        run.outcomes["done"] += 1
        run.books[key] = ctx.state
        for stream, emitted in ctx.emits:
            assert stream == "turnarounds"
            run.turnarounds.append(json.loads(json.dumps(emitted)))
    for turnaround in run.turnarounds:
        state = run.stations.setdefault(turnaround["station"], {})
        handlers.stations(FakeEvent(turnaround, turnaround["station"]), FakeContext(state))  # type: ignore[arg-type]
    return run


def rehearse(records: list[Record]) -> Run:
    return asyncio.run(_run(records))
