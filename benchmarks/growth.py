"""How costs grow: with partitions, processors, hosts, backlog and payload. One curve at a time, and a picture of each.

python -m benchmarks.growth [--only NAME]... [--json FILE] [--draw DIRECTORY]

With --json, what is in FILE stays, so that a run can be made in pieces; with --draw alone nothing is measured. Each
point is taken once: look at the shape of a curve, not at a single point of it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.coordination import coordinate
from benchmarks.drawing import curves
from benchmarks.ground import COUNT, Ground, cpu_s, record
from runnelctl.core import keys

#: By series: [x, y] of each point.
Curve = dict[str, list[list[float]]]
Add = Callable[[str, float, float], None]
EVENTS = 20_000  # for each of many processors

SEND = """
local first, count, partitions, topology = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
for n = first, first + count - 1 do
  redis.call('XADD', '{' .. topology .. ':s:' .. n % partitions .. '}:events', '*', 'data',
    '{"k":"user-' .. n % 1000 .. '","n":' .. n .. ',"note":"a note of some length, as it is usual, and more"}',
    'key', 'user-' .. n % 1000)
end
"""


def partitions(add: Add) -> None:
    """16 to 4,096 partitions, one processor, one slice."""
    for count in (16, 64, 256, 1024, 4096):
        with Ground() as ground:
            _topology(ground, count)
            fill(ground, count, 400_000)
            cost = ground.drain(count, 400_000)
            add("event, µs of CPU", count, cost["slice_us"] + cost["server_us"])
            with ground.up():
                add("status, ms", count, min(ground.run("status", "--once")[0] for _ in range(3)) * 1e3)


def processors(add: Add) -> None:
    """1 to 50 processors, each with one slice, on a stream of 16 partitions."""
    for count in (1, 4, 16, 50):
        with Ground() as ground:
            _topology(ground, 16, count)
            _side_by_side(ground, count, add)


def _side_by_side(ground: Ground, count: int, add: Add) -> None:
    """One point of `processors`."""
    began = time.perf_counter()
    with ground.up() as up:
        add("until `up` says so, ms", count, (time.perf_counter() - began) * 1e3)
        time.sleep(2)
        ours = ground.processes(up)
        every = [*ours, ground.server_process()]
        began, before = time.perf_counter(), cpu_s(*every)
        time.sleep(5)
        add("idle, % of a core", count, max(0.01, (cpu_s(*every) - before) / (time.perf_counter() - began) * 100))
        before = cpu_s(*ours)
        fill(ground, 16, EVENTS)
        owns = [keys.own(ground.name, "s", at, f"p{n}" if count > 1 else "p") for at in range(16) for n in range(count)]
        counted = ground.client.register_script(COUNT)
        ground.wait(lambda: int(counted(keys=owns)) >= EVENTS * count, up)
        add("event, µs of CPU of ours", count, (cpu_s(*ours) - before) / EVENTS / count * 1e6)
        add("status, ms", count, min(ground.run("status", "--once")[0] for _ in range(3)) * 1e3)


def hosts(add: Add) -> None:
    """1 to 50 hosts, keepers alone, with 1,024 partitions."""
    for count in (1, 5, 20, 50):
        with Ground() as ground:
            found = coordinate(ground, count, 1024, 5.0)
        add("server idle, % of a core", count, max(found["idle_server_pct"], 0.01))
        add("a join, ms of the server", count, max(found["join_server_s"] * 1e3, 1))
        add("a leave, ms of the server", count, max(found["leave_server_s"] * 1e3, 1))


def backlog(add: Add) -> None:
    """10 thousand to 10 million events that wait, 16 partitions."""
    for count in (10_000, 100_000, 1_000_000, 10_000_000):
        with Ground() as ground:
            ground.client.config_set("maxmemory", "3gb")
            _topology(ground, 16)
            fill(ground, 16, count)
            add("memory of Redis, MB", count, int(ground.client.info("memory")["used_memory"]) / 1e6)
            add("status, ms", count, min(ground.run("status", "--once")[0] for _ in range(3)) * 1e3)
            cost = ground.drain(16, count)
            add("event, µs of CPU", count, cost["slice_us"] + cost["server_us"])


def payload(add: Add) -> None:
    """Records of 100 bytes to 1 MiB, 16 partitions, at most 200 MB of them."""
    for size in (100, 1_000, 10_000, 100_000, 1_000_000):
        events = min(200_000, 200_000_000 // size)
        with Ground() as ground:
            _topology(ground, 16)
            ground.send(record(number, size) for number in range(events))
            cost = ground.drain(16, events)
            add("event, µs of CPU", size, cost["slice_us"] + cost["server_us"])


def _topology(ground: Ground, count: int, each: int = 1) -> None:
    """A stream of so many partitions, and so many processors on it."""
    names = ["p"] if each == 1 else [f"p{number}" for number in range(each)]
    ground.topology(
        f"s: {{partitions: {count}, key: k, capacity: 100000000}}",
        ", ".join(f'{name}: {{stream: s, handler: "handlers:noop", processes: 1}}' for name in names),
    )


def fill(ground: Ground, count: int, events: int) -> None:
    """Put events of about 100 bytes into all partitions, inside the server: millions must not take minutes."""
    send = ground.client.register_script(SEND)
    for first in range(0, events, 10_000):
        send(args=[first, min(10_000, events - first), count, ground.name])


CURVES: dict[str, Callable[[Add], None]] = {
    each.__name__: each for each in (partitions, processors, hosts, backlog, payload)
}
ACROSS = {"payload": "bytes of a record", "backlog": "events that wait"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=CURVES, help="Only this one; may be given again.")
    parser.add_argument("--json", type=Path, help="Keep what was found in this file.")
    parser.add_argument("--draw", type=Path, help="Put a picture of every curve in --json's file into this directory.")
    given = parser.parse_args()
    kept: dict[str, Curve] = {}
    if given.json is not None and given.json.exists():
        kept = json.loads(given.json.read_text())
    for name in given.only or ([] if given.draw else CURVES):
        kept[name] = measured(CURVES[name])
        if given.json is not None:
            given.json.write_text(json.dumps(kept, indent=2) + "\n")
    for name, curve in kept.items() if given.draw else ():
        series = {each: [(x, y) for x, y in points] for each, points in curve.items()}
        picture = curves(f"with {name}", ACROSS.get(name, name), series)
        (given.draw / f"growth-{name}.svg").write_text(picture)


def measured(measure: Callable[[Add], None]) -> Curve:
    """Take one curve; each point is said as it comes."""
    curve: Curve = {}

    def add(series: str, x: float, y: float) -> None:
        curve.setdefault(series, []).append([x, round(y, 3)])
        print(f"{measure.__name__:12} {x:>12,} {series:28} {y:12,.3f}", flush=True)

    measure(add)
    return curve


if __name__ == "__main__":
    main()
