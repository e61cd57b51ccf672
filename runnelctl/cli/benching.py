"""The measurements of `runnelctl bench`: on a topology of its own, under a name that nobody else has."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from runnelctl import client as sending
from runnelctl import errors
from runnelctl.core import keys
from runnelctl.store import connect
from runnelctl.store.baseline import percentiles
from runnelctl.store.reach import Reached
from runnelctl.topology import load

LOOK_S = 0.02
PATIENCE_S = 60.0
_TOPOLOGY = """\
name: {name}
redis: ${{BENCH_REDIS_URL}}
streams:
  events: {{partitions: {partitions}, key: user, capacity: 100000000}}
processors:
  bench: {{stream: events, handler: "runnelctl.cli.benchhandlers:{handler}", processes: 1}}
"""
Figures = dict[str, float]


class Bench:
    """Everything that it makes in Redis and on the disk is gone after `with`, also after Ctrl-C."""

    def __init__(self, reached: Reached, url: str, partitions: int, say: Callable[[str], None]) -> None:
        self.reached, self.url, self.partitions, self.say = reached, url, partitions, say
        self.name = f"bench-{uuid.uuid4().hex[:10]}"
        self.directory = Path(tempfile.mkdtemp(prefix="runnelctl-bench-"))
        self.ages = self.directory / "ages.json"
        self.environ = {
            **os.environ, "RUNNELCTL_DIR": str(self.directory), "BENCH_REDIS_URL": url,
            "BENCH_AGES_FILE": str(self.ages),
        }  # fmt: skip
        self._ups: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self.client: Any = connect.client(self.reached.endpoint)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for up in self._ups:
            _end(up)
        self.wipe()
        self.client.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def wipe(self) -> None:
        """Take everything of this bench out of Redis."""
        found = list(self.client.scan_iter(match=f"{{{self.name}*", count=1_000))
        for start in range(0, len(found), 100):
            self.client.unlink(*found[start : start + 100])

    def topology(self, handler: str) -> Path:
        file = self.directory / "topology.yaml"
        file.write_text(_TOPOLOGY.format(name=self.name, partitions=self.partitions, handler=handler))
        file.chmod(0o600)
        return file

    # --- measurements -----------------------------------------------------------------------------------------

    def send(self, events: int) -> tuple[Figures, Figures]:
        """Send so many records of about 100 bytes through the client, and as many by bare pipelined XADD."""
        self.say(f"sending {events:,} events")
        server, began = self._server_cpu_s(), time.perf_counter()
        with sending.connect_sync(load(self.topology("noop"), environ=self.environ)) as client:
            client.send_many("events", (record(number) for number in range(events)))
        took = time.perf_counter() - began
        ours = {"events_per_s": events / took, "server_cpu_us": (self._server_cpu_s() - server) / events * 1e6}
        began = time.perf_counter()
        for start in range(0, events, 1_000):
            pipe = self.client.pipeline(transaction=False)
            for number in range(start, min(events, start + 1_000)):
                data = json.dumps(record(number), separators=(",", ":"))
                pipe.xadd(
                    keys.events(self.name, "raw", number % self.partitions), {"data": data, "key": f"user-{number}"}
                )
            pipe.execute()
        return ours, {"events_per_s": events / (time.perf_counter() - began)}

    def drain(self, events: int) -> tuple[Figures, Figures]:
        """Handle them: the raw loop, then `up` with one slice."""
        self.say("draining: the raw loop")
        raw = self._baseline(events, latency=False)
        self.say("draining: runnelctl up")
        with self._up("noop") as up:
            began, first, last = time.perf_counter(), events // 5, events * 9 // 10
            self._until(up, 1)
            started = time.perf_counter() - began
            at = self._until(up, first)
            slice_, keeper = _child(up, "bench"), _child(up, "keeper")
            began, before = time.perf_counter(), (_cpu_s(slice_), _cpu_s(keeper), self._server_cpu_s())
            handled = self._until(up, last) - at
            took = time.perf_counter() - began
            after = (_cpu_s(slice_), _cpu_s(keeper), self._server_cpu_s())
            memory = [process.memory_full_info().uss / 2**20 for process in (slice_, keeper, psutil.Process(up.pid))]
        ours = dict(zip(("slice_mib", "keeper_mib", "supervisor_mib"), memory, strict=True)) | {"start_s": started}
        if handled < events // 5:
            self.say(f"{events:,} events are over too soon to say how fast that was: give more with --events")
            return ours, raw
        per_event = [(late - early) / handled * 1e6 for early, late in zip(before, after, strict=True)]
        ours |= dict(zip(("cpu_us_per_event", "keeper_cpu_us", "server_cpu_us"), per_event, strict=True))
        return ours | {"events_per_s": handled / took}, raw

    def latency(self, rate: int, seconds: float) -> tuple[Figures, Figures]:
        """From just before an event is sent to its handler, at a steady rate: raw loop, then `up`."""
        events = int(rate * seconds)
        self.wipe()
        self.say(f"latency at {rate}/s: the raw loop")
        base = self._start_baseline(events, latency=True)
        time.sleep(1.0)  # it has to be there before the first event
        self._pace(rate, events)
        raw = _figures(base)
        self.wipe()
        self.say(f"latency at {rate}/s: runnelctl up")
        with self._up("Latency") as up:
            self._until_owned(up)
            self._pace(rate, events)
            self._until(up, events)
        return percentiles(json.loads(self.ages.read_text())), raw

    # --- parts ------------------------------------------------------------------------------------------------

    def _pace(self, rate: int, events: int) -> None:
        with sending.connect_sync(load(self.topology("Latency"), environ=self.environ)) as client:
            began = time.perf_counter()
            for number in range(events):
                if (early := began + number / rate - time.perf_counter()) > 0:
                    time.sleep(early)
                client.send("events", record(number) | {"at": time.time_ns()})

    def _start_baseline(self, events: int, *, latency: bool) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "runnelctl.store.baseline"]
        base = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self.environ)
        self._ups.append(base)
        asked = {"url": self.url, "name": self.name, "partitions": self.partitions, "events": events}
        assert base.stdin is not None
        base.stdin.write(json.dumps(asked | {"latency": latency}).encode())
        base.stdin.close()
        return base

    def _baseline(self, events: int, *, latency: bool) -> Figures:
        return _figures(self._start_baseline(events, latency=latency))

    @contextmanager
    def _up(self, handler: str) -> Iterator[subprocess.Popen[bytes]]:
        command = [sys.executable, "-m", "runnelctl", "up", str(self.topology(handler))]
        with (self.directory / "up.log").open("wb") as log:
            up = subprocess.Popen(command, env=self.environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._ups.append(up)
        yield up
        _end(up)

    def _until(self, up: subprocess.Popen[bytes], events: int) -> int:
        """Wait until so many are committed; how many are."""
        return self._watch(up, lambda owns: done if (done := sum(int(own or 0) for own, _ in owns)) >= events else 0)

    def _until_owned(self, up: subprocess.Popen[bytes]) -> None:
        self._watch(up, lambda owns: int(all(nonce for _, nonce in owns)))

    def _watch(self, up: subprocess.Popen[bytes], found: Callable[[list[list[bytes | None]]], int]) -> int:
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until and up.poll() is None:
            pipe = self.client.pipeline(transaction=False)
            for partition in range(self.partitions):
                pipe.hmget(keys.own(self.name, "events", partition, "bench"), "count", "nonce")
            if seen := found(pipe.execute()):
                return seen
            time.sleep(LOOK_S)
        raise errors.RunnelctlError(f"the bench's own `up` did not get on: {(self.directory / 'up.log').read_text()}")

    def _server_cpu_s(self) -> float:
        info = self.client.info("cpu")
        return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


def record(number: int) -> dict[str, Any]:
    """A record of about 100 bytes, of one of 1,000 users."""
    user = f"user-{number * 7919 % 1000}"
    return {"user": user, "n": number, "amount": number % 997 / 10, "note": "a note of some length, as usual"}


def _figures(base: subprocess.Popen[bytes]) -> Figures:
    assert base.stdout is not None
    text = base.stdout.read()
    if base.wait(PATIENCE_S):
        raise errors.RunnelctlError("the raw loop of the bench failed")
    found: Figures = json.loads(text)
    return found


def _child(up: subprocess.Popen[bytes], name: str) -> psutil.Process:
    return next(child for child in psutil.Process(up.pid).children() if name in child.name())


def _cpu_s(process: psutil.Process) -> float:
    spent = process.cpu_times()
    return float(spent.user + spent.system)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
