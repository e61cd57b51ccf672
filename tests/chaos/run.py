"""A run from its first host to the last look into Redis, in one thread: injections are generators on one clock."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import random
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import redis

from tests.chaos import history, leavings, losses, nemeses
from tests.chaos.backend import CANARY
from tests.chaos.nemeses import Steps
from tests.chaos.world import PROCESSORS, Options, World
from tests.waiting import wait_until

_SAMPLE_S = 2.0


class Run:
    """See the module. `go` leaves everything that the judge needs in the world's directory."""

    def __init__(self, world: World) -> None:
        self.world, self.options = world, world.options
        self._heap: list[tuple[float, int, str, Steps]] = []
        self._number = itertools.count()
        self._sample_due = 0.0

    def go(self) -> None:
        world, options = self.world, self.options
        for number in range(options.hosts):
            world.up(f"h{number}", number)
        world.start_producers()
        wait_until(self._warm, 60, "the first events to be handled, and by every host some")
        began = time.monotonic()
        end = began + options.minutes * 60
        for at, name, seed in nemeses.schedule(options.seed, end - began, list(options.nemeses), options.pace_s):
            self._push(began + at, name, nemeses.ALL[name](world, random.Random(seed)))
        try:
            self._inject(end)
        finally:
            for _, _, _, steps in self._heap:
                steps.close()
        self._settle()
        self._stop()

    def _warm(self) -> bool:
        effects = self.world.directory / "effects"
        lines = effects.read_text().split("\n")[:-1] if effects.exists() else []
        return len(lines) >= self.options.warm_events and {line.split()[1] for line in lines} >= self.world.hosts.keys()

    def _push(self, at: float, name: str, steps: Steps) -> None:
        heapq.heappush(self._heap, (at, next(self._number), name, steps))

    def _inject(self, end: float) -> None:
        """Until the time is over and what was begun has ended. Nothing is begun after the end, not even what waits for
        its turn by then."""
        world = self.world
        begun: set[int] = set()
        while (now := time.monotonic()) < end or self._heap:
            world.over = now >= end
            if now > end + 120:
                raise AssertionError(f"never ended: {[name for _, _, name, _ in self._heap]}")
            self.world.watch()
            self._sample()
            while self._heap and self._heap[0][0] <= now:
                _, _, name, steps = heapq.heappop(self._heap)
                if now >= end and id(steps) not in begun:
                    steps.close()
                    continue
                begun.add(id(steps))
                with contextlib.suppress(StopIteration):
                    self._push(time.monotonic() + next(steps), name, steps)
            wake = min([self._heap[0][0]] if self._heap else [end], default=end)
            time.sleep(min(0.05, max(0.0, wake - time.monotonic())))

    def _sample(self) -> None:
        """Size and open files of our processes, and whether a secret is in anybody's arguments."""
        now = time.monotonic()
        if now < self._sample_due:
            return
        self._sample_due = now + _SAMPLE_S
        for host in list(self.world.hosts.values()):
            for process in self.world.processes(host, of_host=True):
                with contextlib.suppress(psutil.Error, OSError):
                    kind = "supervisor" if process.pid == host.process.pid else process.name()
                    secret = CANARY in " ".join(process.cmdline())
                    self.world.note(
                        "samples.jsonl", at=time.monotonic_ns(), host=host.name, pid=process.pid, kind=kind,
                        fds=process.num_fds(), rss=process.memory_info().rss, secret=secret,
                    )  # fmt: skip

    def _settle(self) -> None:
        """Producers finish what they have begun, the hosts handle what is there."""
        world = self.world
        codes = world.stop_producers(self.options.settle_s)
        deadline = time.monotonic() + self.options.settle_s
        left = ["Redis does not answer"]
        with contextlib.closing(world.client()) as client:
            while left and time.monotonic() < deadline:
                world.watch()
                self._sample()
                with contextlib.suppress(redis.RedisError):
                    left = leavings.settled(client, world.streams, PROCESSORS)
                    if left and all("parked" in each for each in left):
                        self._replay()
                time.sleep(0.1)
        world.note("facts.jsonl", what="settled", producers=codes, left=left)

    def _replay(self) -> None:
        """What is parked, mended."""
        self.world.mend()
        note: dict[str, Any] = {}
        for pause in losses.operator(self.world, note, *losses.REPLAY):
            self.world.watch()
            time.sleep(pause)

    def _stop(self) -> None:
        world = self.world
        for host in list(world.hosts.values()):
            host.ask()
            host.process.terminate()
        deadline = time.monotonic() + 40
        while world.hosts and time.monotonic() < deadline:
            for host in list(world.hosts.values()):
                world.ended(host)
            time.sleep(0.02)
        stuck = [host.name for host in world.hosts.values()]
        producers = [producer.pid for producer in world.producers if producer.poll() is None]
        orphans = [_shown(pid) for pid in world.ours() if pid not in producers]
        with contextlib.closing(world.client()) as client:
            leavings.save(client, world.note, world.streams)
        world.backend.stop_observing()
        leaked = [str(path) for path in world.backend.files() if history.holds(path, CANARY.encode())]
        world.note("facts.jsonl", what="stopped", stuck=stuck, orphans=orphans, secret_in=leaked)


def _shown(pid: int) -> str:
    try:
        return f"{pid} {psutil.Process(pid).name()}"
    except psutil.Error:
        return str(pid)


def perform(options: Options, directory: Path) -> None:
    """Do a run; its files are in `directory` afterwards, and nothing else of it is left."""
    with World(options, directory) as world:
        marks = (
            options.server, options.handler, f"order: {options.order}", *(["scope: key"] if options.park else []),
            *([f"batch: {options.batch}"] if options.batch else []),
            "own networks" if world.network else "loopback",
            *([f"mutant {options.mutant}"] if options.mutant else []),
        )  # fmt: skip
        print(
            f"seed {options.seed}: {options.hosts} hosts, {options.minutes:g} min, {', '.join(marks)}; "
            f"writing to {directory}",
            file=sys.stderr,
            flush=True,
        )
        Run(world).go()
