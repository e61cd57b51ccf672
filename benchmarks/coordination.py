"""What many hosts cost the server while nothing happens, and when one of them comes or goes. Keepers alone: no events.

python -m benchmarks.coordination [--hosts 50] [--partitions 4096] [--seconds 20]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from contextlib import ExitStack

import psutil

from benchmarks.ground import ROOT, Ground, cpu_s

TOGETHER = 10  # keepers in one process: enough for one core, and few enough processes for two
PATIENCE_S = 100.0
QUIET_S = 2.0


class Hosts:
    """Some hosts in a process of their own."""

    def __init__(self, ground: Ground, partitions: int, first: int, count: int) -> None:
        words = [ground.server.url, ground.name, *map(str, (partitions, first, count))]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.keepers", *words],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )

    def __enter__(self) -> Hosts:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def leave(self) -> None:
        """Let them go, and wait for it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(PATIENCE_S)


def coordinate(ground: Ground, hosts: int, partitions: int, seconds: float) -> dict[str, float]:
    """In % of one core: the server with all hosts idle, and one keeper. In seconds of the server's CPU, and of time: a
    host that comes, and one that goes."""
    server = ground.server_process()
    with ExitStack() as stack:
        groups = [
            stack.enter_context(Hosts(ground, partitions, first, min(TOGETHER, hosts - first)))
            for first in range(0, hosts, TOGETHER)
        ]
        _until_even(ground, partitions, hosts)
        _until_quiet(server)
        keepers = [psutil.Process(group.process.pid) for group in groups]
        at, before = time.perf_counter(), (cpu_s(server), cpu_s(*keepers))
        time.sleep(seconds)
        took, after = time.perf_counter() - at, (cpu_s(server), cpu_s(*keepers))
        found = {"idle_server_pct": (after[0] - before[0]) / took * 100}
        found["idle_keeper_pct"] = (after[1] - before[1]) / took / hosts * 100
        at, spent = time.perf_counter(), cpu_s(server)
        comer = stack.enter_context(Hosts(ground, partitions, hosts, 1))
        _until_even(ground, partitions, hosts + 1)
        found["join_s"] = time.perf_counter() - at
        _until_quiet(server)
        found["join_server_s"], spent = cpu_s(server) - spent, cpu_s(server)
        at = time.perf_counter()
        comer.leave()
        _until_even(ground, partitions, hosts)
        found["leave_s"] = time.perf_counter() - at
        _until_quiet(server)
        found["leave_server_s"] = cpu_s(server) - spent
    return found


OWNERS = """
local n, most, all, owners = {}, 0, 0, 0
for p = 0, tonumber(ARGV[2]) - 1 do
  local owner = redis.call('HGET', '{' .. ARGV[1] .. ':s:' .. p .. '}:own:p', 'owner')
  if owner and owner ~= '' then
    all = all + 1
    if not n[owner] then owners = owners + 1 end
    n[owner] = (n[owner] or 0) + 1
    if n[owner] > most then most = n[owner] end
  end
end
return {all, owners, most}
"""


def _until_even(ground: Ground, partitions: int, hosts: int) -> None:
    """Until every partition has its owner, and no host more than its share."""
    owners, until = ground.client.register_script(OWNERS), time.monotonic() + PATIENCE_S
    while True:
        every, holding, most = owners(args=[ground.name, partitions])
        if (every, holding) == (partitions, min(hosts, partitions)) and most <= -(-partitions // hosts):
            return
        if time.monotonic() > until:
            raise SystemExit(
                f"{every} of {partitions} partitions have an owner, {holding} hosts hold some, at most {most}"
            )
        time.sleep(0.1)


def _until_quiet(server: psutil.Process) -> None:
    """Until what a change set going is over."""
    before = cpu_s(server)
    while True:
        time.sleep(QUIET_S)
        before, spent = cpu_s(server), cpu_s(server) - before
        if spent < QUIET_S * 0.05:
            return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=50)
    parser.add_argument("--partitions", type=int, default=4096)
    parser.add_argument("--seconds", type=float, default=20)
    given = parser.parse_args()
    with Ground() as ground:
        print(json.dumps(coordinate(ground, given.hosts, given.partitions, given.seconds), indent=2))


if __name__ == "__main__":
    main()
