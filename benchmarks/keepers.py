"""Hosts without handlers: real keepers, several in one process, each with a slice that only takes and releases leases.

    python -m benchmarks.keepers URL TOPOLOGY PARTITIONS FIRST COUNT

Runs until its stdin is closed; then every host leaves, as on SIGTERM. Prints a line once all leases are where they
should be, and another whenever that is so again.
"""

from __future__ import annotations

import asyncio
import math
import os
import sys
import time

import uvloop

from runnelctl.core.model import Processor, Stream, Topology
from runnelctl.core.plan import ROOM, Plan, plan
from runnelctl.runtime import board as cells
from runnelctl.runtime import signals
from runnelctl.runtime.board import Board, Shape
from runnelctl.runtime.host import KEEPER, SUPERVISOR, Host
from runnelctl.runtime.keeper import Keeper
from runnelctl.store import endpoint, leases
from runnelctl.store.wire import Wire

LOOK_S = 0.05


def topology(name: str, partitions: int) -> Topology:
    """One stream, one processor."""
    return Topology(
        name=name,
        file="/topology.yaml",
        redis="",
        streams={"s": Stream(name="s", partitions=partitions, key="k")},
        processors={"p": Processor(name="p", stream="s", handler="x:y", processes=1)},
    )


class Hollow:
    """One host: its board, its keeper, and in place of its slice what a slice does about leases."""

    def __init__(self, url: str, made: Plan, number: int) -> None:
        self.plan = made
        self.board = Board(Shape(len(made.slots) + ROOM + 1, len(made.units)))
        self.host = Host(
            plan=made, endpoint=endpoint.parse(url), member=f"host-{number}:1:x", board=self.board,
            directory="/nowhere", wakes={at: signals.pipe() for at in (0, KEEPER, SUPERVISOR)}, drain=False,
            digest="same", embedded_root=None,
        )  # fmt: skip
        slot = self.board.slot(0)
        for cell in (cells.S_INCARNATION, cells.S_READY, cells.S_PID):
            self.board.q[slot + cell] = 1
        self.board.d[cells.H_SUPERVISOR_BEAT] = math.inf
        self.keeper = Keeper(self.host)
        self._busy: set[int] = set()

    async def live(self) -> None:
        """Until it has left."""
        self.wire = await Wire.open(self.host.endpoint, name="hollow", timeout_ms=10_000)
        asyncio.get_running_loop().add_reader(self.host.wakes[0][0], self._look)
        await self.keeper.main()

    @property
    def settled(self) -> bool:
        q = self.board.q
        return bool(q[cells.H_SETTLED]) and q[cells.H_OWNED] == q[cells.H_WANTED]

    def leave(self) -> None:
        self.board.q[cells.H_STOPPING] = 1
        signals.wake(self.host.keeper_wake[1])
        self._look()

    def _look(self) -> None:
        signals.drain(self.host.wakes[0][0])
        q = self.board.q
        for unit in self.plan.units:
            base = self.board.unit(unit.index)
            if not q[base + cells.U_HELD] or unit.index in self._busy:
                continue
            fresh = q[base + cells.U_TAKEN] != q[base + cells.U_GRANT]
            if fresh or (not q[base + cells.U_WANTED] and q[base + cells.U_STATE] == cells.STATE_RUNNING):
                self._busy.add(unit.index)
                asyncio.get_running_loop().create_task(self._follow(unit.index, fresh=fresh))
        if q[cells.H_STOPPING] and not self._busy and not any(self._held()):
            q[self.board.slot(0) + cells.S_PID] = 0
            signals.wake(self.host.keeper_wake[1])

    def _held(self) -> list[int]:
        return [unit.index for unit in self.plan.units if self.board.q[self.board.unit(unit.index) + cells.U_HELD]]

    async def _follow(self, index: int, *, fresh: bool) -> None:
        unit, q, base = self.plan.units[index], self.board.q, self.board.unit(index)
        if fresh:
            q[base + cells.U_TAKEN] = q[base + cells.U_GRANT]
            await leases.session(self.wire, self.plan.topology.name, unit)
            q[base + cells.U_STATE] = cells.STATE_RUNNING
        else:
            held = q[base + cells.U_EPOCH], q[base + cells.U_NONCE]
            await leases.release(self.wire, self.plan.topology.name, unit, *held)
            q[base + cells.U_STATE] = cells.STATE_RELEASED
            signals.wake(self.host.keeper_wake[1])
        self._busy.discard(index)
        asyncio.get_running_loop().call_later(LOOK_S, self._look)


async def main(url: str, name: str, partitions: int, first: int, count: int) -> None:
    made = plan(topology(name, partitions))
    hosts = [Hollow(url, made, number) for number in range(first, first + count)]
    lives = [asyncio.ensure_future(host.live()) for host in hosts]
    asyncio.get_running_loop().add_reader(0, lambda: _leave(hosts))
    settled = False
    while not all(life.done() for life in lives):
        now = all(host.settled for host in hosts)
        if now and not settled:
            print(f"settled {time.monotonic():.3f} {sum(len(host._held()) for host in hosts)}", flush=True)
        settled = now
        for host in hosts:
            if host.board.q[cells.H_STOPPING]:
                host._look()
        done, _ = await asyncio.wait(lives, timeout=LOOK_S)
        for life in done:
            life.result()  # raises what ended it


def _leave(hosts: list[Hollow]) -> None:
    if not os.read(0, 1):
        asyncio.get_running_loop().remove_reader(0)
        for host in hosts:
            host.leave()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])))
    os._exit(0)
