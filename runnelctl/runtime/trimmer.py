"""Applies `retention`: one trimmer per partition, the keeper that holds it for the first processor of the stream.

About once a minute, or after so many events: what goes in between is no great matter, and looking costs everybody.
"""

from __future__ import annotations

import logging

from runnelctl.core.plan import Unit
from runnelctl.runtime import board as cells
from runnelctl.runtime.host import Host
from runnelctl.store import trimming
from runnelctl.store.trimming import Readers
from runnelctl.store.wire import ReplyError, Wire

EVERY_S = 60.0
EVERY_EVENTS = 10_000


class Trimmer:
    """See the module."""

    def __init__(self, host: Host, log: logging.Logger) -> None:
        self.host, self.log = host, log
        topology = host.plan.topology
        first: dict[str, str] = {}
        for processor in topology.processors.values():
            first.setdefault(processor.stream, processor.name)
        self._units = [
            unit
            for unit in host.plan.units
            if not unit.retired
            and topology.streams[unit.stream].retention is not None
            and first[unit.stream] == unit.processor
        ]
        self._due: dict[int, float] = {}
        self._next_count: dict[int, int] = {}

    async def look(self, wire: Wire, now: float) -> None:
        """Trim what is due. `now`: seconds of CLOCK_MONOTONIC."""
        due = [unit for unit in self._units if self._is_due(unit, now)]
        readers: dict[str, Readers] = {}
        for unit in due:
            stream = self.host.plan.stream(unit)
            if stream.name not in readers:
                readers[stream.name] = await trimming.readers(wire, self.host.plan.topology, stream)
            count, more = self._count(unit), True  # before it: what is passed meanwhile may have come too late
            try:
                while more:
                    _, more = await trimming.trim(
                        wire, self.host.plan.topology, stream, unit.partition, readers[stream.name]
                    )
            except ReplyError as error:
                self.log.warning("retention of %s:%d: %s", unit.stream, unit.partition, error)
            self._due[unit.index] = now + EVERY_S
            self._next_count[unit.index] = count + EVERY_EVENTS

    def _is_due(self, unit: Unit, now: float) -> bool:
        q, base = self.host.board.q, self.host.board.unit(unit.index)
        if not q[base + cells.U_HELD] or q[base + cells.U_STATE] != cells.STATE_RUNNING:
            return False
        return now >= self._due.get(unit.index, 0.0) or self._count(unit) >= self._next_count[unit.index]

    def _count(self, unit: Unit) -> int:
        return self.host.board.q[self.host.board.unit(unit.index) + cells.U_COUNT]
