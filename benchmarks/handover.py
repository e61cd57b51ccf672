"""How long a partition stands still when it changes hands: last effect by the old process, first effect by the new one.

Two hosts, 16 partitions, 500 events a second; one host leaves and joins, and a processor is restarted, by turns. Run it
as `python -m benchmarks.handover [--rounds N]`; it starts a Valkey of its own and prints a line per kind of hand-over.
An event comes to each partition every 32 ms, and the waiting for it is part of each gap.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import runnelctl
from tests.servers import Server, binary

PARTITIONS, RATE = 16, 500
TOPOLOGY = """
name: handover
redis: {url}
pythonpath: [.]
streams:
  s: {{partitions: 16, key: k}}
processors:
  p: {{stream: s, handler: effects:note, processes: 4}}
"""
HANDLER = """
import os, time
time.sleep({importing})
log = os.open("effects", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

async def note(event, ctx):
    os.write(log, b"%d %d %d\\n" % (time.monotonic_ns(), event.partition, os.getpid()))
"""


def main() -> None:
    """Run the rounds and print what they cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--slowest", type=int, default=0, help="how many of each kind to show one by one")
    parser.add_argument("--importing", type=float, default=0.5, help="seconds that the handler's import takes")
    arguments = parser.parse_args()
    program = binary("valkey")
    assert program is not None
    server = Server(program)
    server.start()
    place = Path(tempfile.mkdtemp(prefix="handover-"))
    (place / "topology.yaml").write_text(TOPOLOGY.format(url=server.url))
    (place / "topology.yaml").chmod(0o644)
    (place / "effects.py").write_text(HANDLER.format(importing=arguments.importing))
    enough = threading.Event()
    sender = threading.Thread(target=_send, args=(place, enough), daemon=True)
    stays = _up(place)
    try:
        sender.start()
        marks: list[tuple[str, int]] = []
        for _ in range(arguments.rounds):
            marks.append(("join", time.monotonic_ns()))
            joins = _up(place)
            time.sleep(1.5)
            marks.append(("leave", time.monotonic_ns()))
            joins.send_signal(signal.SIGTERM)
            joins.wait()
            time.sleep(1.0)
            marks.append(("restart", time.monotonic_ns()))
            _run(place, "restart", "p")
            time.sleep(1.0)
        marks.append(("end", time.monotonic_ns()))
    finally:
        enough.set()
        stays.send_signal(signal.SIGTERM)
        stays.wait()
        server.close()
    _report(place, marks, arguments.slowest)


def _send(place: Path, enough: threading.Event) -> None:
    with runnelctl.connect_sync(place / "topology.yaml") as client:
        due, number = time.monotonic(), 0
        while not enough.is_set():
            client.send_many("s", [{"k": f"k{number + each}"} for each in range(10)])
            number += 10
            due += 10 / RATE
            time.sleep(max(0.0, due - time.monotonic()))


def _up(place: Path) -> subprocess.Popen[bytes]:
    log = (place / "log").open("ab")
    command = [sys.executable, "-m", "runnelctl", "up"]
    process = subprocess.Popen(command, cwd=place, env=_environment(), stdout=log, stderr=log)
    homes = place / ".runnelctl" / "handover" / "hosts"
    while not any(f":{process.pid}:" in each.parent.name for each in homes.glob("*/ready")):
        assert process.poll() is None, (place / "log").read_text()
        time.sleep(0.01)
    return process


def _run(place: Path, *words: str) -> None:
    command = [sys.executable, "-m", "runnelctl", *words]
    subprocess.run(command, cwd=place, env=_environment(), check=True, capture_output=True)


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}


def _report(place: Path, marks: list[tuple[str, int]], slowest: int) -> None:
    gaps: dict[str, list[tuple[float, str]]] = {}
    last: dict[bytes, tuple[int, bytes]] = {}
    for line in (place / "effects").read_bytes().splitlines():
        text, partition, pid = line.split()
        at = int(text)
        before = last.get(partition)
        if before is not None and before[1] != pid:
            kind, since = next(((name, since) for name, since in reversed(marks) if since <= at), ("", at))
            shown = f"partition {int(partition)}, {(before[0] - since) / 1e6:.0f} ms after the order to {kind}"
            gaps.setdefault(kind, []).append(((at - before[0]) / 1e6, f"{shown}, by {int(before[1])} to {int(pid)}"))
        last[partition] = (at, pid)
    for kind, found in [*sorted(gaps.items()), ("all", [gap for each in gaps.values() for gap in each])]:
        found.sort()
        middle, high = found[len(found) // 2][0], found[min(len(found) - 1, int(len(found) * 0.99))][0]
        times = f"p50 {middle:6.0f} ms, p99 {high:6.0f} ms, worst {found[-1][0]:6.0f} ms"
        print(f"{kind:8} {len(found):5} hand-overs, {times}")
        for gap, words in found[-slowest:] if slowest and kind != "all" else ():
            print(f"         {gap:6.0f} ms: {words}")


if __name__ == "__main__":
    main()
