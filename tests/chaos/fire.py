"""One run under fire: events of many keys, four slices, kills and pauses while they are handled, then the verdict.

python -m tests.chaos.fire --events 200000 --keys 1000 --partitions 16
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

import runnelctl
from runnelctl.store import connect
from runnelctl.store.reach import reach
from tests import servers
from tests.chaos import checker
from tests.chaos.checker import Verdict

ROOT = Path(__file__).resolve().parents[2]

TOPOLOGY = """
name: fire
redis: {redis}
pythonpath: ["{root}"]
streams:
  events: {{partitions: {partitions}, key: key, capacity: 10000000}}
processors:
  sink:
    stream: events
    handler: tests.chaos.workload:{handler}
    processes: {slices}
    policy: {policy}
    retry: {{attempts: 3, backoff: 20ms}}
    timeout: {timeout}
    commit: {{every: 100ms, events: {commit_events}}}
{extra}
lease: {{ttl: {ttl_s}s}}
drain: 10s
"""


@dataclass(slots=True)
class Plan:
    """What to send, what to break."""

    events: int = 20_000
    keys: int = 200
    partitions: int = 16
    slices: int = 4
    handler: str = "effect"
    policy: str = "HALT"
    timeout: str = "30s"
    extra: str = ""
    sleep_s: float = 0.001
    commit_events: int = 200
    ttl_s: int = 2
    slice_kills: int = 6
    keeper_kills: int = 1
    supervisor_kills: int = 1
    slice_pauses: int = 1
    seed: int = 1


class Fire:
    """A directory, a topology, an `up`, and ways to hurt it."""

    def __init__(self, plan: Plan, redis: str, directory: Path) -> None:
        self.plan, self.directory, self.redis = plan, directory, redis
        self.random = random.Random(plan.seed)
        self.log = directory / "effects"
        self.output = directory / "up.out"
        self.file = directory / "topology.yaml"
        fields = {name: getattr(plan, name) for name in plan.__dataclass_fields__}
        self.file.write_text(TOPOLOGY.format(redis=redis, root=ROOT, **fields))
        self.sent: dict[str, int] = {}
        self.ups: list[subprocess.Popen[bytes]] = []
        self.actions: list[str] = []

    def records(self, do: dict[tuple[str, int], str] | None = None) -> list[dict[str, Any]]:
        """Events of random keys, numbered per key; `do` says which of them misbehave."""
        records = []
        for _ in range(self.plan.events):
            key = f"k{self.random.randrange(self.plan.keys)}"
            seq = self.sent.get(key, 0)
            self.sent[key] = seq + 1
            record: dict[str, Any] = {"key": key, "seq": seq}
            if do and (key, seq) in do:
                record["do"] = do[key, seq]
            records.append(record)
        return records

    def send(self, records: list[dict[str, Any]]) -> None:
        with runnelctl.connect_sync(self.file) as client:
            client.send_many("events", records)

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "CHAOS_LOG": str(self.log),
            "CHAOS_MENDED": str(self.directory / "mended"),
            "CHAOS_SLEEP_S": str(self.plan.sleep_s),
            "PYTHONPATH": str(ROOT),
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another command on the same topology, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "runnelctl", *arguments, "-t", str(self.file)],
            capture_output=True, text=True, cwd=self.directory, env=self._environment(), timeout=120, check=True,
        )  # fmt: skip

    def up(self, *flags: str) -> subprocess.Popen[bytes]:
        with self.output.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "runnelctl", "up", str(self.file), *flags],
                stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=self.directory, env=self._environment(),
                preexec_fn=servers.die_with_parent(),  # noqa: PLW1509 - single-threaded here, and it only calls libc
            )  # fmt: skip
        self.ups.append(process)
        return process

    def children(self, up: subprocess.Popen[bytes], name: str) -> list[psutil.Process]:
        """Live children of an `up`: `keeper`, or slices by the processor's name."""
        try:
            found = psutil.Process(up.pid).children()
            return [
                child for child in found if child.name().startswith(name) and child.status() != psutil.STATUS_ZOMBIE
            ]
        except psutil.NoSuchProcess:
            return []

    def note(self, action: str) -> None:
        self.actions.append(f"{time.monotonic_ns()} {action}")

    def kill(self, up: subprocess.Popen[bytes], name: str) -> None:
        """kill -9 one of the children with this name."""
        victims = wait_for(lambda: self.children(up, name), f"no {name} to kill")
        victim = self.random.choice(victims)
        self.note(f"kill -9 {name} {victim.pid}")
        victim.kill()

    def pause(self, up: subprocess.Popen[bytes], name: str, seconds: float) -> None:
        """SIGSTOP a child, SIGCONT it later if it is still there. One that was just forked is spared: a slice that is
        not ready yet has a minute to become so, stopped or not."""

        def grown() -> list[psutil.Process]:
            return [child for child in self.children(up, name) if time.time() - child.create_time() > 1.5]

        victim = self.random.choice(wait_for(grown, f"no {name} to stop"))
        self.note(f"SIGSTOP {name} {victim.pid} for {seconds} s")
        victim.suspend()
        time.sleep(seconds)
        try:
            victim.resume()
        except psutil.NoSuchProcess:
            self.note(f"{victim.pid} was put down meanwhile")

    def handled(self) -> int:
        """Lines in the effects file so far."""
        try:
            return self.log.read_bytes().count(b"\n")
        except FileNotFoundError:
            return 0

    def stop_all(self) -> None:
        for process in self.ups:
            if process.poll() is None:
                process.terminate()
        for process in self.ups:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def verdict(self, **more: Any) -> Verdict:
        return checker.judge(checker.read(self.log), self.sent, repeat_bound=self.plan.commit_events, **more)

    def counted(self) -> int:
        """What the handlers counted in ctx.state: exactly once, whatever was repeated outside."""
        with reach(self.redis, "fire") as reached, connect.client(reached.endpoint) as client:
            states = [client.get(key) for key in client.scan_iter(match="{fire:events:*}:state:sink:*", count=1000)]
            return sum(json.loads(state)["n"] for state in states)


def wait_for(condition: Any, message: str, timeout_s: float = 60.0) -> Any:
    """Poll until the condition holds; its value."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(message)
        time.sleep(0.02)
    return value


def burn(fire: Fire) -> int:
    """The run of the plan; returns the exit code of the last, draining `up`."""
    plan = fire.plan
    fire.send(fire.records())
    faults = ["slice"] * plan.slice_kills + ["keeper"] * plan.keeper_kills
    faults += ["supervisor"] * plan.supervisor_kills + ["pause"] * plan.slice_pauses
    fire.random.shuffle(faults)
    up = fire.up()
    for number, fault in enumerate(faults, 1):
        # Spread over the run: each fault waits for its share of the events.
        share = fire.plan.events * number // (len(faults) + 2)
        wait_for(lambda share=share: fire.handled() >= share, f"stuck before {share} effects: {fire.output}", 120)
        if fault == "supervisor":
            fire.note(f"kill -9 supervisor {up.pid}")
            up.send_signal(signal.SIGKILL)
            up.wait()
            up = fire.up()
        elif fault == "pause":
            fire.pause(up, "sink", 3 * plan.ttl_s)
        else:
            fire.kill(up, "keeper" if fault == "keeper" else "sink")
    wait_for(lambda: fire.handled() >= plan.events, f"never came to the end: {fire.output}", 240)
    up.terminate()
    up.wait(30)
    return fire.up("--drain").wait(120)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("events", "keys", "partitions", "slices", "seed"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Plan(), name))
    parser.add_argument("--slice-kills", type=int, default=20)
    parser.add_argument("--handler", default="effect")
    options = parser.parse_args()
    plan = Plan(
        events=options.events, keys=options.keys, partitions=options.partitions, slices=options.slices,
        seed=options.seed, slice_kills=options.slice_kills, keeper_kills=2, handler=options.handler,
    )  # fmt: skip
    directory = Path(tempfile.mkdtemp(prefix="fire-"))
    fire = Fire(plan, "embedded", directory)
    os.environ["RUNNELCTL_DIR"] = str(directory)
    try:
        code = burn(fire)
        verdict = fire.verdict()
        verdict_line = {name: getattr(verdict, name) for name in verdict.__slots__}
        print(
            json.dumps({**verdict_line, "exit": code, "counted": fire.counted(), "directory": str(directory)}, indent=1)
        )
        return 1 if verdict.violations or code else 0
    finally:
        fire.stop_all()


if __name__ == "__main__":
    sys.exit(main())
