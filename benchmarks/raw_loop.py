"""The baseline: what one Python process can do at best. XREAD of all partitions with read-ahead, decode, a call of a
no-op per event, one SET of the cursor per batch. No ownership, no fencing, no policy, no status: a ceiling.

    python -m benchmarks.raw_loop HOW ADDRESS TOPOLOGY STREAM PARTITIONS EVENTS

HOW: `async` awaits a coroutine that does nothing, `sync` calls a function that does nothing, `keyed` has a task per key
of each read, whose handler sleeps 1 ms. ADDRESS: the server's unix socket, or HOST:PORT.
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import sys
import time
from collections import deque
from typing import Any

import hiredis
import msgspec
import uvloop

COUNT = 100


class Raw(asyncio.Protocol):
    """Requests out, replies in order: nothing else."""

    def __init__(self) -> None:
        self.reader = hiredis.Reader()
        self.waiting: deque[asyncio.Future[Any]] = deque()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.reader.feed(data)
        while (reply := self.reader.gets()) is not False:
            self.waiting.popleft().set_result(reply)

    def send(self, *words: Any) -> asyncio.Future[Any]:
        future = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        self.transport.write(hiredis.pack_command(words))
        return future


async def noop(value: Any) -> None:
    return None


def noop_sync(value: Any) -> None:
    return None


async def sleep(value: Any) -> None:
    await asyncio.sleep(0.001)


async def handle_async(reply: list[Any], decode: Any) -> None:
    for _, entries in reply:
        for _, fields in entries:
            await noop(decode(fields[1]))


async def handle_sync(reply: list[Any], decode: Any) -> None:
    for _, entries in reply:
        for _, fields in entries:
            noop_sync(decode(fields[1]))


async def handle_keyed(reply: list[Any], decode: Any) -> None:
    by_key: dict[bytes, list[bytes]] = {}
    for _, entries in reply:
        for _, fields in entries:
            by_key.setdefault(fields[3], []).append(fields[1])
    await asyncio.gather(*(one_key(records, decode) for records in by_key.values()))


async def one_key(records: list[bytes], decode: Any) -> None:
    for record in records:
        await sleep(decode(record))


HOW = {"async": handle_async, "sync": handle_sync, "keyed": handle_keyed}


async def connected(address: str) -> Raw:
    loop = asyncio.get_running_loop()
    if address.startswith("/"):
        return (await loop.create_unix_connection(Raw, address))[1]
    host, _, port = address.rpartition(":")
    return (await loop.create_connection(Raw, host, int(port)))[1]


async def main(how: str, address: str, topology: str, stream: str, partitions: int, events: int) -> dict[str, float]:
    reads, writes = await connected(address), await connected(address)
    names = [f"{{{topology}:{stream}:{p}}}:events".encode() for p in range(partitions)]
    cursors = dict.fromkeys(names, b"0-0")
    handle = HOW[how]
    decode = msgspec.json.Decoder().decode
    done, began, cpu = 0, 0.0, 0.0
    first, last = events // 5, events * 9 // 10
    pending = reads.send("XREAD", "COUNT", COUNT, "BLOCK", 1000, "STREAMS", *names, *cursors.values())
    while done < last:
        reply = await pending
        for name, entries in reply:
            cursors[name] = entries[-1][0]
        pending = reads.send("XREAD", "COUNT", COUNT, "BLOCK", 1000, "STREAMS", *names, *cursors.values())
        await handle(reply, decode)
        for name, entries in reply:
            done += len(entries)
            writes.send("SET", name + b":raw", entries[-1][0])
        if not began and done >= first:
            began, cpu, first = time.perf_counter(), _cpu_s(), done
    elapsed, spent = time.perf_counter() - began, _cpu_s() - cpu
    return {"events_per_s": (done - first) / elapsed, "cpu_us_per_event": spent / (done - first) * 1e6}


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    gc.collect()
    gc.freeze()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(main(*sys.argv[1:5], *map(int, sys.argv[5:])))))
