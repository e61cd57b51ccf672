"""Who leads a task, against a real server: nothing that has to be looked at again is forgotten."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import math
import os
from collections.abc import Iterator

import pytest

from runnelctl.core import keys
from runnelctl.core.model import Task
from runnelctl.core.plan import ROOM, plan
from runnelctl.runtime import board as cells
from runnelctl.runtime import signals
from runnelctl.runtime.board import Board, Shape
from runnelctl.runtime.host import KEEPER, SUPERVISOR, Host
from runnelctl.runtime.keeper import Keeper
from runnelctl.runtime.leadership import Leadership
from runnelctl.store import connect
from runnelctl.store.wire import Wire
from tests.bench import run, topology
from tests.servers import Server

OTHER = "a:1:y"  # by its name the first of two


@pytest.fixture
def host(valkey: Server, app_name: str) -> Iterator[Host]:
    """A host with two tasks that have leaders; its tasks process is ready."""
    tasks = {name: Task(name=name, run="x:y", every_ms=1_000, leader=True) for name in ("one", "two")}
    made = plan(dataclasses.replace(topology(app_name), tasks=tasks, processors={}))
    assert made.tasks_slot is not None
    wakes = {slot: signals.pipe() for slot in (KEEPER, SUPERVISOR, made.tasks_slot.index)}
    board = Board(Shape(ROOM + 1, 0, 2))
    for cell in (cells.S_INCARNATION, cells.S_READY, cells.S_PID):
        board.q[board.slot(made.tasks_slot.index) + cell] = 1
    board.d[cells.H_SUPERVISOR_BEAT] = math.inf
    yield Host(
        plan=made, endpoint=valkey.endpoint, member="h:1:x", board=board, directory="/nowhere", wakes=wakes,
        drain=False, embedded_root=None, digest="",
    )  # fmt: skip
    for pair in wakes.values():
        for fd in pair:
            os.close(fd)


def entry() -> bytes:
    return b"0|1|" + json.dumps({"tasks": ["one", "two"]}).encode()


def test_a_task_that_nobody_leads_is_not_forgotten_over_one_that_somebody_leads(
    valkey: Server, host: Host, app_name: str
) -> None:
    leads = Leadership(host, logging.getLogger("test"))

    async def body() -> None:
        wire = await Wire.open(host.endpoint, name="test", timeout_ms=5_000)
        both = {host.member: entry(), OTHER: entry()}
        await leads.settle(wire, both, look=True, stopping=False)
        assert not leads.held, "the first is the other one's to take, and it leads the second"
        await leads.settle(wire, {host.member: entry()}, look=False, stopping=False)
        assert [led.task.name for led in leads.held] == ["one", "two"]
        wire.close()

    with connect.client(valkey.endpoint) as client:
        client.hset(keys.task(app_name, "two"), mapping={"epoch": 1, "nonce": 5, "owner": OTHER})
        run(body())


def test_a_lead_that_was_let_go_and_is_still_ours_is_taken_again(valkey: Server, host: Host, app_name: str) -> None:
    """As after a failover that took the lease away."""
    q, base = host.board.q, host.board.task(0)
    keeper = Keeper(host)

    async def until(cell: int, value: int) -> None:
        async with asyncio.timeout(20):
            while q[base + cell] != value:  # noqa: ASYNC110 - the board rings no bell
                await asyncio.sleep(0.01)

    async def body() -> None:
        running = asyncio.ensure_future(keeper.main())
        await until(cells.T_WANTED, 1)
        client.hset(keys.task(app_name, "one"), "epoch", 1)
        keeper._heard({"what": "released"})
        await until(cells.T_WANTED, 0)
        q[base + cells.T_OVER] = q[base + cells.T_GRANT]  # the tasks process lets go
        signals.wake(host.keeper_wake[1])
        await until(cells.T_GRANT, 2)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(running, *tasks, return_exceptions=True)
        await asyncio.sleep(0)  # transports close

    with connect.client(valkey.endpoint) as client:
        run(body())
