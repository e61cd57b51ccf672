"""What tests/chaos/peer.py runs under Runnel 0.1.0b1, on Python 3.8: a processor that leaves a line per event.

python runnel_app.py N     sends N events
"""

import os
import sys
import time

import anyio
from runnel import App, Record

app = App(name="peer", redis_url=os.environ["PEER_REDIS"])
_EFFECTS = os.open(os.environ["PEER_EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


class Item(Record):
    key: str
    seq: int


items = app.stream("items", record=Item, partition_by="key", partition_count=4)


@app.processor(items, lock_expiry=2, join_delay=1)
async def sink(events):
    """One call per lease: when it began serves as the epoch that Runnel does not have."""
    epoch = time.monotonic_ns()
    async for event in events:
        start = time.monotonic_ns()
        time.sleep(0.005)  # noqa: ASYNC251 - work that keeps the processor busy, as a handler may well do
        pid, partition, end = os.getpid(), event.partition.number, time.monotonic_ns()
        line = f"sink {pid} {pid} {epoch} {partition} {event.xid.decode()} - 0 {start} {end}\n"
        os.write(_EFFECTS, line.encode())


async def send(count):
    for number in range(0, count, 100):
        await items.send(*[Item(key=f"k{n % 64}", seq=n) for n in range(number, number + 100)])


if __name__ == "__main__":
    anyio.run(send, int(sys.argv[1]))
