"""How fast one slice drains a backlog, beside a baseline, in alternating rounds on the same server.

python -m benchmarks.drain --case noop --events 400000 --rounds 5
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

import runnelctl
from benchmarks.records import record
from benchmarks.window import window
from runnelctl.store import connect
from runnelctl.store.reach import reach

ROOT = Path(__file__).resolve().parents[1]
TOPOLOGY = """
name: {name}
redis: {redis}
pythonpath: ["{root}"]
streams:
  events: {{partitions: {partitions}, key: user, capacity: 100000000}}
  out: {{partitions: {partitions}, key: user, capacity: 100000000}}
processors:
  noop: {{stream: events, handler: "benchmarks.handlers:{handler}", processes: 1{more}}}
  plain: {{stream: events, handler: "benchmarks.handlers:noop", processes: 1}}
"""


@dataclass(frozen=True, slots=True)
class Case:
    """A handler, further keys of its processor, and what it is held against: a mode of the raw loop, or `noop`, which
    is our own slice with a handler that does nothing."""

    handler: str
    against: str
    more: str = ""


CASES = {
    "noop": Case("noop", "async"),
    "sync": Case("noop_sync", "sync"),
    "keyed": Case("sleepy", "keyed", ", order: key, concurrency: 64"),
    "keyed-noop": Case("noop", "async", ", order: key, concurrency: 64"),
    "stateful": Case("stateful", "noop"),
}


#: How far a processor is, in one round trip: the machine must not be busy with being watched.
COUNT = "local n = 0 for _, own in ipairs(KEYS) do n = n + (redis.call('HGET', own, 'count') or 0) end return n"


def write(file: Path, name: str, redis: str, partitions: int, case: Case) -> None:
    """A topology that handles a stream as the case says."""
    fields = {"name": name, "redis": redis, "root": ROOT, "partitions": partitions}
    file.write_text(TOPOLOGY.format(handler=case.handler, more=case.more, **fields))


def fill(file: Path, events: int, *, drawn: bool = False) -> None:
    """Send events of about 100 bytes, of 1,000 users: each in turn, or drawn as if at random."""
    with runnelctl.connect_sync(file) as client:
        client.send_many("events", (record(n, drawn) for n in range(events)))


def raw(how: str, address: str, name: str, partitions: int, events: int) -> dict[str, float]:
    """One round of the raw loop, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.raw_loop", how, address, name, "events", str(partitions), str(events)]
    done = subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def ours(file: Path, client: Any, name: str, partitions: int, events: int, processor: str = "noop") -> dict[str, float]:
    """One round of `up` from the beginning of the stream: speed and CPU between 20 and 90 % of it, that of the slice
    (`cpu`), of all processes of `up` (`worker`) and of the server."""
    owns = [f"{{{name}:events:{p}}}:own:{processor}" for p in range(partitions)]
    client.delete(*owns)
    for p in range(partitions):  # a group still says how far the processor was
        client.execute_command("XGROUP", "DESTROY", f"{{{name}:events:{p}}}:events", processor)
    for left in client.scan_iter(match=f"{{{name}:*}}:state:*", count=10_000):
        client.delete(left)
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    up = subprocess.Popen(
        [sys.executable, "-m", "runnelctl", "up", str(file), "--only", processor],
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    count = client.register_script(COUNT)

    def watched() -> dict[str, list[psutil.Process]]:
        host, server = psutil.Process(up.pid), psutil.Process(int(client.info("server")["process_id"]))
        children = host.children(recursive=True)
        slice_ = next(child for child in children if child.name().startswith(processor))
        return {"cpu": [slice_], "worker": [host, *children], "server": [server]}

    def ended() -> str | None:
        return None if up.poll() is None else (up.stderr.read().decode() if up.stderr else "up ended")

    try:
        return window(lambda: int(count(keys=owns)), events, watched, ended)
    finally:
        up.terminate()
        up.communicate(timeout=30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--partitions", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--case", choices=CASES, default="noop")
    parser.add_argument("--keys", choices=("even", "drawn"), default="even", help="users in turn, or as if at random")
    options = parser.parse_args()
    case = CASES[options.case]
    directory = Path(tempfile.mkdtemp(prefix="bench-"))
    os.environ["RUNNELCTL_DIR"] = str(directory)
    file = directory / "topology.yaml"
    name = "bench"
    write(file, name, "embedded", options.partitions, case)
    rounds: list[tuple[dict[str, float], dict[str, float]]] = []
    with reach("embedded", name) as reached, connect.client(reached.endpoint) as client:
        fill(file, options.events, drawn=options.keys == "drawn")
        for number in range(options.rounds):
            size = options.partitions, options.events
            if case.against == "noop":
                base = ours(file, client, name, *size, "plain")
            else:
                base = raw(case.against, reached.endpoint.path, name, *size)
            mine = ours(file, client, name, *size)
            rounds.append((base, mine))
            print(
                f"round {number}: {case.against} {base['events_per_s']:,.0f}/s {base['cpu_us_per_event']:.2f} us, "
                f"slice {mine['events_per_s']:,.0f}/s {mine['cpu_us_per_event']:.2f} us, "
                f"ratio {mine['events_per_s'] / base['events_per_s']:.2f}",
                flush=True,
            )
    ratios = [mine["events_per_s"] / base["events_per_s"] for base, mine in rounds]
    added = [mine["cpu_us_per_event"] - base["cpu_us_per_event"] for base, mine in rounds]
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    print(f"events/s against {case.against}: median {spread}")
    print(f"CPU added per event: median {statistics.median(added):.2f} us ({min(added):.2f} to {max(added):.2f})")


if __name__ == "__main__":
    main()
