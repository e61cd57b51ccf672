"""When a task `on: start` with a leader has begun: not before Redis said that this host may run it."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Coroutine
from typing import Any, cast

import pytest

from runnelctl.core.model import Task
from runnelctl.core.plan import ROOM, plan
from runnelctl.runtime import board as cells
from runnelctl.runtime import taskcalls
from runnelctl.runtime.board import Board, Shape
from runnelctl.runtime.drain import Drain
from runnelctl.runtime.host import Host
from runnelctl.runtime.leadership import Leadership
from runnelctl.runtime.taskcalls import TaskWork
from runnelctl.runtime.taskrun import TaskRun
from runnelctl.runtime.tasks import Tasks
from runnelctl.runtime.tenure import Tenure
from runnelctl.store import endpoint, leadership
from tests.bench import topology

TASK = Task(name="first", run="x:y", on_start=True, leader=True)
LOG = logging.getLogger("test")


class Process:
    """What a run needs of its tasks process. `up`: the connection to Redis, if there is one."""

    incarnation, leaving, threads, send = 1, False, None, None

    def __init__(self, host: Host, work: TaskWork) -> None:
        self.host, self.link, self.up = host, self, None
        self.started: list[asyncio.Task[None]] = []
        self.run = TaskRun(cast("Tasks", self), 0, work)

    async def get(self) -> None:
        """A connection."""

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self.started.append(asyncio.get_running_loop().create_task(coroutine))

    def look(self) -> None:
        self.run.look()


@pytest.mark.parametrize(("answer", "runs"), [("OK", 1), ("FENCED", 0)])
def test_it_has_begun_when_redis_said_so(monkeypatch: pytest.MonkeyPatch, answer: str, runs: int) -> None:
    made = plan(dataclasses.replace(topology("t"), tasks={"first": TASK}, processors={}))
    board, ran = Board(Shape(ROOM + 1, 0, 1)), []
    for cell in (cells.T_FOR, cells.T_FRESH, cells.T_GRANT, cells.T_WANTED, cells.T_HELD):
        board.q[board.task(0) + cell] = 1
    host = Host(
        plan=made, endpoint=endpoint.unix("/nowhere"), member="h:1:x", board=board, directory="/nowhere", wakes={},
        drain=True, embedded_root=None, digest="",
    )  # fmt: skip
    drain = Drain(host, Tenure(host, LOG), Leadership(host, LOG))

    def first() -> None:
        ran.append(True)

    async def scene() -> None:
        asked = asyncio.get_running_loop().create_future()

        async def claim(*_: object) -> str:
            return await asked

        monkeypatch.setattr(leadership, "claim", claim)
        process = Process(host, TaskWork(TASK, first, taskcalls.describe(first)))
        process.look()
        await asyncio.sleep(0)
        assert len(process.started) == 1 and not drain._begun(), "a host that left now would leave it undone"
        process.look()
        asked.set_result(answer)
        await process.started[0]
        assert (len(ran), drain._begun()) == (runs, bool(runs))
        process.look()
        assert len(process.started) == 1, "once, and what was refused is not asked for again under this lead"

    asyncio.run(scene())
