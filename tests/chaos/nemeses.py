"""What can be done to a run. Each nemesis is a generator that yields how many seconds to wait before it goes on, so
that several are under way at a time in one thread. Whatever it breaks it mends, also when it is cut short.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from collections.abc import Callable, Generator
from typing import Any

import psutil

from tests.chaos.world import Host, World

Steps = Generator[float, None, None]
Nemesis = Callable[[World, random.Random], Steps]
_TTLS = (0.5, 1.5, 5.0)
_POLL_S = 0.05


class Claimed:
    """Waiting for the exclusive use of something: two nemeses must not mend each other's breakage."""

    def __init__(self, world: World, *names: str) -> None:
        self.world, self.names = world, set(names)

    def wait(self) -> Steps:
        while self.world.claims & self.names:
            yield _POLL_S
        self.world.claims |= self.names

    def free(self) -> None:
        self.world.claims -= self.names
        self.world.trouble_at = time.monotonic()


def _steps(world: World, nemesis: str, claims: list[str], body: Callable[[dict[str, Any]], Steps]) -> Steps:
    """Claim, run the body, write down what it did and when."""
    claimed = Claimed(world, *claims)
    yield from claimed.wait()
    note: dict[str, Any] = {"nemesis": nemesis, "at": time.monotonic_ns()}
    try:
        yield from body(note)
    finally:
        claimed.free()
        note.setdefault("end", time.monotonic_ns())
        world.note("actions.jsonl", **note)


def _steady(world: World, rng: random.Random) -> str:
    return f"h{rng.randrange(world.options.hosts)}"


def _host(world: World, name: str) -> Steps:
    """Wait until the host, which is claimed, works."""
    while name not in world.hosts or not world.processes(world.hosts[name], "sink"):
        if name not in world.hosts or world.ended(world.hosts[name]):
            world.up(name, int(name[1:]))
        yield _POLL_S


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _kinds(world: World, host: Host, kind: str) -> list[int]:
    """Pids to hit: a slice, the keeper, the supervisor, or all of a host."""
    children = world.processes(host)
    if kind == "slice":
        return [p.pid for p in children if p.name().startswith(("sink", "echo"))]
    if kind == "keeper":
        return [p.pid for p in children if p.name().startswith("keeper")]
    return [host.process.pid, *(p.pid for p in children if kind == "host")]


def _victims(world: World, host: Host, kind: str, rng: random.Random) -> list[int]:
    found = _kinds(world, host, kind)
    return [rng.choice(found)] if kind == "slice" and found else found


def _kill(kind: str) -> Nemesis:
    def nemesis(world: World, rng: random.Random) -> Steps:
        name = _steady(world, rng)

        def body(note: dict[str, Any]) -> Steps:
            yield from _host(world, name)
            host = world.hosts[name]
            victims = _victims(world, host, kind, rng)
            whole = kind in ("supervisor", "host")
            everyone = [p.pid for p in world.processes(host, of_host=True)]
            if whole:
                host.ask()
            note |= {"at": time.monotonic_ns(), "host": name, "killed": victims}
            note["pids"] = everyone if whole else victims
            _send(victims, signal.SIGKILL)
            note["end"] = time.monotonic_ns()
            if whole:
                yield from _again(world, name, everyone, note, rng)

        yield from _steps(world, f"kill-{kind}", [f"host:{name}"], body)

    return nemesis


def _again(world: World, name: str, gone: list[int], note: dict[str, Any], rng: random.Random) -> Steps:
    """Nobody may outlive the supervisor; then a new `up`."""
    until = time.monotonic() + 5
    while (left := [pid for pid in gone if _lives(pid)]) and time.monotonic() < until:
        host = world.hosts.get(name)
        if host is not None:
            world.ended(host)
        yield _POLL_S
    note["outlived"] = left
    yield rng.random() * 1.5 * world.ttl_s
    host = world.hosts.get(name)
    if host is None or world.ended(host):
        world.up(name, int(name[1:]))


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _stop(kind: str) -> Nemesis:
    def nemesis(world: World, rng: random.Random) -> Steps:
        name, ttls = _steady(world, rng), rng.choice(_TTLS)

        def body(note: dict[str, Any]) -> Steps:
            yield from _host(world, name)
            victims = _victims(world, world.hosts[name], kind, rng)
            note |= {"at": time.monotonic_ns(), "host": name, "pids": victims, "paused": victims, "ttls": ttls}
            try:
                _send(victims, signal.SIGSTOP)
                yield ttls * world.ttl_s
            finally:
                note["end"] = time.monotonic_ns()
                _send(victims, signal.SIGCONT)

        yield from _steps(world, f"stop-{kind}", [f"host:{name}"], body)

    return nemesis


def _stop_redis(world: World, rng: random.Random) -> Steps:
    ttls = rng.choice(_TTLS)

    def body(note: dict[str, Any]) -> Steps:
        note["ttls"] = ttls
        world.redis.pause()
        try:
            yield ttls * world.ttl_s
        finally:
            world.redis.resume()

    yield from _steps(world, "stop-redis", ["redis"], body)


def _kill_redis(world: World, rng: random.Random) -> Steps:
    down_s = rng.choice((0.0, 1.0, 2.5 * world.ttl_s))

    def body(note: dict[str, Any]) -> Steps:
        note["down_s"] = down_s
        world.redis.kill()
        try:
            yield down_s
        finally:
            world.redis.start()

    yield from _steps(world, "kill-redis", ["redis"], body)


def _script_flush(world: World, rng: random.Random) -> Steps:
    def body(note: dict[str, Any]) -> Steps:
        with contextlib.closing(world.client()) as client:
            client.script_flush()
        yield 0

    yield from _steps(world, "script-flush", ["redis"], body)


def _full(world: World, rng: random.Random) -> Steps:
    """maxmemory is reached for a while: senders are refused, what is there must drain."""
    seconds = rng.uniform(0.5, 2.5 * world.ttl_s)

    def body(note: dict[str, Any]) -> Steps:
        with contextlib.closing(world.client()) as client:
            client.config_set("maxmemory", 1_000_000)
            try:
                yield seconds
            finally:
                client.config_set("maxmemory", 0)

    yield from _steps(world, "full", ["redis"], body)


def _proxied(nemesis: str, mode: str, longest_ttls: float) -> Nemesis:
    def steps(world: World, rng: random.Random) -> Steps:
        seconds = rng.uniform(0.2, longest_ttls * world.ttl_s)

        def body(note: dict[str, Any]) -> Steps:
            world.proxy(mode)
            try:
                yield seconds
            finally:
                world.proxy("normal")

        yield from _steps(world, nemesis, ["redis"], body)

    return steps


def _cut_host(world: World, rng: random.Random) -> Steps:
    """Its network goes and comes back; what was sent meanwhile arrives late."""
    name, ttls = _steady(world, rng), rng.choice(_TTLS)
    net = world.network
    assert net is not None

    def body(note: dict[str, Any]) -> Steps:
        yield from _host(world, name)
        host = world.hosts[name]
        pids = [p.pid for p in world.processes(host, of_host=True)]
        note |= {"at": time.monotonic_ns(), "host": name, "pids": pids, "ttls": ttls}
        net.cut(host.number)
        try:
            yield ttls * world.ttl_s
        finally:
            net.heal(host.number)

    yield from _steps(world, "cut-host", [f"host:{name}"], body)


def _power(world: World, rng: random.Random) -> Steps:
    """A host is gone from one moment to the next: no connection of it is ever closed."""
    name = _steady(world, rng)
    net = world.network
    assert net is not None

    def body(note: dict[str, Any]) -> Steps:
        yield from _host(world, name)
        host = world.hosts[name]
        pids = [p.pid for p in world.processes(host, of_host=True)]
        note |= {"at": time.monotonic_ns(), "host": name, "pids": pids, "killed": pids}
        net.cut(host.number)
        try:
            _send(pids, signal.SIGKILL)
            host.ask()
            yield rng.uniform(0.5, 2) * world.ttl_s
        finally:
            net.heal(host.number)
        note["end"] = time.monotonic_ns()
        yield from _again(world, name, pids, note, rng)

    yield from _steps(world, "power", [f"host:{name}"], body)


def _storm(world: World, rng: random.Random) -> Steps:
    """Hosts come, and go again before anybody got used to them: half by SIGTERM, half by SIGKILL."""

    def body(note: dict[str, Any]) -> Steps:
        visitors: list[tuple[float, Host]] = []
        note["pids"] = []
        for _ in range(rng.randint(3, 6)):
            host = world.visitor()
            world.claims.add(f"host:{host.name}")
            visitors.append((time.monotonic() + rng.uniform(0.5, 4), host))
            yield rng.uniform(0, 1)
        try:
            for leaves, host in sorted(visitors, key=lambda each: each[0]):
                yield max(0.0, leaves - time.monotonic())
                host.ask()
                gently = rng.random() < 0.5
                note["pids"] += [] if gently else [p.pid for p in world.processes(host, of_host=True)]
                with contextlib.suppress(ProcessLookupError):
                    host.process.send_signal(signal.SIGTERM if gently else signal.SIGKILL)
            until = time.monotonic() + 40
            while any(host.name in world.hosts and not world.ended(host) for _, host in visitors):
                if time.monotonic() > until:
                    note["stuck"] = [host.name for _, host in visitors if host.name in world.hosts]
                    break
                yield _POLL_S
        finally:
            world.claims -= {f"host:{host.name}" for _, host in visitors}

    yield from _steps(world, "storm", ["storm"], body)


def _rolling(world: World, rng: random.Random) -> Steps:
    """One host after the other is asked to leave, and starts again."""
    for number in range(world.options.hosts):
        name = f"h{number}"

        def body(note: dict[str, Any], name: str = name, number: int = number) -> Steps:
            yield from _host(world, name)
            host = world.hosts[name]
            pids = [p.pid for p in world.processes(host, of_host=True)]
            note |= {"at": time.monotonic_ns(), "host": name, "pids": pids}
            host.ask()
            host.process.terminate()
            until = time.monotonic() + 40
            while not world.ended(host):
                if time.monotonic() > until:
                    note["stuck"] = [name]
                    host.process.kill()
                yield _POLL_S
            note["end"] = time.monotonic_ns()
            world.up(name, number)

        yield from _steps(world, "rolling", [f"host:{name}"], body)


_CORRUPT: tuple[dict[str, Any], ...] = (
    {"data": b"\xff\xfe no text", "key": "k1"},
    {"data": b'{"key": "k2", ', "key": "k2"},
    {"data": b"[" * 2_000, "key": "k3"},
    {"data": b'{"key": "k4", "seq": NaN}', "key": "k4"},
    {"data": b'{"seq": 1}'},
    {"rubbish": b"x"},
)


def _corrupt(world: World, rng: random.Random) -> Steps:
    """Somebody writes past the client what no client would let through."""

    def body(note: dict[str, Any]) -> Steps:
        note["entries"] = []
        with contextlib.closing(world.client()) as client:
            for _ in range(rng.randint(1, 5)):
                partition = rng.randrange(world.options.partitions)
                entry: Any = client.xadd(f"{{chaos:events:{partition}}}:events", rng.choice(_CORRUPT))  # type: ignore[arg-type]
                note["entries"].append([partition, entry.decode()])
        yield 0

    yield from _steps(world, "corrupt", ["redis"], body)


def _handlers(world: World, rng: random.Random) -> Steps:
    """A record or two whose handling goes wrong."""

    def body(note: dict[str, Any]) -> Steps:
        note["do"] = [rng.choice(MISDEEDS) for _ in range(rng.randint(1, 2))]
        for do in note["do"]:
            world.order(f"do {do}")
        yield 0

    yield from _steps(world, "handlers", [], body)


MISDEEDS = ("raise", "kill", "block", "hang", "slow", "slow", "flood", "hoard")

ALL: dict[str, Nemesis] = {
    "kill-slice": _kill("slice"),
    "kill-keeper": _kill("keeper"),
    "kill-supervisor": _kill("supervisor"),
    "kill-host": _kill("host"),
    "stop-slice": _stop("slice"),
    "stop-keeper": _stop("keeper"),
    "stop-supervisor": _stop("supervisor"),
    "stop-host": _stop("host"),
    "stop-redis": _stop_redis,
    "kill-redis": _kill_redis,
    "script-flush": _script_flush,
    "full": _full,
    "lose-replies": _proxied("lose-replies", "lose", 1.0),
    "half-open": _proxied("half-open", "half-open", 2.5),
    "delay": _proxied("delay", "delay", 2.5),
    "split": _proxied("split", "split", 1.0),
    "hold-requests": _proxied("hold-requests", "hold-requests", 2.5),
    "hold-replies": _proxied("hold-replies", "hold-replies", 2.5),
    "cut-host": _cut_host,
    "power": _power,
    "storm": _storm,
    "rolling": _rolling,
    "corrupt": _corrupt,
    "handlers": _handlers,
}
NEED_NETWORK = frozenset({"cut-host", "power"})


def schedule(seed: int, seconds: float, names: list[str], pace_s: float) -> list[tuple[float, str, int]]:
    """When to do what, and the seed of each injection: the same for the same arguments. Every name gets its turn before
    any gets a second one."""
    rng = random.Random(json.dumps([seed, sorted(names)]))
    found: list[tuple[float, str, int]] = []
    deck: list[str] = []
    at = pace_s
    while at < seconds:
        if not deck:
            deck = rng.sample(names, len(names))
        found.append((at, deck.pop(), rng.getrandbits(32)))
        at += rng.uniform(0.2, 1.8) * pace_s
    return found
