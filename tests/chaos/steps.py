"""What nemeses are made of. Each is a generator that yields how many seconds to wait before it goes on, so that several
are under way at a time in one thread. Whatever it breaks it mends, also when it is cut short.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Generator
from typing import Any

import psutil

from tests.chaos.world import World

Steps = Generator[float, None, None]
Nemesis = Callable[[World, random.Random], Steps]
TTLS = (0.5, 1.5, 5.0)
POLL_S = 0.05


class Claimed:
    """Waiting for the exclusive use of something: two nemeses must not mend each other's breakage."""

    def __init__(self, world: World, *names: str) -> None:
        self.world, self.names = world, set(names)

    def wait(self) -> Generator[float, None, bool]:
        """Whether it may be used; not if the time was over before."""
        while self.world.claims & self.names:
            if self.world.over:
                return False
            yield POLL_S
        self.world.claims |= self.names
        return True

    def free(self) -> None:
        self.world.claims -= self.names
        self.world.trouble_at = time.monotonic()


def steps(world: World, nemesis: str, claims: list[str], body: Callable[[dict[str, Any]], Steps]) -> Steps:
    """Claim, run the body, write down what it did and when."""
    claimed = Claimed(world, *claims)
    if not (yield from claimed.wait()):
        return
    note: dict[str, Any] = {"nemesis": nemesis, "at": time.monotonic_ns()}
    try:
        yield from body(note)
    finally:
        claimed.free()
        note.setdefault("end", time.monotonic_ns())
        world.note("actions.jsonl", **note)


def steady(world: World, rng: random.Random) -> str:
    return f"h{rng.randrange(world.options.hosts)}"


def working_host(world: World, name: str) -> Steps:
    """Wait until the host, which is claimed, works."""
    while name not in world.hosts or not world.processes(world.hosts[name], "sink"):
        if name not in world.hosts or world.ended(world.hosts[name]):
            world.up(name, int(name[1:]))
        yield POLL_S


def send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def again(world: World, name: str, gone: list[int], note: dict[str, Any], rng: random.Random) -> Steps:
    """Nobody may outlive the supervisor; then a new `up`."""
    until = time.monotonic() + 5
    while (left := [pid for pid in gone if lives(pid)]) and time.monotonic() < until:
        host = world.hosts.get(name)
        if host is not None:
            world.ended(host)
        yield POLL_S
    note["outlived"] = left
    yield rng.random() * 1.5 * world.ttl_s
    host = world.hosts.get(name)
    if host is None or world.ended(host):
        world.up(name, int(name[1:]))


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
