"""Runnel 0.1.0b1, on Python 3.8. Acks after each turn of the loop: at least once, in order per key."""

import asyncio

import anyio
from runnel import App, Record

from benchmarks.peers.tally import URL, WAY, backlog, handled

app = App(name="peer", redis_url=URL, log_level="warning")


class Event(Record):
    user: str
    n: int
    amount: float
    note: str


events = app.stream("events", record=Event, partition_by="user", partition_count=16)


async def noop(events):
    async for _ in events.records():
        handled()


async def taken(events):
    """Batches, acked as a whole. With the guide's `within=1` it stands still for a second between many of them."""
    async for batch in events.take(100, within=0.1).records():
        for _ in batch:
            handled()


async def sleepy(events):
    async for _ in events.records():
        await asyncio.sleep(0.001)
        handled()


HANDLERS = {"default": noop, "tuned": taken, "sleepy": sleepy, "sleepy-tuned": sleepy}
app.processor(events, name="bench", prefetch_count=1000 if WAY.endswith("tuned") else None)(HANDLERS[WAY])


async def send():
    for records in backlog(500):
        await events.send(*[Event(**record) for record in records])


if __name__ == "__main__":
    anyio.run(send)
