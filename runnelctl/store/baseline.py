"""The baseline of `runnelctl bench`: what one Python process can do at best with the same server and the same events.

XREAD of all partitions with read-ahead, a decode, a call of a coroutine per event, one SET of the cursor per batch and
partition. No ownership, no fencing, no policy, no status: a ceiling, not a product.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from typing import Any

import msgspec

from runnelctl.core import keys
from runnelctl.store import endpoint as endpoints
from runnelctl.store.wire import Wire

COUNT = 100


class Baseline:
    """Reads `events` events of a stream; with `latency`, notes how old each is when its handler is called."""

    def __init__(self, topology: str, stream: str, partitions: int, events: int, *, latency: bool) -> None:
        self.names = [keys.events(topology, stream, partition).encode() for partition in range(partitions)]
        self.events, self.latency = events, latency
        self.ages_ms: list[float] = []

    async def handle(self, value: Any) -> None:
        if self.latency:
            self.ages_ms.append((time.time_ns() - value["at"]) / 1e6)

    async def run(self, url: str) -> dict[str, float]:
        """Read to the end; speed and CPU between 20 and 90 % of it, or latencies."""
        endpoint = endpoints.parse(url)
        reads = await Wire.open(endpoint, name="runnelctl:bench", timeout_ms=30_000)
        writes = await Wire.open(endpoint, name="runnelctl:bench", timeout_ms=30_000)
        decode, done = msgspec.json.Decoder().decode, 0
        cursors = dict.fromkeys(self.names, b"0-0")
        first, last = self.events // 5, self.events if self.latency else self.events * 9 // 10
        began, cpu, started = 0.0, 0.0, 0
        pending = self._read(reads, cursors)
        while done < last:
            reply = await pending
            if isinstance(reply, Exception):
                raise reply
            for name, entries in reply or ():
                cursors[name] = entries[-1][0]
            pending = self._read(reads, cursors)
            for name, entries in reply or ():
                for _, fields in entries:
                    await self.handle(decode(fields[1]))
                done += len(entries)
                writes.send("SET", name + b":raw", entries[-1][0])
            if not began and done >= first:
                began, cpu, started = time.perf_counter(), _cpu_s(), done
        handled = max(1, done - started)
        found = {
            "events_per_s": handled / (time.perf_counter() - began),
            "cpu_us_per_event": (_cpu_s() - cpu) / handled * 1e6,
        }
        return found | percentiles(self.ages_ms)

    def _read(self, wire: Wire, cursors: dict[bytes, bytes]) -> asyncio.Future[Any]:
        return wire.send("XREAD", "COUNT", COUNT, "BLOCK", 1_000, "STREAMS", *self.names, *cursors.values())


def percentiles(ages_ms: list[float]) -> dict[str, float]:
    """p50 and p99 in ms; nothing of nothing. The first tenth is left out: that is when everything warms up."""
    warm = sorted(ages_ms[len(ages_ms) // 10 :])
    return {"p50_ms": warm[len(warm) // 2], "p99_ms": warm[len(warm) * 99 // 100]} if warm else {}


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """`python -m runnelctl.store.baseline`, its arguments as JSON on stdin, since a URL may hold a password."""
    import uvloop

    asked = json.load(sys.stdin)
    loop = Baseline(asked["name"], "events", asked["partitions"], asked["events"], latency=asked["latency"])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.stdout.write(json.dumps(runner.run(loop.run(asked["url"]))))


if __name__ == "__main__":
    main()
