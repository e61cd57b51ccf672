"""Time that passes only when something happens, and processes that are generators.

A process yields what it waits for: seconds, a `Wait` for a signal, or a `Call` to the store. The seed decides every
delay, so a schedule replays exactly. A process may be killed or frozen at any moment; what it has sent arrives anyway.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

Actor = Generator[Any, Any, Any]


class Group:
    """Processes that live, stop and die together: all of one operating system process."""

    __slots__ = ("alive", "cut_until", "frozen_until")

    def __init__(self) -> None:
        self.alive = True
        self.frozen_until = 0.0
        self.cut_until = 0.0


class Process:
    """One generator at work. `turn` counts its steps, so that a wake-up meant for an earlier one comes to nothing."""

    __slots__ = ("gen", "group", "turn")

    def __init__(self, gen: Actor, group: Group) -> None:
        self.gen, self.group, self.turn = gen, group, 0


class Signal:
    """Wakes whoever waits; like a byte on a pipe, one that nobody waits for is kept."""

    __slots__ = ("kept", "waiting")

    def __init__(self) -> None:
        self.waiting: list[tuple[Process, int]] = []
        self.kept = False


class Wait:
    """Until the signal or so many seconds have passed."""

    __slots__ = ("seconds", "signal")

    def __init__(self, signal: Signal, seconds: float) -> None:
        self.signal, self.seconds = signal, seconds


class Call:
    """Run `work` where the store is, and bring back what it returns, or LOST."""

    __slots__ = ("work",)

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work


class Arrival:
    """A call that reaches the store. Without a process nobody waits for it any more."""

    __slots__ = ("call", "generation", "lost", "process", "turn")

    def __init__(self, process: Process | None, turn: int, call: Call, generation: int, lost: bool) -> None:
        self.process, self.turn, self.call, self.generation, self.lost = process, turn, call, generation, lost


class Job:
    """Something to do at some time."""

    __slots__ = ("args", "work")

    def __init__(self, work: Callable[..., None], args: tuple[Any, ...]) -> None:
        self.work, self.args = work, args


class Lost:
    """What a caller gets whose request or answer was lost: it cannot know which."""


LOST = Lost()


@dataclass(slots=True)
class Weather:
    """How bad the network is: chances that a request never arrives, arrives much later, or its answer is lost."""

    request_lost: float = 0.0
    request_late: float = 0.0
    reply_lost: float = 0.0
    down_until: float = 0.0  # nobody is there
    stalled_until: float = 0.0  # everything waits
    generation: int = 0  # counts failovers: what was sent to the server before never takes effect


class Scheduler:
    """See the module."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.now, self.steps = rng, 0.0, 0
        self.weather = Weather()
        # When, what came first, and who goes on with what at which turn; or nobody, and an Arrival or a Job.
        self._heap: list[tuple[float, int, Process | None, int, Any]] = []
        self._count = 0

    def _push(self, moment: float, process: Process | None, turn: int, value: Any) -> None:
        self._count += 1
        heapq.heappush(self._heap, (moment, self._count, process, turn, value))

    def at(self, moment: float, work: Callable[..., None], *args: Any) -> None:
        """Do `work` at that moment."""
        self._push(moment, None, 0, Job(work, args))

    def after(self, seconds: float, work: Callable[..., None], *args: Any) -> None:
        """Do `work` in so many seconds."""
        self.at(self.now + seconds, work, *args)

    def spawn(self, gen: Actor, group: Group, delay_s: float = 0.0) -> Process:
        """Begin a process."""
        process = Process(gen, group)
        self._push(self.now + delay_s, process, 0, None)
        return process

    def run(self, until: float, done: Callable[[], bool] | None = None) -> None:
        """Let time pass, until `done` if that is sooner."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            self.now, _, process, turn, value = heapq.heappop(heap)
            self.steps += 1
            if process is not None:
                self._resume(process, turn, value)
            elif type(value) is Arrival:
                self._execute(value)
            else:
                value.work(*value.args)
            if done is not None and done():
                return
        self.now = max(self.now, until)

    def fire(self, signal: Signal) -> None:
        """Wake all that wait."""
        waiting, signal.waiting = signal.waiting, []
        signal.kept = not waiting
        for process, turn in waiting:
            self._push(self.now, process, turn, True)

    def _resume(self, process: Process, turn: int, value: Any) -> None:
        group = process.group
        if turn != process.turn or not group.alive:
            return
        if group.frozen_until > self.now:
            self._push(group.frozen_until, process, turn, value)
            return
        process.turn = turn = turn + 1
        try:
            asked = process.gen.send(value)
        except StopIteration:
            return
        if type(asked) is float:
            self._push(self.now + asked, process, turn, None)
        elif type(asked) is Call:
            self._send(process, turn, asked)
        else:
            self._wait(process, turn, asked)

    def _wait(self, process: Process, turn: int, asked: Wait) -> None:
        signal = asked.signal
        if signal.kept:
            signal.kept = False
            self._push(self.now, process, turn, True)
            return
        signal.waiting.append((process, turn))
        self._push(self.now + asked.seconds, process, turn, False)

    def _send(self, process: Process, turn: int, call: Call) -> None:
        rng, weather, now = self.rng, self.weather, self.now
        there = now + rng.random() * 0.002
        if process.group.cut_until > now or weather.down_until > now:
            self._push(there + 0.5, process, turn, LOST)
            return
        fate = rng.random()
        if weather.stalled_until > there:
            there = weather.stalled_until + rng.random() * 0.002
        if fate < weather.request_lost:
            self._push(there + rng.random(), process, turn, LOST)
        elif fate < weather.request_lost + weather.request_late:
            self._push(there + rng.random() * 9, None, 0, Arrival(None, 0, call, weather.generation, False))
            self._push(there + rng.random(), process, turn, LOST)
        else:
            lost = fate > 1 - weather.reply_lost
            self._push(there, None, 0, Arrival(process, turn, call, weather.generation, lost))

    def _execute(self, arrival: Arrival) -> None:
        weather = self.weather
        if arrival.generation != weather.generation or weather.down_until > self.now:
            reply: Any = LOST
        else:
            reply = arrival.call.work()
        if arrival.process is not None:
            back = self.now + self.rng.random() * 0.002
            lost = arrival.lost
            self._push(back + 0.3 if lost else back, arrival.process, arrival.turn, LOST if lost else reply)
