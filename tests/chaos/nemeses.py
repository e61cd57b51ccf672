"""What can be done to a run without losing anything that Redis took; what loses something is in losses.py."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import time
from typing import Any

import psutil

from tests.chaos import leavings, losses
from tests.chaos.backend import CLOCKED, faketime
from tests.chaos.steps import POLL_S, TTLS, Nemesis, Steps, again, send, steady, steps, working_host
from tests.chaos.world import PROCESSORS, Host, World

# Without any event done: each that hangs costs three timeouts, and a slice may have several of them in a row.
_STUCK_WHILE_FULL_S = 60.0
_NEWCOMER_S = 30.0
_VISITORS, _STORM_S = 10, 10.0
_REPLAYS = 3


def _kinds(world: World, host: Host, kind: str) -> list[int]:
    """Pids to hit: a slice, the keeper, the supervisor, or all of a host."""
    if kind == "slice":
        return [p.pid for processor in PROCESSORS for p in world.processes(host, processor)]
    if kind == "keeper":
        return [p.pid for p in world.processes(host, "keeper")]
    return [host.process.pid, *(p.pid for p in world.processes(host) if kind == "host")]


def _names(pids: list[int]) -> list[str]:
    """Of those that live."""
    found = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            found.append(psutil.Process(pid).name())
    return found


def _victims(world: World, host: Host, kind: str, rng: random.Random) -> list[int]:
    found = _kinds(world, host, kind)
    return [rng.choice(found)] if kind == "slice" and found else found


def _kill(kind: str) -> Nemesis:
    def nemesis(world: World, rng: random.Random) -> Steps:
        name = steady(world, rng)

        def body(note: dict[str, Any]) -> Steps:
            yield from working_host(world, name)
            host = world.hosts[name]
            victims = _victims(world, host, kind, rng)
            whole = kind in ("supervisor", "host")
            everyone = [p.pid for p in world.processes(host, of_host=True)]
            if whole:
                host.ask()
            note |= {"at": time.monotonic_ns(), "host": name, "killed": victims}
            note["pids"] = everyone if whole else victims
            note["slots"] = _names(victims) if kind == "slice" else []
            send(victims, signal.SIGKILL)
            note["end"] = time.monotonic_ns()
            if whole:
                yield from again(world, name, everyone, note, rng)

        yield from steps(world, f"kill-{kind}", [f"host:{name}"], body)

    return nemesis


def _stop(kind: str) -> Nemesis:
    def nemesis(world: World, rng: random.Random) -> Steps:
        name, ttls = steady(world, rng), rng.choice(TTLS)

        def body(note: dict[str, Any]) -> Steps:
            yield from working_host(world, name)
            victims = _victims(world, world.hosts[name], kind, rng)
            note |= {"at": time.monotonic_ns(), "host": name, "pids": victims, "paused": victims, "ttls": ttls}
            try:
                send(victims, signal.SIGSTOP)
                yield ttls * world.ttl_s
            finally:
                note["end"] = time.monotonic_ns()
                send(victims, signal.SIGCONT)

        yield from steps(world, f"stop-{kind}", [f"host:{name}"], body)

    return nemesis


def _stop_redis(world: World, rng: random.Random) -> Steps:
    ttls = rng.choice(TTLS)

    def body(note: dict[str, Any]) -> Steps:
        note["ttls"] = ttls
        world.redis.pause()
        try:
            yield ttls * world.ttl_s
        finally:
            world.redis.resume()

    yield from steps(world, "stop-redis", ["redis"], body)


def _kill_redis(world: World, rng: random.Random) -> Steps:
    yield from _redis_down(world, "kill-redis", rng.choice((0.0, 1.0, 2.5 * world.ttl_s)))


def _redis_1s(world: World, rng: random.Random) -> Steps:
    """Just this one, for the figure that is promised."""
    yield from _redis_down(world, "redis-1s", 1.0)


def _redis_down(world: World, name: str, down_s: float) -> Steps:

    def body(note: dict[str, Any]) -> Steps:
        note["down_s"] = down_s
        world.redis.kill()
        try:
            yield down_s
        finally:
            world.redis.start()
        while world.backend.loading():  # it answers, and serves nothing until it has read its file
            yield 0.002

    yield from steps(world, name, ["redis"], body)


def _script_flush(world: World, rng: random.Random) -> Steps:
    def body(note: dict[str, Any]) -> Steps:
        with contextlib.closing(world.client()) as client:
            client.script_flush()
        yield 0

    yield from steps(world, "script-flush", ["redis"], body)


def _full(world: World, rng: random.Random) -> Steps:
    """maxmemory is reached for a while: senders are refused, what is there must drain. One host is left alone, since
    those that start on a full Redis are refused, too."""
    name, seconds = steady(world, rng), rng.uniform(0.5, 2.5 * world.ttl_s)

    def body(note: dict[str, Any]) -> Steps:
        yield from working_host(world, name)
        note["at"] = time.monotonic_ns()
        with contextlib.closing(world.client()) as client:
            client.config_set("maxmemory", 1_000_000)
            try:
                yield seconds
                before, until = None, 0.0
                while left := leavings.settled(client, world.streams, PROCESSORS, parked=False):
                    if left != before:
                        before, until = left, time.monotonic() + _STUCK_WHILE_FULL_S
                    elif time.monotonic() > until:
                        break
                    yield POLL_S
                note["undrained"] = left
            finally:
                client.config_set("maxmemory", 0)

    yield from steps(world, "full", ["redis", f"host:{name}"], body)


def _proxied(name: str, mode: str, longest_ttls: float) -> Nemesis:
    def nemesis(world: World, rng: random.Random) -> Steps:
        seconds = rng.uniform(0.2, longest_ttls * world.ttl_s)

        def body(note: dict[str, Any]) -> Steps:
            world.proxy(mode)
            try:
                yield seconds
            finally:
                world.proxy("normal")

        yield from steps(world, name, ["redis"], body)

    return nemesis


def _cut_host(world: World, rng: random.Random) -> Steps:
    """Its network goes and comes back; what was sent meanwhile arrives late."""
    name, ttls = steady(world, rng), rng.choice(TTLS)
    net = world.network
    assert net is not None

    def body(note: dict[str, Any]) -> Steps:
        yield from working_host(world, name)
        host = world.hosts[name]
        pids = [p.pid for p in world.processes(host, of_host=True)]
        note |= {"at": time.monotonic_ns(), "host": name, "pids": pids, "ttls": ttls}
        net.cut(host.number)
        try:
            yield ttls * world.ttl_s
        finally:
            net.heal(host.number)

    yield from steps(world, "cut-host", [f"host:{name}"], body)


def _power(world: World, rng: random.Random) -> Steps:
    """A host is gone from one moment to the next: no connection of it is ever closed."""
    name = steady(world, rng)
    net = world.network
    assert net is not None

    def body(note: dict[str, Any]) -> Steps:
        yield from working_host(world, name)
        host = world.hosts[name]
        pids = [p.pid for p in world.processes(host, of_host=True)]
        note |= {"at": time.monotonic_ns(), "host": name, "pids": pids, "killed": pids}
        net.cut(host.number)
        try:
            send(pids, signal.SIGKILL)
            host.ask()
            yield rng.uniform(0.5, 2) * world.ttl_s
        finally:
            net.heal(host.number)
        note["end"] = time.monotonic_ns()
        yield from again(world, name, pids, note, rng)

    yield from steps(world, "power", [f"host:{name}"], body)


def _storm(world: World, rng: random.Random) -> Steps:
    """Ten hosts come and go within ten seconds, before anybody got used to them: half by SIGTERM, half by SIGKILL."""
    stays = [(came := rng.uniform(0, _STORM_S - 1), rng.uniform(came + 1, _STORM_S)) for _ in range(_VISITORS)]
    turns = sorted((at, number) for number, stay in enumerate(stays) for at in stay)

    def body(note: dict[str, Any]) -> Steps:
        visitors: dict[int, Host] = {}
        note["pids"], began = [], time.monotonic()
        try:
            for at, number in turns:
                yield max(0.0, began + at - time.monotonic())
                host = visitors.get(number)
                if host is None:
                    host = visitors[number] = world.visitor()
                    world.claims.add(f"host:{host.name}")
                    continue
                host.ask()
                gently = rng.random() < 0.5
                note["pids"] += [] if gently else [p.pid for p in world.processes(host, of_host=True)]
                with contextlib.suppress(ProcessLookupError):
                    host.process.send_signal(signal.SIGTERM if gently else signal.SIGKILL)
            note["turned_s"] = time.monotonic() - began
            until = time.monotonic() + 40
            while left := [host for host in visitors.values() if host.name in world.hosts and not world.ended(host)]:
                if time.monotonic() > until:
                    note["stuck"] = [host.name for host in left]
                    break
                yield POLL_S
        finally:
            world.claims -= {f"host:{host.name}" for host in visitors.values()}

    yield from steps(world, "storm", ["storm"], body)


def _rolling(world: World, rng: random.Random) -> Steps:
    """One host after the other is asked to leave, and starts again."""
    for number in range(world.options.hosts):
        name = f"h{number}"

        def body(note: dict[str, Any], name: str = name, number: int = number) -> Steps:
            yield from working_host(world, name)
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
                yield POLL_S
            note["end"] = time.monotonic_ns()
            world.up(name, number)

        yield from steps(world, "rolling", [f"host:{name}"], body)


_CORRUPT: tuple[dict[str, Any], ...] = (
    {"data": b"\xff\xfe no text", "key": "k1"},
    {"data": b'{"key": "k2", ', "key": "k2"},
    {"data": b"[" * 2_000, "key": "k3"},
    {"data": b'{"key": "k4", "seq": NaN}', "key": "k4"},
    {"data": b'{"seq": 1}'},
    {"rubbish": b"x"},
    {"data": b'{"key": "k5", "pad": "' + b"x" * (8 << 20) + b'"}', "key": "k5"},
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

    yield from steps(world, "corrupt", ["redis"], body)


def _handlers(world: World, rng: random.Random) -> Steps:
    """A record or two whose handling goes wrong; where that parks its key, an operator mends and replays it later."""

    def body(note: dict[str, Any]) -> Steps:
        park = world.options.park
        note["do"] = [rng.choice(MISDEEDS) for _ in range(rng.randint(1, 2))] + ["raise"] * (5 * park)
        for do in note["do"]:
            world.order(f"do {do}")
        yield 0
        note["end"] = time.monotonic_ns()
        if park:
            yield rng.uniform(2, 10)
            note["operator"] = ["", 69]
            for _ in range(_REPLAYS):
                if note["operator"][1] == 69:  # Redis was away
                    yield 1
                    while "redis" in world.claims:  # it may stand still, and would have this thread stand still, too
                        yield POLL_S
                    world.mend()
                    yield from losses.operator(world, note, *losses.REPLAY)

    yield from steps(world, "handlers", [], body)


def _stop_newcomer(world: World, rng: random.Random) -> Steps:
    """A host stands still as soon as it owns something, and goes on when another has just taken that over: neither has
    committed anything yet, so that of all checks only the lease itself can tell them apart."""

    def body(note: dict[str, Any]) -> Steps:
        host = world.visitor()
        world.claims.add(f"host:{host.name}")
        mark = f":{host.process.pid}:"
        pids: list[int] = []
        try:
            with contextlib.closing(world.client()) as client:
                own = [f"{{chaos:events:{partition}}}:own:sink" for partition in range(world.options.partitions)]

                def owned() -> int:
                    owners = [client.hget(name, "owner") or b"" for name in own]
                    return sum(mark in owner.decode() for owner in owners)

                until = time.monotonic() + _NEWCOMER_S
                while host.process.poll() is None and owned() < 2 and time.monotonic() < until:
                    yield 0.005
                yield rng.uniform(0, 0.2)
                pids = [p.pid for p in world.processes(host, of_host=True)]
                note |= {"at": time.monotonic_ns(), "pids": pids, "paused": pids}
                send(pids, signal.SIGSTOP)
                while owned() and time.monotonic() < until:
                    yield 0.005
                yield rng.uniform(0, 0.3)
        finally:
            note["end"] = time.monotonic_ns()
            send(pids, signal.SIGCONT)
            host.ask()
            with contextlib.suppress(ProcessLookupError):
                host.process.terminate()
        until = time.monotonic() + 40
        while not world.ended(host):
            if time.monotonic() > until:
                note["stuck"] = [host.name]
                host.process.kill()
            yield POLL_S
        world.claims.discard(f"host:{host.name}")

    yield from steps(world, "stop-newcomer", ["redis"], body)


def _eviction(world: World, rng: random.Random) -> Steps:
    """Somebody lets Redis evict keys: who starts now must refuse; who runs must not be hurt by the setting alone."""

    def body(note: dict[str, Any]) -> Steps:
        with contextlib.closing(world.client()) as client:
            client.config_set("maxmemory-policy", rng.choice(("allkeys-lru", "volatile-ttl")))
            host = world.visitor()
            world.claims.add(f"host:{host.name}")
            try:
                until = time.monotonic() + 20
                while host.process.poll() is None and not host.begun and time.monotonic() < until:
                    yield POLL_S
                note["started"] = host.begun or host.process.poll() == 0
            finally:
                client.config_set("maxmemory-policy", "noeviction")
                host.ask()
                host.process.kill()
                host.process.wait()
                world.ended(host)
                world.claims.discard(f"host:{host.name}")

    yield from steps(world, "eviction", ["redis"], body)


def _restart(world: World, rng: random.Random) -> Steps:
    """`runnelctl restart`: every slice of a processor is replaced, one after the other."""

    def body(note: dict[str, Any]) -> Steps:
        yield from losses.operator(world, note, "restart", "sink")

    yield from steps(world, "restart", ["restart"], body)


def _stop_beats(world: World, rng: random.Random) -> Steps:
    """Keeper and supervisor stand still: the slices, which do not, must stop before another host takes over."""
    name, ttls = steady(world, rng), rng.choice(TTLS)

    def body(note: dict[str, Any]) -> Steps:
        yield from working_host(world, name)
        host = world.hosts[name]
        stopped = [host.process.pid, *_kinds(world, host, "keeper")]
        pids = [p.pid for p in world.processes(host, of_host=True)]
        note |= {"at": time.monotonic_ns(), "host": name, "pids": pids, "ttls": ttls}
        try:
            send(stopped, signal.SIGSTOP)
            yield ttls * world.ttl_s
        finally:
            note["end"] = time.monotonic_ns()
            send(stopped, signal.SIGCONT)

    yield from steps(world, "stop-beats", [f"host:{name}"], body)


def _clock(of: str) -> Nemesis:
    """A wall clock jumps by half a minute and, later, back."""

    def nemesis(world: World, rng: random.Random) -> Steps:
        name, jump, seconds = steady(world, rng), rng.choice(("+30", "-30")), rng.uniform(1.5, 2.5 * world.ttl_s)
        file = world.clock("redis" if of == "redis" else name)

        def body(note: dict[str, Any]) -> Steps:
            note["jump_s"] = int(jump)
            file.write_text(f"{jump}\n")
            try:
                yield seconds
            finally:
                file.write_text("+0\n")

        yield from steps(world, f"clock-{of}", [f"clock:{file.name}"], body)

    return nemesis


MISDEEDS = (
    "raise", "kill", "block", "hang", "spin", "segfault", "eat", "slow", "slow", "flood", "hoard",
)  # fmt: skip

HARMLESS: dict[str, Nemesis] = {
    "kill-slice": _kill("slice"),
    "kill-keeper": _kill("keeper"),
    "kill-supervisor": _kill("supervisor"),
    "kill-host": _kill("host"),
    "stop-slice": _stop("slice"),
    "stop-keeper": _stop("keeper"),
    "stop-supervisor": _stop("supervisor"),
    "stop-host": _stop("host"),
    "stop-beats": _stop_beats,
    "stop-newcomer": _stop_newcomer,
    "stop-redis": _stop_redis,
    "kill-redis": _kill_redis,
    "script-flush": _script_flush,
    "full": _full,
    "eviction": _eviction,
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
    "restart": _restart,
    "corrupt": _corrupt,
    "handlers": _handlers,
}
CLOCKS: dict[str, Nemesis] = {"clock-host": _clock("host"), "clock-redis": _clock("redis")}
ALL: dict[str, Nemesis] = HARMLESS | losses.ALL | CLOCKS | {"redis-1s": _redis_1s}
FAMILIES: dict[str, tuple[str, ...]] = {
    "harmless": tuple(HARMLESS), "losses": (*HARMLESS, *losses.ALL), "clocks": (*HARMLESS, *CLOCKS),
    "all": (*HARMLESS, *losses.ALL, *CLOCKS),
}  # fmt: skip
NEED_NETWORK = frozenset({"cut-host", "power"})


def chosen(
    wanted: str, *, netns: bool, server: str, order: str = "partition", park: bool = False
) -> tuple[list[str], list[str]]:
    """Nemeses from names and families, separated by commas; and sentences about those that can't be had here.

    Raises KeyError for a name that there is not.
    """
    names: dict[str, None] = {}
    for word in wanted.split(","):
        names |= dict.fromkeys(FAMILIES.get(word, (word,)))
    if unknown := names.keys() - ALL.keys():
        raise KeyError(", ".join(sorted(unknown)))
    without, said = set[str](), []
    if not netns and (missing := names.keys() & NEED_NETWORK):
        without |= missing
        said.append(f"no network namespaces (they need root): without {', '.join(sorted(missing))}")
    if faketime() is None and (missing := names.keys() & CLOCKED):
        without |= missing
        said.append(f"libfaketime is not installed: without {', '.join(sorted(missing))}")
    elif server == "redis" and "clock-redis" in names:
        without.add("clock-redis")
        said.append("Debian's redis-server 7.0 does not start under libfaketime: without clock-redis")
    if park and "corrupt" in names:
        without.add("corrupt")
        said.append("what has no key can't be parked: without corrupt")
    if order == "key" and "del-own" in names:
        without.add("del-own")
        said.append("what was done out of turn would come again: without del-own")
    return [name for name in names if name not in without], said


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
