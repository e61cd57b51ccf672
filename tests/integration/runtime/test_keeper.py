"""A keeper against a real server: what it must look at it looks at, whatever happens on the way."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
import select
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from runnelctl.core import keys
from runnelctl.core.plan import ROOM
from runnelctl.runtime import board as cells
from runnelctl.runtime import keeper
from runnelctl.runtime.board import Board, Shape
from runnelctl.runtime.keeper import Keeper
from runnelctl.store import connect, leases
from runnelctl.store.wire import ConnectionLost
from tests.bench import Bench, run
from tests.partition import Partition
from tests.servers import Server

NONCE = 4_611_686_018_427_387_905
OTHER = "other:1:y"


class Site:
    """A host of one ready slice, whose keeper runs in this process, beside another host that is a line in Redis."""

    def __init__(self, server: Server, topology: str) -> None:
        self.client: Any = connect.client(server.endpoint)
        self.parts = [Partition(self.client, topology, number) for number in (0, 1)]
        self.topology = topology
        self.bench = Bench(lambda event: None, at_redis=server.endpoint, name=topology)
        board = Board(Shape(ROOM + 2, 2))
        self.host = dataclasses.replace(self.bench.host, board=board)
        self.me, self._beats = self.host.member, 0
        self.q, self.unit, slot = board.q, board.unit(0), board.slot(0)
        for cell in (cells.S_INCARNATION, cells.S_READY, cells.S_PID):
            self.q[slot + cell] = 1
        board.d[cells.H_SUPERVISOR_BEAT] = math.inf
        self.keeper = Keeper(self.host)
        self.keeper.ttl_s = 1.0
        self.about: dict[str, Any] = {"capacity": {"billing": 1_000}}

    def beat(self) -> None:
        """The other host's: it has so many slices that both partitions should be there."""
        self._beats += 1
        self.client.hset(keys.members(self.topology), OTHER, f"0|{self._beats}|{json.dumps(self.about)}")

    def settled(self) -> bool:
        """The keeper knows what it should hold, and hears what is said."""
        listening = (
            each for each in self.client.client_list() if each["name"] == "runnelctl:keeper:control"
        )  # of this server's keepers
        return bool(self.q[cells.H_SETTLED]) and any(each["cmd"] == "xread" for each in listening)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                if self.running.done():
                    self.running.result()  # raises what ended it
                self.beat()
                await asyncio.sleep(0.02)

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """The keeper runs."""
        self.beat()
        self.running = asyncio.ensure_future(self.keeper.main())
        try:
            await self.until(self.settled)
            yield
        finally:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0)  # transports close

    def close(self) -> None:
        self.bench.close()
        self.client.close()


@pytest.fixture
def site(valkey: Server, app_name: str) -> Iterator[Site]:
    made = Site(valkey, app_name)
    yield made
    made.close()


def test_a_look_that_a_broken_connection_cut_short_is_made_on_the_next_one(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease is ours in Redis and not on our board, as after a seek: the other host waits until we let go of it."""
    real, broken = leases.holdings, list[int]()

    async def holdings(*args: Any) -> Any:
        if not broken:
            broken.append(1)
            raise ConnectionLost("cut")
        return await real(*args)

    async def body() -> None:
        for part in site.parts:
            part.acquire(NONCE, f"{OTHER}/0")
        async with site.at_work():
            site.client.hset(site.parts[0].own, "owner", f"{site.me}/0")
            monkeypatch.setattr(leases, "holdings", holdings)
            site.keeper._heard({"what": "released"})
            await site.until(lambda: bool(broken) and not site.client.hget(site.parts[0].own, "owner"))

    run(body())


def test_a_host_that_became_ready_is_given_its_share_though_nobody_said_so(site: Site) -> None:
    async def body() -> None:
        site.about["starting"] = ["billing"]
        async with site.at_work():
            await site.until(lambda: bool(site.q[site.unit + cells.U_WANTED]))
            del site.about["starting"]
            await site.until(lambda: not site.q[site.unit + cells.U_WANTED])

    run(body())


def test_a_lease_that_came_too_late_to_be_told_is_let_go(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its acquire was in a buffer when the connection was given up, and nothing changed since it took effect."""
    monkeypatch.setattr(keeper, "LOOK_ANYWAY_S", 0.5)

    async def body() -> None:
        for part in site.parts:
            part.acquire(NONCE, f"{OTHER}/0")
        async with site.at_work():
            await site.until(lambda: not site.keeper._news and not site.keeper.tenure.unsatisfied)
            site.client.hset(site.parts[0].own, "owner", f"{site.me}/0")
            await site.until(lambda: not site.client.hget(site.parts[0].own, "owner"))

    run(body())


def test_the_supervisor_is_woken_once_the_host_holds_what_it_ought_to(site: Site) -> None:
    """Who waits for `up --wait` waits for that."""

    async def body() -> None:
        async with site.at_work():
            await site.until(lambda: bool(select.select([site.host.supervisor_wake[0]], [], [], 0)[0]))

    run(body())
