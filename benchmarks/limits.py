"""How much memory a host takes while it is given too much: giant records, many partitions, slow handlers, floods.

python -m benchmarks.limits [--only giants,...]; it starts an embedded server of its own and prints a row per scenario.
Resident memory of the largest slice, the keeper and the supervisor: idle, at its highest in the first and in the second
half of the time. A row is `flat` if nothing grew beyond what the scenario allows, nor much in the second half.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

import runnelctl
from benchmarks.drain import ROOT
from runnelctl.store import connect
from runnelctl.store.reach import reach

MIB = 1024 * 1024
GIANT = 63 * MIB
STREAM = "{{partitions: {0}, key: k, capacity: 10000000}}"
PROCESSOR = (
    '{{stream: {0}, handler: "benchmarks.limitshandlers:{1}", processes: 1, policy: IGNORE, '
    "retry: {{attempts: 1}}, {2}}}"
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """`fill` puts the events there; ends when `events` are handled, or after `seconds`. `slice_mib` and `others_mib`:
    how much a slice, and keeper and supervisor, may take beyond what they have when idle."""

    what: str
    handler: str
    partitions: int
    fill: Callable[[Path, Any, str], None]
    events: int
    slice_mib: int
    others_mib: int = 32
    streams: int = 1
    more: str = ""
    seconds: float = 30.0
    deaf: bool = False  # nobody reads the output


def add(client: Any, name: str, partition: int, records: Iterator[bytes], stream: str = "s0") -> None:
    """Past the client, as a stranger does it."""
    size, pipe = 0, client.pipeline(transaction=False)
    for number, record in enumerate(records):
        pipe.xadd(f"{{{name}:{stream}:{partition}}}:events", {"data": record, "key": f"k{number}"})
        size += len(record) + 100
        if size > 4 * MIB:
            pipe.execute()
            size, pipe = 0, client.pipeline(transaction=False)
    pipe.execute()


def record(size: int, key: str = "k") -> bytes:
    """A JSON record of so many bytes."""
    start = b'{"k":"%s","pad":"' % key.encode()
    return start + b"x" * (size - len(start) - 2) + b'"}'


def giants(file: Path, client: Any, name: str) -> None:
    """Small ones, so that the next read asks for many; then those of nearly 64 MiB, through the client and past it."""
    with runnelctl.connect_sync(file) as sender:
        for _ in range(5):
            sender.send("s0", {"k": "a", "pad": "x" * (GIANT - 20)})
    add(client, name, 0, iter([record(200)] * 2_000))
    add(client, name, 0, iter([record(GIANT)] * 5))
    add(client, name, 1, iter([record(200)] * 2_000))
    add(client, name, 1, iter([record(GIANT)] * 5 + [record(100 * MIB)]))


def many(_: Path, client: Any, name: str) -> None:
    small = [record(1_000)] * 60
    for stream in range(4):
        for partition in range(2_500):
            add(client, name, partition, iter(small), f"s{stream}")


def mixed(_: Path, client: Any, name: str) -> None:
    large, small = record(MIB), record(1_000)
    for partition in range(4):
        for _part in range(40):
            add(client, name, partition, iter([small] * 3_000 + [large] * 10))


def large(_: Path, client: Any, name: str) -> None:
    for partition in range(4):
        add(client, name, partition, iter([record(MIB)] * 300))


def failing(_: Path, client: Any, name: str) -> None:
    add(client, name, 0, iter([record(200)] * 500 + [record(GIANT)] * 12))


def few(_: Path, client: Any, name: str) -> None:
    add(client, name, 0, iter([record(100)] * 2_000))


SCENARIOS = {
    "giants": Scenario("16 records of 63 and 100 MiB behind small ones", "look", 2, giants, 10**9, 512, seconds=20),
    "partitions": Scenario(
        "10,000 partitions of backlog, 600,000 events", "slow", 2_500, many, 600_000, 256, streams=4, seconds=30
    ),
    "slow": Scenario("a slow handler, 2 GiB of 1 KB and 1 MiB waiting", "slow", 4, mixed, 10**9, 256, seconds=15),
    "flood": Scenario("a handler floods stdout, nobody reads", "flood", 1, few, 2_000, 32, seconds=15, deaf=True),
    "keyed": Scenario(
        "order: key, concurrency 64, 1.2 GiB of 1 MiB", "nap", 4, large, 1_200, 512,
        more="order: key, concurrency: 64,", seconds=20,
    ),
    "emits": Scenario("1 MiB emitted per event, 1,500 events", "pour", 1, few, 1_500, 256, seconds=20),
    "dead": Scenario(
        "12 records of 63 MiB that fail, to a dead letter stream", "refuse", 1, failing, 512, 512,
        more="dead_letter: out,", seconds=30,
    ),
    "states": Scenario("1 MiB of state per event, 2,000 events", "hoard", 1, few, 2_000, 256, seconds=20),
}  # fmt: skip


def topology(name: str, of: Scenario) -> str:
    """The file of a scenario."""
    lines = [f"name: {name}", "redis: embedded", f'pythonpath: ["{ROOT}"]', "streams:"]
    lines += [f"  s{n}: {STREAM.format(of.partitions)}" for n in range(of.streams)]
    lines += [f"  out: {STREAM.format(1)}", "processors:"]
    lines += [f"  p{n}: {PROCESSOR.format(f's{n}', of.handler, of.more)}" for n in range(of.streams)]
    return "\n".join(lines)


@contextlib.contextmanager
def up(file: Path, name: str, *, deaf: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """A host, ready."""
    heard = subprocess.PIPE if deaf else subprocess.DEVNULL
    command = [sys.executable, "-m", "runnelctl", "up", str(file)]
    host = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=heard, stderr=heard)
    homes = Path(os.environ["RUNNELCTL_DIR"]) / ".runnelctl" / name / "hosts"
    try:
        while not any(f":{host.pid}:" in each.parent.name for each in homes.glob("*/ready")):
            if host.poll() is not None:
                raise SystemExit(f"{name}: up ended with {host.returncode}")
            time.sleep(0.02)
        yield host
    finally:
        host.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            host.communicate(timeout=3)
        host.kill()
        host.communicate()


def memory(host: int) -> dict[str, float]:
    """MiB of the largest slice, the keeper and the supervisor."""
    found = {"slice": 0.0, "keeper": 0.0, "supervisor": 0.0}
    with contextlib.suppress(psutil.Error):
        supervisor = psutil.Process(host)
        found["supervisor"] = supervisor.memory_info().rss / MIB
        for child in supervisor.children():
            with contextlib.suppress(psutil.Error):
                who = "keeper" if "keeper" in child.name() else "slice" if child.name().startswith("p") else ""
                if who:
                    found[who] = max(found[who], child.memory_info().rss / MIB)
    return found


def play(name: str, of: Scenario, client: Any, file: Path) -> bool:
    """One scenario, and its row. Whether memory was flat."""
    file.write_text(topology(name, of))
    with up(file, name) as host:
        time.sleep(0.5)
        idle = memory(host.pid)
    of.fill(file, client, name)
    owns = [f"{{{name}:s{n}:{p}}}:own:p{n}" for n in range(of.streams) for p in range(of.partitions)]
    seen: list[tuple[float, dict[str, float]]] = []
    handled = 0
    with up(file, name, deaf=of.deaf) as host:
        began = time.monotonic()
        while (now := time.monotonic()) < began + of.seconds and handled < of.events:
            seen.append((now, memory(host.pid)))
            if len(seen) % 20 == 0:
                handled = count(client, owns)
            time.sleep(0.02)
        handled = count(client, owns)
    middle = (seen[0][0] + seen[-1][0]) / 2
    flat, cells = True, []
    for who, may in (("slice", of.slice_mib), ("keeper", of.others_mib), ("supervisor", of.others_mib)):
        first, second = (max(m[who] for at, m in seen if (at > middle) is late) for late in (False, True))
        flat = flat and max(first, second) - idle[who] <= may and second <= max(first * 1.15, first + 16)
        cells.append(f"{idle[who]:.0f} → {first:.0f}, {second:.0f}")
    print(f"| {of.what} | {handled:,} | {' | '.join(cells)} | {'flat' if flat else 'NOT flat'} |", flush=True)
    client.flushall()
    return flat


def count(client: Any, owns: list[str]) -> int:
    """How many events are committed."""
    with client.pipeline(transaction=False) as pipe:
        for own in owns:
            pipe.hget(own, "count")
        return sum(int(each or 0) for each in pipe.execute())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="names, with commas: " + ", ".join(SCENARIOS))
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="limits-"))
    os.environ["RUNNELCTL_DIR"] = str(directory)
    print("| scenario | handled | slice: idle → first, second half (MiB) | keeper | supervisor | |")
    print("|---|---|---|---|---|---|")
    flat = True
    with reach("embedded", "limits") as reached, connect.client(reached.endpoint, timeout_ms=60_000) as client:
        client.config_set("appendonly", "no")  # a disk is not what is measured
        for name in options.only.split(",") if options.only else SCENARIOS:
            flat = play("limits", SCENARIOS[name], client, directory / "topology.yaml") and flat
    sys.exit(0 if flat else 1)


if __name__ == "__main__":
    main()
