"""The tasks process: one per host, if its topology has tasks. It runs user code, so neither keeper nor supervisor can.

Coroutine functions run in its loop, plain functions each in a thread of its own, so one that blocks harms no other.
One that blocks the loop is noticed by its silence: shortly before the supervisor puts the process down, it shows where.
"""

from __future__ import annotations

import asyncio
import faulthandler
import functools
import logging
import os
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

from runnelctl import errors, handling
from runnelctl.client.concurrent import Client
from runnelctl.core import lifecycle
from runnelctl.runtime import board as cells
from runnelctl.runtime import defects, listening, loglines, processes, signals, taskcalls, voices, workload
from runnelctl.runtime.committer import Link
from runnelctl.runtime.host import Host
from runnelctl.runtime.outage import Outage
from runnelctl.runtime.taskcalls import Headers
from runnelctl.runtime.taskrun import TaskRun
from runnelctl.store import members
from runnelctl.store.wire import ConnectionLost, ReplyError

TOLD = 4_000  # characters of an error that go to whoever asked for a run


class Tasks:
    """See the module. `main` runs until it is told to leave and nothing runs any more."""

    def __init__(self, host: Host, incarnation: int) -> None:
        self.host, self.incarnation = host, incarnation
        self.endpoint = host.endpoint
        self.log = logging.getLogger("runnelctl.tasks")
        self.outage = Outage(self.log)
        self.link = Link(self, "runnelctl:tasks", max(1_000, host.plan.topology.lease_ttl_ms))
        self.threads = ThreadPoolExecutor(max(1, len(host.plan.tasks)), thread_name_prefix="task")
        self._recycling = False
        self._runs: list[TaskRun] = []
        self._started: set[asyncio.Task[Any]] = set()
        self._client: Client | None = None
        self._opening = asyncio.Lock()
        self._gone = asyncio.Event()

    @property
    def leaving(self) -> bool:
        """Whether nothing is to be started any more."""
        return self._recycling or bool(self.host.board.q[cells.H_STOPPING])

    def _cell(self, cell: int) -> int:
        slot = self.host.plan.tasks_slot
        assert slot is not None
        return self.host.board.slot(slot.index) + cell

    async def main(self) -> None:
        """Import everything, say ready, run what is due."""
        faulthandler.dump_traceback_later(lifecycle.READY_LIMIT_S * 0.9)
        handling.put_on_path(self.host.plan.topology.pythonpath)
        plan = self.host.plan
        present = [number for number in range(len(plan.tasks)) if number not in plan.gone_tasks]
        work = [(number, taskcalls.load(plan.tasks[number])) for number in present]
        self._runs = [TaskRun(self, number, each) for number, each in work]
        slot = self.host.plan.tasks_slot
        assert slot is not None
        asyncio.get_running_loop().add_reader(self.host.wakes[slot.index][0], self._woken)
        self._beat()
        self.host.board.q[self._cell(cells.S_READY)] = self.incarnation
        signals.wake(self.host.keeper_wake[1])
        signals.wake(self.host.supervisor_wake[1])
        self.start(listening.listen(self.endpoint, self.host.plan.topology.name, "tasks", self._heard))
        self.look()
        await self._gone.wait()
        if self._client is not None:
            await self._client.close()

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run something of ours; if it fails, that is a defect here, and the process must not live on half dead."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._started.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._started.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            defects.die(self.log, error, voices.finish)

    def _beat(self) -> None:
        """Show that the loop turns. If it does not turn again soon, what blocks it is shown before we are killed."""
        ttl_s = self.host.plan.topology.lease_ttl_ms / 1000
        self.host.board.d[self._cell(cells.S_BEAT)] = monotonic()
        self.host.board.q[self._cell(cells.S_RSS)] = processes.resident_bytes()
        faulthandler.dump_traceback_later(lifecycle.SILENCE * ttl_s * 0.75)
        if self.leaving:
            self.look()
        asyncio.get_running_loop().call_later(ttl_s / 4, self._beat)

    def _woken(self) -> None:
        slot = self.host.plan.tasks_slot
        assert slot is not None
        signals.drain(self.host.wakes[slot.index][0])
        q = self.host.board.q
        if self.incarnation in (q[self._cell(cells.S_ASKED)], q[self._cell(cells.S_OUTDATED)]):
            self._recycle("asked to restart")
        self.look()

    def _recycle(self, why: str) -> None:
        if not self.leaving:
            self.log.warning("%s: draining, to be replaced", why)
            self.host.board.q[self._cell(cells.S_RECYCLE)] = self.incarnation
            self._recycling = True

    def look(self) -> None:
        """Something may have changed: follow it, and leave when that is all there is left to do."""
        for run in self._runs:
            run.look()
        running = [run for run in self._runs if run.running]
        stuck = [run for run in running if run.stuck]
        if stuck and len(stuck) == len(running):
            self._recycle(f"{', '.join(run.task.name for run in stuck)} cannot be stopped")
            for run in stuck:
                run.give_up()
            running = []
        if self.leaving and not running:
            self._gone.set()

    # --- what tasks use

    async def send(self, stream: str, record: Any, key: str | None = None, headers: Headers | None = None) -> str:
        """As `Client.send`; connects at its first use."""
        async with self._opening:
            if self._client is None:
                client = Client(self.host.plan.topology, timeout_ms=30_000, wait_ms=0)
                self._client = await client.__aenter__()
        return await self._client.send(stream, record, key, headers)

    # --- asked to run one now

    def _heard(self, message: Mapping[str, str] | None) -> None:
        if message is None or message.get("what") != "task" or message.get("host") != self.host.member:
            return
        asker, name = message.get("id", ""), message.get("task", "")
        run = next((each for each in self._runs if each.task.name == name), None)
        refused = f"this host has no task {name!r}" if run is None else run.ask(asker)
        if refused is not None:
            self.tell(asker, "refused", refused)

    def tell(self, asker: str, outcome: str, error: str) -> None:
        """Let whoever asked for a run hear what came of it."""
        self.start(self._tell(asker, outcome, error[-TOLD:]))

    async def _tell(self, asker: str, outcome: str, error: str) -> None:
        while True:
            wire = await self.link.get()
            try:
                await members.tell(
                    wire, self.host.plan.topology.name, "ran", id=asker, outcome=outcome, error=error,
                    member=self.host.member,
                )  # fmt: skip
                return
            except (ConnectionLost, ReplyError):
                self.link.drop()
                await asyncio.sleep(0.2)


def run(host: Host, incarnation: int) -> int:
    """The body of the tasks process; returns its exit code."""
    faulthandler.enable()
    voices.install()
    loglines.configure(host.plan.topology.log)
    log = logging.getLogger("runnelctl.tasks")
    with asyncio.Runner(loop_factory=functools.partial(defects.watched, log, voices.finish)) as runner:
        try:
            runner.run(Tasks(host, incarnation).main())
        except errors.HandlerError as error:
            workload.explain(error)
            code = errors.EXIT_HANDLER
        else:
            code = errors.EXIT_OK
        voices.finish()
        os._exit(code)  # a thread of a task must not keep a process that is done
