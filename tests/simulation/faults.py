"""What goes wrong in a schedule, and when. Everything is drawn at the start, so that a schedule can be told in full."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from runnelctl.core.charges import Cause
from tests.simulation.scheduler import Group
from tests.simulation.streams import parse, text_of

if TYPE_CHECKING:
    from tests.simulation.host import Host
    from tests.simulation.lane import Slice
    from tests.simulation.world import World

KINDS = ("raises", "raises", "dies", "dies", "hangs", "host dies")


def plan(world: World) -> float:
    """Draw the records that go wrong, the weather and the faults; returns when the last one is over."""
    rng = world.rng
    end = 0.5 + rng.random() * rng.choice([4, 9])
    for _ in range(rng.choice([0, 0, 1, 1, 2])):
        world.kinds[str(rng.randrange(world.sender.records))] = rng.choice(KINDS)
    weather = world.scheduler.weather
    if rng.random() < 0.6:
        worst = rng.choice([0.02, 0.1, 0.25])
        weather.request_lost, weather.request_late = rng.random() * worst, rng.random() * worst
        weather.reply_lost = rng.random() * worst
    for _ in range(rng.choice([0, 1, 2, 2, 3, 4])):
        fault = rng.choice(FAULTS)
        world.scheduler.at(rng.random() * end, _strike, world, fault)
    world.say(
        f"seed {world.seed}: {len(world.units)} partition(s), {len(world.hosts)} host(s), {world.policy.value}, "
        f"{world.attempts} attempts, bad records {world.kinds}, faults until {end:.1f} s"
    )
    return end


def _strike(world: World, fault: Callable[[World], Any]) -> None:
    if not world.mended:
        world.say(fault.__name__.replace("_", " "))
        fault(world)


def _host(world: World) -> Host | None:
    """One that runs something, as long as any does: elsewhere little can go wrong."""
    alive = [host for host in world.hosts if host.alive and not host.stopping]
    busy = [host for host in alive if any(cell.held for cell in host.cells)]
    return world.rng.choice(busy or alive) if alive else None


def _slot(world: World, host: Host) -> int:
    busy = [slot for slot, slice_ in enumerate(host.slices) if slice_ is not None and slice_.lanes]
    return world.rng.choice(busy) if busy else world.rng.randrange(len(host.slices))


def kill_a_slice(world: World) -> None:
    if host := _host(world):
        slot = _slot(world, host)
        if (slice_ := host.slices[slot]) is not None and slice_.alive:
            _excuse(world, slice_)
            world.deaths += 1
            host.kill_slice(slot, Cause.DIED, outside=True)


def restart_a_slice(world: World) -> None:
    if host := _host(world):
        host.restart(_slot(world, host))


def kill_a_keeper(world: World) -> None:
    if (host := _host(world)) and host.keeper.alive:  # else another is about to start
        host.keeper.alive = False
        world.scheduler.after(world.rng.random() * 0.1, host.start_keeper)


def lose_a_host(world: World) -> None:
    if host := _host(world):
        for slice_ in host.slices:
            _excuse(world, slice_)
        world.lose(host)


def _excuse(world: World, slice_: Slice | None) -> None:
    """What a slice has at hand may be charged for what is done to it from outside: to us it looks the same."""
    for lane in slice_.lanes.values() if slice_ is not None else ():
        for _, uid in lane.buffer:
            world.killed_beside[uid] = world.killed_beside.get(uid, 0) + 1


def drain_a_host(world: World) -> None:
    if host := _host(world):
        host.stopping = host.news = True
        world.scheduler.fire(host.wake)
        world.scheduler.after(1.0 + world.rng.random() * 4, world.join)


def add_a_host(world: World) -> None:
    if len(world.hosts) < 4:
        world.join()


def _freeze(world: World, *groups: Group) -> None:
    seconds = world.ttl_s * world.rng.choice([0.5, 1.5, 3.0])
    for group in groups:
        group.frozen_until = world.now + seconds
        world.frozen_since[group] = world.now


def pause_a_slice(world: World) -> None:
    if host := _host(world):
        slice_ = host.slices[_slot(world, host)]
        if slice_ is not None:
            _excuse(world, slice_)
            world.deaths += 1  # its supervisor may put it down
            _freeze(world, slice_.group)


def pause_a_keeper(world: World) -> None:
    if host := _host(world):
        _freeze(world, host.keeper)


def pause_a_host(world: World) -> None:
    if host := _host(world):
        world.deaths += len(host.slices)
        for slice_ in host.slices:
            _excuse(world, slice_)
        _freeze(world, host.supervisor, host.keeper, *(each.group for each in host.slices if each is not None))


def cut_a_host_off(world: World) -> None:
    if host := _host(world):
        host.cut_until = world.now + world.ttl_s * world.rng.choice([0.3, 1.0, 2.0])
        for group in (host.keeper, *(each.group for each in host.slices if each is not None)):
            group.cut_until = host.cut_until


def take_redis_away(world: World) -> None:
    world.scheduler.weather.down_until = world.now + world.rng.choice([0.2, 1.0, 5.0, 10.0])


def stall_redis(world: World) -> None:
    world.scheduler.weather.stalled_until = world.now + world.rng.choice([1.0, 4.0, 9.0])


def fail_over(world: World) -> None:
    """What was written since a moment ago is gone; what is under way to the old server never takes effect."""
    saved = world.store.snapshot(), [unit.truth.saved() for unit in world.units]
    world.scheduler.after(world.rng.choice([0.01, 0.1, 1.0]), _promote, world, saved)


def _promote(world: World, saved: tuple[dict[str, Any], list[tuple[Any, ...]]]) -> None:
    if world.mended:
        return
    world.say("a replica is promoted")
    weather = world.scheduler.weather
    weather.generation += 1
    weather.down_until = max(weather.down_until, world.now + 0.05)
    world.store.restore(saved[0])
    stored = set()
    for unit, before in zip(world.units, saved[1], strict=True):
        unit.truth.roll_back(before)
        if stream := world.store.stream(unit.truth.events):
            stored |= {fields[1] for fields in stream.fields}
    world.sender.acknowledged &= stored
    for host in world.hosts:  # every connection breaks
        host.news = True
        for slice_ in host.slices:
            for lane in slice_.lanes.values() if slice_ is not None else ():
                lane.resync = True
                world.scheduler.fire(lane.nudge)


def trim_by_a_stranger(world: World) -> None:
    world.trimmed = True
    for unit in world.units:
        if stream := world.store.stream(unit.truth.events):
            stream.trim(world.rng.randrange(stream.length + 1))


def delete_by_a_stranger(world: World) -> None:
    world.deleted = True
    for unit in world.units:
        if (stream := world.store.stream(unit.truth.events)) and stream.ids:
            gone = world.rng.choice(stream.ids)
            stream.delete(gone)
            unit.truth.deleted.add(text_of(gone))


def replay(world: World) -> None:
    world.replay()


def skip(world: World) -> None:
    """`runnelctl replay --skip`."""
    for unit in world.units:
        own, stream = world.store.hash(unit.truth.own), world.store.stream(unit.truth.events)
        if "block" not in own or stream is None or not (after := stream.after(parse(own["cursor"]), 1)):
            continue
        event = text_of(after[0])
        args = [event, unit.processor, "of", event]
        if world.run("event_skip", [unit.truth.own, unit.truth.events, unit.truth.out], args) == ["OK"]:
            unit.truth.done.append(event)
            unit.truth.cursor = event
            world.skipped = True
            world.store.data.pop(world.halted, None)
    world.tell(None)


def seek(world: World) -> None:
    """`runnelctl seek`, to any event that is there."""
    unit = world.rng.choice(world.units)
    stream = world.store.stream(unit.truth.events)
    if stream is None or not stream.ids:
        return
    at = world.rng.randrange(len(stream.ids))
    cursor, count = text_of(stream.ids[at]), str(stream.gone + at + 1)
    args = [cursor, count, unit.processor, str(stream.added), str(stream.gone)]
    if world.run("cursor_seek", [unit.truth.own, unit.truth.events], args)[0] == "OK":
        world.sought = True
        own = world.store.hash(unit.truth.own)
        unit.truth.cursor = cursor
        unit.truth.moves += 1
        unit.truth.highest = int(own["epoch"])
        unit.truth.owner = (own["epoch"], own["nonce"]) if own.get("nonce") else None
        unit.truth.epochs[own["epoch"]] = own.get("nonce", "")
        world.tell(None)


def set_the_clock(world: World) -> None:
    world.clock_ms += world.rng.choice([1, 2, 5]) * 30_000


FAULTS: tuple[Callable[[World], Any], ...] = (
    kill_a_slice, kill_a_slice, kill_a_keeper, kill_a_keeper, restart_a_slice, lose_a_host, drain_a_host, add_a_host,
    add_a_host, pause_a_slice, pause_a_keeper, pause_a_host, cut_a_host_off, take_redis_away, stall_redis, fail_over,
    fail_over, trim_by_a_stranger, delete_by_a_stranger, replay, skip, seek, set_the_clock,
)  # fmt: skip
