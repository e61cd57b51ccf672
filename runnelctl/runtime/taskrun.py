"""One task in the tasks process: follows its clock and its leadership, runs it, and writes down on the board what came
of it. What is due when is decided in core/schedule.py.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import secrets
import sys
import time
import zoneinfo
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

from runnelctl.core import schedule
from runnelctl.core.schedule import Act
from runnelctl.runtime import board as cells
from runnelctl.runtime import signals, taskcalls, tracebacks, voices
from runnelctl.runtime.reports import OUTCOMES
from runnelctl.runtime.taskcalls import TaskWork
from runnelctl.store import leadership
from runnelctl.store.wire import ConnectionLost, ReplyError

if TYPE_CHECKING:
    from runnelctl.runtime.tasks import Tasks

LONGEST_SLEEP_S = 20.0  # the wall clock may be set meanwhile
STUBBORN_S = 1.0  # how long a coroutine may go on after it was cancelled for its timeout


@dataclass(slots=True)
class Run:
    """A run: the tick that it is for (None: somebody asked), and who waits to hear of it."""

    tick: int | None
    askers: list[str] = field(default_factory=list)
    at_start: bool = False  # it is the run of a task `on: start`
    late: bool = False  # it was due again meanwhile, and that has been said


class TaskRun:
    """See the module. `look` is called whenever something may have changed; it never waits."""

    def __init__(self, of: Tasks, number: int, work: TaskWork) -> None:
        self._of, self._work, self.task = of, work, work.task
        self._host, self._q, self._d = of.host, of.host.board.q, of.host.board.d
        self._base = of.host.board.task(number)
        self._zone: datetime.tzinfo = zoneinfo.ZoneInfo(work.task.timezone)
        self._origin_ms = 0 if work.task.leader else int(of.host.began * 1000)
        self._log = logging.getLogger(f"runnelctl.task.{work.task.name}")
        self._running: Run | None = None
        self._next: Run | None = None  # what runs when the present one has ended
        self._timer: asyncio.TimerHandle | None = None
        self._led = 0  # the grant that we follow
        self._claiming = False
        self.stuck = False  # it ran into its timeout, and nothing can stop it
        if self._d[self._base + cells.T_SINCE]:  # the process before this one died in it
            self._ended(cells.RESULT_DIED, monotonic() - self._d[self._base + cells.T_SINCE])
        if not self._q[self._base + cells.T_TICK]:
            self._q[self._base + cells.T_TICK] = self._now_ms()

    @property
    def running(self) -> bool:
        """Whether a run has to be waited for: not one that is to leave, and can't begin while Redis is away."""
        waits_for_redis = self._claiming and self._of.leaving and self._of.link.up is None
        return self._running is not None and not waits_for_redis

    def _now_ms(self) -> int:
        """On the clock that the task goes by (see core/schedule.py)."""
        of_host = self.task.every_ms is not None and not self.task.leader
        return int(monotonic() * 1000) if of_host else int(time.time() * 1000)

    # --- deciding ---------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Follow the board and the clock."""
        before = voices.speaker.set(self.task.name)  # whoever calls, what is said now is about this task
        try:
            self._look()
        finally:
            voices.speaker.reset(before)

    def _look(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.task.leader:
            self._follow_lead()
        if self._of.leaving:
            self._next = None
            return
        if not self.task.leader or self._leads():
            self._take_turn()

    def _cell(self, cell: int) -> int:
        return self._q[self._base + cell]

    def _leads(self) -> bool:
        grant = self._cell(cells.T_GRANT)
        return bool(grant) and self._led == grant != self._cell(cells.T_OVER) and bool(self._cell(cells.T_HELD))

    def _follow_lead(self) -> None:
        """Take a lead that is new on the board; let go of one that is asked back, once nothing runs."""
        grant = self._cell(cells.T_GRANT)
        mine = self._cell(cells.T_FOR) == self._of.incarnation
        if self._cell(cells.T_HELD) and mine and self._led != grant != self._cell(cells.T_OVER):
            self._led = grant
            last = max(self._cell(cells.T_LAST), self._cell(cells.T_TICK) if not self._cell(cells.T_FRESH) else 0)
            self._q[self._base + cells.T_TICK] = last
            if self._cell(cells.T_FRESH):
                self._q[self._base + cells.T_BEGUN] = 0
            self._log.info("this host leads it, epoch %d", self._cell(cells.T_EPOCH))
        if self._leads() and self._running is None and (self._of.leaving or not self._cell(cells.T_WANTED)):
            self._q[self._base + cells.T_OVER] = grant
            signals.wake(self._host.keeper_wake[1])

    def _take_turn(self) -> None:
        if self.task.leader and not self._cell(cells.T_WANTED):
            return
        if self.task.on_start:
            if not self._cell(cells.T_BEGUN) and self._running is None:
                self._begin(Run(None, at_start=True))
            return
        now_ms = self._now_ms()
        turn = schedule.turn(
            self.task, last_ms=self._cell(cells.T_TICK), now_ms=now_ms, origin_ms=self._origin_ms, zone=self._zone,
            running=self.running, queued=self._next is not None,
        )  # fmt: skip
        if turn.tick is not None:
            self._q[self._base + cells.T_TICK] = turn.tick
        if turn.act is Act.RUN:
            self._begin(Run(turn.tick))
        elif turn.act is Act.QUEUE:
            self._next = Run(turn.tick)
        elif turn.act is Act.SKIP:
            self._q[self._base + cells.T_SKIPPED] += 1
            self._say_skipped()
        elif turn.act is Act.LAPSE:
            self._log.warning("a run was missed more than an hour ago and is left out")
        left_ms = None if turn.next_ms is None else max(0, turn.next_ms - now_ms)
        self._q[self._base + cells.T_NEXT] = 0 if left_ms is None else int(time.time() * 1000) + left_ms
        if left_ms is not None:
            # A timer may go off a hair early; the millisecond spares a turn that finds nothing due.
            delay_s = min(LONGEST_SLEEP_S, left_ms / 1000 + 0.001)
            self._timer = asyncio.get_running_loop().call_later(delay_s, self.look)

    def _say_skipped(self) -> None:
        """Once per run: a task may be due every second and run for an hour."""
        if self._running is not None and not self._running.late:
            self._running.late = True
            self._log.warning("it still runs: until it has ended, it is left out where it is due")

    def ask(self, asker: str) -> str | None:
        """Somebody wants it run now. None if it will be, and the asker told; else why not."""
        if self._of.leaving:
            return "the host is stopping"
        if self.task.leader and not self._leads():
            return "this host does not lead it any more"
        if self._running is None:
            self._begin(Run(None, [asker]))
        elif schedule.may_queue(self.task):
            self._next = self._next or Run(None)
            self._next.askers.append(asker)
        else:
            return "it runs already, and its overlap is skip"
        return None

    # --- running ----------------------------------------------------------------------------------------------

    def _begin(self, run: Run) -> None:
        self._running = run
        self._d[self._base + cells.T_SINCE] = monotonic()
        self._of.start(self._run(run))

    async def _run(self, run: Run) -> None:
        """One run, from its claim to its outcome."""
        voices.speaker.set(self.task.name)
        result, error = cells.RESULT_NONE, "this host does not lead it any more"
        self._claiming = self.task.leader
        claimed = not self.task.leader or await self._claim(run)
        self._claiming = False
        if run.at_start and (claimed or self._leads()):
            # Refused, it is not tried again under this lead: the keeper has yet to hear that it is another's.
            self._q[self._base + cells.T_BEGUN] = 1 if claimed else -1
        if claimed:
            self._q[self._base + cells.T_RAN_AT] = int(time.time() * 1000)
            began = self._d[self._base + cells.T_SINCE] = monotonic()
            result, error = await self._called()
            self._ended(result, monotonic() - began)
        else:
            self._d[self._base + cells.T_SINCE] = 0.0
        self._running = None
        self.stuck = False
        for asker in run.askers:
            self._of.tell(asker, OUTCOMES.get(result, "failed"), error)
        following, self._next = self._next, None
        if following is not None and not self._of.leaving:
            self._begin(following)
        self._of.look()

    async def _claim(self, run: Run) -> bool:
        """Settle with Redis that this host runs it; False if that is not for us any more."""
        name, epoch, nonce = secrets.token_hex(8), self._cell(cells.T_EPOCH), self._cell(cells.T_NONCE)
        topology, grant = self._host.plan.topology.name, self._led
        while self._led == grant and self._leads():
            wire = await self._of.link.get()
            try:
                answer = await leadership.claim(wire, topology, self.task.name, epoch, nonce, run.tick, name)
            except (ConnectionLost, ReplyError) as error:
                self._of.link.lost(error)
                self._of.link.drop()
                await asyncio.sleep(0.2)
                continue
            if answer == "FENCED":
                self._log.warning("another host leads it by now: it is not run here")
            return answer == "OK"
        return False

    async def _called(self) -> tuple[int, str]:
        """Call the task; the RESULT_ and what went wrong, which has been shown."""
        call: asyncio.Task[None] = asyncio.get_running_loop().create_task(
            taskcalls.call(self._work, self._cell(cells.T_EPOCH) if self.task.leader else 0, self._of.send,
                           self._of.threads)
        )  # fmt: skip
        limit_s = None if self.task.timeout_ms is None else self.task.timeout_ms / 1000
        done, _ = await asyncio.wait({call}, timeout=limit_s)
        if not done:
            return await self._overdue(call)
        try:
            call.result()
        except asyncio.CancelledError:
            return self._failed("it was cancelled from within", "")
        except SystemExit as error:
            return self._failed(f"SystemExit: {error}", "")
        except Exception as error:
            return self._failed(f"{type(error).__name__}: {error}", tracebacks.text(error))
        return cells.RESULT_OK, ""

    def _failed(self, what: str, trace: str) -> tuple[int, str]:
        self._log.error("failed: %s%s", what, f"\n{trace.rstrip()}" if trace else "")
        return cells.RESULT_FAILED, trace or what

    async def _overdue(self, call: asyncio.Task[None]) -> tuple[int, str]:
        """It takes longer than its timeout. A coroutine is cancelled; nothing can end a thread, nor a coroutine that
        will not be cancelled: the process is replaced once nothing else runs in it."""
        assert self.task.timeout_ms is not None
        what = f"it ran longer than its timeout of {self.task.timeout_ms / 1000:g} s"
        if self._work.form.kind == "async":
            call.cancel()
            await asyncio.wait({call}, timeout=STUBBORN_S)
        if not call.done():
            self._log.error("%s, and cannot be stopped: the process is replaced when no other task runs", what)
            sys.stderr.flush()
            self.stuck = True
            self._of.look()
            await asyncio.wait({call})
        else:
            self._log.error("%s and was cancelled", what)
        if not call.cancelled():
            call.exception()  # looked at, so that nobody warns of it
        return cells.RESULT_TIMED_OUT, what

    def _ended(self, result: int, took_s: float) -> None:
        self._q[self._base + cells.T_TOOK_MS] = int(took_s * 1000)
        self._q[self._base + cells.T_RESULT] = result
        self._q[self._base + cells.T_RUNS] += 1
        self._q[self._base + cells.T_FAILED] += result != cells.RESULT_OK
        self._d[self._base + cells.T_SINCE] = 0.0

    def give_up(self) -> None:
        """The process leaves, while this one cannot be stopped: write down what became of it."""
        self._ended(cells.RESULT_TIMED_OUT, monotonic() - self._d[self._base + cells.T_SINCE])
